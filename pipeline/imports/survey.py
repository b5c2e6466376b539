"""One look at everything that an importer found: shapes, dtypes, padding, NaN, labels. Nothing is written.

Each clip's rows are read one after the other, so that a file of many gigabytes needs the memory of a clip.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.core.errors import ClipError, FormatError, TooManyFailedError
from pipeline.core.vocabulary import ALL_SPLITS
from pipeline.formats.source import understood
from pipeline.imports.contract import FeatureSequences, Imported, Side
from pipeline.imports.padding import Edges, believable, clean, disagree, edges, real_steps, side_of, sides_of

SHOWN = 20  # clips that cannot be read and are listed
TARGETS = ("label", "label_text", "label_audio", "label_visual", "class_label")


@dataclass
class ModalitySurvey:
    """One modality of the files.

    Attributes
    ----------
    steps : fewest and most steps of a clip, padding included; (0, 0) without any clip
    dtypes : names of the number types that occur
    nan, infinite : numbers that are replaced by 0
    side : where the padding is, None = there is none
    sides : how many clips speak for each side
    real : clip id -> the steps that are not padding
    missing : clips of which the files have nothing
    zero : clips of which they have only zeros
    failed : clip id -> why what they have of it cannot be read
    ignored_lengths : lengths that the files give and that their padding contradicts
    """

    width: int
    steps: tuple[int, int] = (0, 0)
    dtypes: tuple[str, ...] = ()
    nan: int = 0
    infinite: int = 0
    side: Side | None = None
    sides: Mapping[Side, int] = field(default_factory=dict)
    real: dict[str, slice] = field(default_factory=dict)
    missing: int = 0
    zero: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    ignored_lengths: int = 0

    def __str__(self) -> str:
        low, high = self.steps
        shape = f"{len(self.real)} clips of {low if low == high else f'{low}-{high}'} x {self.width}"
        lengths = [found.stop - found.start for found in self.real.values()]
        parts = [f"{shape} {'/'.join(self.dtypes)}"]
        evidence = about_sides(self.sides)
        parts.append("no padding" if self.side is None else f"padded {_SIDES[self.side]} ({evidence})")
        if lengths and self.side:
            parts.append(f"{min(lengths)}-{max(lengths)} real steps")
        counts = {"NaN": self.nan, "infinite": self.infinite, "clips missing": self.missing}
        counts |= {"clips all zeros": len(self.zero), "clips unreadable": len(self.failed)}
        counts["lengths contradicted"] = self.ignored_lengths
        return ", ".join(parts + [f"{count} {what}" for what, count in counts.items() if count])


_SIDES: dict[Side, str] = {"front": "in front", "back": "at the back"}


def about_sides(clips: Mapping[Side, int]) -> str:
    """How many clips are padded on which side."""
    return ", ".join(f"{count} clips {_SIDES[side]}" for side, count in clips.items() if count) or "no clip"


@dataclass
class ImportSurvey:
    """What is in the files.

    Attributes
    ----------
    splits : clips by split
    labels : column -> number of labels, smallest, largest
    """

    splits: dict[str, int]
    texts: int
    labels: dict[str, tuple[int, float, float]]
    modalities: dict[str, ModalitySurvey]
    notes: list[str]

    def lines(self) -> list[tuple[str, str]]:
        """(what, finding) for a table."""
        lines = [("clips", ", ".join(f"{count} {split}" for split, count in self.splits.items()))]
        lines.append(("texts", f"{self.texts} of {sum(self.splits.values())} clips"))
        for name, (count, low, high) in self.labels.items():
            lines.append((name, f"{count}, {low:g} to {high:g}"))
        lines += [(name, str(found)) for name, found in self.modalities.items()]
        return lines + [("note", note) for note in self.notes]

    def check(self, max_failed_fraction: float) -> None:
        """TooManyFailedError where more than that share of the clips cannot be read; lists them."""
        total = sum(self.splits.values())
        for name, found in self.modalities.items():
            if len(found.failed) > max_failed_fraction * total:
                listed = "\n".join(f"  - {clip}: {why}" for clip, why in sorted(found.failed.items())[:SHOWN])
                more = f"\n  ... and {len(found.failed) - SHOWN} more" if len(found.failed) > SHOWN else ""
                raise TooManyFailedError(
                    f"{name}: {len(found.failed)} of {total} clips cannot be read, more than "
                    f"max_failed_fraction = {max_failed_fraction:g} in params.yaml; fix or remove their "
                    f"files, or raise the fraction:\n{listed}{more}"
                )


def survey(imported: Imported, source: str) -> ImportSurvey:
    """Read every clip of every modality once; FormatError of sequences that are no (T, D) numbers.

    Parameters
    ----------
    source : what was imported, for messages
    """
    counts = Counter(row["split"] for row in imported.rows)
    clips = [row["clip_id"] for row in imported.rows]
    modalities = {
        name: _survey_modality(sequences, clips, f"{source}: {name}")
        for name, sequences in imported.modalities.items()
    }
    if imported.aligned:
        _same_lengths(modalities)
    empty = [name for name, found in modalities.items() if not found.real and not found.failed]
    return ImportSurvey(
        {split: counts[split] for split in ALL_SPLITS if counts[split]},
        sum(bool(row.get("text")) for row in imported.rows),
        _labels(imported.rows),
        modalities,
        imported.notes
        + [f"{name}: it has nothing for any clip; do its ids (times) match the labels?" for name in empty],
    )


def checked(block: Any, columns: int, source: str, clip_id: str) -> np.ndarray:
    """A clip's rows as an array of numbers, (T, D); FormatError of another shape or kind."""
    try:
        array = np.asarray(block)
    except ValueError as error:  # rows of different lengths
        raise FormatError(f"{source} of clip {clip_id!r} is not a table: {error}") from error
    if array.dtype.kind not in "biuf":
        raise FormatError(f"{source} of clip {clip_id!r} is of type {array.dtype}, expected numbers")
    if array.ndim != 2 or array.shape[1] != columns:
        raise FormatError(
            f"{source} of clip {clip_id!r} has shape {array.shape}, expected (steps, {columns}) to match "
            "its columns; is it another modality, or another version of the file?"
        )
    return array


