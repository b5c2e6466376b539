"""Where everything lies, relative to the project's folder."""

from __future__ import annotations

from pathlib import Path


def clip_table(dataset: str) -> Path:
    return Path("data/clips") / f"{dataset}.parquet"


def transcript_table(dataset: str) -> Path:
    return Path("data/transcripts") / f"{dataset}.parquet"


def feature_folder(dataset: str, modality: str, encoder: str) -> Path:
    return Path("data/features") / dataset / f"{modality}-{encoder}"


def assembled_folder(dataset: str) -> Path:
    return Path("data/assembled") / dataset


def pretrained_folder(method: str, dataset: str) -> Path:
    return Path("pretrained") / f"{method}-{dataset}"


def run_folder(method: str, dataset: str, seed: int) -> Path:
    return Path("runs") / f"{method}-{dataset}" / str(seed)


def results_folder(method: str, dataset: str, root: Path = Path("results")) -> Path:
    return root / dataset / method
