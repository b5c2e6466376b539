"""`msa-cli import-predictions`: what another system predicted, as a run beside those trained here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.core.console import say
from pipeline.core.errors import ParamsError

if TYPE_CHECKING:
    from pipeline.params.params import Params


def import_predictions(
    file: Annotated[
        Path,
        typer.Argument(help="CSV or Parquet file with a row a clip: its id, and a prediction or scores."),
    ],
    name: Annotated[str, typer.Option(help="What the system is called in tables.")],
    chosen: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="SET",
            help="The training set whose test clips these are, or a dataset: all training sets of it, as its "
            "folds. May be given several times.",
        ),
    ],
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=COLUMN",
            help="Where a column's name does not say it: clip=utt, prediction=answer, happy=hap. May be "
            "given several times.",
        ),
    ] = None,
) -> None:
    """Score predictions of another toolbox or a language model, so that they stand beside the runs.

    A prediction is a score, or a class by name or index; or there is a column of scores for each class. Every
    test clip must be there once. Writes results/SET/NAME, which report, compare and significance read.

    Example: msa-cli import-predictions wav2vec.csv --name wav2vec --set ravdess
    """
    from models import METHODS
    from pipeline.core import paths
    from pipeline.core.files import one_writer
    from pipeline.evaluation.imported import import_predictions as score
    from pipeline.params.explain import one_line
    from pipeline.params.names import as_name
    from pipeline.params.params import load_params

    params = load_params()
    try:
        as_name(name)
    except ValueError as error:
        raise ParamsError(f"--name: {error}") from error
    if name in METHODS or name in params.models:
        raise ParamsError(f"--name {name}: is a method of this project; choose another")
    columns: dict[str, str] = {}
    for given in column or []:
        key, equals, of_file = given.partition("=")
        if not (key and equals and of_file) or key in columns:
            raise ParamsError(f"--column {one_line(given)}: expected KEY=COLUMN, each key once")
        columns[key] = of_file
    for dataset in dict.fromkeys(one for given in chosen for one in _sets(given, params)):
        out = paths.results_folder(name, dataset)
        metrics = params.training_set(dataset).metrics
        with one_writer(out):
            say(score(file, name, dataset, paths.assembled_folder(dataset), out, metrics, columns))
    say(f"next: msa-cli report; msa-cli significance {name}-SET --against METHOD-SET")


def _sets(given: str, params: Params) -> list[str]:
    """The training set of that name, else those of the dataset of that name."""
    sets = [name for name, one in params.assemble.items() if one.dataset == given]
    if given in params.assemble or not sets:
        params.training_set(given)
        return [given]
    return sets
