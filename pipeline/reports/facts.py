"""What report.md and the page say alike of a dataset's runs."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.core.vocabulary import TEST, TEST_OOD, VALID
from pipeline.evaluation.clusters import clusters_of
from pipeline.evaluation.saved import SavedRun
from pipeline.params.params import COMPLETE

SAMPLE = "sample"  # the corpus that ships with the project
MEANINGLESS = "These numbers mean nothing"  # those of the sample corpus
WHY_MEANINGLESS = "the sample corpus is a handful of synthetic clips that only show that everything runs"


def facts(runs: Sequence[SavedRun], quote: str = "") -> str:
    """Features, clips and metric set of a dataset's runs; features of all of them where methods differ."""
    encoders: dict[str, dict[str, None]] = {}
    for run in runs:
        for modality, encoder in sorted(run.result.features.items()):
            encoders.setdefault(modality, {})[f"{quote}{encoder}{quote}"] = None
    features = ", ".join(f"{modality} {' or '.join(found)}" for modality, found in encoders.items())
    result = runs[0].result
    trained = [run for run in runs if not run.result.imported]
    sets = ", ".join(dict.fromkeys(f"{quote}{run.result.feature_set[:12]}{quote}" for run in trained))
    clips = ", ".join(
        f"{result.n[split]} {split}{_clusters(runs[0], split)}"
        for split in (VALID, TEST, TEST_OOD)
        if split in result.n
    )
    regime = "" if result.regime == COMPLETE else f" Trained under the regime {quote}{result.regime}{quote}."
    said = f"Features: {features} (feature set {sets}). Clips: {clips}. Metric set: {result.metric_set}."
    return said + regime


def _clusters(run: SavedRun, split: str) -> str:
    """` (31 videos)`: what statistics take of a test split as independent; "" of another."""
    if split not in run.predictions:
        return ""
    predictions = run.predictions[split]
    counted = clusters_of(predictions.speakers, predictions.videos).counted
    return f" ({counted.text}{', too few to test differences on' if counted.warning else ''})"


def remarks(runs: Sequence[SavedRun]) -> list[str]:
    """What evaluate remarked of each run, and what was not trained here."""
    imported = {run.result.method: run.result.imported["file"] for run in runs if run.result.imported}
    return [
        f"{method}: predictions of another system, imported from {file}; how it was trained and chosen is "
        "unknown here"
        for method, file in imported.items()
    ] + [
        f"{run.result.method}, seed {run.result.seed}, {split}: {line}"
        for run in runs
        for split, lines in run.result.remarks.items()
        for line in lines
    ]


def constant(runs: Sequence[SavedRun]) -> str:
    """The predictor that knows only the training labels."""
    return "train majority" if runs[0].result.class_names else "train median"
