"""`msa-cli claims`: does a method do what it claims, on corpora whose factors are known?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import completion
from pipeline.cli.options import MethodName, ParamsFile


def claims(
    method: MethodName,
    seeds: Annotated[
        str | None, typer.Option(help="1111,1112 ... Default: those of params.yaml; use ten for a verdict.")
    ] = None,
    dataset: Annotated[
        str,
        typer.Option(
            help="Training set whose settings for the method are used where they differ from `base`.",
            autocompletion=completion.training_sets,
        ),
    ] = "planted",
    without: Annotated[
        list[str] | None,
        typer.Option(
            help="A loss term that the claim rests on: the method is also trained with its weight at 0. "
            "May be repeated. Default: known for the papers' methods."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File for the results: .json, .html or .md.", dir_okay=False)
    ] = None,
    params_file: ParamsFile = None,
) -> None:
    """Test a method's claims on planted corpora: shift, private and shared, conflict, few clips.

    Each seed draws its own corpora and trains the method on them; one training takes seconds on a CPU core.
    Example: msa-cli claims misr --dataset sample --seeds 1111,1112,1113 --out misr.html
    """
    from pipeline.claims.bench import measure
    from pipeline.claims.page import method_blocks
    from pipeline.core.console import note
    from pipeline.evaluation.tables.run import parse_seeds
    from pipeline.params.params import load_params
    from pipeline.reports.blocks import Form, publish

    params = load_params(params_file)
    numbers = params.seeds if seeds is None else parse_seeds(seeds)
    found = measure(method, params, numbers, dataset, tuple(without or ()), note)
    blocks = method_blocks(found)
    if out is not None:
        forms: dict[str, Form] = {".json": "json", ".html": "html", ".md": "markdown"}
        publish(blocks, found.facts, forms.get(out.suffix, "json"), out)
    publish(blocks, found.facts, "text", None)
