"""What runs of one set read of spoilt clips, made anew by the encoders of its features, and facts of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import MsaError
from pipeline.core.vocabulary import ABSENT, FAILED, OK
from pipeline.datasets.assembly.sequences import real_frames
from pipeline.evaluation.word_errors import spoken_words, word_errors
from pipeline.features.encoder import Encoder
from pipeline.params.params import Params
from pipeline.robustness.conditions import UNTOUCHED, Condition
from pipeline.robustness.media.extract import Resources, SplitMedia, make_rows, row_name
from pipeline.robustness.media.heard import Heard, Listening, hear, text_rows
from pipeline.robustness.media.sets import SplitSequences, set_with
from pipeline.store.shard import FeatureRow
from pipeline.store.store import FeatureStore
from pipeline.training.runs import WAVEFORM, TrainedRun
from pipeline.transcripts.stage import Transcript

STATE = Path(".state/robust")
HEARD = "heard"  # stands for a stream in facts
PITCH = ("f0_log", "F0semitoneFrom27.5Hz_sma3nz")  # columns that are 0 where there is no voice
FACTS = pa.schema(
    [
        ("kind", pa.string()),
        ("case", pa.string()),
        ("level", pa.float64()),
        ("draw", pa.int32()),
        ("split", pa.string()),  # test, or context
        ("clip_id", pa.string()),
        ("stream", pa.string()),  # a modality, or `waveform`; `heard`: what a recogniser hears
        ("status", pa.string()),  # of the row of features
        ("face", pa.float64()),  # share of the frames with a face; null where none is looked for
        ("voiced", pa.float64()),  # share of the frames with a pitch; null where none is looked for
        ("text", pa.string()),  # that is heard
        ("errors", pa.int32()),  # words that are heard wrong,
        ("words", pa.int32()),  # and how many are said
        ("note", pa.string()),  # why it failed, whose voices babble has ...
    ]
)


class RemadeFeatures:
    """The streams that runs of one set read, made anew.

    Parameters
    ----------
    encoders : of the runs' features, by fingerprint
    listening : whose words are heard again in spoilt sound; None = nobody's

    Attributes
    ----------
    facts : rows of schema FACTS, of all that was made
    remarks : what a reader should know
    """

    def __init__(
        self,
        runs: Sequence[TrainedRun],
        assembled: Path,
        params: Params,
        encoders: Mapping[str, Encoder],
        listening: Listening | None,
        resources: Resources,
        device: str,
    ):
        stats = runs[0].stats
        chosen = params.training_set(stats["dataset"])
        root = Path(params.dataset(chosen.dataset).root)
        self.assembled, self.params, self.encoders, self.listening = assembled, params, encoders, listening
        self.resources, self.device = resources, device
        context = any(run.reading.context for run in runs)
        self.media = SplitMedia(assembled, stats["dataset"], chosen.dataset, root, STATE, context)
        self.make = SplitSequences(stats, chosen, list(self.media.tasks))
        self.facts: list[dict[str, Any]] = []
        self.remarks: list[str] = []
        self._needed = {name: entry["fingerprint"] for run in runs for name, entry in run.needed.items()}

    def streams(self, modality: str) -> list[str]:
        """Those that are made of a modality."""
        return [name for name, key in self._needed.items() if self.encoders[key].modality == modality]

    def changed(
        self, modality: str, conditions: Sequence[Condition], heard: Heard
    ) -> dict[Condition, dict[str, dict[str, np.ndarray]]]:
        """Sequences of all streams that change under conditions of one kind, by stream and clip."""
        texts = self._text_rows(heard)
        makers = {one: self.make.hearing(said, texts[one]) for one, said in heard.items()}
        found: dict[Condition, dict[str, dict[str, np.ndarray]]] = {one: {} for one in conditions}
        for stream in self.streams(modality):
            for condition, of_clips in self.sequences(stream, conditions, makers).items():
                found[condition][stream] = of_clips
        for condition, make in makers.items():
            again = {"text": (texts[condition], self._columns("text"))} if "text" in self._needed else {}
            if self.make.aligned and "visual" in self._needed:  # rows of other words
                clean, columns = self.make.clean_rows("visual")
                again["visual"] = {i: row for i, row in clean.items() if i in heard[condition]}, columns
            for stream, (rows, columns) in again.items():
                found[condition][stream] = {i: make.of(stream, row, columns) for i, row in rows.items()}
        return found

    def sequences(
        self,
        stream: str,
        conditions: Sequence[Condition],
        makers: Mapping[Condition, SplitSequences] | None = None,
    ) -> dict[Condition, dict[str, np.ndarray]]:
        """Of each clip under each of these conditions, which are of one kind; `facts` tell of them all."""
        encoder = self.encoders[self._needed[stream]]
        store = make_rows(encoder, self.media, conditions[0].kind, conditions, self.resources)
        found: dict[Condition, dict[str, np.ndarray]] = {condition: {} for condition in conditions}
        for condition, row in self._rows_of(store, conditions):
            make = (makers or {}).get(condition, self.make)
            found[condition][row.clip_id] = make.of(stream, row, encoder.column_names)
            self._note(row, condition, stream)
        return found

    def heard(self, conditions: Sequence[Condition]) -> Heard:
        """What is heard under conditions of one kind; nothing where nobody listens. `facts` tell of it."""
        if self.listening is None or not self.listening.languages:
            return {}
        limits = self.params.media
        found = hear(self.listening, self.media, limits, conditions, self.resources, self.device)
        said = self._values(self.assembled, "transcript")
        for condition, by_clip in found.items():
            for clip_id, one in by_clip.items():
                if clip_id in said:
                    fact = _fact(condition, self.media.split_of[clip_id], clip_id, HEARD)
                    self.facts.append(fact | _heard_fact(one, said[clip_id].as_py()))
        return found

    def check_heard(self) -> None:
        """MsaError where more clean clips cannot be listened to than the project puts up with."""
        clean = replace(UNTOUCHED, case="audio")
        heard = self.heard([clean]).get(clean, {})
        self._refuse("text", [one.failure or "" for one in heard.values() if one.failed], len(heard))

    def check_clean(self, modality: str) -> None:
        """Remark where the features of clean clips, made here, are not those of the set.

        MsaError where more of them fail than the project puts up with: zeros would pass for what is spoilt.
        """
        for stream in self.streams(modality):
            clean = replace(UNTOUCHED, case=modality)
            made = self.sequences(stream, [clean])[clean]
            there = self._values(self.assembled, stream)
            of_clean = [of for of in self.facts[-len(made) :] if of["clip_id"] in there]
            self._refuse(stream, [of["note"] for of in of_clean if of["status"] == FAILED], len(there))
            with set_with(self.assembled, {stream: made}) as folder:
                here = self._values(folder, stream)
            unlike = sum(values != here[clip_id] for clip_id, values in there.items())
            if unlike:
                self.remarks.append(
                    f"{stream}: for {unlike} of {len(there)} test clips the encoder gives other features "
                    "here than the set has, even from clean media; differences from clean are not due to the "
                    "corruption alone"
                )

    def _refuse(self, stream: str, failed: Sequence[str], clips: int) -> None:
        if len(failed) > self.params.max_failed_fraction * clips:
            raise MsaError(
                f"{stream}: {len(failed)} of {clips} test clips cannot be encoded here even when clean, more "
                f"than max_failed_fraction = {self.params.max_failed_fraction:g} in params.yaml; the first: "
                f"{failed[0]}"
            )

    def _values(self, folder: Path, column: str) -> dict[str, pa.Scalar]:
        """What a set has of the clips, by clip id; of those that have it."""
        kind = f"{WAVEFORM}.parquet" if column == WAVEFORM else "parquet"
        found: dict[str, pa.Scalar] = {}
        for split in dict.fromkeys(self.media.split_of.values()):
            table = pq.read_table(folder / f"{split}.{kind}", columns=["clip_id", column])
            rows = zip(table["clip_id"].to_pylist(), table[column], strict=True)
            found |= {clip_id: value for clip_id, value in rows if value.is_valid}
        return {clip_id: value for clip_id, value in found.items() if clip_id in self.media.tasks}

    def _columns(self, stream: str) -> list[str]:
        return self.encoders[self._needed[stream]].column_names

    def _text_rows(self, heard: Heard) -> dict[Condition, dict[str, FeatureRow]]:
        """Text features of what is heard, by condition and clip; none where no run needs them."""
        found: dict[Condition, dict[str, FeatureRow]] = {condition: {} for condition in heard}
        if heard and "text" in self._needed:
            encoder = self.encoders[self._needed["text"]]
            store = text_rows(encoder, self.media, heard, self.resources)
            for condition, row in self._rows_of(store, heard):
                if row.clip_id in heard[condition]:
                    found[condition][row.clip_id] = row
                    if row.status == FAILED:
                        self._note(row, condition, "text")
        return found

    def _rows_of(
        self, store: FeatureStore, conditions: Collection[Condition]
    ) -> Iterator[tuple[Condition, FeatureRow]]:
        """The rows under these conditions, each with the id of its clip."""
        names = {row_name(clip, one): (clip, one) for clip in self.media.tasks for one in conditions}
        for row in store.stream():
            if row.clip_id in names:
                clip_id, condition = names[row.clip_id]
                yield condition, replace(row, clip_id=clip_id)

    def _note(self, row: FeatureRow, condition: Condition, stream: str) -> None:
        fact = _fact(condition, self.media.split_of[row.clip_id], row.clip_id, stream)
        self.facts.append(fact | _row_fact(row, self._columns(stream)))


def _fact(condition: Condition, split: str, clip_id: str, stream: str) -> dict[str, Any]:
    """Which row of FACTS it is."""
    known = {name: getattr(condition, name) for name in ("kind", "case", "level", "draw")}
    return known | {"split": split, "clip_id": clip_id, "stream": stream}


def _row_fact(row: FeatureRow, columns: list[str]) -> dict[str, Any]:
    """What features say of a clip."""
    face = voiced = None
    if row.features is not None:
        if "success" in columns:
            face = float(real_frames(row.features, columns).mean())
        if pitch := next((name for name in PITCH if name in columns), None):
            voiced = float((row.features[:, columns.index(pitch)] != 0).mean())
    return {"status": row.status, "note": row.error, "face": face, "voiced": voiced}


def _heard_fact(heard: Transcript, said: str) -> dict[str, Any]:
    """What is heard of a clip, against what is said in it."""
    words = spoken_words(said)
    return {
        "status": FAILED if heard.failed else ABSENT if heard.text is None else OK,
        "note": "; ".join(heard.problems),
        "text": heard.text,
        "errors": word_errors(spoken_words(heard.text or ""), words),
        "words": len(words),
    }
