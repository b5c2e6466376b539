"""Where everything lies, relative to the project's folder."""

from __future__ import annotations

from pathlib import Path

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


def results_folder(method: str, dataset: str, root: Path = Path("results")) -> Path:
    return root / dataset / method


def robust_rows(method: str, dataset: str, root: Path = Path("robust")) -> Path:
    """Predictions of a method's runs under corruptions."""
    return root / dataset / f"{method}.parquet"
