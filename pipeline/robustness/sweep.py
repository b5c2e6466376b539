"""A trained run's predictions for its test clips under corruptions, and what its method weighs then.

Every batch is read once and goes through all conditions; what is drawn for a clip is kept from rate to rate.
A condition that hits nothing that the method reads is not computed: its predictions are the clean ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from models.core.batch import Batch
from models.core.method import Method
from pipeline.core.errors import FormatError, MsaError
from pipeline.core.vocabulary import TEST, TRAIN
from pipeline.datasets.splits import Split, ordered_batches
from pipeline.datasets.training_set import TrainingSet
from pipeline.evaluation.evaluate import stats_of_run
from pipeline.robustness.conditions import PIECE, UNTOUCHED, Condition
from pipeline.robustness.corruptions import Draws, Missing, Spoiler, TextUnit, loudness, train_spread
from pipeline.robustness.words import numbered_split, word_numbers
from pipeline.training.loop.device import reproducible
from pipeline.training.loop.missing import MODALITY, Blanks, parts_of
from pipeline.training.loop.scoring import EVALUATION_BATCH
from pipeline.training.runs import TrainedRun, open_runs, read_config

WEIGHED = 64  # clips, taken evenly, over which what a method weighs is a mean

Internals = dict[str, dict[str, float]]  # name -> modality -> share, see `Method.internals`


@dataclass
class Sweep:
    """What came of a run under conditions.

    Attributes
    ----------
    clip_ids, label : of the test split, (clips,)
    predictions : (clips,) float64 by condition, scores or indices of classes
    flat : conditions that hit nothing that the method reads
    silent : test clips without a sound, which noise leaves alone
    floored : clips of which nothing is left, by condition; their prediction is the constant of the labels
    internals : what the method weighs, by condition
    """

    clip_ids: list[str]
    label: np.ndarray
    predictions: dict[Condition, np.ndarray] = field(default_factory=dict)
    flat: set[Condition] = field(default_factory=set)
    silent: int = 0
    floored: dict[Condition, int] = field(default_factory=dict)
    internals: dict[Condition, Internals] = field(default_factory=dict)

    def add(self, predictions: Mapping[Condition, np.ndarray], asked: Sequence[Condition]) -> None:
        """Predictions under asked conditions, made elsewhere; where there are none, nothing is hit."""
        for condition in asked:
            if condition not in predictions:
                self.flat.add(condition)
            self.predictions[condition] = predictions.get(condition, self.predictions[UNTOUCHED])

    def rows(self, seed: int) -> pa.Table:
        """A row a condition and clip; `seed` is the run's."""
        clips, number = len(self.clip_ids), len(self.predictions)

        def repeated(values: Iterable[Any], kind: pa.DataType) -> pa.Array:
            return pa.array(np.repeat(np.array([*values]), clips), kind)

        found = [*self.predictions]
        return pa.table(
            {
                "seed": pa.array(np.full(clips * number, seed), pa.int64()),
                "kind": repeated((one.kind for one in found), pa.string()),
                "case": repeated((one.case for one in found), pa.string()),
                "level": repeated((one.level for one in found), pa.float64()),
                "draw": repeated((one.draw for one in found), pa.int32()),
                "flat": repeated((one in self.flat for one in found), pa.bool_()),
                "clip_id": pa.array(self.clip_ids * number, pa.string()),
                "label": pa.array(np.tile(self.label, number), pa.float32()),
                "prediction": pa.array(np.concatenate([*self.predictions.values()]), pa.float32()),
            }
        )


def sweep(
    run: Path,
    conditions: Sequence[Condition],
    assembled: Path,
    device: str = "auto",
    *,
    missing: Missing = "blank",
    constant: float = 0.0,
    weigh: Sequence[Condition] = (),
    text_unit: TextUnit = PIECE,
    text_features: Path | None = None,
) -> Sweep:
    """The run under each condition, and clean.

    Parameters
    ----------
    assembled : set with the features that the run was trained on
    missing : what stands for a missing modality
    constant : prediction for a clip of which nothing is left that the method reads
    weigh : conditions under which it is asked what the method weighs
    text_unit : what of a text is hit at once: a `piece`, a step, or a whole `word`
    text_features : folder of the text features that the set is made of, which tell words of frozen states

    Raises
    ------
    FormatError : the run or the set cannot be read, or the set has no test clips
    MsaError : the set has other features or labels than the run was trained on, or a prediction is not finite
    """
    config = read_config(run)
    stats = stats_of_run(assembled, run, config)
    opened = open_runs([run], device)[0]
    with reproducible(config["seed"], opened.device), torch.no_grad():
        splits = TrainingSet.load(assembled, opened.reading, opened.device, only=(TRAIN, TEST)).splits
        test = splits[TEST]
        if len(test) == 0:
            raise FormatError(f"{assembled}: no clips in test; evaluation needs some")
        method, train = opened.method.eval(), splits[TRAIN]
        blanks = Blanks.of(method, stats, train)
        noisy = any(one.kind in ("gaussian", "laplace") for one in conditions)
        std = train_spread(train.streams, method.backbone, blanks.special) if noisy else {}
        numbered = None
        if text_unit != PIECE and "text" in method.dims:
            numbered = numbered_split(assembled, opened.reading, text_features)
        swept = _Swept(opened, test, Spoiler(blanks, std, missing), constant, numbered)
        found = swept.all_of([UNTOUCHED, *conditions])
        found.internals = {one: swept.weighed(one) for one in weigh}
    bad = [one for one, values in found.predictions.items() if not np.isfinite(values).all()]
    if bad:
        raise MsaError(f"{run}: predictions of test are not finite ({bad[0]}); train again with a lower rate")
    return found


