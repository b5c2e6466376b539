"""The whole sample corpus with its words and its sound, as a project: what is said and how are planted there.

Its sentences have the sentiment `label_T`, and how they are spoken has `label_A`; `label` is mostly both
(data/make_sample.py). A run learns from them in seconds.
"""

from __future__ import annotations

import csv
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from made.stored import stored

from pipeline.core import paths
from pipeline.core.vocabulary import OK
from pipeline.corpora.clips import METADATA_KEY, ClipFacts, clip_table, full_id
from pipeline.datasets.assembly.assemble import assemble
from pipeline.features.encoder import Clip
from pipeline.features.registry import build_encoder
from pipeline.features.rows import EncodingTask, encode_row, footer
from pipeline.media.decode import waveform
from pipeline.params.params import Params, TrainParams, check_params
from pipeline.params.run import RunConfig
from pipeline.store.shard import FeatureRow, Features
from pipeline.store.store import FeatureStore
from pipeline.training.loop.train import train
from pipeline.transcripts.table import TRANSCRIPTS

ENCODERS = {"text": "minilm", "audio": "level"}
RATE, WINDOW = 8_000, 320  # Hz, samples


@dataclass
class PlantedSample:
    """A project in `folder`, of the set `planted`; commands are to be run there.

    Attributes
    ----------
    tree : of params.yaml
    rows : of label.csv, by clip id
    """

    folder: Path
    params: Params
    tree: dict[str, Any]
    rows: dict[str, dict[str, str]]

    def run(self, method: str, **settings: Any) -> Path:
        """The folder of a run of 30 epochs; the current folder is the project's."""
        out = paths.run_folder(method, "planted", 1)
        if not out.exists():
            tiny = importlib.import_module(f"made.tiny_{method}")
            training = {"epochs": 30, "lr_other": 0.003, "batch_size": 16}
            config = RunConfig(
                method_name=method,
                dataset="planted",
                seed=1,
                method_params={**tiny.TINY, "training": training, **settings},
                train_params=TrainParams(),
                assembled=paths.assembled_folder("planted"),
                pretrained=Path("none"),
                out=out,
            )
            train(config, device="cpu", state_root=Path("state"), logs=Path("logs"))
        return out


def words_of(table: list[dict[str, Any]], params: Params) -> Features:
    """States of the words, as the text stage makes them."""
    encoder = build_encoder("text", "minilm", params.encoder("text", "minilm"), params.media)
    encoder.load()
    tasks = {row["clip_id"]: EncodingTask(Clip(row["clip_id"], text=row["text"]), "") for row in table}
    return Features(footer(encoder), {clip_id: encode_row(encoder, task) for clip_id, task in tasks.items()})


def sound_of(table: list[dict[str, Any]], corpus: Path, params: Params) -> Features:
    """Level (dBFS) and zero crossings of 40 ms each: much faster than an encoder, and as telling here."""
    found = {}
    for row in table:
        sound = waveform(corpus / row["path"], params.media, sample_rate=RATE)
        windows = sound[: len(sound) // WINDOW * WINDOW].reshape(-1, WINDOW)
        level = 10 * np.log10(np.square(windows).mean(axis=1) + 1e-9)
        crossings = (np.diff(np.signbit(windows), axis=1) != 0).mean(axis=1)
        times = ((np.arange(len(windows)) + 0.5) * WINDOW / RATE).astype(np.float32)
        values = np.stack([level, crossings], axis=1).astype(np.float32)
        found[row["clip_id"]] = FeatureRow(row["clip_id"], "", OK, "", values, times)
    meta = {"modality": "audio", "encoder": "level", "fingerprint": "level", "dim": 2, "dtype": "float32"}
    return Features({**meta, "column_names": ["level", "crossings"], "frame_rate": RATE / WINDOW}, found)


def make_planted_sample(folder: Path, corpus: Path) -> PlantedSample:
    """Features of all clips, and their set."""
    with (corpus / "label.csv").open(encoding="utf-8") as file:
        rows = {full_id(row["video_id"], row["clip_id"]): row for row in csv.DictReader(file)}
    said = [
        {"clip_id": clip_id, "text": row["text"], "language": "en", "source": "label"}
        for clip_id, row in sorted(rows.items())
    ]
    table = [
        {
            "clip_id": clip_id,
            "video_id": row["video_id"],
            "split": row["mode"],
            "path": f"Raw/{row['video_id']}/{row['clip_id']}.mp4",
            "label": float(row["label"]),
            "text": row["text"],
            "language": "en",
            "status": "ok",
        }
        for clip_id, row in rows.items()
    ]
    own = {m: f"planted/{m}-{encoder}" for m, encoder in ENCODERS.items()}
    own |= {"visual": "none", "waveform": "none"}
    tree = {
        "datasets": {"planted": {"root": str(corpus)}},
        "datasets_run": ["planted"],
        "assemble": {"planted": {"dataset": "planted", "metrics": "mmsa", **own}},
        "models": {"misr": {"corpora": {"planted": {}}}},
        "models_run": ["misr"],
        "seeds": [1],
    }
    params = check_params(tree, "test")
    stores: dict[str, FeatureStore] = {}
    for modality, features in (("text", words_of(table, params)), ("audio", sound_of(table, corpus, params))):
        place = paths.feature_folder("planted", modality, ENCODERS[modality])
        stores[modality] = stored(features, folder / place)
    facts = ClipFacts("planted", "en", (-3.0, 3.0))
    clips = clip_table(table).replace_schema_metadata({METADATA_KEY: facts.to_json()})
    transcripts = pa.Table.from_pylist(said, schema=TRANSCRIPTS)
    out = folder / paths.assembled_folder("planted")
    assemble(clips, transcripts, stores, params.assemble["planted"], out, "planted")
    return PlantedSample(folder, params, tree, rows)
