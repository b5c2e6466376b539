"""Small runs of every method on a few clips of the sample corpus, made by the code that the DAG calls."""

from __future__ import annotations

import csv
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from made.stored import assemble

from pipeline.corpora.clips import METADATA_KEY, ClipFacts, clip_table, full_id
from pipeline.features.encoder import Clip, Encoder
from pipeline.features.registry import build_encoder
from pipeline.features.rows import EncodingTask, encode_row, footer
from pipeline.params.assemble import AssembleParams
from pipeline.params.params import Params, TrainParams
from pipeline.params.run import RunConfig
from pipeline.store.shard import Features
from pipeline.training.loop.train import train
from pipeline.transcripts.table import TRANSCRIPTS

SPLITS = ("train", "train", "train", "train", "valid", "valid")
ENCODERS = {"text": "minilm", "audio": "librosa33", "visual": "facemesh"}
CLASSES = ("bad", "middling", "good")
SMALL: dict[str, dict[str, Any]] = {"slad": {"context": 1}, "khar": {"pretraining": {"adapters": "scratch"}}}


@dataclass
class SampleRuns:
    """A folder in which runs are made when they are asked for.

    Attributes
    ----------
    videos, texts : by clip id
    features : by modality
    """

    folder: Path
    videos: dict[str, Path]
    texts: dict[str, str]
    features: dict[str, Features]
    clips: list[dict[str, Any]]

    def assembled(self, classes: bool = False) -> Path:
        """The assembled set, of scores in [-3, 3] or of three classes."""
        import pyarrow as pa

        name = "classes" if classes else "scores"
        out = self.folder / name
        if out.exists():
            return out
        facts = ClipFacts(name, "en", (-3.0, 3.0))
        if classes:
            facts = ClipFacts(name, "en", (-3.0, 3.0), "classification", CLASSES)
        rows = [{**row, "class_label": i % 3} if classes else row for i, row in enumerate(self.clips)]
        table = clip_table(rows).replace_schema_metadata({METADATA_KEY: facts.to_json()})
        said = [
            {"clip_id": clip_id, "text": text, "language": "en", "source": "label"}
            for clip_id, text in sorted(self.texts.items())
        ]
        folders = {modality: f"{name}/{modality}-{encoder}" for modality, encoder in ENCODERS.items()}
        params = AssembleParams.model_validate(
            {"dataset": name, **folders, "max_steps": {"text": 20, "audio": 20, "visual": 20}}
            | ({"metrics": "cls"} if classes else {})
        )
        assemble(table, pa.Table.from_pylist(said, schema=TRANSCRIPTS), self.features, params, out, name)
        return out

    def run(self, method: str, seed: int = 1, classes: bool = False, **settings: Any) -> Path:
        """The folder of a run of one epoch."""
        kind = "classes" if classes else "scores"
        name = "-".join([method, kind, str(seed), *(f"{key}_{value}" for key, value in settings.items())])
        out = self.folder / "runs" / name
        if out.exists():
            return out
        tiny = importlib.import_module(f"made.tiny_{method}")
        params = {**tiny.TINY, **SMALL.get(method, {}), **settings, "training": {"epochs": 1}}
        if method == "khar":
            params["pretraining"] = {**tiny.PRETRAINING, **SMALL["khar"]["pretraining"]}
            params["kappa"] = None if classes else 0.4
        assembled = self.assembled(classes)
        places = {"state_root": self.folder / "state", "logs": self.folder / "logs"}
        train(
            RunConfig(
                method_name=method,
                dataset=kind,
                seed=seed,
                method_params=params,
                train_params=TrainParams(),
                assembled=assembled,
                pretrained=self.folder / "none",
                out=out,
            ),
            device="cpu",
            **places,
        )
        return out


def make_sample_runs(folder: Path, corpus: Path) -> SampleRuns:
    """Features of six clips by the encoders' own code, as the extraction stages call it."""
    with (corpus / "label.csv").open(encoding="utf-8") as file:
        labels = list(csv.DictReader(file))[: len(SPLITS)]
    videos, texts, clips = {}, {}, []
    for row, split in zip(labels, SPLITS, strict=True):
        clip_id = full_id(row["video_id"], row["clip_id"])
        videos[clip_id] = corpus / "Raw" / row["video_id"] / f"{row['clip_id']}.mp4"
        texts[clip_id] = row["text"]
        clips.append(
            {
                "clip_id": clip_id,
                "video_id": row["video_id"],
                "split": split,
                "label": float(row["label"]),
                "text": row["text"],
                "language": "en",
                "status": "ok",
            }
        )
    features = {}
    for modality, name in ENCODERS.items():
        encoder = _encoder(modality, name)
        tasks = {
            clip_id: EncodingTask(Clip(clip_id, path=video, text=texts[clip_id]), "")
            for clip_id, video in videos.items()
        }
        rows = {clip_id: encode_row(encoder, task) for clip_id, task in tasks.items()}
        features[modality] = Features(footer(encoder), rows)
    return SampleRuns(folder, videos, texts, features, clips)


def _encoder(modality: str, name: str) -> Encoder:
    params = Params()
    encoder = build_encoder(modality, name, params.encoder(modality, name), params.media)
    encoder.load()
    return encoder
