"""`msa-cli export`: a training set in the formats of other projects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import completion
from pipeline.core.console import say


def export(
    name: Annotated[
        str,
        typer.Argument(
            metavar="SET",
            help="A training set: a name from `assemble` in params.yaml, or its folder.",
            autocompletion=completion.training_sets,
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="A new or empty folder for the files.", file_okay=False)
    ],
    format: Annotated[
        str, typer.Option("--as", metavar="FORMAT", help="mmsa, hf (Hugging Face), webdataset or csv.")
    ],
) -> None:
    """Write a training set for other projects: MMSA, Hugging Face, WebDataset, CSV.

    Clips, splits, labels, texts, and features as methods here read them. A run is not exported (torchscript,
    onnx): the command says what would be lost.

    Example: msa-cli export sample --as mmsa --out exported
    """
    from pipeline.exports.export import export as write

    for line in write(name, format, out):
        say(line)
