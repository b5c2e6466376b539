"""Runs on the folds of a cross-validation as one: the test clips of all folds together.

A fold tests on few speakers, too few for statistics (clusters.py wants 20); all folds together test on every
speaker once. Runs of one seed are pooled: predictions side by side, metrics again from all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from pipeline.core.errors import MsaError
from pipeline.core.vocabulary import TEST
from pipeline.evaluation.metrics import MetricSums
from pipeline.evaluation.predictions import Predictions
from pipeline.evaluation.saved import Calibration, SavedRun


def pooled(folds: Mapping[str, Sequence[SavedRun]], name: str) -> list[SavedRun]:
    """A method's runs on all folds, pooled: a run a seed, of the test metrics and predictions alone.

    Parameters
    ----------
    folds : training set -> its runs, of the same seeds
    name : what the whole is called in place of a training set

    Raises
    ------
    MsaError : folds have other seeds, metrics or classes, or share test clips
    """
    by_seed = [{run.result.seed: run for run in runs} for runs in folds.values()]
    seeds = [sorted(found) for found in by_seed]
    if any(found != seeds[0] for found in seeds):
        listed = ", ".join(f"{fold}: {found}" for fold, found in zip(folds, seeds, strict=True))
        raise MsaError(f"folds of other seeds cannot be pooled ({listed}); train the missing ones")
    return [_of_seed([found[seed] for found in by_seed], name) for seed in seeds[0]]


def _of_seed(runs: Sequence[SavedRun], name: str) -> SavedRun:
    first = runs[0].result
    for run in runs:
        mine, its = ((one.metric_set, one.class_names) for one in (run.result, first))
        if mine != its:
            raise MsaError(
                f"{run.name} and {runs[0].name} have other metrics or classes; pool like with like"
            )
        if TEST not in run.predictions:
            raise MsaError(f"{run.name} has no saved predictions; evaluate it again")
    parts = [run.predictions[TEST] for run in runs]
    clips = np.concatenate([part.clip_ids for part in parts])
    order = np.argsort(clips)
    if len(set(clips)) < len(clips):
        raise MsaError(
            f"{len(clips) - len(set(clips))} clips are tested in several of the folds; pool disjoint ones"
        )
    videos, speakers = ([one for part in parts for one in getattr(part, of)] for of in ("videos", "speakers"))
    label, prediction = (
        np.concatenate([getattr(part, of) for part in parts])[order] for of in ("label", "prediction")
    )
    labelled = set.intersection(*(set(part.modality_labels) for part in parts))
    own = {m: np.concatenate([part.modality_labels[m] for part in parts])[order] for m in sorted(labelled)}
    chances = [part.probability for part in parts if part.probability is not None]
    whole = Predictions(
        tuple(clips[order].tolist()),
        tuple(videos[place] for place in order),
        tuple(speakers[place] for place in order),
        label,
        prediction,
        own,
        np.concatenate(chances)[order] if len(chances) == len(parts) else None,
    )
    sums = MetricSums(first.metric_set, prediction[None], label, first.class_names)
    scores = dict(zip(sums.names, sums.scores(sums.terms.sum(axis=0))[0].tolist(), strict=True))
    result = first.model_copy(
        update={
            "dataset": name,
            "test": scores,
            "n": {TEST: len(clips)},
            "feature_set": "+".join(run.result.feature_set for run in runs),
            "valid": {},
            "epoch": None,
            "floor": {},
            "remarks": {},
            "calibration": Calibration(),
        }
    )
    return replace(runs[0], result=result, predictions={TEST: whole}, curves=[])
