"""`msa-cli dag`: the stages of dvc.yaml, as a table or as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def dag(
    svg: Annotated[bool, typer.Option("--svg", help="Draw a picture (SVG) instead of a table.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="File to write instead of printing the picture.", dir_okay=False)
    ] = None,
) -> None:
    """Show the stages of dvc.yaml: what each reads from and writes; all entries of a stage as one.

    `dvc dag` shows every entry.

    Example: msa-cli dag --svg --out dag.svg
    """
    from pipeline.core.console import say, show
    from pipeline.core.errors import MsaError
    from pipeline.core.files import write_text
    from pipeline.status.dag import read_dag

    if out is not None and not svg:
        raise MsaError(f"--out {out}: is for the picture only; give --svg too")
    nodes = read_dag()
    if not svg:
        from rich.table import Table

        table = Table("stage", "reads from", "writes")
        for node in nodes:
            table.add_row(node.name, ", ".join(node.above), node.writes)
        show(table)
        return
    from pipeline.reports.figures import picture
    from pipeline.status.dag_figure import dag_drawing

    drawn = picture(dag_drawing(nodes)).svg + "\n"
    if out is None:
        say(drawn, end="")
    else:
        write_text(drawn, out)
