"""One training run as a file, which `msa-cli stage train --write-config` writes for a machine without DVC."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from pipeline.core import paths
from pipeline.core.errors import ParamsError
from pipeline.core.section import Section
from pipeline.core.vocabulary import NONE
from pipeline.params.explain import explain
from pipeline.params.params import LARGEST_SEED, Params, TrainParams

AnyPath = Annotated[Path, Field(strict=False)]


class RunConfig(Section):
    """What one training run is made of, and where it goes; paths are from the current folder."""

    method_name: str
    """a name of models.METHODS"""
    dataset: str
    seed: int = Field(ge=0, lt=LARGEST_SEED)
    method_params: dict[str, Any]
    """the method's settings, `base` with the corpus' own values laid over it"""
    train_params: TrainParams
    assembled: AnyPath
    """folder of the assembled set"""
    pretrained: AnyPath
    """folder of what a method that pretrains starts from, which all seeds share"""
    source: AnyPath | None = None
    """folder of the set whose labels pretrain; None = that of `assembled`"""
    out: AnyPath
    """the run folder; what was there is replaced"""

    @property
    def title(self) -> str:
        """`misr-mosi-1111`."""
        return f"{self.method_name}-{self.dataset}-{self.seed}"


def run_configs(
    params: Params, method: str, dataset: str, seeds: Sequence[int] = ()
) -> tuple[RunConfig, ...]:
    """The runs of a method on a training set, of these seeds or those of params.yaml, at least one.

    Raises
    ------
    ParamsError : an unknown method or training set, or no seeds
    """
    params.training_set(dataset)
    if not (wanted := seeds or params.seeds):
        raise ParamsError("`seeds` in params.yaml is empty; name at least one, e.g. [1111]")
    return tuple(
        RunConfig(
            method_name=method,
            dataset=dataset,
            seed=seed,
            method_params=params.model(method, dataset),
            train_params=params.train,
            assembled=paths.assembled_folder(dataset),
            pretrained=paths.pretrained_folder(method, dataset),
            source=paths.assembled_folder(dataset if params.pretrain_on == NONE else params.pretrain_on),
            out=paths.run_folder(method, dataset, seed),
        )
        for seed in wanted
    )


def read_run(path: Path) -> RunConfig:
    """From a JSON file.

    Raises
    ------
    ParamsError : it cannot be read, or a value is missing, unknown or wrong
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ParamsError(
            f"{path}: cannot be read as JSON ({error}); `msa-cli stage train ... --write-config` writes it"
        ) from error
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise ParamsError(f"{path}: {explain(error, RunConfig)}") from error
