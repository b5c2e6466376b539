"""Runs of every method on a small made set, hardly trained: `made_run(folder, method)`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from made.tiny_set import write_tiny_set

from pipeline.params.params import Params, TrainParams, check_params
from pipeline.params.run import RunConfig
from pipeline.training.loop.train import train

COUNTS = {"train": 24, "valid": 8, "test": 14, "unlabeled": 0}
OWN_LABELS = ([1.0, 1.0, -2.0, 0.0, -1.0, 2.0, 0.5], [1.0, 0.5, 1.0, 0.0, -1.0, -2.0, 1.5])  # text, audio


def made_set(folder: Path, classes: tuple[str, ...] = ()) -> Path:
    """The tiny set, whose test clips have labels of their text and of their sound, seven in turns."""
    assembled = write_tiny_set(folder, COUNTS, classes=classes)
    path = assembled / "test.parquet"
    table = pq.read_table(path)
    for name, values in zip(("label_text", "label_audio"), OWN_LABELS, strict=True):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pa.array(values * 2, pa.float32()))
    pq.write_table(table, path)
    return assembled


def made_run(
    here: Path, method: str, assembled: Path, classes: bool = False, epochs: int = 1, **settings: Any
) -> Path:
    """A run folder; a method's settings are those of its tiny model."""
    tiny = importlib.import_module(f"made.tiny_{method}")
    params = {**tiny.TINY, "training": {"epochs": epochs, "lr_other": 0.003}, **settings}
    if method == "khar":
        params["pretraining"] = {**tiny.PRETRAINING, "adapters": "scratch"}
        params["kappa"] = None if classes else 0.4
    out = here / f"{method}-run"
    train(
        RunConfig(
            method_name=method,
            dataset="tiny",
            seed=1,
            method_params=params,
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


def tiny_params() -> Params:
    """Of a project with the set `tiny` and one run of MISR."""
    none = dict.fromkeys(("text", "audio", "visual", "waveform"), "none")
    tree = {
        "datasets": {"tiny": {"root": "tiny"}},
        "datasets_run": ["tiny"],
        "assemble": {"tiny": {"dataset": "tiny", "metrics": "mmsa", **none}},
        "models": {"misr": {"corpora": {"tiny": {}}}},
        "models_run": ["misr"],
        "seeds": [1],
    }
    return check_params(tree, "test")
