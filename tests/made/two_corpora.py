"""Two made corpora with the same features on other scales, and sets of the clips of either or of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from made.stored import assemble

from pipeline.corpora.clips import METADATA_KEY, ClipFacts, clip_table
from pipeline.params.assemble import AssembleParams
from pipeline.params.params import TrainParams
from pipeline.params.run import RunConfig
from pipeline.store.shard import FeatureRow, Features
from pipeline.training.loop.train import train

COLUMNS = {
    "text": ["h_0", "h_1", "h_2"],
    "audio": ["f0", "mfcc_0"],
    "visual": ["success", "AU01", "AU12"],
}
FRAMES = 12


@dataclass
class Corpus:
    """Clips whose score s, in [-1, 1], is in every column: x = offset + size · (s + noise).

    Attributes
    ----------
    scores : clip id -> s
    blocks : modality -> clip id -> (frames, columns)
    """

    scores: dict[str, float] = field(default_factory=dict)
    blocks: dict[str, dict[str, np.ndarray]] = field(default_factory=lambda: {name: {} for name in COLUMNS})

    @classmethod
    def made(cls, name: str, clips: int, offset: float, size: float) -> Corpus:
        """In some frames there is no face; what is there then is garbage."""
        random, made = np.random.default_rng(len(name)), cls()
        for number in range(clips):
            clip = f"{name}{number // 4}$_${number}"
            made.scores[clip] = float(random.uniform(-1, 1))
            for modality, columns in COLUMNS.items():
                frames = int(random.integers(3, FRAMES))
                noise = random.normal(scale=0.3, size=(frames, len(columns)))
                block = offset + size * (made.scores[clip] + noise)
                if modality == "visual":
                    block[:, 0] = random.random(frames) < 0.8
                    block[0, 0] = 1
                made.blocks[modality][clip] = block.astype(np.float32)
        return made


def make_set(
    folder: Path,
    name: str,
    splits: Mapping[str, tuple[Corpus, Sequence[str]]],
    span: tuple[float, float] = (-3.0, 3.0),
    classes: Sequence[str] = (),
    encoder: str = "made",
    **params: Any,
) -> Path:
    """An assembled set: split -> whose clips, and which.

    Labels are the scores on the span; with `classes` the index of one of as many equal parts.

    Parameters
    ----------
    params : of assemble
    """
    facts = ClipFacts(name, "en", span)
    if classes:
        facts = ClipFacts(name, "en", (-3.0, 3.0), "classification", tuple(classes))
    rows, blocks = [], {modality: {} for modality in COLUMNS}  # type: ignore[var-annotated]
    for split, (corpus, clips) in splits.items():
        for clip in clips:
            share = (corpus.scores[clip] + 1) / 2
            label = {"label": span[0] + share * (span[1] - span[0])}
            if classes:
                label = {"class_label": min(int(share * len(classes)), len(classes) - 1)}
            video = clip.partition("$_$")[0]
            rows.append(
                {
                    "clip_id": clip,
                    "video_id": video,
                    "split": split,
                    "language": "en",
                    "status": "ok",
                    **label,
                }
            )
            for modality in COLUMNS:
                blocks[modality][clip] = corpus.blocks[modality][clip]
    table = clip_table(rows).replace_schema_metadata({METADATA_KEY: facts.to_json()})
    said = pa.table({"clip_id": [row["clip_id"] for row in rows], "text": ["words"] * len(rows)})
    features = {
        modality: Features(
            {
                "modality": modality,
                "encoder": f"{modality}-{encoder}",
                "dim": len(columns),
                "dtype": "float32",
                "column_names": columns,
                "fingerprint": f"{encoder} {modality}",
                "frame_rate": None,
                "params": {"kind": encoder},
            },
            {clip: FeatureRow(clip, "0", "ok", "", block) for clip, block in blocks[modality].items()},
        )
        for modality, columns in COLUMNS.items()
    }
    chosen = AssembleParams.model_validate(
        {
            "dataset": name,
            "metrics": "cls" if classes else "sims" if span == (-1.0, 1.0) else "mmsa",
            **{modality: f"{name}/{modality}-made" for modality in COLUMNS},
            "max_steps": dict.fromkeys(COLUMNS, FRAMES),
            **params,
        }
    )
    assemble(table, said, features, chosen, folder / name, name)
    return folder / name


def train_on(here: Path, assembled: Path, seed: int = 1, epochs: int = 3) -> Path:
    """A run of early fusion."""
    from made.tiny_early_fusion import TINY

    out = here / "runs" / f"early_fusion-{assembled.name}" / str(seed)
    train(
        RunConfig(
            method_name="early_fusion",
            dataset=assembled.name,
            seed=seed,
            method_params={**TINY, "training": {"epochs": epochs, "lr_other": 0.01}},
            train_params=TrainParams(),
            assembled=assembled,
            pretrained=here / "pretrained",
            out=out,
        ),
        device="cpu",
        state_root=here / "state",
        logs=here / "logs",
    )
    return out
