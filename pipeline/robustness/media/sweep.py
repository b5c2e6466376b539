"""Runs of one set on test clips whose media were spoilt, and what their features say of these clips."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from models.core.batch import Reading
from pipeline.core import paths
from pipeline.core.vocabulary import ABSENT, CONTEXT, FAILED, TEST
from pipeline.datasets.splits import Ragged, Split
from pipeline.datasets.training_set import TrainingSet
from pipeline.features.encoder import Encoder
from pipeline.params.params import Params
from pipeline.robustness.conditions import CLEAN, Condition
from pipeline.robustness.media.extract import Resources
from pipeline.robustness.media.heard import Listening
from pipeline.robustness.media.kinds import MEDIA_LEVELS, SOUND, modality_of
from pipeline.robustness.media.remade import FACTS, HEARD, RemadeFeatures
from pipeline.robustness.media.sets import clip_ids_of, set_with
from pipeline.robustness.media.spoil import SILENT
from pipeline.training.loop.device import reproducible
from pipeline.training.loop.scoring import predict
from pipeline.training.runs import TrainedRun
from pipeline.transcripts.table import read_transcripts


@dataclass(frozen=True)
class Remaking:
    """How features of corrupted media are made.

    Attributes
    ----------
    params : of the project, which know the corpora
    make_encoders : encoders of runs by fingerprint, and remarks, as pipeline/predict/encoders.py has it
    retranscribe : whether texts are those that are heard in spoilt sound; None = where they were recognised
    """

    params: Params
    make_encoders: Callable[[list[TrainedRun], Params, str], tuple[dict[str, Encoder], list[str]]]
    device: str = "cpu"
    resources: Resources = field(default_factory=Resources)
    retranscribe: bool | None = None

    def listening(self, config: Mapping[str, Any], assembled: Path) -> Listening:
        """Whose words are heard again in spoilt sound, for runs of this config.json.

        Raises
        ------
        ParamsError : params do not know the set, or it is asked for and no recogniser is set
        FormatError : the transcripts cannot be read
        """
        settings, stats = self.params.transcribe, config["stats"]
        aligned = any("align" in entry for entry in stats["modalities"].values())
        if "text" not in config["dims"] and not aligned:
            return Listening(settings)
        corpus = self.params.training_set(stats["dataset"]).dataset
        files = [assembled / f"{split}.parquet" for split in (TEST, CONTEXT)]
        clip_ids = [clip_id for file in files if file.exists() for clip_id in clip_ids_of(file)]
        table = read_transcripts(paths.transcript_table(corpus))
        return Listening.of(settings, table, clip_ids, self.retranscribe)

    def sweep(
        self,
        runs: Sequence[TrainedRun],
        conditions: Sequence[Condition],
        assembled: Path,
        listening: Listening | None = None,
    ) -> MediaSweep:
        """Runs that were trained on one set, each under the conditions that hit what it reads.

        Parameters
        ----------
        listening : whose words are heard again in spoilt sound; None = nobody's

        Raises
        ------
        MsaError : an encoder cannot be had here, or clean clips cannot be encoded
        ParamsError : params do not know the set or its clips, or an encoder cannot be given spoilt media
        """
        encoders, remarks = self.make_encoders([*runs], self.params, self.device)
        remade = RemadeFeatures(
            runs, assembled, self.params, encoders, listening, self.resources, self.device
        )
        kinds = [*dict.fromkeys(one.kind for one in conditions)]
        found = MediaSweep([{} for _ in runs], FACTS.empty_table(), [], kinds, listening)
        for modality in dict.fromkeys(map(modality_of, kinds)):
            remade.check_clean(modality)
        if not SOUND.keys().isdisjoint(kinds):
            remade.check_heard()
            remarks += [] if listening is None else listening.remarks()
        for kind, of_kind in groupby(conditions, key=lambda one: one.kind):
            asked, modality = list(of_kind), modality_of(kind)
            heard = remade.heard(asked) if kind in SOUND else {}
            readers = [
                at
                for at, run in enumerate(runs)
                if modality in run.modalities or (heard and ("text" in run.modalities or run.aligned))
            ]
            if not readers:
                continue
            changed = remade.changed(modality, asked, heard)
            for condition in asked:
                texts = {clip_id: one.text or "" for clip_id, one in heard.get(condition, {}).items()}
                wordless = {clip_id for clip_id, text in texts.items() if not text}
                with set_with(assembled, changed[condition], texts) as folder:
                    for at in readers:
                        found.predictions[at][condition] = _predicted(runs[at], folder, wordless)
        found.facts = pa.Table.from_pylist(remade.facts, FACTS)
        found.remarks = [*remarks, *remade.remarks]
        return found


@dataclass
class MediaSweep:
    """What came of runs under conditions.

    Attributes
    ----------
    predictions : of each run, (clips,) float64 in the order of the test split: scores or indices of classes
    facts : of schema FACTS, a row a condition, clip and stream; the clean clips are among them
    remarks : what a reader should know
    kinds : of the conditions
    listening : whose words were heard again
    """

    predictions: list[dict[Condition, np.ndarray]]
    facts: pa.Table
    remarks: list[str]
    kinds: list[str]
    listening: Listening | None

    def told(self) -> dict[str, Any]:
        """What features say of the test clips, by kind

        levels         from mild to severe
        face, voiced   the mean share of the frames with a face, with a pitch: of clean clips, then at each
                       level; null where none is looked for
        failed         at each level, rows that could not be made
        silent         clips without a sound, which get no noise
        text           of sound, why texts stay those of the clean clips; or what is heard in their place:
        heard          clips whose text is heard again
        wer            word error rate against the set's text, all words together: clean, then at each level
        wordless       at each level, the share of these clips in which no word is heard
        """
        table = self.facts.to_pandas()
        table = table[table["split"] == TEST]
        clean = table[table["kind"] == CLEAN]
        told: dict[str, Any] = {}
        for kind in self.kinds:
            rows, levels = table[table["kind"] == kind], MEDIA_LEVELS[kind]
            texts_stay = self.listening.why_not if kind in SOUND and self.listening is not None else ""
            if rows.empty and not texts_stay:
                continue
            parts = [rows[rows["level"] == level] for level in levels]
            told[kind] = {
                "levels": [*levels],
                "failed": [int((of["status"] == FAILED).sum()) for of in parts],
            }
            for name in ("face", "voiced"):
                shares = [of[name].mean() for of in (clean[clean["case"] == modality_of(kind)], *parts)]
                told[kind][name] = [None if share != share else round(float(share), 6) for share in shares]
            told[kind]["silent"] = int(rows[rows["note"].str.startswith(SILENT)]["clip_id"].nunique())
            if texts_stay:
                told[kind]["text"] = texts_stay
            elif (rows["stream"] == HEARD).any():
                told[kind] |= _words_told(*(of[of["stream"] == HEARD] for of in (clean, *parts)))
        return told


def _words_told(clean: Any, *levels: Any) -> dict[str, Any]:
    """What `MediaSweep.told` says of words, of the facts of what is heard."""
    counts = [(int(of["errors"].sum()), int(of["words"].sum())) for of in (clean, *levels)]
    wordless = [of["status"].eq(ABSENT).mean() for of in levels]
    return {
        "heard": int(clean["clip_id"].nunique()),
        "wer": [None if not words else round(errors / words, 6) for errors, words in counts],
        "wordless": [None if share != share else round(float(share), 6) for share in wordless],
    }


def _predicted(run: TrainedRun, assembled: Path, wordless: Collection[str] = ()) -> np.ndarray:
    """(clips,) of the test split of a set; clips of `wordless` have a sentence without words."""
    reading = replace(run.reading, absent=True) if wordless else run.reading
    with reproducible(run.config["seed"], run.device):
        test = TrainingSet.load(assembled, reading, run.device, only=(TEST,)).splits[TEST]
        if wordless and reading.tokenizer is not None:
            test = _with_empty_sentences(test, reading, wordless)
        values = torch.from_numpy(predict(run.method, test))
    if run.task.classes:
        values = run.task.decide(values)
    return values.double().numpy()


def _with_empty_sentences(split: Split, reading: Reading, clip_ids: Collection[str]) -> Split:
    """The split in which some clips have nothing but the special tokens of a sentence."""
    tokens = split.streams["tokens"]
    assert isinstance(tokens, Ragged) and reading.tokenizer is not None
    (empty,) = reading.tokenizer.encode([""], reading.max_tokens)
    flat, starts, counts = (part.cpu().numpy() for part in (tokens.flat, tokens.starts, tokens.counts))
    rows = [
        empty if clip_id in clip_ids else flat[start : start + count]
        for clip_id, start, count in zip(split.clip_ids, starts, counts, strict=True)
    ]
    own = Ragged.of_clips(rows, flat[-1:], split.labeled.device)
    return replace(split, streams={**split.streams, "tokens": own})
