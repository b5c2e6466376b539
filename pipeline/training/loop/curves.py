"""Learning curves: a table at the end of a run, and live in DVC Studio where that is asked for.

A row is one epoch: `epoch` (from 1), `total` (the weighted sum), one column a loss term (unweighted) and a
diagnostic of the method, all means over the epoch's batches, then `valid_loss` (of the task) and `lr` (of
everything but a fine-tuned backbone).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core.files import writing

Row = dict[str, float]
OWN_NAMES = {"valid_loss": "valid/loss", "lr": "lr"}  # of DVCLive; all else is train/<column>
ASKED_BY = "DVC_STUDIO_TOKEN"  # `dvc exp run` sets it where `dvc studio login` was called


class LiveCurves:
    """A run's rows as DVCLive sends them to DVC Studio, by way of `folder`; nothing where nobody asked.

    DVCLive is imported by then alone: it costs as much time as torch, and is not on every machine.
    """

    def __init__(self, folder: Path, rows: Sequence[Row]):
        self._folder = folder
        with writing(folder):
            self._live = _open_live(folder) if os.environ.get(ASKED_BY) else None
        for row in rows:
            self.add(row)

    def end(self) -> None:
        """Nothing more comes."""
        if self._live is not None:
            with writing(self._folder):
                self._live.end()

    def add(self, row: Row) -> None:
        """One more epoch."""
        if self._live is None:
            return
        self._live.step = int(row["epoch"])
        with writing(self._folder):
            for column, value in row.items():
                if column != "epoch":
                    self._live.log_metric(OWN_NAMES.get(column, f"train/{column}"), value)
            self._live.make_summary()


def _open_live(folder: Path) -> Any:
    """dvclive.Live on a folder that is emptied first; None where it cannot be."""
    try:
        import dvclive
        from scmrepo.exceptions import SCMError
    except ImportError:
        return None
    shutil.rmtree(folder, ignore_errors=True)
    try:
        return dvclive.Live(str(folder), dvcyaml=None, save_dvc_exp=False, report=None)
    except (SCMError, sqlite3.Error):  # it asks git for a commit, which may have none, and DVC's cache
        return None


def write_table(rows: Sequence[Row], path: Path) -> None:
    """`curves.tsv`: all columns beside each other, numbers in full."""
    columns = list(rows[0])
    lines = ["\t".join(columns), *("\t".join(str(row[column]) for column in columns) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_table(path: Path) -> list[Row]:
    """The rows of a `curves.tsv`, at least one, of a run or, with a column `seed`, of several.

    ValueError where it is none.
    """
    header, first, *more = path.read_text(encoding="utf-8").splitlines()
    columns = header.split("\t")
    if lacking := {"epoch", "total", *OWN_NAMES} - set(columns):
        raise ValueError(f"has no column {min(lacking)}")
    kinds = [int if name == "seed" else float for name in columns]
    return [
        {name: kind(cell) for name, kind, cell in zip(columns, kinds, line.split("\t"), strict=True)}
        for line in [first, *more]
    ]
