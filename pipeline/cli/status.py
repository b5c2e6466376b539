"""`msa-cli why`, `msa-cli runs` and `msa-cli merge-lock`: how the project stands."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import completion
from pipeline.cli.options import AsJson
from pipeline.core.console import say, show


def why(
    stages: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[STAGE...]",
            help="train@misr-sample, or a group: train. Default: all.",
            autocompletion=completion.stages,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what makes stages stale: which setting, code, library, clips or output, and where it began.

    `dvc repro` would run them. Nothing is computed or written.

    Example: msa-cli why train@misr-sample
    """
    from pipeline.status.why import lines
    from pipeline.status.why import why as find

    found = find(stages or ())
    if as_json:
        say(json.dumps(dataclasses.asdict(found), indent=1, ensure_ascii=False), in_json=True)
    else:
        say("\n".join(lines(found)))


def runs(as_json: AsJson = False) -> None:
    """List all runs, wanted or existing: state, epoch, losses, test metrics and seconds.

    Settings and features are compared with params.yaml; `msa-cli why train` tells whether code changed.
    """
    from pipeline.params.params import load_params
    from pipeline.status.runs import list_runs, table

    rows = list_runs(load_params())
    if as_json:
        say(json.dumps([dataclasses.asdict(row) for row in rows], indent=1), in_json=True)
    else:
        show(table(rows))


def merge_lock(
    base: Annotated[
        Path, typer.Argument(metavar="%O", exists=True, dir_okay=False, help="The common ancestor.")
    ],
    ours: Annotated[
        Path, typer.Argument(metavar="%A", exists=True, dir_okay=False, help="Our side; overwritten.")
    ],
    theirs: Annotated[Path, typer.Argument(metavar="%B", exists=True, dir_okay=False, help="Their side.")],
) -> None:
    """Merge dvc.lock stage by stage; git calls this.

    A stage's entry is taken from the side that changed it. Where both did, it has none: `dvc repro` decides.

    Example: git config merge.dvc-lock.driver "msa-cli merge-lock %O %A %B"
    """
    from pipeline.status.lock import merge_lock as merge

    if left_out := merge(base, ours, theirs):
        say(f"dvc.lock: both sides changed {', '.join(left_out)}; `dvc repro` decides", error=True)
