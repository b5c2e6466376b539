"""Learning curves while a run goes on, on disk through DVCLive.

A row is one epoch: `epoch` (from 1), `total` (the weighted sum), one column a loss term (unweighted) and a
diagnostic of the method, all means over the epoch's batches, then `valid_loss` (of the task) and `lr` (of
everything but a fine-tuned backbone).

DVCLive writes `plots/metrics/train/<term>.tsv`, `plots/metrics/valid/loss.tsv`, `plots/metrics/lr.tsv` and
`metrics.json`. It is not on every training machine; without it the same files are written here.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core.files import writing

Row = dict[str, float]
OWN_NAMES = {"valid_loss": "valid/loss", "lr": "lr"}  # all else is train/<column>


class Curves:
    """The files of a run's rows in `folder`, which is emptied first and then holds those so far."""

    def __init__(self, folder: Path, rows: list[Row]):
        shutil.rmtree(folder, ignore_errors=True)
        self._folder = folder
        with writing(folder):
            folder.mkdir(parents=True)
            self._live = _open_live(folder)
        for row in rows:
            self.add(row)

    def end(self) -> None:
        """Nothing more comes."""
        with writing(self._folder):
            self._live.end()

    def add(self, row: Row) -> None:
        """One more epoch."""
        self._live.step = int(row["epoch"])
        with writing(self._folder):
            for column, value in row.items():
                if column != "epoch":
                    self._live.log_metric(OWN_NAMES.get(column, f"train/{column}"), value)
            self._live.make_summary()


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


class PlainLive:
    """Writes what dvclive.Live writes for numbers: one TSV a metric and the last values as JSON."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._summary: dict[str, Any] = {}
        self.step = 0

    def log_metric(self, name: str, val: float) -> None:
        path = self._folder / "plots" / "metrics" / f"{name}.tsv"
        *groups, leaf = name.split("/")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"step\t{leaf}\n", encoding="utf-8")
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{self.step}\t{val}\n")
        section = self._summary
        for group in groups:
            section = section.setdefault(group, {})
        section[leaf] = val

    def make_summary(self) -> None:
        self._summary["step"] = self.step
        text = json.dumps(self._summary, indent=4)
        (self._folder / "metrics.json").write_text(text + "\n", encoding="utf-8")

    def end(self) -> None:
        self.make_summary()


def _open_live(folder: Path) -> Any:
    """dvclive.Live, or what writes the same."""
    try:
        import dvclive
        from scmrepo.exceptions import SCMError
    except ImportError:
        return PlainLive(folder)
    try:
        return dvclive.Live(str(folder), dvcyaml=None, save_dvc_exp=False, report=None)
    except (SCMError, sqlite3.Error):  # it asks git for a commit, which may have none, and DVC's cache
        return PlainLive(folder)
