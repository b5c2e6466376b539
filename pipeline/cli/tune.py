"""`msa-cli tune`: better settings of a method on a dataset, found by the validation loss."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import completion
from pipeline.cli.options import Device, MethodName
from pipeline.core.console import note, say
from pipeline.core.errors import MsaError, ParamsError

if TYPE_CHECKING:
    from pipeline.params.params import Params


SEEDS = 3  # of params.yaml, by default


def tune(
    method: MethodName,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="A name from `assemble`. Default: the first of datasets_run.",
            autocompletion=completion.training_sets,
        ),
    ] = None,
    trials: Annotated[
        int, typer.Option(min=1, help="Trials in total, including trial 0 and those of earlier calls.")
    ] = 30,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="1111,1112 ...: the first screens all trials, the finalists use all of them. Default: the "
            "first three of params.yaml."
        ),
    ] = None,
    folds: Annotated[
        int,
        typer.Option(
            min=0,
            help="Instead of seeds: number of groups of the train and valid videos, each once the "
            "validation split; with the first seed.",
        ),
    ] = 0,
    finalists: Annotated[
        int,
        typer.Option(
            min=1,
            help="Number of the best trials by the first seed or fold, which are trained on all others too.",
        ),
    ] = 3,
    prune: Annotated[
        bool,
        typer.Option(help="Stop a trial that is worse than the median of earlier ones."),
    ] = True,
    device: Device = "auto",
    from_base: Annotated[
        bool,
        typer.Option(
            "--from-base",
            help="Start from models.METHOD.base only, ignoring models.METHOD.corpora.DATASET.",
        ),
    ] = False,
    report_only: Annotated[
        bool,
        typer.Option("--report-only", help="Write only reports/tune/: no DVC experiment, no params.yaml."),
    ] = False,
    write: Annotated[
        bool, typer.Option("--write", help="Write the best values into params.yaml instead of an experiment.")
    ] = False,
) -> None:
    """Search for better settings of a method by its validation loss; the test split is never read.

    The search space is tune.METHOD in params.yaml; trial 0 has the current settings.
    All trials are trained with one seed, the best and trial 0 with all, or on folds by video.
    A gain within one standard error counts as none: the settings stay.
    The same command continues where it stopped, or with more trials.
    The best values become a DVC experiment.

    Example: msa-cli tune misr --dataset sample --trials 30

    Example: msa-cli tune misr --folds 5 --finalists 4 --report-only
    """
    from models import METHODS
    from pipeline.core import paths
    from pipeline.core.files import one_writer, write_text
    from pipeline.core.git import baseline, save_experiment
    from pipeline.core.vocabulary import NONE
    from pipeline.evaluation.tables.run import parse_seeds
    from pipeline.params.edit import as_yaml, with_tuned
    from pipeline.params.params import PARAMS_FILE, load_params
    from pipeline.training.search import Search
    from pipeline.training.tune import Study

    if report_only and write:
        raise ParamsError("--report-only and --write exclude each other; give one of them")
    params = load_params()
    if dataset is None:
        if not params.datasets_run:
            raise MsaError("datasets_run in params.yaml is empty; name a dataset with --dataset")
        dataset = params.datasets_run[0]
    params.training_set(dataset)
    spaces = params.tune
    if method in METHODS and method not in spaces:
        raise ParamsError(
            f"tune.{method} is missing in params.yaml; define the search space there, e.g. `tune: "
            "{{method}: {training.lr_other: {low: 1.0e-5, high: 1.0e-2, log: true}}}`"
        )
    chosen = params.seeds[:SEEDS] if seeds is None else parse_seeds(seeds)
    if folds == 1 or (folds and seeds is not None and len(chosen) > 1):
        raise ParamsError(f"--folds {folds}: expected at least two folds, and only one seed with them")
    settings = params.model(method, dataset)
    if from_base and method in params.models:
        settings = params.models[method].base
    search = Search(
        method,
        dataset,
        spaces.get(method, {}),
        tuple(chosen),
        settings,
        params.train,
        paths.assembled_folder(dataset),
        paths.assembled_folder(dataset if params.pretrain_on == NONE else params.pretrain_on),
        device,
        folds,
        prune,
    )
    study = Study(search)
    for key in study.left_out:
        note(f"{key} is not searched: no encoder is fine-tuned on {dataset}")
    if len(study.resamples) == 1:
        note("one seed has no spread: no gain can be told from chance, so no setting will change")
    file = Path(PARAMS_FILE)
    if not report_only:
        if from_base:
            check_base(method, dataset, params)
        with_tuned(file.read_text(encoding="utf-8"), method, dataset, {})  # what cannot be written down later
    if not write and not report_only:
        try:
            baseline()
        except MsaError as error:
            raise MsaError(
                f"no DVC experiment can be made: {error}; or use --write or --report-only"
            ) from error
    study.run(trials, finalists, say=note)

    found, stem = study.findings(), Path("reports/tune") / f"{method}-{dataset}"
    say(found.write(stem))
    note(f"also written to {stem}.md, all trials to {stem}.tsv, the best values to {stem}.yaml")
    best = found.chosen
    if report_only:
        return
    if not best:
        say(f"{found.verdict}: the settings stay as they are")
        return
    with one_writer(file):
        tuned = with_tuned(file.read_text(encoding="utf-8"), method, dataset, best)
        if write:
            write_text(tuned, file)
    if write:
        say(f"written into {file} under models.{method}.corpora.{dataset}:")
        for key, value in best.items():
            say(f"  {key}: {as_yaml(value)}")
        say("`git diff params.yaml` shows it, `dvc repro` trains it")
        return
    name = f"tune-{method}-{dataset}"
    save_experiment(name, PARAMS_FILE, tuned)
    say(
        f"the best values are the DVC experiment {name}; {file} is as it was.\n"
        f"  dvc params diff HEAD {name}         shows them\n"
        f"  dvc exp apply {name} && dvc repro   takes them and trains\n"
        "  the same command with --write writes them into params.yaml instead"
    )


def check_base(method: str, dataset: str, params: Params) -> None:
    """ParamsError where values that --from-base leaves out would hold beside the best ones."""
    from pipeline.params.search import leaves

    own = dict(leaves(params.models[method].corpora.get(dataset, {}))) if method in params.models else {}
    if rest := sorted(own.keys() - params.tune.get(method, {}).keys()):
        raise ParamsError(
            f"--from-base: models.{method}.corpora.{dataset} has {', '.join(rest)}, not searched, which "
            f"would apply alongside the best values; move them to models.{method}.base, or use --report-only"
        )
