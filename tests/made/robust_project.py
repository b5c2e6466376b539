"""A project in a folder: a tiny set, runs of the tiny method and their results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from made.tiny_set import write_tiny_set

from pipeline.core.paths import assembled_folder, results_folder, run_folder
from pipeline.evaluation.evaluate import evaluate
from pipeline.params.params import TrainParams
from pipeline.params.run import RunConfig
from pipeline.training.loop.train import train

COUNTS = {"train": 60, "valid": 20, "test": 40, "unlabeled": 0}


def robust_project(
    here: Path,
    classes: tuple[str, ...] = (),
    datasets: tuple[str, ...] = ("tiny",),
    seeds: tuple[int, ...] = (3,),
    train_params: TrainParams | None = None,
    **settings: Any,
) -> Path:
    """The folder, with `data/assembled/<set>`, `runs/tiny-<set>/<seed>` and `results`."""
    for dataset in datasets:
        assembled = write_tiny_set(here / assembled_folder(dataset), COUNTS, classes=classes)
        runs = [here / run_folder("tiny", dataset, seed) for seed in seeds]
        for run, seed in zip(runs, seeds, strict=True):
            train(
                RunConfig(
                    method_name="tiny",
                    dataset=dataset,
                    seed=seed,
                    method_params=settings,
                    train_params=train_params or TrainParams(),
                    assembled=assembled,
                    pretrained=here / "pretrained",
                    out=run,
                ),
                device="cpu",
                state_root=here / "state",
                logs=here / "logs",
            )
        out = results_folder("tiny", dataset, here / "results")
        evaluate(runs, assembled, out, "cls" if classes else "mmsa", device="cpu")
    return here
