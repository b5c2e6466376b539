"""`msa-cli table`: a table of a method's paper, run here."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli import completion
from pipeline.cli.options import MethodName
from pipeline.core.console import note, say
from pipeline.core.errors import MsaError


def table(
    method: MethodName,
    name: Annotated[str, typer.Argument(metavar="TABLE", help="A table of its paper: main, 4, ratio ...")],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="A name from `assemble`. Default: the first of datasets_run.",
            autocompletion=completion.training_sets,
        ),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="1111,1112 ... Default: those of params.yaml.")] = None,
    run: Annotated[
        bool,
        typer.Option("--run/--print", help="Train and evaluate every row, or show what each row overrides."),
    ] = False,
) -> None:
    """Run a table of a method's paper as DVC experiments: comparison (main), ablation, sensitivity.

    The numbers are printed beside the paper's and written to reports/tables. Exits with status 1 if a row
    failed.
    """
    from pipeline.evaluation.tables.run import find_table, parse_seeds, run_table
    from pipeline.params.params import load_params
    from pipeline.reports.paper_tables import markdown, show_settings, write_report

    found, params = find_table(method, name), load_params()
    if dataset is None:
        if not params.datasets_run:
            raise MsaError("datasets_run in params.yaml is empty; name a dataset with --dataset")
        dataset = params.datasets_run[0]
    numbers = params.seeds if seeds is None else parse_seeds(seeds)
    if not run:
        say(show_settings(found, dataset, params), end="")
        return
    outcomes = run_table(found, dataset, numbers, params, say=note)
    text = markdown(found, dataset, numbers, outcomes, params)
    path = write_report(found, dataset, text)
    say(text, end="")
    note(f"also written to {path}")
    if any(outcome.failed for outcome in outcomes):
        raise typer.Exit(1)
