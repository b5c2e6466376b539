"""`msa-cli report`: all runs of params.yaml as Markdown and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import ParamsFile
from pipeline.core.console import note
from pipeline.core.files import one_writer


def report(
    results: Annotated[Path, typer.Option(help="Folder of results.", file_okay=False)] = Path("results"),
    out: Annotated[Path, typer.Option(help="Folder for the report.", file_okay=False)] = Path("reports"),
    params: ParamsFile = None,
) -> None:
    """Write the report on all runs: report.md, index.html with all methods, and a page per set in `sets`.

    Reads the results only: nothing is trained, and no data are needed.
    """
    from pipeline.params.params import load_params
    from pipeline.reports.report import report as write

    with one_writer(out / "report.md"):
        write(load_params(params), results, out)
    note(f"{out / 'report.md'} has the tables, {out / 'index.html'} shows all methods", stdout=True)
