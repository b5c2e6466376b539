"""`msa-cli import-predictions`: what another system predicted, as a run beside those trained here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import completion
from pipeline.core.console import note, say
from pipeline.core.errors import ParamsError

if TYPE_CHECKING:
    from pipeline.params.params import Params


def import_predictions(
    file: Annotated[
        Path,
        typer.Argument(help="CSV or Parquet file with a row per clip: its id, and a prediction or scores."),
    ],
    name: Annotated[str, typer.Option(help="Name of the system in tables.")],
    chosen: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="SET",
            help="Training set whose test clips these are, or a dataset, for all its training sets (its "
            "folds). May be repeated.",
            autocompletion=completion.all_sets,
        ),
    ],
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=COLUMN",
            help="Column for a key without a column of that name: clip=utt, prediction=answer, "
            "happy=hap. May be repeated.",
        ),
    ] = None,
) -> None:
    """Score the predictions of another toolbox or a language model, to compare them with the runs.

    A prediction is a score, or a class by name or index; or there is a column of scores for each class. Every
    test clip must occur once. Writes results/SET/NAME, which report, compare and significance read.

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
        raise ParamsError(f"--name {name}: already a method of this project; choose another")
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
    note(f"next: msa-cli report; msa-cli significance {name}-SET --against METHOD-SET", stdout=True)


def _sets(given: str, params: Params) -> list[str]:
    """The training set of that name, else those of the dataset of that name."""
    sets = [name for name, one in params.assemble.items() if one.dataset == given]
    if given in params.assemble or not sets:
        params.training_set(given)
        return [given]
    return sets
