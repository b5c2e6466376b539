"""A method's view of itself: figures of numbers (panels), and representations that are worth a map.

A view, `view(run, splits)` of a method's file here, is made of what a method gives to anybody: its outputs,
its settings and its public functions. `splits` are `train` and `test`.

Symbols: C clips of a split, D width of a representation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.core.batch import Batch
from models.core.method import Method, Output
from pipeline.datasets.splits import Split
from pipeline.training.runs import TrainedRun

BATCH = 256  # clips; what compares clips with each other needs memory for all pairs of a batch
BINS = 12  # of a histogram
JOINT = "joint"  # in place of a modality, for what belongs to all of them


@dataclass(frozen=True)
class Bars:
    """Numbers by group and series.

    Attributes
    ----------
    title, unit : unit is what the numbers' axis says
    groups : names along the axis
    series : name -> a number a group; None where there is none
    references : name -> a number that all are to be seen against
    """

    title: str
    unit: str
    groups: list[str]
    series: dict[str, list[float | None]]
    references: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Histogram:
    """How often values fall between edges; series name -> one count less than there are edges."""

    title: str
    unit: str
    edges: list[float]
    series: dict[str, list[int]]


@dataclass(frozen=True)
class Part:
    """One representation of every clip of a split.

    Attributes
    ----------
    name : as it is called in the method's text
    modality : text, audio, visual, or `joint`
    shared : meant to hold what modalities have in common (or what is invariant); else private
    values : (C, D), in the order of the split's clips
    present : (C,) bool
    """

    name: str
    modality: str
    shared: bool
    values: np.ndarray
    present: np.ndarray


@dataclass(frozen=True)
class View:
    """What a method shows.

    Attributes
    ----------
    maps : title -> representations of one space, which are drawn into one map
    reading : what to look for, in a sentence or two
    notes : why something is not shown, a sentence each
    """

    reading: str
    panels: Sequence[Bars | Histogram] = ()
    maps: dict[str, list[Part]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def passes(run: TrainedRun, split: Split) -> Iterator[tuple[Tensor, Batch, Output]]:
    """Row numbers, batch and output, for all clips of a split in their order."""
    for rows in torch.arange(len(split)).split(BATCH):
        batch = split.batch(rows)
        yield rows, batch, run.forward(batch)


@torch.inference_mode()
def gather(
    run: TrainedRun, split: Split, pick: Callable[[Batch, Output], Mapping[str, Tensor]]
) -> dict[str, np.ndarray]:
    """What `pick` takes of every batch, (B, ...) each, for the whole split, (C, ...), in its order."""
    found: dict[str, list[Tensor]] = {}
    for _, batch, output in passes(run, split):
        for name, values in pick(batch, output).items():
            plain = values if values.dtype == torch.bool else values.double()
            found.setdefault(name, []).append(plain.cpu())
    return {name: torch.cat(parts).numpy() for name, parts in found.items()}


@contextmanager
def as_in_training(method: Method, terms: Collection[str]) -> Iterator[None]:
    """Inside, `forward` also gives what these terms need, as it does in training.

    The method alone is told so: its layers stay in evaluation, and nothing is dropped out.
    """
    before = method.active_terms
    method.active_terms, method.training = frozenset(terms), True
    try:
        yield
    finally:
        method.active_terms, method.training = before, False


def histogram(
    title: str, unit: str, series: Mapping[str, np.ndarray], span: tuple[float, float] | None = None
) -> Histogram:
    """Of values, (clips,) each; bins of one width over `span`, by default from the least to the largest."""
    edges = np.histogram_bin_edges(np.concatenate(list(series.values())), BINS, span)
    counts = {name: np.histogram(values, edges)[0].tolist() for name, values in series.items()}
    return Histogram(title, unit, edges.tolist(), counts)


def number(value: Any) -> float | None:
    """None in place of what is not finite."""
    return float(value) if np.isfinite(value) else None
