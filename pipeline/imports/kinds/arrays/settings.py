"""The settings of kind `arrays`: what is where. Examples stand in arrays.py."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from pipeline.core.section import Section
from pipeline.core.vocabulary import CLASSES, LABELS, MODALITIES, TRAIN
from pipeline.imports.contract import Side
from pipeline.params.explain import unknown

LABEL_COLUMNS = (*LABELS, *CLASSES, "text", "speaker", "position")
SPLIT = "{split}"


class ArraySettings(Section):
    """One modality."""

    array: str
    """reference"""
    ids: str | None = None
    """reference to the ids of its entries, where they are not `ids` of all"""
    lengths: str | None = None
    """reference to the real steps of each entry"""
    columns: list[str] | str | None = None
    """names of the D columns, or a reference to them; of a CSV file patterns of those that are meant"""
    padded: bool = True
    """of (n, T, D): shorter clips are filled with zeros"""
    side: Side | None = None
    """where the zeros are; found out where not given, and asked for where clips disagree"""


class ArrayFilesSettings(Section):
    """What is where."""

    ids: str | None = None
    """reference to the ids of the clips; without, they are the names of groups, or made of split and row"""
    id_separator: str | None = Field(None, min_length=1)
    """what stands between video and clip in ids without `$_$`"""
    splits: str | dict[str, str] | None = None
    """reference to a split a clip; by split to the ids that it has; or by split what `{split}` stands for"""
    labels: str | dict[str, str] | None = None
    """`label.csv` in MMSA's columns, or by column of the clip table references, one value a clip"""
    text: ArraySettings | None = None
    audio: ArraySettings | None = None
    visual: ArraySettings | None = None

    @property
    def modalities(self) -> dict[str, ArraySettings]:
        """Those that are given."""
        given: dict[str, ArraySettings | None] = {name: getattr(self, name) for name in MODALITIES}
        return {name: settings for name, settings in given.items() if settings is not None}

    @property
    def by_split(self) -> bool:
        """Whether each split has references of its own."""
        return SPLIT in self.model_dump_json(exclude={"splits"})

    @model_validator(mode="after")
    def _clips_are_named(self) -> ArrayFilesSettings:
        if not self.modalities:
            raise ValueError("none of text, audio, visual is given, so there are no features")
        if self.by_split and not isinstance(self.splits, dict):
            words = f"{{{TRAIN}: {TRAIN}, valid: dev, ...}}"
            raise ValueError(f"references contain {SPLIT}; say with `splits` what it stands for: {words}")
        if isinstance(self.labels, str):
            if self.splits is not None and not self.by_split:
                raise ValueError(f"labels is {self.labels!r}, which gives the splits; remove `splits`")
        elif strange := [name for name in self.labels or () if name not in LABEL_COLUMNS]:
            raise ValueError(unknown("labels: column", strange[0], LABEL_COLUMNS))
        return self

    def parts(self) -> dict[str | None, ArrayFilesSettings]:
        """By split as it is named there, the settings with its word for `{split}`; else these, under None."""
        if not self.by_split or not isinstance(self.splits, dict):
            return {None: self}
        given = self.model_dump(exclude={"splits"})
        return {
            split: ArrayFilesSettings.model_validate(_filled(given, word))
            for split, word in self.splits.items()
        }


def _filled(value: Any, word: str) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, word) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, word) for inner in value]
    return value.replace(SPLIT, word) if isinstance(value, str) else value
