"""What is searched: a method's settings, data, seeds or folds; and all that decides what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models import METHODS
from pipeline.core.errors import ParamsError
from pipeline.params.explain import unknown
from pipeline.params.params import TrainParams
from pipeline.params.search import SearchSpace
from pipeline.store.fingerprint import code_hash, stage_hashes
from pipeline.training.folds import SEEN, deal, write_fold
from pipeline.training.loop.device import open_device
from pipeline.training.runs import hashes, library_versions
from pipeline.training.study import SPARED, STARTUP

if TYPE_CHECKING:
    from models.core.method import MethodSettings

BACKBONE_RATE = "training.lr_backbone"


@dataclass(frozen=True)
class Search:
    """What is searched.

    Attributes
    ----------
    space : searched settings by dotted key
    seeds : that a finalist is trained with; the first screens
    settings : the method's settings on the dataset, as they are
    source : folder of the set whose labels pretrain; often the same as `assembled`
    folds : groups of videos that take the place of the seeds, all trained with the first; 0 = none
    prune : whether screening may end a run early
    """

    method: str
    dataset: str
    space: SearchSpace
    seeds: tuple[int, ...]
    settings: dict[str, Any]
    train: TrainParams
    assembled: Path
    source: Path
    device: str = "auto"
    folds: int = 0
    prune: bool = True

    @property
    def config(self) -> type[MethodSettings]:
        """The class of the method's settings."""
        if self.method not in METHODS:
            raise ParamsError(unknown("method", self.method, METHODS))
        return METHODS[self.method].load().Config

    @property
    def epochs(self) -> int:
        """Of a run with the settings as they are."""
        return self.config.model_validate(self.settings).training.epochs

    def with_effect(self) -> Search:
        """Without the learning rate of fine-tuned encoders, where none is fine-tuned.

        ParamsError where nothing is left of the space.
        """
        config = self.config.model_validate(self.settings)
        encoders = ("text", "audio")
        learns = any(getattr(config, name, "frozen") == "finetune" or name in self.space for name in encoders)
        space = {key: value for key, value in self.space.items() if learns or key != BACKBONE_RATE}
        if not space:
            raise ParamsError(
                f"tune.{self.method} names {BACKBONE_RATE} alone, but no encoder is fine-tuned on "
                f"{self.dataset}, so it changes nothing; name another setting"
            )
        return replace(self, space=space)

    def identity(self) -> dict[str, Any]:
        """Everything that decides what the trials are and what comes of them."""
        return {
            "method": self.method,
            "dataset": self.dataset,
            "space": {key: dimension.model_dump(mode="json") for key, dimension in self.space.items()},
            "seeds": list(self.seeds),
            "folds": [self.folds, code_hash(deal, write_fold)] if self.folds else None,
            "pruned": [STARTUP, SPARED] if self.prune else None,
            "params": self.config.model_validate(self.settings).model_dump(mode="json"),
            "train": self.train.model_dump(mode="json"),
            "assembled": hashes(self.assembled, *SEEN),
            "source": hashes(self.source, *SEEN),
            "code": stage_hashes("train", self.method),
            "libraries": library_versions() | {"optuna": version("optuna")},
            "device": open_device(self.device).type,
        }
