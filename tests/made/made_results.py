"""Results of runs that nobody trained, of scores and of classes, as the report reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.params.params import Params, check_params

SEEDS = (1, 2, 3)
METHODS = ("misr", "other")
DATASETS = ("sample", "mosi")
MAE = {"misr": (0.7, 0.8, 0.75), "other": (0.9, 0.95, 1.0)}


def chosen(dataset: str, metrics: str = "mmsa") -> dict[str, str]:
    none = dict.fromkeys(("text", "audio", "visual", "waveform"), "none")
    return {"dataset": dataset, "metrics": metrics, **none}


def make_params(**changes: Any) -> Params:
    tree: dict[str, Any] = {
        "datasets": {name: {"root": name} for name in DATASETS},
        "datasets_run": list(DATASETS),
        "assemble": {name: chosen(name) for name in DATASETS},
        "models": {name: {"corpora": {dataset: {} for dataset in DATASETS}} for name in METHODS},
        "models_run": list(METHODS),
        "seeds": list(SEEDS),
    }
    return check_params({**tree, **changes}, "test")


def write_result(
    here: Path,
    method: str,
    dataset: str,
    seed: int,
    predicted: tuple[pa.Array, pa.Array] | None = None,
    **changes: Any,
) -> None:
    """One run more, or anew, in a method's results.

    Parameters
    ----------
    predicted : labels and predictions; by default of 30 clips
    changes : of the run's entry
    """
    mae = MAE[method][SEEDS.index(seed)]
    result = {
        "format": 2,
        "method": method,
        "dataset": dataset,
        "seed": seed,
        "feature_set": "abcdef0123456789",
        "features": {"text": "minilm", "audio": "librosa33"},
        "epoch": 2,
        "task": "regression",
        "class_names": [],
        "metric_set": "mmsa",
        "n": {"valid": 4, "test": 30},
        "floor": {"test_mae": 1.25, "valid_mae": 1.5},
        "remarks": {"test": ["corr is 0: all predictions are 1"]} if seed == 3 else {},
        "test": {"acc7": 0.4 + seed / 100, "corr": 0.5, "mae": mae},
        "valid": {"acc7": 0.5, "corr": 0.6, "mae": mae + 0.1},
        **changes,
    }
    folder = here / "results" / dataset / method
    folder.mkdir(parents=True, exist_ok=True)
    entries = {run["seed"]: run for run in runs_of(folder)} | {seed: result}
    (folder / "metrics.json").write_text(json.dumps({"runs": [*entries.values()]}))
    if predicted is None:
        labels = np.random.default_rng(0).uniform(-3, 3, size=30).astype(np.float32)
        errors = np.random.default_rng([seed, len(method)]).normal(scale=mae, size=30)
        predicted = pa.array(labels), pa.array((labels + errors).astype(np.float32))
    save_predictions(folder / "predictions.parquet", seed, *predicted)
    term = "prior" if method == "misr" else "swap"
    rows = [f"{seed}\t{e}\t{2 / e}\t{1 / e}\t{1 + seed / 10 / e}\t0.001" for e in (1, 2, 3)]
    path = folder / "curves.tsv"
    lines = (
        path.read_text().splitlines() if path.exists() else [f"seed\tepoch\ttotal\t{term}\tvalid_loss\tlr"]
    )
    path.write_text("\n".join([*(line for line in lines if line not in rows), *rows]) + "\n")


def runs_of(folder: Path) -> list[dict[str, Any]]:
    path = folder / "metrics.json"
    runs: list[dict[str, Any]] = json.loads(path.read_text())["runs"] if path.exists() else []
    return runs


def save_predictions(path: Path, seed: int, labels: pa.Array, predictions: pa.Array) -> None:
    """Put a seed's predictions beside those of the others, whose labels are the same."""
    clips = len(labels)
    videos = [f"video{i // 2:02d}" for i in range(clips)]
    table = {"split": ["test"] * clips, "clip_id": [f"{video}$_${i:02d}" for i, video in enumerate(videos)]}
    table |= {"video_id": videos, "speaker": pa.array([None] * clips, pa.string())}
    others = {} if not path.exists() else pq.read_table(path).to_pydict()
    columns = {**table, "label": labels, **{k: v for k, v in others.items() if k.startswith("prediction_")}}
    pq.write_table(pa.table({**columns, f"prediction_{seed}": predictions}), path)


