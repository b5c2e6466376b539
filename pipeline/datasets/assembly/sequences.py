"""One modality's features as a training set has them: chosen columns, fewer steps, scaled.

Used alike for a whole dataset (assemble.py) and for one new clip (`prepare`, with the modality's part of
stats.json, here called `entry`: `columns`, `max_steps`, `shorten`, `normalized`, `mean`, `sd`). Where the
entry says `align: words`, the features are those that aligned.py gives, a row a word.

    columns   fnmatch patterns; the order of the encoder stays
    shorten   `cut` keeps the first steps (a cut text loses its closing special token); `skip` does that after
              leading frames of nothing but zeros, as KuDA does, which KHaR follows; `pool` averages
              neighbours into k bins: bin i spans the frames floor(i n / k) to ceil((i + 1) n / k), as in
              adaptive average pooling (torch.nn.AdaptiveAvgPool1d)
    scale     z = (x - mean) / sd, clipped to ±10; mean and population sd over the real steps of the train
              split *after* shortening: averaging makes the spread smaller, and what a model sees shall have
              spread 1. A column whose sd there is below 1e-6 says nothing in training and is 0 everywhere.

A frame with `success` 0 (no face found) is not real: it enters no average and no statistic and is zero
afterwards. `success` and `confidence` are flags, not measurements: they are not scaled.

Symbols: n frames of a clip, k = max_steps, D chosen columns, N steps of many clips end to end.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from pipeline.core.errors import ParamsError

SUCCESS = "success"
UNSCALED = (SUCCESS, "confidence")
SD_FLOOR = 1e-6
Z_LIMIT = 10.0
BLOCK = 65_536  # steps that are summed up at once: whatever they are read in, the sums are the same
COLUMNS = 64  # of them, so that float64 copies stay small


def prepare(features: np.ndarray, column_names: Sequence[str], entry: dict[str, Any]) -> np.ndarray:
    """One clip's features (n, columns), as the encoder gives them, to (min(n, k), D) float32, exactly as a
    training set with these statistics (`stats["modalities"][m]`) would hold them.
    """
    values, real = shorten(features, column_names, entry)
    scale(values, real, entry)
    return values


def choose_columns(names: Sequence[str], patterns: Sequence[str], key: str) -> list[str]:
    """The names that match any of the patterns (`AU*`; case matters), in the order of `names`.

    ParamsError where a pattern matches nothing; it lists near names.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern.strip("*?"), names, n=5, cutoff=0.4) or names[:5]
            raise ParamsError(
                f"{key}: pattern {pattern!r} matches none of {len(names)} columns; near: {', '.join(near)}"
            )
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def shorten(
    features: np.ndarray, column_names: Sequence[str], entry: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """(n, all columns) to (up to k, D) float32 of its own memory, and (up to k,) bool: which are real."""
    features = features[leading_zeros(features, entry) :]
    names, columns, steps = list(column_names), list(entry["columns"]), entry["max_steps"]
    real = real_frames(features, names)  # also where `success` is not among the chosen columns
    if columns != names:
        place = {name: column for column, name in enumerate(names)}
        features = features[:, [place[name] for name in columns]]
    if len(features) > steps and entry["shorten"] == "pool":
        return pool(features, steps, real)
    return features[:steps].astype(np.float32), real[:steps]


def real_frames(features: np.ndarray, column_names: Sequence[str]) -> np.ndarray:
    """(n,) bool of (n, columns) features: in which frames a face was found; all where none is looked for."""
    if SUCCESS not in column_names:
        return np.ones(len(features), np.bool_)
    return np.asarray(features[:, column_names.index(SUCCESS)] > 0)


def leading_zeros(features: np.ndarray, entry: dict[str, Any]) -> int:
    """Leading frames that `skip` leaves out: all-zero ones; one stays where there is nothing else."""
    if entry["shorten"] != "skip" or not len(features):
        return 0
    spoken = (features != 0).any(axis=1)
    return int(spoken.argmax()) if spoken.any() else len(features) - 1


def pool(features: np.ndarray, steps: int, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average n >= steps frames, (n, D) of which `real` (n,) bool count, into (steps, D) float32.

    Zero where a bin has no real frame; the second array, (steps,) bool, is True where it has one.
    """
    edges = np.arange(steps + 1) * len(features)
    starts, ends = edges[:-1] // steps, -(-edges[1:] // steps)
    # reduceat sums from each cut to the next: with starts and ends in turn, every other sum is a bin. The
    # last end is n, where it stops by itself. float64 keeps the value of a constant column exactly.
    cuts = np.stack([starts, ends], axis=1).reshape(-1)[:-1]
    sums = np.add.reduceat(np.where(real[:, None], features, np.float64(0)), cuts, axis=0)[::2]
    count = np.add.reduceat(real.astype(np.int64), cuts)[::2]
    return (sums / np.maximum(count, 1)[:, None]).astype(np.float32), count > 0


def fit(blocks: Callable[[], Iterable[np.ndarray]], entry: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Mean and population sd, D of each, over the real steps; 0 and 1 for columns that are not scaled.

    Each call of `blocks` gives, BLOCK after BLOCK of the shortened steps of the train split, those that are
    real, (up to BLOCK, D) float32; there is at least one.
    """
    mean, sd = np.zeros(len(entry["columns"])), np.ones(len(entry["columns"]))
    scaled = _scaled(entry)
    if scaled.any():
        count, centre = 0, np.zeros(len(mean))
        for block in blocks():
            count, centre = count + len(block), centre + block.sum(axis=0, dtype=np.float64)
        centre /= count
        # a second pass, not E[x²] - mean²: the sd of a constant column comes out as 0
        spread = sum(_squares(block, centre) for block in blocks()) / count
        mean[scaled], sd[scaled] = centre[scaled], np.sqrt(spread)[scaled]
    return mean.tolist(), sd.tolist()


def _squares(block: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Sum of (x - centre)² over the rows of (n, D), in float64."""
    parts = np.array_split(np.arange(len(centre)), -(-len(centre) // COLUMNS))
    sums = [np.square(block[:, part[0] : part[-1] + 1] - centre[part]).sum(axis=0) for part in parts]
    return np.concatenate(sums)


def scale(values: np.ndarray, real: np.ndarray, entry: dict[str, Any]) -> None:
    """z-score (N, D) steps in place, then zero for what is not real."""
    scaled = np.flatnonzero(_scaled(entry))
    if len(scaled):
        mean, sd = np.asarray(entry["mean"])[scaled], np.asarray(entry["sd"])[scaled]
        factor = np.where(sd < SD_FLOOR, 0.0, 1.0 / np.maximum(sd, SD_FLOOR))
        for at in range(0, len(values), BLOCK):
            block = values[at : at + BLOCK]
            block[:, scaled] = np.clip((block[:, scaled] - mean) * factor, -Z_LIMIT, Z_LIMIT)
    values[~real] = 0


def _scaled(entry: dict[str, Any]) -> np.ndarray:
    return np.isin(entry["columns"], entry["normalized"])
