"""The `assemble` section of params.yaml: which clips and features make a training set, how it is split."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.core.section import Section
from pipeline.core.vocabulary import NONE
from pipeline.params.names import FeatureFolder, Name


class Folds(Section):
    """Cross-validation in place of the corpus' splits: this fold is the test split."""

    number: int = Field(5, ge=2, le=1000)
    """folds in all"""
    fold: int = Field(ge=0)
    """which one is tested on, from 0"""
    by: Literal["speaker", "video", "clip", "published"] = "speaker"
    """what is never in two splits; `speaker` needs them in the clip table. `published` = the folds of the
    literature, of speakers, where the kind of corpus has such"""
    valid_fraction: float = Field(0.1, gt=0, lt=1)
    """share of the other clips that validates"""
    seed: int = Field(1, ge=0)

    @model_validator(mode="after")
    def _fold_exists(self) -> Self:
        if self.fold >= self.number:
            raise ValueError(f"fold is {self.fold}, expected 0 to {self.number - 1} of {self.number} folds")
        return self

    @property
    def text(self) -> str:
        """`5 folds by speaker`, `5 published folds`."""
        published = self.by == "published"
        return f"{self.number} published folds" if published else f"{self.number} folds by {self.by}"


class HeldBack(Section):
    """Train clips that validate, of a corpus without a validation split."""

    by: Literal["speaker", "video", "clip"] = "video"
    """what is never in both"""
    fraction: float = Field(0.1, gt=0, lt=1)
    """share of the speakers, videos or clips"""
    seed: int = Field(1, ge=0)


class ProtocolParams(Section):
    """How clips are split, how many may teach, and how well they are labelled."""

    folds: Folds | None = None
    """null = the splits of the corpus"""
    held_back: HeldBack | None = None
    """null = the validation split of the corpus, or of the folds"""
    train_fraction: float = Field(1.0, gt=0, le=1)
    """few-shot: share of the train clips that is kept; a smaller share is part of a larger one"""
    label_noise: float = Field(0.0, ge=0, le=1)
    """share of the train clips with the label of another clip (of a classification another class)"""
    seed: int = Field(1, ge=0)
    """of both draws"""

    @model_validator(mode="after")
    def _one_validation_split(self) -> Self:
        if self.folds is not None and self.held_back is not None:
            raise ValueError("folds have validation clips of their own (valid_fraction); remove held_back")
        return self


class PerModality(Section):
    """Steps a modality may have at most in the training set."""

    text: int = Field(50, ge=1)
    audio: int = Field(50, ge=1)
    visual: int = Field(50, ge=1)


class Shorten(Section):
    """What happens to longer sequences: `cut` keeps the first steps, `skip` the first after leading frames of
    zeros (of shorter sequences too it drops those), `pool` averages neighbours."""

    text: Literal["cut", "skip", "pool"] = "cut"
    audio: Literal["cut", "skip", "pool"] = "pool"
    visual: Literal["cut", "skip", "pool"] = "pool"


class AssembleParams(Section):
    """One training set: whose clips, which features (folders of data/features, or `none`), how split."""

    dataset: Name
    """the dataset or import whose clips and transcripts these are"""
    metrics: Literal["mmsa", "sims", "magbert", "cls"] = "mmsa"
    """metric set of the evaluation; evaluation/metrics.py defines them. `cls` is that of classifications"""
    text: FeatureFolder = NONE
    audio: FeatureFolder = NONE
    visual: FeatureFolder = NONE
    waveform: FeatureFolder = NONE
    """of kind waveform16k; only for methods that fine-tune an audio encoder"""
    max_steps: PerModality = Field(default_factory=PerModality)
    shorten: Shorten = Field(default_factory=Shorten)
    normalize: list[Literal["text", "audio", "visual"]] = Field(default=["audio", "visual"])
    """z-scored with the training split's real frames"""
    columns: dict[Literal["text", "audio", "visual"], list[str]] = Field(default_factory=dict)
    """per modality, patterns of the columns to keep (`AU*`, `pose_R*`); all where not given"""
    align: Literal["none", "words"] = "none"
    """`words` = one row a word in all three, frames and tokens pooled; needs word times in the transcripts"""
    protocol: ProtocolParams = Field(default_factory=ProtocolParams)
    """what is done to the corpus' own splits and labels"""
