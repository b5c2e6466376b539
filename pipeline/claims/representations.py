"""What a trained method keeps apart: its shared and its private representations, as its view shows them.

A view (pipeline/evaluation/views) names the representations of a method, and which of them are meant to hold
what modalities have in common. Of a method without a view of its own it is the vector that its head reads.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass

import numpy as np

from pipeline.datasets.splits import Split
from pipeline.evaluation.views import fused
from pipeline.evaluation.views.view import View
from pipeline.training.runs import TrainedRun


@dataclass(frozen=True)
class Representations:
    """Of C clips.

    Attributes
    ----------
    shared : (C, D), all shared ones side by side; None = the method shows none
    private : modality -> (C, D); empty = it shows none
    """

    shared: np.ndarray | None
    private: dict[str, np.ndarray]

    @property
    def parts(self) -> list[np.ndarray]:
        """All of them."""
        return [*([] if self.shared is None else [self.shared]), *self.private.values()]


def representations(run: TrainedRun, split: Split) -> Representations:
    """Of a split's clips, in its order; every clip has every modality."""
    own = f"pipeline.evaluation.views.{run.config['method']}"
    module = importlib.import_module(own) if importlib.util.find_spec(own) is not None else fused
    view: View = module.view(run, {"train": split, "test": split})
    maps = list(view.maps.values())
    # the map that parts them; where there is none the first of each kind, as KHaR's x̂_m and z
    both = [parts for parts in maps if len({part.shared for part in parts}) == 2][:1]
    shared = [[part for part in parts if part.shared] for parts in both or maps]
    private = [[part for part in parts if not part.shared] for parts in both or maps]
    of_all = next((parts for parts in shared if parts), [])
    of_one = next((parts for parts in private if parts), [])
    return Representations(
        np.concatenate([part.values for part in of_all], axis=1) if of_all else None,
        {part.modality: part.values for part in of_one},
    )