class _Swept:
    """One run and one test split."""

    def __init__(
        self, run: TrainedRun, test: Split, spoiler: Spoiler, constant: float, numbered: Split | None
    ):
        self.run, self.test, self.spoiler, self.constant = run, test, spoiler, constant
        self.numbered = numbered
        self.method: Method = run.method
        self.place = run.config["dataset"], TEST

    def all_of(self, conditions: Sequence[Condition]) -> Sweep:
        """Predictions under all of these; the first is clean."""
        test, clips = self.test, len(self.test)
        found = Sweep(test.clip_ids, test.label.cpu().double().numpy())
        found.flat = {one for one in conditions[1:] if not set(one.hits) & set(self.method.dims)}
        found.predictions = {one: np.empty(clips) for one in conditions}
        by_draw = sorted((one for one in conditions if one not in found.flat), key=lambda one: one.draw)
        for rows in ordered_batches(test.lengths, EVALUATION_BATCH):
            batch = test.batch(rows)
            if batch.waveform is not None:
                heard = batch.waveform.present
                found.silent += int(
                    ((loudness(batch.waveform.values, batch.waveform.mask) == 0) & heard).sum()
                )
            clean = self.predicted(batch)
            words = {} if self.numbered is None else word_numbers(self.numbered, rows)
            for seed, of_draw in groupby(by_draw, key=lambda one: one.draw):
                draws = Draws(*self.place, batch.clip_ids, seed, words)
                for condition in of_draw:
                    values, nothing = clean, 0
                    if condition is not UNTOUCHED:
                        values, nothing = self.spoilt(batch, rows, condition, draws)
                    found.predictions[condition][rows.numpy()] = values
                    if nothing:
                        found.floored[condition] = found.floored.get(condition, 0) + nothing
        for condition in found.flat:
            found.predictions[condition] = found.predictions[UNTOUCHED]
        return found

    def spoilt(
        self, batch: Batch, rows: Tensor, condition: Condition, draws: Draws
    ) -> tuple[np.ndarray, int]:
        """Predictions under a condition, and how many are the constant, as nothing is left of their clips."""
        spoilt = self.spoiler.corrupted(batch, condition, draws)
        with self.spoiler.noisy_words(self.method.backbone, batch, condition, draws):
            left = self.left(spoilt)
            if left.all():
                return self.predicted(spoilt), 0
            values = np.full(len(rows), self.constant)
            kept = np.flatnonzero(left)
            if len(kept):
                smaller = self.test.batch(rows[torch.from_numpy(kept)])
                again = replace(draws, clip_ids=smaller.clip_ids, _kept={})
                values[kept] = self.predicted(self.spoiler.corrupted(smaller, condition, again))
            return values, len(rows) - len(kept)

    def left(self, batch: Batch) -> np.ndarray:
        """(B,) bool, the clips of which the method has something to read."""
        if self.method.SCORES_ABSENT:
            return np.ones(len(batch.clip_ids), bool)
        read = [
            part.mask & part.present[:, None]
            for name, part in parts_of(batch).items()
            if MODALITY.get(name, name) in self.method.dims
        ]
        return torch.stack([mask.any(dim=1) for mask in read]).any(dim=0).cpu().numpy()

    def predicted(self, batch: Batch) -> np.ndarray:
        """(B,) scores, or indices of classes."""
        prediction = self.method(batch).prediction.float()
        if self.run.task.classes:
            prediction = self.run.task.decide(prediction)
        return prediction.cpu().double().numpy()

    def weighed(self, condition: Condition) -> Internals:
        """What the method weighs under a condition: means over some test clips; empty where it tells nothing.

        A clip of which nothing is left does not count, nor does one for which the method gives no share.
        """
        number = min(WEIGHED, len(self.test))
        sums: dict[str, dict[str, list[float]]] = {}
        for row in np.unique(np.linspace(0, len(self.test) - 1, number).round().astype(int)):
            batch = self.test.batch(torch.tensor([row]))
            draws = Draws(*self.place, batch.clip_ids, condition.draw)
            batch = self.spoiler.corrupted(batch, condition, draws)
            if not self.left(batch).all():
                continue
            shares = self.method.internals(batch, self.method(batch))
            if not shares:
                return {}
            for name, by_modality in shares.items():
                for modality, share in by_modality.items():
                    sums.setdefault(name, {}).setdefault(modality, []).append(share)
        return {
            name: {m: float(np.mean(values)) for m, values in by_modality.items()}
            for name, by_modality in sums.items()
        }
