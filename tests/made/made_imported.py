"""An import made by hand: four clips, three modalities, padded behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.corpora.survey import Labelling
from pipeline.formats.source import Source
from pipeline.imports.contract import FeatureSequences, Imported
from pipeline.imports.convert import Conversion, check_rows, write
from pipeline.imports.survey import survey
from pipeline.params.params import ImportParams

SHARDS = 3
WIDTHS = {"text": 4, "audio": 3, "visual": 2}
LENGTHS = {"a$_$1": 3, "a$_$2": 5, "b$_$1": 1, "c$_$1": 4}
STEPS = 5


def values(modality: str, clip_id: str) -> np.ndarray:
    """(T, D) float64 without zeros, T as in LENGTHS."""
    rng = np.random.default_rng([len(modality), *clip_id.encode()])
    return rng.uniform(1, 2, (LENGTHS[clip_id], WIDTHS[modality]))


def padded(modality: str, clip_id: str) -> np.ndarray:
    block = np.zeros((STEPS, WIDTHS[modality]))
    block[: LENGTHS[clip_id]] = values(modality, clip_id)
    return block


def sequences(modality: str, blocks: dict[str, Any] | None = None, **more: Any) -> FeatureSequences:
    """Padded behind, as long as `blocks` say nothing else of a clip."""
    found = {clip_id: padded(modality, clip_id) for clip_id in LENGTHS} | (blocks or {})
    columns = [f"{modality}_{i}" for i in range(WIDTHS[modality])]
    return FeatureSequences(columns, found.get, [clip for clip in LENGTHS if found[clip] is not None], **more)


def rows(**changed: dict[str, Any]) -> list[dict[str, Any]]:
    splits = dict(zip(LENGTHS, ("train", "train", "valid", "test"), strict=True))
    return [
        {
            "clip_id": clip_id,
            "video_id": clip_id[0],
            "split": split,
            "label": 1.5,
            "text": f"said in {clip_id}",
            **changed.get(clip_id, {}),
        }
        for clip_id, split in splits.items()
    ]


def imported(found: list[dict[str, Any]] | None = None, **more: Any) -> Imported:
    modalities = more.pop("modalities", {name: sequences(name) for name in WIDTHS})
    return Imported(found or rows(), modalities, more.pop("labelling", Labelling()), **more)


def params_of(file: Path, **more: Any) -> ImportParams:
    return ImportParams.model_validate({"kind": "mmsa_pickle", "root": str(file), **more})


def written(found: Imported, file: Path, project: Path, **more: Any) -> Conversion:
    params, source = params_of(file, **more), Source(file)
    check_rows(found, "toy", params)
    looked = survey(found, str(source))
    return Conversion(looked, write("toy", params, source, found, looked, SHARDS, project))
