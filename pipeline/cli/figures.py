"""`msa-cli figures`: the pictures of runs as files for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import completion
from pipeline.cli.options import ParamsFile
from pipeline.core.console import note, say


def figures(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="misr-mosi: all seeds; misr-mosi/1111: one; or results/mosi/misr.",
            autocompletion=completion.result_names,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the files.", file_okay=False)],
    form: Annotated[str, typer.Option("--format", help="pdf, svg or png.")] = "pdf",
    width: Annotated[
        float | None,
        typer.Option(
            help="Width of a picture in inches. Default: 3.35 (a column), 7 for comparisons of methods.",
            min=1.5,
        ),
    ] = None,
    params: ParamsFile = None,
) -> None:
    """Write the pictures of runs for a paper: losses, predictions, confusion, maps, and the methods' own.

    Fonts are embedded; colours can be told apart in greyscale and by the colour-blind. With runs of several
    methods of a set, the pictures that compare them are written too.

    Example: msa-cli figures misr-mosi cmir-mosi --out figures
    """
    from pipeline.params.params import PARAMS_FILE, load_params
    from pipeline.reports.fonts import ADVICE
    from pipeline.reports.paper_figures import write_figures

    known = load_params(params) if params is not None or Path(PARAMS_FILE).is_file() else None
    files, lacking = write_figures(runs, out, form, known, width)
    for file in files:
        say(str(file))
    if lacking:
        note(f"no installed font has {lacking}, drawn as boxes; install {ADVICE}, and run again")
