"""Sections of what becomes of trained runs: what reports say of clips, and the tests under corruptions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.core.section import Section
from pipeline.params.names import Name

Corruption = Literal[
    "gaussian", "laplace", "erase", "frames", "blocks", "subsets", "shared", "imbalanced", "all"
]


class ReportsParams(Section):
    """What results and reports say, beside numbers."""

    transcripts: list[Name] = Field(default_factory=list)
    """datasets and imports whose texts may stand in results/ and reports/, which git tracks: those of the
    clips with the largest errors"""


class RobustParams(Section):
    """What the stage `robust` does, which is of no other stage's business."""

    sets: list[Name] = Field(default_factory=list)
    """training sets whose runs are tested under corruptions; none = the stage is off"""
    kinds: list[Corruption] = Field(default=["all"], min_length=1)
    """what docs/robustness.md explains"""
    sites: list[Literal["all", "text", "audio", "visual"]] = Field(default=["all"], min_length=1)
    """whom noise and dropped frames hit"""
    draws: int = Field(5, ge=1)
    """of every random corruption"""
    text_unit: Literal["piece", "word"] = "piece"
    """what of a text is hit at once: a word piece, or all pieces of a word"""
    missing: Literal["blank", "absent"] = "blank"
    """what stands for a missing modality: zeros and no words, or nothing, as where a clip lacks it"""
