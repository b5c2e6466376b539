"""Where everything lies, relative to the project's folder."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

PROGRESS = "progress.json"  # beside the state of a training: which run it is, and its epochs done


def clip_table(dataset: str) -> Path:
    return Path("data/clips") / f"{dataset}.parquet"


def transcript_table(dataset: str) -> Path:
    return Path("data/transcripts") / f"{dataset}.parquet"


def feature_folder(dataset: str, modality: str, encoder: str) -> Path:
    return Path("data/features") / dataset / f"{modality}-{encoder}"


def assembled_folder(dataset: str) -> Path:
    return Path("data/assembled") / dataset


def runs_folder(method: str, dataset: str) -> Path:
    """All runs of a method on a training set."""
    return Path("runs") / f"{method}-{dataset}"


def run_folder(method: str, dataset: str, seed: int) -> Path:
    return runs_folder(method, dataset) / str(seed)


def pretrained_folder(method: str, dataset: str) -> Path:
    """What all these runs start from, of a method that pretrains."""
    return runs_folder(method, dataset) / "pretrained"


class ResultFiles(NamedTuple):
    """What is committed of one run: metrics (JSON), test predictions (Parquet), learning curves (TSV)."""

    metrics: Path
    predictions: Path
    curves: Path


def result_files(method: str, dataset: str, seed: int, root: Path = Path("results")) -> ResultFiles:
    stem = root / dataset / f"{method}-{seed}"
    return ResultFiles(Path(f"{stem}.json"), Path(f"{stem}.predictions.parquet"), Path(f"{stem}.curves.tsv"))