MOODS = ["anger", "joy", "no_mood | none"]

ACCURACY = {1: 0.5, 2: 0.6, 3: 0.7}


def write_moods(here: Path, method: str, seed: int, **changes: Any) -> None:
    """As evaluate writes it of a classification; the predictions are by hand, so that counts are known."""
    each = {f"f1_{name}": (number + 1) / 10 for number, name in enumerate(MOODS)}
    labels, found = [0, 0, 0, 1, 2, 2], [0, 0, 1, 1, 0, 2]
    scores = {"accuracy": ACCURACY[seed], "f1_macro": 0.4, "f1_weighted": 0.45, **each}
    write_result(
        here,
        method,
        "moods",
        seed,
        task="classification",
        class_names=MOODS,
        metric_set="cls",
        floor={
            "test_accuracy": 0.4,
            "test_f1_weighted": 0.25,
            "valid_accuracy": 0.35,
            "valid_f1_weighted": 0.2,
        },
        predicted=(pa.array(labels, pa.int32()), pa.array(found if seed == 1 else labels, pa.int32())),
        remarks={},
        test=dict(sorted(scores.items())),
        valid=dict(sorted(scores.items())) | {"accuracy": ACCURACY[seed] + 0.1},
        **changes,
    )


LABELS = np.random.default_rng(0).uniform(-3, 3, 60).astype(np.float32)


def views(classes: bool = False, transcript: str = "<b>Not & so</b> 'good'") -> dict[str, Any]:
    random = np.random.default_rng(1)
    points = random.normal(size=(24, 2)).round(3)
    return {
        "reading": "Look here: a < b.",
        "terms": {"prior": 0.4},
        "notes": ["nothing of <that>"],
        "panels": [
            {
                **{"kind": "bars", "title": "Risk", "unit": "MAE", "groups": ["text", "audio"]},
                "series": {"here": [0.5, None], "there": [0.25, 0.75]},
                "references": {"floor": 0.6},
            },
            {
                **{"kind": "histogram", "title": "ω", "unit": "ω", "edges": [0, 0.5, 1]},
                "series": {"text": [3, 1], "audio": [0, 4]},
            },
        ],
        "maps": [
            {
                "title": "z",
                "parts": [
                    {"name": "shared", "modality": "joint", "shared": True},
                    {"name": "private text", "modality": "text", "shared": False},
                ],
                **{"part": [0] * 12 + [1] * 12, "x": points[:, 0].tolist(), "y": points[:, 1].tolist()},
                "label": (random.integers(0, 3, 24) if classes else random.uniform(-3, 3, 24)).tolist(),
            }
        ],
        "worst": [
            {"clip_id": "video$_$1", "label": 2, "prediction": 0, "error": 2.5, "transcript": transcript},
            {"clip_id": "video$_$2", "label": 1, "prediction": 2, "error": 1.25, "transcript": ""},
        ],
    }


def write_one(here: Path, method: str, seed: int, noise: float) -> None:
    """A result on mosi whose predictions are off by `noise`, on the same clips for all."""
    random = np.random.default_rng([seed, int(noise * 100)])
    found = (LABELS + random.normal(scale=noise, size=60)).astype(np.float32)
    mae = float(np.abs(found - LABELS).mean())
    scores = {"acc7": 0.4 + seed / 100, "corr": float(np.corrcoef(found, LABELS)[0, 1]), "mae": mae}
    predicted = pa.array(LABELS), pa.array(found)
    write_result(here, method, "mosi", seed, predicted, test=scores, remarks={"test": ["a < b"]})


PAGE_SEEDS = [1, 2]


def page_params(**changes: Any) -> Params:
    """Two methods on a regression and a classification."""
    moods = {"root": "moods", "task": "classification", "classes": MOODS}
    names = ("mosi", "moods")
    tree: dict[str, Any] = {
        "datasets": {"mosi": {"root": "mosi"}, "moods": moods},
        "datasets_run": ["mosi", "moods"],
        "assemble": {name: chosen(name, "cls" if name == "moods" else "mmsa") for name in names},
        "models": {name: {"corpora": {dataset: {} for dataset in names}} for name in ("misr", "other")},
        "seeds": PAGE_SEEDS,
    }
    return make_params(**{**tree, **changes})
