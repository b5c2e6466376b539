"""What the labels of a corpus are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Labelling:
    """What the labels of a corpus or of feature files are.

    Attributes
    ----------
    task : `regression` or `classification`
    label_range : of a regression
    classes : names of the classes in the order of their indices
    language : ISO 639-1, where the kind of corpus or file tells it
    metrics : the metric set that is usual for the corpus
    """

    task: Literal["regression", "classification"] = "regression"
    label_range: tuple[float, float] = (-3.0, 3.0)
    classes: tuple[str, ...] = ()
    language: str = "en"
    metrics: str = "mmsa"