def _survey_modality(sequences: FeatureSequences, clips: list[str], source: str) -> ModalitySurvey:
    width = len(sequences.columns)
    there, found = set(sequences.clips), ModalitySurvey(width)
    ends: dict[str, Edges] = {}
    dtypes: Counter[str] = Counter()
    for clip_id in clips:
        try:
            with understood(f"{source} of clip {clip_id!r}"):
                block = sequences.read(clip_id) if clip_id in there else None
        except ClipError as error:
            found.failed[clip_id] = str(error)
            continue
        if block is None or len(block) == 0:
            found.missing += 1
            continue
        array = checked(block, width, source, clip_id)
        dtypes[array.dtype.name] += 1
        values, nan, infinite = clean(array)
        found.nan += nan
        found.infinite += infinite
        ends[clip_id] = edges(values)
        if ends[clip_id].empty:
            found.zero.add(clip_id)
    if steps := [one.steps for one in ends.values()]:
        found.steps = (min(steps), max(steps))
    found.dtypes = tuple(sorted(dtypes))
    if sequences.padded:
        looked = list(ends.values()), [sequences.lengths.get(clip) for clip in ends]
        found.sides = sides_of(*looked)
        found.side = sequences.side or side_of(*looked)
        if sequences.side is None and sequences.side_key and disagree(found.sides):
            raise FormatError(
                f"{source}: rows of zeros are on both sides: {about_sides(found.sides)}; say which side is "
                f"padding, {sequences.side_key}: front or back"
            )
    _recover(found, sequences, ends)
    return found


def _recover(found: ModalitySurvey, sequences: FeatureSequences, ends: dict[str, Edges]) -> None:
    """The real steps of every clip, by what the file says and what its padding shows."""
    given = {clip_id: int(sequences.lengths[clip_id]) for clip_id in ends if clip_id in sequences.lengths}
    said = {clip_id: length for clip_id, length in given.items() if length <= ends[clip_id].steps}
    found.ignored_lengths = len(given) - len(said)
    trusted = sequences.token_ids is not None  # then the lengths are those of the attention mask
    if not trusted and not believable(list(said.values()), [ends[clip_id] for clip_id in said]):
        found.ignored_lengths = len(given)
        said = {}
    if said and found.side is None and sequences.padded:  # rows behind a length may hold something
        found.side = "back"
    for clip_id, one in ends.items():
        steps = real_steps(one, found.side if sequences.padded else None, said.get(clip_id), trusted)
        found.real[clip_id] = steps
        if clip_id in said and steps.stop - steps.start != min(max(said[clip_id], 1), one.steps):
            found.ignored_lengths += 1


def _same_lengths(modalities: dict[str, ModalitySurvey]) -> None:
    """One length for all modalities of a clip, so that their steps stay the same words: the longest."""
    for clip_id in {clip for found in modalities.values() for clip in found.real}:
        having = [found for found in modalities.values() if clip_id in found.real]
        filled = [found for found in having if clip_id not in found.zero] or having
        longest = max(found.real[clip_id].stop - found.real[clip_id].start for found in filled)
        for found in having:
            end = found.steps[1]
            found.real[clip_id] = slice(end - longest, end) if found.side == "front" else slice(0, longest)


def _labels(rows: list[dict[str, Any]]) -> dict[str, tuple[int, float, float]]:
    found = {name: [row[name] for row in rows if row.get(name) is not None] for name in TARGETS}
    return {name: (len(values), min(values), max(values)) for name, values in found.items() if values}
