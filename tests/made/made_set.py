"""A small training set, assembled by the pipeline's own code from features that are numbers alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from made.stored import assemble

from models.core.backbones import load_tokenizer
from pipeline.corpora.clips import METADATA_KEY, ClipFacts, clip_table
from pipeline.params.assemble import AssembleParams
from pipeline.store.shard import FeatureRow, Features

TEXTS = {
    "v1$_$1": "It was great.",
    "v1$_$2": "I will not see it again, believe me!",
    "v2.b$_$1": "So so.",
    "v3$_$1": "=SUM(1), she said: “naïve”",
    "v4$_$1": "Fine",
    "v5$_$1": "Who knows?",
}
SPLITS = dict(zip(TEXTS, ("train", "train", "train", "valid", "test", "unlabeled"), strict=True))
LABELS = dict(zip(TEXTS, (1.5, -2.0, 0.0, 0.5, -1.0, None), strict=True))
WIDTHS = {"text": 6, "audio": 3, "visual": 4}
CLASSES = ("bad", "good")


def make_set(out: Path, classes: bool = False, tokens: bool = True) -> Path:
    """Six clips: text has a row a token of BERT, or one more; v4 has no sound, v2.b zeros at both ends."""
    random = np.random.default_rng(3)
    task = ("classification", CLASSES) if classes else ("regression", ())
    facts = ClipFacts("made", "en", (-3.0, 3.0), *task)
    clips = clip_table(
        {
            "clip_id": clip_id,
            "video_id": clip_id.partition("$_$")[0],
            "split": SPLITS[clip_id],
            "label": None if classes else label,
            "class_label": int(label > 0) if classes and label is not None else None,
            "label_audio": 0.25 if not classes and label is not None else None,
            "text": TEXTS[clip_id],
            "language": "en",
            "status": "ok",
        }
        for clip_id, label in LABELS.items()
    ).replace_schema_metadata({METADATA_KEY: facts.to_json()})
    tokenizer = load_tokenizer("minilm")
    rows: dict[str, dict[str, FeatureRow]] = {name: {} for name in WIDTHS}
    for place, clip_id in enumerate(TEXTS):
        count = len(tokenizer.encode([TEXTS[clip_id]], 128)[0])
        lengths = {"text": count + (not tokens), "audio": 9 + place, "visual": 5 + 2 * place}
        for name, width in WIDTHS.items():
            values = random.normal(size=(lengths[name], width)).astype(np.float32)
            if clip_id == "v2.b$_$1" and name == "visual":
                values[[0, 1, -1]] = 0
            rows[name][clip_id] = FeatureRow(clip_id, "s", "ok", "", values)
    rows["audio"]["v4$_$1"] = FeatureRow("v4$_$1", "s", "absent", "no audio track")
    features = {
        name: Features(
            {
                "modality": name,
                "encoder": f"{name}-made",
                "dim": width,
                "dtype": "float32",
                "column_names": [f"{name}_{i}" for i in range(width)],
                "fingerprint": f"fingerprint of {name}",
                "frame_rate": None,
                "params": {"kind": "made", "max_length": 128},
            },
            rows[name],
        )
        for name, width in WIDTHS.items()
    }
    transcripts = pa.table({"clip_id": list(TEXTS), "text": list(TEXTS.values())})
    params = AssembleParams(
        dataset="made",
        metrics="cls" if classes else "mmsa",
        text="made/text",
        audio="made/audio",
        visual="made/visual",
        normalize=[],
        max_steps={"text": 50, "audio": 50, "visual": 50},
    )
    assemble(clips, transcripts, features, params, out, "made")
    return out
