"""`msa-cli claims`: does a method do what it claims, on corpora whose factors are known?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import MethodName, ParamsFile


def claims(
    method: MethodName,
    seeds: Annotated[
        str | None, typer.Option(help="1111,1112 ... Default: those of params.yaml; ten say something.")
    ] = None,
    dataset: Annotated[
        str,
        typer.Option(help="Training set whose settings of the method count, where they differ from `base`."),
    ] = "planted",
    without: Annotated[
        list[str] | None,
        typer.Option(
            help="A loss term that the claim rests on: it is compared with its weight 0. May be given "
            "several times. Default: what is known of the papers' methods."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File for what was found: .json, .html or .md.", dir_okay=False)
    ] = None,
    params_file: ParamsFile = None,
) -> None:
    """What a method claims, measured on planted corpora: shift, private and shared, conflict, few clips.

    Each seed draws corpora of its own and trains the method on them, seconds a training on one CPU core.
    Example: msa-cli claims misr --dataset sample --seeds 1111,1112,1113 --out misr.html
    """
    from pipeline.claims.bench import measure
    from pipeline.claims.page import method_blocks
    from pipeline.core.console import say
    from pipeline.evaluation.tables.run import parse_seeds
    from pipeline.params.params import load_params
    from pipeline.reports.blocks import Form, publish

    params = load_params(params_file)
    numbers = params.seeds if seeds is None else parse_seeds(seeds)
    found = measure(
        method, params, numbers, dataset, tuple(without or ()), lambda line: say(line, error=True)
    )
    blocks = method_blocks(found)
    if out is not None:
        forms: dict[str, Form] = {".json": "json", ".html": "html", ".md": "markdown"}
        publish(blocks, found.facts, forms.get(out.suffix, "json"), out)
    publish(blocks, found.facts, "text", None)
