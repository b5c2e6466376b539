"""One new clip as a method reads it: the sequences that a training set would hold of it, as a batch of one.

Symbols: n frames of the clip, T steps (n, shortened), D features, S samples.

Utterances before the clip are chained, oldest first, and cut as those of a training set (training_set.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from models.core.batch import LABELS, Batch, Reading
from pipeline.datasets.assembly.aligned import align_clip
from pipeline.datasets.assembly.sequences import prepare
from pipeline.datasets.splits import Ragged, Split, Streams
from pipeline.store.shard import OK, FeatureRow
from pipeline.training.trained import WAVEFORM, TrainedRun
from pipeline.transcripts.stage import Transcript


@dataclass(frozen=True)
class ClipInputs:
    """What a run reads of a clip; None stands for what the clip does not have.

    Attributes
    ----------
    sequences : modality -> (T, D) float32, scaled as in training; a key for each that the run reads
    text : of a run that fine-tunes its text encoder
    sound : (S,) int16 at 16 kHz, of a run that fine-tunes its encoder of sound
    before : the utterances before it in its video, oldest first; None where nobody told them
    """

    clip_id: str
    sequences: dict[str, np.ndarray | None]
    text: str | None = None
    sound: np.ndarray | None = None
    before: tuple[ClipInputs, ...] | None = None

    @property
    def present(self) -> tuple[str, ...]:
        """The modalities that the clip has."""
        has = {name for name, values in self.sequences.items() if values is not None}
        has |= {"text"} if self.text is not None else set()
        has |= {"audio"} if self.sound is not None else set()
        return tuple(name for name in ("text", "audio", "visual") if name in has)

    def without(self, modality: str) -> ClipInputs:
        """The same clip, if it lacked this modality; what was before it stays."""
        sequences = {name: None if name == modality else values for name, values in self.sequences.items()}
        changed: dict[str, Any] = {"sequences": sequences}
        if modality == "text":
            changed["text"] = None
        if modality == "audio":
            changed["sound"] = None
        return replace(self, **changed)


def inputs_of(
    run: TrainedRun,
    clip_id: str,
    rows: Mapping[str, FeatureRow],
    columns: Mapping[str, list[str]],
    spoken: Transcript,
) -> ClipInputs:
    """A clip's features made ready for a run, exactly as its training set was.

    Parameters
    ----------
    rows : what the encoders gave, by stream (a modality, or `waveform`)
    columns : their column names, by stream
    spoken : what is said in the clip

    Raises
    ------
    ClipError : the set has a row a word, and the clip's word times are not known or not of its text
    """
    good = {stream: row for stream, row in rows.items() if row.status == OK}
    features = {stream: row.features for stream, row in good.items() if row.features is not None}
    sound = features.pop(WAVEFORM, None)
    if run.aligned and features:
        framed = {stream: row for stream, row in good.items() if stream != WAVEFORM}
        features = {**align_clip(framed, columns, spoken.text, spoken.words)}
    sequences = {
        name: prepare(features[name], columns[name], entry) if name in features else None
        for name, entry in run.entries.items()
    }
    text = (spoken.text or "") if run.reading.tokenizer is not None else ""
    return ClipInputs(
        clip_id, sequences, text if text.strip() else None, None if sound is None else sound.reshape(-1)
    )


def batch_of(run: TrainedRun, inputs: ClipInputs) -> Batch:
    """A batch of the one clip on the run's device, and of what was before it; labels are NaN."""
    unknown = torch.full((1,), torch.nan, device=run.device)
    split = Split(
        [inputs.clip_id],
        _streams(run, inputs.sequences, _tokens(run.reading, inputs.text), _cut(run.reading, inputs.sound)),
        _context(run, inputs.before or ()) if run.reading.context else None,
        dict.fromkeys(LABELS, unknown),
        torch.zeros(1, dtype=torch.bool, device=run.device),
        torch.ones(1, dtype=torch.int64),
    )
    return split.batch(torch.zeros(1, dtype=torch.int64))


def _streams(
    run: TrainedRun,
    sequences: Mapping[str, np.ndarray | None],
    tokens: np.ndarray | None,
    sound: np.ndarray | None,
) -> Streams:
    """The streams that the run reads, with nothing in those that are None here."""
    dims = {name: int(entry["dim"]) for name, entry in run.entries.items()}
    return Streams(
        {name: _ragged(sequences[name], np.zeros((0, dim), np.float32), run) for name, dim in dims.items()},
        None if run.reading.tokenizer is None else _ragged(tokens, np.zeros(0, np.int64), run),
        None if not run.reading.waveform else _ragged(sound, np.zeros(0, np.int16), run),
    )


def _context(run: TrainedRun, before: Sequence[ClipInputs]) -> Streams:
    """The nearest utterances before a clip, as many as the run reads, each stream end to end."""
    reading, spoken = run.reading, before[-run.reading.context :]
    sequences = {
        name: _chained([one.sequences[name] for one in spoken], entry["max_steps"], reading)
        for name, entry in run.entries.items()
    }
    tokens = None
    if reading.tokenizer is not None and (texts := [_cased(reading, one.text) for one in spoken if one.text]):
        joint = f" {reading.tokenizer.separator} ".join(texts)
        (tokens,) = reading.tokenizer.encode([joint], reading.max_tokens, reading.context_keep)
    sound = _chained([_cut(reading, one.sound) for one in spoken], reading.waveform, reading)
    return _streams(run, sequences, tokens, sound)


def _chained(parts: Sequence[np.ndarray | None], limit: int, reading: Reading) -> np.ndarray | None:
    """Rows of all parts that are there, at most `limit`, from the end that the run keeps."""
    there = [part for part in parts if part is not None]
    if not there:
        return None
    chain = np.concatenate(there)
    start = max(len(chain) - limit, 0) if reading.context_keep == "last" else 0
    return chain[start : start + limit]


def _tokens(reading: Reading, text: str | None) -> np.ndarray | None:
    if text is None or reading.tokenizer is None:
        return None
    return reading.tokenizer.encode([_cased(reading, text)], reading.max_tokens)[0]


def _cased(reading: Reading, text: str) -> str:
    return text[:1].upper() + text[1:].lower() if reading.sentence_case else text


def _cut(reading: Reading, sound: np.ndarray | None) -> np.ndarray | None:
    return None if sound is None else sound[: reading.waveform]


def _ragged(values: np.ndarray | None, nothing: np.ndarray, run: TrainedRun) -> Ragged:
    """One clip's rows, or none of the shape of `nothing`; behind them the row that padding shows."""
    rows = nothing if values is None else values
    padding = np.zeros((1, *rows.shape[1:]), rows.dtype)
    if nothing.dtype == np.int64 and run.reading.tokenizer is not None:
        padding[:] = run.reading.tokenizer.pad_id
    return Ragged.of(np.concatenate([rows, padding]), np.array([len(rows)], np.int64), run.device)
