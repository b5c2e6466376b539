"""Trainings of the tiny method, and what they wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.params.params import TrainParams
from pipeline.params.run import RunConfig
from pipeline.training.loop.train import train


def run(assembled: Path, here: Path, params: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    seed = settings.pop("seed", 7)
    train_params = settings.pop("train_params", TrainParams())
    return train(
        RunConfig(
            method_name="tiny",
            dataset="tiny",
            seed=seed,
            method_params=params or {},
            train_params=train_params,
            assembled=assembled,
            pretrained=here / "pretrained",
            out=here / "runs" / f"tiny-tiny-{seed}",
        ),
        **{"device": "cpu", "state_root": here / "state", "logs": here / "logs", **settings},
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}
