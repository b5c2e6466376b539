"""Stage 1 of the harvest: each modality's encoder and adapters learn its own sentiment alone.

[R] marks what is taken from the code of KuDA, see harvest.py.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from pydantic import NonNegativeFloat
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.core.batch import Batch
from models.core.blocks import masked_mean, mean_over_time
from models.core.harvest import Harvester, HarvestSettings
from models.core.method import Method, Output
from pipeline.core.errors import FormatError, MissingModelError, ParamsError
from pipeline.core.section import Section


class UnimodalWeights(Section):
    """The one term of stage 1."""

    error: NonNegativeFloat = 1.0  # [R]


class UnimodalSettings(HarvestSettings):
    """Settings of stage 1 of one modality; `UnimodalRegressor.of` makes them from the method's."""

    weights: UnimodalWeights = UnimodalWeights()


@dataclass
class UnimodalOutput(Output):
    """A modality's own sentiment (B,)."""

    present: Tensor  # (B,) bool, the clip has the modality


class UnimodalRegressor(Harvester):
    """Stage 1 of one modality [R]: encoder, adapters and a head learn the modality's own sentiment.

    Always a regression; `batch.label` is the label. KuDA takes all of it, KHaR everything but the head.
    """

    TERMS = ("error",)
    Config = UnimodalSettings

    def build(self, backbones: dict[str, nn.Module]) -> None:
        super().build(backbones)
        if len(self.dims) != 1:
            raise ParamsError(f"stage 1 takes one modality, not {', '.join(self.dims)}")
        (self.modality,) = self.dims
        width = self.dims["text"] if self.backbone is not None else self.config.pretraining.width
        self.classifier = unimodal_head(self.harvest_width[self.modality], width)

    @classmethod
    def of(cls, config: HarvestSettings, modality: str, dims: dict[str, int]) -> UnimodalRegressor:
        """Stage 1 of a modality for a method of these settings; a text encoder is opened for it alone."""
        finetunes = modality == "text" and config.text == "finetune"
        settings = UnimodalSettings(
            **config.model_dump(include={"text_backbone", "text_revision", "max_tokens", "pretraining"}),
            training=config.pretraining.training(modality),
            text="finetune" if finetunes else "frozen",
        )
        return cls(settings, {} if finetunes else {modality: dims[modality]})

    def forward(self, batch: Batch) -> UnimodalOutput:
        """Sentiment from the mean over the real steps of X_m."""
        harvested = self.harvested(batch)[self.modality]
        pooled = mean_over_time(harvested.values, harvested.mask)
        return UnimodalOutput(self.task.predict(self.classifier, pooled), harvested.present)

    def losses(self, batch: Batch, output: UnimodalOutput, terms: Collection[str]) -> dict[str, Tensor]:
        """Mean squared error of the clips that have the modality and a label."""
        among = output.present & batch.labeled & ~batch.label.isnan()
        squared = (output.prediction - batch.label.nan_to_num(0.0)).square()
        return {"error": masked_mean(squared, among)} if "error" in terms else {}


def unimodal_head(features: int, width: int) -> nn.Sequential:
    """The sentiment of a modality from the mean of X_m, of so many features; width w of its states [R]."""
    sizes = [features, *(max(1, width // part) for part in (2, 4, 8))]
    hidden = [part for i, o in pairwise(sizes) for part in (nn.Linear(i, o), nn.GELU())]
    return nn.Sequential(*hidden, nn.Linear(sizes[-1], 1))


def stage_one_methods(config: HarvestSettings, dims: dict[str, int]) -> dict[str, Method]:
    """Stage 1 by modality; nothing unless the adapters are to be pretrained."""
    if config.pretraining.adapters != "pretrained":
        return {}
    finetunes = config.text == "finetune"
    names = [name for name in Harvester.NEEDS if name in dims or (name == "text" and finetunes)]
    return {name: UnimodalRegressor.of(config, name, dims) for name in names}


def load_stage_one(method: Harvester, name: str, file: Path) -> None:
    """A modality's encoder and adapters from the weights of its `UnimodalRegressor`.

    Its head, too, where the method has one, `classifier.<modality>`. Where stage 1 saw features of another
    width (another corpus' features), the encoder's first layer stays as it is, with a word on stderr.

    Raises
    ------
    MissingModelError : there is no such file
    FormatError : it is not of a stage 1 with these settings
    """
    whose, head = type(method).__name__.lower(), f"classifier.{name}."
    if not file.exists():
        raise MissingModelError(
            f"{file}: {whose} has no pretrained adapters of {name}; run its train stage, or set "
            f"models.{whose}.base.pretraining.adapters to scratch"
        )
    try:
        saved = {re.sub(r"^classifier\.", head, key): value for key, value in load_file(file).items()}
    except (OSError, SafetensorError) as error:
        raise FormatError(f"{file}: cannot be read ({error}); run the train stage again") from error
    parts = [f"encoder.{name}.", f"harvest.{name}.", head, *(["backbone."] if name == "text" else [])]
    own = {key: value for key, value in method.state_dict().items() if key.startswith(tuple(parts))}
    if not any(key.startswith(head) for key in own):
        saved = {key: value for key, value in saved.items() if not key.startswith(head)}
    first = f"encoder.{name}.project."
    before, now = (state.get(f"{first}weight") for state in (saved, own))
    if before is not None and now is not None and before.shape[1] != now.shape[1]:
        print(
            f"{file}: stage 1 saw {before.shape[1]} features of {name}, this set has {now.shape[1]}; "
            "the encoder's first layer starts at random",
            file=sys.stderr,
        )
        for key in (f"{first}weight", f"{first}bias"):
            del saved[key], own[key]
    shapes, expected = ({key: value.shape for key, value in state.items()} for state in (saved, own))
    if shapes != expected:
        wrong = min(key for key in shapes | expected if shapes.get(key) != expected.get(key))
        raise FormatError(
            f"{file}: the weights do not fit the settings of {whose} ({wrong} has another shape, or is in "
            "only one of them); run the train stage again"
        )
    method.load_state_dict(saved, strict=False)
