"""What arrays of kind `arrays` may be, by their names, shapes and values; those of all splits go together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.core.columns import NAMES
from pipeline.core.vocabulary import MODALITIES, TRAIN
from pipeline.corpora.tables.values import SPLIT_NAMES, number_of
from pipeline.formats.text import text_of
from pipeline.imports.kinds.arrays.files import ArrayFiles
from pipeline.imports.kinds.arrays.listing import WORD, WORDS, Entry, words_of
from pipeline.imports.kinds.arrays.settings import SPLIT

ENDS = {"t": "label_text", "a": "label_audio", "v": "label_visual"}  # of names such as label_T
LISTS = "lists of ids"


@dataclass
class Candidate:
    """An array, or one of each split where their references differ in the word for the split alone.

    Attributes
    ----------
    reference : with `{split}` where that word is
    entries : the one, or those of `words`
    words : split -> its word; empty = one array
    """

    reference: str
    entries: list[Entry]
    words: dict[str, str] = field(default_factory=dict)

    def values(self, files: ArrayFiles) -> list[Any]:
        """One value a clip, of all splits."""
        found = [files.find(entry.reference) for entry in self.entries]
        return [
            np.asarray(value) if hasattr(value, "shape") else value
            for entry, values in zip(self.entries, found, strict=True)
            for value in (values.values() if isinstance(values, Mapping) else files.values(entry.reference))
        ]


def candidates(found: Sequence[Entry]) -> list[Candidate]:
    """The entries, those that differ in the name of a split as one; these, and more axes, come first."""
    families: dict[str, dict[str, tuple[str, Entry]]] = {}
    for entry in found:
        for word in dict.fromkeys(WORD.findall(entry.reference)):
            split = SPLIT_NAMES.get(word.rstrip("0123456789").lower())
            if split is not None:
                template = re.sub(rf"(?<![A-Za-z]){word}(?![A-Za-z0-9])", SPLIT, entry.reference)
                families.setdefault(template, {}).setdefault(split, (word, entry))
    grouped = []
    taken: set[str] = set()
    for template, family in sorted(families.items(), key=lambda item: -len(item[1])):
        members = [entry for _, entry in family.values()]
        if TRAIN in family and len(family) > 1 and not taken.intersection(one.reference for one in members):
            taken.update(entry.reference for entry in members)
            words = {
                split: family[split][0] for split in dict.fromkeys(SPLIT_NAMES.values()) if split in family
            }
            grouped.append(Candidate(template, [family[split][1] for split in words], words))
    single = [Candidate(entry.reference, [entry]) for entry in found if entry.reference not in taken]
    return sorted([*grouped, *single], key=lambda one: (not one.words, -len(one.entries[0].shape)))


def role_of(files: ArrayFiles, candidate: Candidate) -> str:
    """A modality, `lengths` (of one), `ids`, `splits`, a column of labels, or nothing.

    The word of its reference decides that is nearest to the end and may be said of such values; else D.
    """
    entry = candidate.entries[0]
    file, _, inner = candidate.reference.replace(SPLIT, "").partition(":")
    for part in (*reversed(inner.split("/")), *reversed(file.split("/"))):
        words = words_of(part)
        for role in _fitting(entry):
            if {*words} & {*WORDS[role].split()} and (found := _closer(role, words, candidate, files)):
                return found
    named = [modality for modality, width in NAMES if entry.sequence and width == entry.shape[-1]]
    return named[0] if len(named) == 1 else ""


def _fitting(entry: Entry) -> list[str]:
    """Keys of WORDS that may be said of an entry."""
    if entry.sequence:
        return [*MODALITIES]
    if not entry.value:
        return []
    if entry.dtype == "text":
        return ["splits", *["ids"] * (not entry.by_clip), "class_label", "label", "speaker", "said"]
    whole = entry.dtype.startswith(("int", "uint")) and not entry.by_clip
    return [*["lengths", "ids"] * whole, "class_label", "label"]


def _closer(role: str, words: Sequence[str], candidate: Candidate, files: ArrayFiles) -> str:
    """What exactly an array is of which that may be said; empty where its values are no such thing."""
    if role == "lengths":
        return next((f"lengths of {one}" for one in MODALITIES if {*words} & {*WORDS[one].split()}), role)
    if role == "said":
        return "text column"
    if role not in ("ids", "splits", "label"):
        return role
    values = [text_of(value) for value in candidate.values(files)]
    if role == "ids" and len({*values}) < len(values):
        return ""
    if role == "splits" and not {value.lower() for value in values} <= {*SPLIT_NAMES}:
        return ""
    if role == "label" and words[-1] in ENDS:
        return ENDS[words[-1]]
    if role == "label" and (
        {*values} <= {"0", "1"} or any(number_of(value) is None for value in values if value != "nan")
    ):
        return "class_label"
    return role
