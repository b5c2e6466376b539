"""`msa-cli tune`: better settings of a method on a dataset, found by the validation loss."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import Device, MethodName
from pipeline.core.console import say
from pipeline.core.errors import MsaError, ParamsError


def tune(
    method: MethodName,
    dataset: Annotated[
        str | None, typer.Option(help="A key of `assemble`. Default: the first of datasets_run.")
    ] = None,
    trials: Annotated[
        int, typer.Option(min=1, help="Trials in all, those of earlier calls and trial 0 included.")
    ] = 30,
    seeds: Annotated[
        str | None,
        typer.Option(help="1111,1112 ...: a trial's loss is their mean. Default: the first of params.yaml."),
    ] = None,
    device: Device = "auto",
    write: Annotated[
        bool, typer.Option("--write", help="Write the best values into params.yaml, not as an experiment.")
    ] = False,
) -> None:
    """Search better settings of a method by its validation loss; the test split is out of reach.

    What is searched is under tune.METHOD in params.yaml; trial 0 is the settings as they are.
    The same command again goes on where it stopped, or with more trials.
    The best values become a DVC experiment.

    Example: msa-cli tune misr --dataset sample --trials 30
    """
    from models import METHODS
    from pipeline.core import paths
    from pipeline.core.files import one_writer, write_text
    from pipeline.core.git import baseline, save_experiment
    from pipeline.core.vocabulary import NONE
    from pipeline.evaluation.tables.run import parse_seeds
    from pipeline.params.edit import as_yaml, with_tuned
    from pipeline.params.params import PARAMS_FILE, load_params
    from pipeline.training.study import summary, write_table
    from pipeline.training.tune import Search, Study

    params = load_params()
    if dataset is None:
        if not params.datasets_run:
            raise MsaError("datasets_run in params.yaml is empty; name a dataset with --dataset")
        dataset = params.datasets_run[0]
    params.training_set(dataset)
    spaces = params.tune
    if method in METHODS and method not in spaces:
        raise ParamsError(
            f"tune.{method} is missing in params.yaml; name there what is searched, e.g. "
            f"`tune: {{{method}: {{training.lr_other: {{low: 1.0e-5, high: 1.0e-2, log: true}}}}}}`"
        )
    study = Study(
        Search(
            method,
            dataset,
            spaces.get(method, {}),
            tuple(params.seeds[:1] if seeds is None else parse_seeds(seeds)),
            params.model(method, dataset),
            params.train,
            paths.assembled_folder(dataset),
            paths.assembled_folder(dataset if params.pretrain_on == NONE else params.pretrain_on),
            device,
        )
    )
    for key in study.left_out:
        say(f"{key} is left out: no encoder is fine-tuned on {dataset}", error=True)
    file = Path(PARAMS_FILE)
    with_tuned(file.read_text(encoding="utf-8"), method, dataset, {})  # what cannot be written down later
    if not write:
        try:
            baseline()
        except MsaError as error:
            raise MsaError(f"no DVC experiment can be made: {error}; or use --write") from error
    study.run(trials, say=lambda line: say(line, error=True))

    space, stem = study.search.space, Path("reports/tune") / f"{method}-{dataset}"
    write_table(study.trials, list(space), study.search.seeds, stem.with_suffix(".tsv"))
    best = study.winner()
    text = summary(
        f"{method} on {dataset}",
        study.trials,
        best,
        study.search.seeds,
        study.importance,
        study.at_an_edge(best),
    )
    write_text(text, stem.with_suffix(".md"))
    say(text)
    say(f"also written to {stem}.md, all trials to {stem}.tsv", error=True)
    if best.number == 0:
        say("the settings as they are were the best: nothing was written down")
        return
    with one_writer(file):
        tuned = with_tuned(file.read_text(encoding="utf-8"), method, dataset, best.values)
        if write:
            write_text(tuned, file)
    if write:
        say(f"written into {file} under models.{method}.corpora.{dataset}:")
        for key, value in best.values.items():
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
