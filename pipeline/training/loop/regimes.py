"""What clips look like while a method learns: complete, or with something taken away at each sight.

    dropout   each modality of each clip is missing with probability .3, never all three
    lnln      of each clip and modality a share of the steps is dropped: none with probability one half, else
              a share that is uniform in [0, 1)

Both are drawn anew in every epoch, from the run's seed, the epoch and the batch; `missing.py` says what
stands for what is missing. Validation, and what methods learn before the first step (pretraining, closed
forms), see complete clips.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from models.core.batch import Batch, Inputs
from models.core.method import Method
from pipeline.core.vocabulary import MODALITIES
from pipeline.datasets.splits import Split
from pipeline.training.loop.missing import (
    MODALITY,
    Blanks,
    Part,
    changed,
    emptied,
    parts_of,
    spared,
    with_values,
)

Regime = Literal["complete", "dropout", "lnln"]
DROPPED = 0.3  # probability that a modality is missing
WHOLE = 0.5  # probability that nothing of a modality is dropped


@dataclass(frozen=True)
class Incomplete:
    """A regime that takes something away, for one training.

    Attributes
    ----------
    seed : of the run
    """

    regime: Regime
    seed: int
    blanks: Blanks

    @classmethod
    def of(
        cls, regime: Regime, seed: int, method: Method, stats: Mapping[str, Any], train: Split
    ) -> Incomplete | None:
        """None of `complete`. MsaError: see `Blanks.of`."""
        if regime == "complete":
            return None
        return cls(regime, seed, Blanks.of(method, stats, train))

    def seen(self, batch: Batch, epoch: int, number: int) -> Batch:
        """The batch of this number in an epoch as the method sees it."""
        key = hashlib.sha256(f"{self.regime}|{self.seed}|{epoch}|{number}".encode()).digest()
        draws = np.random.Generator(np.random.Philox(key=int.from_bytes(key[:16], "big")))
        if self.regime == "lnln":
            return changed(batch, lambda inputs, _: self._without_steps(inputs, draws))
        gone = spared(draws.random((len(MODALITIES), len(batch.clip_ids))) / DROPPED)
        return changed(batch, lambda inputs, _: self._without_modalities(inputs, gone))

    def _without_modalities(self, inputs: Inputs, gone: np.ndarray) -> dict[str, Part]:
        """The streams with whole modalities missing, (M, B) bool."""
        found: dict[str, Part] = {}
        for name, part in parts_of(inputs).items():
            rows = torch.from_numpy(gone[MODALITIES.index(MODALITY.get(name, name))])
            found[name] = emptied(part, rows.to(part.mask.device), self.blanks.empty[name])
        return found

    def _without_steps(self, inputs: Inputs, draws: np.random.Generator) -> dict[str, Part]:
        """The streams with shares of their steps dropped."""
        found: dict[str, Part] = {}
        for name, part in parts_of(inputs).items():
            steps = self.blanks.touchable(name, part)
            whole, share = draws.random((2, len(steps), 1))
            hit = (draws.random(steps.shape) < share) & (whole >= WHOLE)
            hit_there = torch.from_numpy(hit).to(steps.device) & steps
            found[name] = with_values(part, hit_there, self.blanks.dropped[name])
        return found
