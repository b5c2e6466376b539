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
    """Write the report on all runs: report.md with tables and pictures beside it, and index.html, one page.

    Made of what lies in RESULTS; nothing is trained, and no data is needed.
    """
    from pipeline.params.params import load_params
    from pipeline.reports.page import write_page
    from pipeline.reports.report import report as write

    loaded = load_params(params)
    with one_writer(out / "report.md"):
        write(loaded, results, out)
    with one_writer(out / "index.html"):
        page = write_page(loaded, results, out)
    say(f"{out / 'report.md'} has the tables, {page} shows the runs")
