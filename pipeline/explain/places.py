"""Where in a clip the steps are that a run reads: words of its text, seconds of its sound and pictures.

A step of a training set may be a token, a word (`align: words`), a frame, the mean of neighbouring frames
(`shorten: pool`), or that of a whole clip (`pool` of an encoder). A *place* is what can be told apart of them
and is worth telling apart: a word, or a stretch of about CELL_S seconds. Words that share a step are one
place; special tokens belong to none, and neither does what was cut off.

Symbols: n rows of an encoder, T steps of a run, w words.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.core.errors import ClipError
from pipeline.core.waveform import SAMPLE_RATE
from pipeline.datasets.assembly.sequences import leading_zeros
from pipeline.datasets.training_set import in_sentence_case
from pipeline.media.words import spans
from pipeline.predict.inputs import ClipInputs
from pipeline.predict.prediction import ClipFeatures
from pipeline.store.shard import FeatureRow
from pipeline.training.runs import TrainedRun
from pipeline.transcripts.words import locate, times_of

CELL_S = 0.15  # seconds of a place in sound or pictures, about
MOST = 40  # places in sound or pictures; those of long clips are longer


@dataclass(frozen=True)
class Place:
    """What is removed together, and where it is.

    Attributes
    ----------
    first, last : its steps in the batch, `last` is one past the end
    name : the word or words; seconds; or the number of the step where nothing is known
    chars : of the text, first and one past the last; None of sound and pictures
    seconds : begin and end; None where no times are known
    """

    first: int
    last: int
    name: str
    chars: tuple[int, int] | None = None
    seconds: tuple[float, float] | None = None


def places_of(run: TrainedRun, features: ClipFeatures, inputs: ClipInputs) -> dict[str, list[Place]]:
    """The places of each modality that the clip has and the run reads, in the order of their steps."""
    found: dict[str, list[Place]] = {}
    rows, _columns = features.streams(run)
    spoken = features.spoken
    for modality in inputs.present:
        if modality == "text" and inputs.text is not None:
            found["text"] = _of_tokens(run, inputs.text)
        elif modality == "audio" and inputs.sound is not None:
            found["audio"] = _of_sound(len(inputs.sound[: run.reading.waveform]))
        elif (values := inputs.sequences.get(modality)) is not None:
            entry, row = run.entries[modality], rows[modality]
            assert row.features is not None
            if "align" in entry and spoken.words:
                of_words = _rows_of_steps(_aligned_rows(rows, spoken.text or "", spoken.words), 0, entry)
                found[modality] = _of_words(of_words[: len(values)], spoken.words, spoken.text or "")
                continue
            ranges = _rows_of_steps(len(row.features), leading_zeros(row.features, entry), entry)
            if modality == "text":
                known = _characters(row, ranges)
                found["text"] = (
                    _of_characters(known, spoken.text or "") if known else _of_frames(None, ranges)
                )
            else:
                found[modality] = _of_frames(row.times, ranges)
    return {name: places for name, places in found.items() if places}


def _rows_of_steps(rows: int, skipped: int, entry: dict[str, Any]) -> list[tuple[int, int]]:
    """The encoder's rows that each step is made of, as sequences.py shortens them."""
    count, steps = rows - skipped, int(entry["max_steps"])
    if count > steps and entry["shorten"] == "pool":
        return [(i * count // steps, -(-(i + 1) * count // steps)) for i in range(steps)]
    return [(skipped + i, skipped + i + 1) for i in range(min(count, steps))]


# ------------------------------------------------------------------------------------------------------- text
def _of_tokens(run: TrainedRun, text: str) -> list[Place]:
    """Of fine-tuned text: the words that the tokenizer's pieces belong to."""
    tokenizer, reading = run.reading.tokenizer, run.reading
    assert tokenizer is not None
    read = in_sentence_case(text) if reading.sentence_case else text
    _, starts, ends = tokenizer.with_offsets(read, reading.max_tokens)
    # another case may have another length ("ß", "SS"): then words are those that were read
    return _of_characters(list(zip(starts.tolist(), ends.tolist(), strict=True)), read)


def _characters(row: FeatureRow, ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """First and one past the last character of each step; -1 where it stands for none, or nothing says so."""
    if row.char_start is None or row.char_end is None:
        return []
    found = []
    for first, last in ranges:
        starts, ends = row.char_start[first:last], row.char_end[first:last]
        real = starts >= 0
        found.append((int(starts[real].min()), int(ends[real].max())) if real.any() else (-1, -1))
    return found


def _of_characters(steps: Sequence[tuple[int, int]], text: str) -> list[Place]:
    """Words that steps with these characters are of."""
    words = spans(text)
    joint: list[list[int]] = []  # first word, last word, first step, one past the last step
    for step, (start, end) in enumerate(steps):
        own = [place for place, (a, b) in enumerate(words) if start >= 0 and a < end and start < b]
        if not own:
            continue
        if joint and own[0] <= joint[-1][1]:
            joint[-1][1], joint[-1][3] = max(own[-1], joint[-1][1]), step + 1
        else:
            joint.append([own[0], own[-1], step, step + 1])
    places = []
    for one, other, first, last in joint:
        chars = words[one][0], words[other][1]
        places.append(Place(first, last, text[slice(*chars)], chars))
    return places


# ---------------------------------------------------------------------------------------------- aligned words
def _aligned_rows(rows: dict[str, FeatureRow], text: str, words: Sequence[dict[str, Any]]) -> int:
    """How many words have a row: those that the text encoder did not cut off."""
    row = rows.get("text")
    if row is None or row.char_end is None or row.char_start is None:
        return len(words)
    kept = row.char_end[(row.char_start >= 0) & (row.char_end > row.char_start)]
    starts = locate([word["text"] for word in words], text)[:, 0]
    return int((starts < kept.max(initial=0)).sum())


def _of_words(ranges: Sequence[tuple[int, int]], words: Sequence[dict[str, Any]], text: str) -> list[Place]:
    seconds = times_of(words)
    try:
        chars = locate([word["text"] for word in words], text)
    except ClipError:  # words that are not those of the text have no place in it
        chars = None
    return [
        Place(
            step,
            step + 1,
            " ".join(word["text"] for word in words[first:last]),
            None if chars is None else (int(chars[first, 0]), int(chars[last - 1, 1])),
            (float(seconds[first, 0]), float(seconds[last - 1, 1])),
        )
        for step, (first, last) in enumerate(ranges)
    ]


# ---------------------------------------------------------------------------------------- sound and pictures
def _of_sound(samples: int) -> list[Place]:
    """Of sound that is fine-tuned: a step is a sample."""
    edges = np.linspace(0, samples, 1 + _number(samples / SAMPLE_RATE, samples)).round().astype(int).tolist()
    return [
        _stretch(first, last, first / SAMPLE_RATE, last / SAMPLE_RATE)
        for first, last in itertools.pairwise(edges)
    ]


def _of_frames(times: np.ndarray | None, ranges: Sequence[tuple[int, int]]) -> list[Place]:
    """Of steps that are frames or their means: neighbours together; `times` (n,) are the frames' centres."""
    steps = len(ranges)
    if times is None:
        edges = np.linspace(0, steps, 1 + min(steps, MOST)).round().astype(int).tolist()
        return [
            Place(a, b, f"step {a + 1}" if b == a + 1 else f"steps {a + 1} to {b}")
            for a, b in itertools.pairwise(edges)
        ]
    centres = np.asarray(times, np.float64)
    middles = (centres[1:] + centres[:-1]) / 2
    half = (centres[1] - centres[0]) / 2 if len(centres) > 1 else centres[0]  # of one row: the whole clip
    borders = np.concatenate([[max(centres[0] - half, 0.0)], middles, [centres[-1] + half]])  # (n + 1,)
    begin, end = borders[ranges[0][0]], borders[ranges[-1][1]]
    number = _number(float(end - begin), steps)
    edges = np.linspace(0, steps, number + 1).round().astype(int).tolist()
    # neighbouring means share a frame where their number does not divide: it is shown with the later one
    begins = [float(borders[ranges[step][0]]) for step in edges[:-1]] + [float(end)]
    return [_stretch(a, b, begins[i], begins[i + 1]) for i, (a, b) in enumerate(itertools.pairwise(edges))]


def _number(seconds: float, steps: int) -> int:
    return max(1, min(steps, MOST, round(seconds / CELL_S)))


def _stretch(first: int, last: int, begin: float, end: float) -> Place:
    return Place(first, last, f"{begin:.2f} to {end:.2f} s", None, (begin, end))
