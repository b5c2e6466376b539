"""`msa-cli report`: all runs of params.yaml as Markdown and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import ParamsFile
from pipeline.core.console import say
from pipeline.core.files import one_writer


def report(
    results: Annotated[Path, typer.Option(help="Folder of results.", file_okay=False)] = Path("results"),
    out: Annotated[Path, typer.Option(help="Folder for the report.", file_okay=False)] = Path("reports"),
    params: ParamsFile = None,
) -> None:
    """Write the report on all runs: report.md, index.html with all methods, and a page a set in `sets`.

    Made of what lies in RESULTS; nothing is trained, and no data is needed.
    """
    from pipeline.params.params import load_params
    from pipeline.reports.report import report as write

    with one_writer(out / "report.md"):
        write(load_params(params), results, out)
    say(f"{out / 'report.md'} has the tables, {out / 'index.html'} shows all methods")
