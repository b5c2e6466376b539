"""Whether evidence is faithful: a prediction must move more when its places go than when random ones do.

*Deletion* removes the places of all modalities, those that support the prediction most first; *insertion*
begins without any and puts them back in that order (Petsiuk et al., 2018). A curve is what the prediction has
in the direction in which it stands from the run's mean prediction (up, down; of classes the probability of
the predicted one), over the share of the places. The score is the area between a curve and the mean of RANDOM
random orders: > 0 is better than chance. Both begin and end at the same points, so that the area is one of
order alone.

That it is > 0 says that the evidence is of this model. It says nothing of whether the model is right.

Shapes: n places, P + 1 points of a curve.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.explain.evidence import ReadClip

POINTS = 10  # of a curve after its first; fewer where there are fewer places
RANDOM = 10  # orders
SEED = 0


@dataclass(frozen=True)
class Faithfulness:
    """Curves of one clip, in label units or probability, each beginning at its own side; see the module's
    text.

    Attributes
    ----------
    shares : (P + 1,) of the places that are removed, or put back
    deletion, insertion : (P + 1,)
    random_deletion, random_insertion : (P + 1,) means over the random orders
    """

    shares: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray
    random_deletion: np.ndarray
    random_insertion: np.ndarray

    @property
    def deletion_area(self) -> float:
        """How far below random deletion, on average over the shares."""
        return float(np.trapezoid(self.random_deletion - self.deletion, self.shares))

    @property
    def insertion_area(self) -> float:
        """How far above random insertion, on average over the shares."""
        return float(np.trapezoid(self.insertion - self.random_insertion, self.shares))


def faithfulness(clip: ReadClip, evidence: Mapping[str, np.ndarray]) -> Faithfulness | None:
    """The curves of a clip with this evidence, (n,) of each modality; None where there are not two places."""
    names = list(evidence)
    values = np.concatenate([np.zeros(0), *evidence.values()])
    count = len(values)
    if count < 2:
        return None
    whole = clip.worth({name: np.zeros((1, len(evidence[name])), np.bool_) for name in names})[0]
    direction = 1.0
    if not clip.method.task.classes and whole < clip.baseline[clip.column]:
        direction = -1.0
    drawn = np.random.default_rng(SEED)
    orders = [
        np.argsort(-direction * values, kind="stable"),
        *(drawn.permutation(count) for _ in range(RANDOM)),
    ]
    taken = np.unique(np.linspace(0, count, 1 + min(POINTS, count)).round().astype(int))
    gone = np.zeros((2, len(orders), len(taken), count), np.bool_)  # deletion, insertion
    for place, order in enumerate(orders):
        for point, number in enumerate(taken):
            gone[0, place, point, order[:number]] = True
            gone[1, place, point, order[number:]] = True
    flat = gone.reshape(-1, count)
    edges = np.cumsum([0, *(len(evidence[name]) for name in names)])
    parts = {name: flat[:, a:b] for name, a, b in zip(names, edges, edges[1:], strict=False)}
    curves = direction * clip.worth(parts).reshape(gone.shape[:3])
    return Faithfulness(
        taken / count, curves[0, 0], curves[1, 0], curves[0, 1:].mean(axis=0), curves[1, 1:].mean(axis=0)
    )
