"""One run explained: what carries its prediction of a clip, and which clips of its test set tell most.

*Telling* is a clip whose modalities move the prediction most, whether or not they agree: the sum of their
contributions without their signs. A clip whose words and face cancel each other out is as telling as one that
all push to the same side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.core import paths
from pipeline.core.errors import ClipError, MsaError, first_line
from pipeline.core.vocabulary import TEST, TRAIN
from pipeline.datasets.splits import Split
from pipeline.datasets.training_set import TrainingSet
from pipeline.evaluation.evaluate import stats_of_run
from pipeline.evaluation.shapley import baseline_of, shapley
from pipeline.explain.evidence import How, ReadClip, evidence
from pipeline.explain.faithfulness import Faithfulness, faithfulness
from pipeline.explain.neighbours import Neighbour, Neighbourhood
from pipeline.explain.places import Place, places_of
from pipeline.predict.clip_curves import ClipCurves, curves_of
from pipeline.predict.inputs import batch_of
from pipeline.predict.marks import Marks
from pipeline.predict.predict import Predictor
from pipeline.predict.prediction import ClipFeatures, ClipPrediction
from pipeline.predict.timeline import STRIP
from pipeline.predict.words_panel import SPAN
from pipeline.training.loop.scoring import whole
from pipeline.training.runs import TrainedRun

MOST_TELLING = 20  # clips of a page


@dataclass(frozen=True)
class Explanation:
    """One clip.

    Attributes
    ----------
    prediction : of the one run, with its contributions
    places, evidence : by modality; evidence (n,) in the unit of the contributions
    faithful : None where there is nothing to remove
    neighbours : most alike first; empty where `no_neighbours` says why
    label : a score, or the index of the class; None where it is not known
    """

    prediction: ClipPrediction
    how: How
    places: dict[str, list[Place]]
    evidence: dict[str, np.ndarray]
    faithful: Faithfulness | None
    neighbours: list[Neighbour]
    no_neighbours: str
    curves: ClipCurves
    label: float | None = None

    @property
    def marks(self) -> Marks:
        """The evidence, for pictures and words."""
        found: dict[str, list[tuple[float, float, float]]] = {"audio": [], "visual": []}
        words = []
        for modality, places in self.places.items():
            for place, value in zip(places, self.evidence[modality].tolist(), strict=True):
                if modality == "text" and place.chars is not None:
                    words.append((*place.chars, value))
                elif modality != "text" and place.seconds is not None:
                    found[modality].append((*place.seconds, value))
        return Marks(words, found["visual"], found["audio"])

    def strongest(self, number: int | None = None) -> list[tuple[str, Place, float]]:
        """Modality, place and evidence of the places that count most, without their sign."""
        rows = [
            (modality, place, value)
            for modality, places in self.places.items()
            for place, value in zip(places, self.evidence[modality].tolist(), strict=True)
        ]
        return sorted(rows, key=lambda row: -abs(row[2]))[:number]


@dataclass
class Explainer:
    """One run with what explaining needs; `predictor` holds this run alone."""

    predictor: Predictor
    how: How

    @property
    def run(self) -> TrainedRun:
        return self.predictor.runs[0]

    @cached_property
    def splits(self) -> dict[str, Split]:
        """Train and test of the run's set; MsaError where it is not there, or not the run's."""
        folder = paths.assembled_folder(self.run.config["dataset"])
        stats_of_run(folder, self.run.folder, self.run.config)
        return TrainingSet.load(folder, self.run.reading, self.run.device, only=(TRAIN, TEST)).splits

    @cached_property
    def _neighbourhood(self) -> tuple[Neighbourhood | None, str]:
        """And why there is none."""
        try:
            folder = paths.assembled_folder(self.run.config["dataset"])
            found = Neighbourhood.of(self.run, self.splits, folder)
        except MsaError as error:
            return None, first_line(error)
        return found, "" if found else f"{self.run.config['method']} reads no features of a clip"

    def explain(
        self, features: ClipFeatures, before: Sequence[ClipFeatures] | None = None, label: float | None = None
    ) -> Explanation:
        """A clip explained; ClipError where the run gives nothing of it."""
        prediction = self.predictor.predict(features, before)
        if not prediction.ok:
            raise ClipError(f"{features.clip_id}: nothing could be predicted: {prediction.reason}")
        run = self.run
        inputs = self.predictor.inputs(run, features, before)
        batch = batch_of(run, inputs)
        places = {
            modality: found
            for modality, found in places_of(run, features, inputs).items()
            if modality in run.method.dims
        }
        clip = ReadClip(run.method, batch, baseline_of(run), prediction.class_index or 0, places)
        found = evidence(clip, self.how)
        neighbourhood, reason = self._neighbourhood
        return Explanation(
            prediction,
            self.how,
            places,
            found,
            faithfulness(clip, found),
            neighbourhood.nearest(run.method, batch) if neighbourhood else [],
            reason,
            curves_of(features, [run], SPAN / STRIP),
            label,
        )


@dataclass(frozen=True)
class Contributions:
    """Contributions of all test clips of a run: C clips, K numbers a clip.

    Attributes
    ----------
    values : modality -> (C,) of the score, or of the probability of each clip's predicted class; NaN where
    the
        clip has not the modality
    prediction : (C, K)
    """

    clip_ids: list[str]
    values: dict[str, np.ndarray]
    prediction: np.ndarray
    baseline: np.ndarray

    @classmethod
    def of(cls, run: TrainedRun, split: Split) -> Contributions:
        """Of a split, batch by batch."""
        base = baseline_of(run)
        clip_ids: list[str] = []
        parts: dict[str, list[np.ndarray]] = {name: [] for name in run.method.dims}
        predictions = []
        for batch in whole(split):
            found = shapley(run.method, batch, base)
            rows, chosen = np.arange(len(batch.clip_ids)), np.zeros(len(batch.clip_ids), np.int64)
            if run.task.classes:
                chosen = found.prediction.argmax(axis=1)
            for name, values in found.values.items():
                parts[name].append(values[rows, chosen])
            predictions.append(found.prediction)
            clip_ids += batch.clip_ids
        joined = {name: np.concatenate(values) for name, values in parts.items()}
        return cls(clip_ids, joined, np.concatenate(predictions), base)

    @property
    def telling(self) -> np.ndarray:
        """(C,) sum of the contributions without their signs."""
        sizes = [np.nan_to_num(np.abs(values)) for values in self.values.values()]
        return np.sum(sizes, axis=0) if sizes else np.zeros(len(self.clip_ids))

    def most_telling(self, number: int) -> list[str]:
        """Ids of the clips that tell most, these first."""
        return [self.clip_ids[i] for i in np.argsort(-self.telling, kind="stable")[:number]]

    def means(self) -> dict[str, tuple[float, float, int]]:
        """Modality -> mean contribution, mean size (without signs), and over how many clips that have it."""
        found = {}
        for name, values in self.values.items():
            own = values[np.isfinite(values)]
            if len(own):
                found[name] = float(own.mean()), float(np.abs(own).mean()), len(own)
        return found
