"""Runs of one set on test clips whose media were spoilt, and what their features say of these clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pipeline.core.errors import MsaError
from pipeline.core.vocabulary import FAILED, TEST
from pipeline.datasets.assembly.sequences import real_frames
from pipeline.datasets.training_set import TrainingSet
from pipeline.features.encoder import Encoder
from pipeline.params.params import Params
from pipeline.robustness.conditions import CLEAN, UNTOUCHED, Condition
from pipeline.robustness.media.extract import Resources, SplitMedia, make_rows, row_name
from pipeline.robustness.media.kinds import MEDIA_LEVELS, modality_of
from pipeline.robustness.media.sets import SplitSequences, set_with
from pipeline.robustness.media.spoil import SILENT
from pipeline.store.shard import FeatureRow
from pipeline.training.loop.device import reproducible
from pipeline.training.loop.scoring import predict
from pipeline.training.runs import TrainedRun

STATE = Path(".state/robust")
PITCH = ("f0_log", "F0semitoneFrom27.5Hz_sma3nz")  # columns that are 0 where there is no voice
FACTS = pa.schema(
    [
        ("kind", pa.string()),
        ("case", pa.string()),
        ("level", pa.float64()),
        ("draw", pa.int32()),
        ("clip_id", pa.string()),
        ("stream", pa.string()),  # a modality, or `waveform`
        ("status", pa.string()),  # of the row of features
        ("face", pa.float64()),  # share of the frames with a face; null where none is looked for
        ("voiced", pa.float64()),  # share of the frames with a pitch; null where none is looked for
        ("note", pa.string()),  # why it failed, whose voices babble has ...
    ]
)


@dataclass(frozen=True)
class Remaking:
    """How features of corrupted media are made.

    Attributes
    ----------
    params : of the project, which know the corpora
    make_encoders : encoders of runs by fingerprint, and remarks, as pipeline/predict/encoders.py has it
    """

    params: Params
    make_encoders: Callable[[list[TrainedRun], Params, str], tuple[dict[str, Encoder], list[str]]]
    device: str = "cpu"
    resources: Resources = field(default_factory=Resources)

    def sweep(
        self, runs: Sequence[TrainedRun], conditions: Sequence[Condition], assembled: Path
    ) -> MediaSweep:
        """Runs that were trained on one set, each under the conditions that hit what it reads.

        Raises
        ------
        MsaError : an encoder cannot be had here, or clean clips cannot be encoded
        ParamsError : params do not know the set or its clips, or an encoder cannot be given spoilt media
        """
        remade = _Features(runs, assembled, self)
        found = MediaSweep([{} for _ in runs], FACTS.empty_table(), [])
        for modality in dict.fromkeys(modality_of(one.kind) for one in conditions):
            remade.check_clean(modality)
        for kind, of_kind in groupby(conditions, key=lambda one: one.kind):
            asked, modality = list(of_kind), modality_of(kind)
            readers = [at for at, run in enumerate(runs) if modality in run.modalities]
            if not readers:
                continue
            sequences = {stream: remade.sequences(stream, asked) for stream in remade.streams(modality)}
            for condition in asked:
                with set_with(assembled, {name: of[condition] for name, of in sequences.items()}) as folder:
                    for at in readers:
                        found.predictions[at][condition] = _predicted(runs[at], folder)
        found.facts = pa.Table.from_pylist(remade.facts, FACTS)
        found.remarks = remade.remarks
        return found


@dataclass
class MediaSweep:
    """What came of runs under conditions.

    Attributes
    ----------
    predictions : of each run, (clips,) float64 in the order of the test split: scores or indices of classes
    facts : of schema FACTS, a row a condition, clip and stream; the clean clips are among them
    remarks : what a reader should know
    """

    predictions: list[dict[Condition, np.ndarray]]
    facts: pa.Table
    remarks: list[str]

    def told(self) -> dict[str, Any]:
        """What features say of the test clips, by kind

        levels         from mild to severe
        face, voiced   the mean share of the frames with a face, with a pitch: of clean clips, then at each
                       level; null where none is looked for
        failed         at each level, rows that could not be made
        silent         clips without a sound, which get no noise
        """
        table = self.facts.to_pandas()
        clean = table[table["kind"] == CLEAN]
        told: dict[str, Any] = {}
        for kind, rows in table[table["kind"] != CLEAN].groupby("kind", sort=False):
            levels = MEDIA_LEVELS[kind]
            parts = [rows[rows["level"] == level] for level in levels]
            told[kind] = {
                "levels": [*levels],
                "failed": [int((of["status"] == FAILED).sum()) for of in parts],
            }
            for name in ("face", "voiced"):
                shares = [of[name].mean() for of in (clean[clean["case"] == modality_of(kind)], *parts)]
                told[kind][name] = [None if share != share else round(float(share), 6) for share in shares]
            told[kind]["silent"] = int(rows[rows["note"].str.startswith(SILENT)]["clip_id"].nunique())
        return told


class _Features:
    """The streams that runs of one set read, made again.

    Attributes
    ----------
    facts : rows of schema FACTS, of all that was made
    """

    def __init__(self, runs: Sequence[TrainedRun], assembled: Path, remaking: Remaking):
        params, stats = remaking.params, runs[0].stats
        chosen = params.training_set(stats["dataset"])
        root = Path(params.dataset(chosen.dataset).root)
        self.assembled, self.resources = assembled, remaking.resources
        self.most_failed = params.max_failed_fraction
        self.encoders, self.remarks = remaking.make_encoders(list(runs), params, remaking.device)
        self.media = SplitMedia(assembled, stats["dataset"], chosen.dataset, root, STATE)
        self.make = SplitSequences(stats, chosen, list(self.media.tasks))
        self.facts: list[dict[str, Any]] = []
        self._needed = {name: entry["fingerprint"] for run in runs for name, entry in run.needed.items()}

    def streams(self, modality: str) -> list[str]:
        """Those that are made of a modality."""
        return [name for name, key in self._needed.items() if self.encoders[key].modality == modality]

    def sequences(
        self, stream: str, conditions: Sequence[Condition]
    ) -> dict[Condition, dict[str, np.ndarray]]:
        """Of each clip under each of these conditions, which are of one kind; `facts` tell of them all."""
        encoder = self.encoders[self._needed[stream]]
        store = make_rows(encoder, self.media, conditions[0].kind, conditions, self.resources)
        names = {row_name(clip, one): (clip, one) for clip in self.media.tasks for one in conditions}
        found: dict[Condition, dict[str, np.ndarray]] = {condition: {} for condition in conditions}
        columns = encoder.column_names
        for row in store.stream():
            if row.clip_id in names:
                clip_id, condition = names[row.clip_id]
                row = replace(row, clip_id=clip_id)
                found[condition][clip_id] = self.make.of(stream, row, columns)
                self.facts.append(_facts(row, condition, stream, columns))
        return found

    def check_clean(self, modality: str) -> None:
        """Remark where the features of clean clips, made here, are not those of the set.

        MsaError where more of them fail than the project puts up with: zeros would pass for what is spoilt.
        """
        for stream in self.streams(modality):
            clean = replace(UNTOUCHED, case=modality)
            made = self.sequences(stream, [clean])[clean]
            failed = [of["note"] for of in self.facts[-len(made) :] if of["status"] == FAILED]
            if len(failed) > self.most_failed * len(made):
                raise MsaError(
                    f"{stream}: {len(failed)} of {len(made)} test clips cannot be encoded here even when "
                    f"clean, more than max_failed_fraction = {self.most_failed:g} in params.yaml; the first: "
                    f"{failed[0]}"
                )
            with set_with(self.assembled, {stream: made}) as folder:
                name = f"{TEST}.{stream}.parquet" if stream not in self.make.modalities else f"{TEST}.parquet"
                there, here = (
                    pq.read_table(place / name, columns=[stream])[stream]
                    for place in (self.assembled, folder)
                )
            unlike = sum(a != b for a, b in zip(there, here, strict=True))
            if unlike:
                self.remarks.append(
                    f"{stream}: of {unlike} of {len(there)} test clips the encoder gives other features here "
                    "than the set has, also of clean media; differences from clean are not of the corruption "
                    "alone"
                )


def _facts(row: FeatureRow, condition: Condition, stream: str, columns: list[str]) -> dict[str, Any]:
    """What is said of a clip under a condition."""
    face = voiced = None
    if row.features is not None:
        if "success" in columns:
            face = float(real_frames(row.features, columns).mean())
        if pitch := next((name for name in PITCH if name in columns), None):
            voiced = float((row.features[:, columns.index(pitch)] != 0).mean())
    return {
        **{name: getattr(condition, name) for name in ("kind", "case", "level", "draw")},
        **{"clip_id": row.clip_id, "stream": stream, "status": row.status, "note": row.error},
        **{"face": face, "voiced": voiced},
    }


def _predicted(run: TrainedRun, assembled: Path) -> np.ndarray:
    """(clips,) of the test split of a set."""
    with reproducible(run.config["seed"], run.device):
        test = TrainingSet.load(assembled, run.reading, run.device, only=(TEST,)).splits[TEST]
        values = torch.from_numpy(predict(run.method, test))
    if run.task.classes:
        values = run.task.decide(values)
    return values.double().numpy()
