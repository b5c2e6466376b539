"""A run looked into: what its method shows of itself, maps of its representations, its worst test clips.

`views.json` of a method's results has these of each seed, small and rounded, so that a page can be made in a
clone without data:

    reading  what to look for in the panels
    terms    loss term -> its weight
    panels   figures of numbers: kind `bars` or `histogram`, see views/view.py
    maps     t-SNE of the test split's representations: `parts` (name, modality, shared), and a point a
             present clip and part: `part` (index), `label`, `x`, `y` in [-1, 1], which have no unit
    worst    the test clips with the largest errors: clip_id, label, prediction, error; where params.yaml lets
             their corpus, transcript
    notes    what is not shown, and why

t-SNE sees the representations as they are, with a fixed seed, started from their principal components; its
points are the same on one machine, and may differ on another, whose last bits differ.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from models.core.method import Task
from pipeline.core.files import rounded
from pipeline.datasets.splits import Split
from pipeline.evaluation.views import fused
from pipeline.evaluation.views.view import Bars, Part, View
from pipeline.training.loop.device import reproducible
from pipeline.training.runs import TrainedRun

POINTS = 1500  # of a map; of a larger split clips are taken evenly
FEWEST = 5  # points that can be laid out
PERPLEXITY = 30
SEED = 0
WORST = 10  # clips
LONGEST = 300  # characters of a transcript
DECIMALS = 6
PLACES = 3  # decimals of a point


def inspect(
    run: TrainedRun, splits: dict[str, Split], predictions: np.ndarray, texts: Path | None = None
) -> dict[str, Any]:
    """The views of a run.

    Parameters
    ----------
    splits : train and test
    predictions : of the run for the test split, in its order
    texts : assembled set whose transcripts may be shown; None = none are
    """
    name = run.config["method"]
    with reproducible(SEED, run.device):
        own = f"pipeline.evaluation.views.{name}"
        module = importlib.import_module(own) if importlib.util.find_spec(own) is not None else fused
        shown: View = module.view(run, splits)
    worst = _worst(run.task, splits["test"], predictions)
    if texts is not None:
        _add_transcripts(worst, texts)
    maps = {title: _map(parts, splits["test"]) for title, parts in shown.maps.items()}
    views = {
        "reading": shown.reading,
        "terms": {term: getattr(run.method.config.weights, term) for term in run.method.TERMS},
        "panels": [
            {"kind": "bars" if isinstance(panel, Bars) else "histogram", **asdict(panel)}
            for panel in shown.panels
        ],
        "maps": [{"title": title, **found} for title, found in maps.items() if found],
        "worst": worst,
        "notes": [
            *shown.notes,
            *(f"{title}: fewer than {FEWEST} points" for title, found in maps.items() if not found),
        ],
    }
    found: dict[str, Any] = rounded(views, DECIMALS)
    return found


# ----------------------------------------------------------------------------------------------------- maps
def _map(parts: list[Part], split: Split) -> dict[str, Any]:
    """Points of all parts in one plane; empty where there are too few."""
    clips = max(1, POINTS // len(parts))
    chosen = np.unique(np.linspace(0, len(split) - 1, clips).round().astype(int))
    rows = [chosen[part.present[chosen]] for part in parts]
    if sum(map(len, rows)) < FEWEST:
        return {}
    values = np.concatenate([part.values[found] for part, found in zip(parts, rows, strict=True)])
    places = lay_out(values)
    labels = split.label.cpu().double().numpy()[np.concatenate(rows)]
    return {
        "parts": [{"name": p.name, "modality": p.modality, "shared": p.shared} for p in parts],
        "part": np.repeat(np.arange(len(parts)), [len(found) for found in rows]).tolist(),
        "label": labels.tolist(),
        "x": places[:, 0].round(PLACES).tolist(),
        "y": places[:, 1].round(PLACES).tolist(),
    }


def lay_out(values: np.ndarray) -> np.ndarray:
    """t-SNE of (points, D), at least `FEWEST` -> (points, 2), centred, the farthest point at distance 1."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if np.ptp(values, axis=0).max() == 0:  # all the same: there is nothing to lay out
        return np.zeros((len(values), 2))
    perplexity = min(PERPLEXITY, (len(values) - 1) / 3)
    start: Any = "pca" if values.shape[1] > 1 else "random"
    with threadpool_limits(limits=1):  # sums of several threads differ in their last bits, and grow apart
        model = TSNE(perplexity=perplexity, init=start, random_state=SEED)
        places = model.fit_transform(values.astype(np.float32)).astype(np.float64)
    places -= places.mean(axis=0)
    return places / np.linalg.norm(places, axis=1).max()


# ----------------------------------------------------------------------------------------------- worst clips
def _worst(task: Task, split: Split, predictions: np.ndarray) -> list[dict[str, Any]]:
    """The clips with the largest errors, largest first: of a regression |prediction - label| in its unit, of
    a classification the cross-entropy in nats.
    """
    predicted, label = torch.from_numpy(predictions), split.label.cpu()
    decided = task.decide(predicted) if task.classes else predicted
    found = {"label": label, "prediction": decided, "error": task.errors(predicted, label)}
    order = np.argsort(-found["error"].numpy(), kind="stable")[:WORST]
    return [
        {"clip_id": split.clip_ids[row], **{name: float(values[row]) for name, values in found.items()}}
        for row in order
    ]


def _add_transcripts(worst: list[dict[str, Any]], assembled: Path) -> None:
    table = pq.read_table(assembled / "test.parquet", columns=["clip_id", "transcript"])
    said = dict(zip(table["clip_id"].to_pylist(), table["transcript"].to_pylist(), strict=True))
    for clip in worst:
        text = said[clip["clip_id"]] or ""
        clip["transcript"] = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
