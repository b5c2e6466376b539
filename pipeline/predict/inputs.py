"""One new clip as a method reads it: the sequences that a training set would hold of it, as a batch of one.

Symbols: n frames of the clip, T steps (n, shortened), D features, S samples.

Utterances before the clip are chained, oldest first, and cut as those of a training set (training_set.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from models.core.batch import Batch
from pipeline.core.vocabulary import LABELS, MODALITIES, OK
from pipeline.datasets.assembly.aligned import align_clip
from pipeline.datasets.assembly.sequences import prepare
from pipeline.datasets.splits import Ragged, Split, Streams
from pipeline.datasets.training_set import NO_SOUND, in_sentence_case
from pipeline.store.shard import FeatureRow
from pipeline.training.runs import WAVEFORM, TrainedRun
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
        own = {"text": self.text, "audio": self.sound}
        return tuple(m for m in MODALITIES if any(part.get(m) is not None for part in (own, self.sequences)))


def inputs_of(
    run: TrainedRun,
    clip_id: str,
    rows: Mapping[str, FeatureRow],
    columns: Mapping[str, list[str]],
    spoken: Transcript,
) -> ClipInputs:
    """A clip's features made ready for a run, exactly as its training set was.

    `rows` and `columns` (their names) are what the encoders gave, by stream: a modality, or `waveform`.
    ClipError where the set has a row a word, and the clip's word times are not known or not of its text.
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
    reading, context = run.reading, None
    if reading.context:
        context = _streams(run, (inputs.before or ())[-reading.context :], reading.context_keep)
    split = Split(
        [inputs.clip_id],
        _streams(run, [inputs]),
        context,
        dict.fromkeys(LABELS, torch.full((1,), torch.nan, device=run.device)),
        torch.zeros(1, dtype=torch.bool, device=run.device),
        torch.ones(1, dtype=torch.int64),
    )
    return split.batch(torch.zeros(1, dtype=torch.int64))


def _streams(
    run: TrainedRun, clips: Sequence[ClipInputs], keep: Literal["first", "last"] = "first"
) -> Streams:
    """What the run reads, of all clips end to end, no longer than one may be; no rows where none has it."""
    reading, streams = run.reading, {}
    for name, entry in run.entries.items():
        parts = [one.sequences[name] for one in clips]
        padding = np.zeros((1, int(entry["dim"])), np.float32)
        streams[name] = Ragged.chained([parts], padding, entry["max_steps"], keep, run.device)
    if reading.tokenizer is not None:
        said = [one.text for one in clips if one.text]
        if reading.sentence_case:
            said = [in_sentence_case(text) for text in said]
        joint = f" {reading.tokenizer.separator} ".join(said)
        ids = reading.tokenizer.encode([joint], reading.max_tokens, keep) if said else []
        padding = np.array([reading.tokenizer.pad_id], np.int64)
        streams["tokens"] = Ragged.chained([ids], padding, reading.max_tokens, keep, run.device)
    if reading.waveform:
        sounds = [one.sound for one in clips]
        streams[WAVEFORM] = Ragged.chained([sounds], NO_SOUND, reading.waveform, keep, run.device)
    return streams
