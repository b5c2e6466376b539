"""Experimental protocols: what is done to a corpus' own splits and labels before a training set is made.

    folds           k-fold cross-validation by speaker, video or clip, or by the folds of the literature:
                    fold number `fold` is the test split
    held_back       a part of the train clips validates, for corpora without a validation split
    train_fraction  few-shot: a part of the train clips; a smaller part lies within a larger one
    label_noise     a part of the train clips gets another clip's label, of a classification another class

Which clips are drawn depends on their ids and the seed alone, not on the order of rows; with a larger share
the same clips are drawn and more. Validation and test labels are never spoilt; unimodal labels neither.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core.errors import MsaError
from pipeline.core.vocabulary import TEST, TRAIN, VALID
from pipeline.corpora.clips import ClipFacts, facts_of, target_column
from pipeline.params.assemble import Folds, HeldBack, ProtocolParams

STRATA = 7  # bins of a regression's labels that folds share alike, as many as Acc7 has classes
NOT_CHOSEN = "not in train_fraction"


def apply(clips: pa.Table, params: ProtocolParams, where: str) -> tuple[pa.Table, dict[str, str]]:
    """The clips under a protocol, and why some of them (by id) are left out.

    The rows stay in their order, `split` and the target are replaced. `where` is the key of the training set
    in params.yaml, for messages. MsaError where the splits cannot be made.
    """
    facts = facts_of(clips)
    rows = clips.select(["clip_id", "video_id", "speaker", "split", target_column(facts.task)]).to_pylist()
    target = target_column(facts.task)
    if params.folds is not None:
        _deal(rows, target, facts, params.folds, f"{where}.protocol.folds")
    if params.held_back is not None:
        _hold_back(rows, target, params.held_back, f"{where}.protocol.held_back")
    labelled = (row for row in rows if row["split"] == TRAIN and row[target] is not None)
    train = sorted(labelled, key=lambda row: _draw(row, params.seed))
    kept = max(1, round(params.train_fraction * len(train)))
    left_out = {row["clip_id"]: NOT_CHOSEN for row in train[kept:]}
    if params.label_noise:
        _spoil(train[:kept], target, facts, params)
    for name in ("split", target):
        place, field = clips.schema.get_field_index(name), clips.schema.field(name)
        clips = clips.set_column(place, field, pa.array([row[name] for row in rows], field.type))
    return clips, dict(sorted(left_out.items()))


def _deal(rows: Sequence[dict[str, Any]], target: str, facts: ClipFacts, folds: Folds, where: str) -> None:
    """Put train, valid and test clips into the splits of one fold."""
    dealt = [row for row in rows if row["split"] in (TRAIN, VALID, TEST) and row[target] is not None]
    unit = "speaker" if folds.by == "published" else folds.by
    groups = _groups(dealt, unit, where)
    if folds.by == "published":
        tested, way_out = _published(groups, facts, folds, where), "ingest the clips of all speakers"
    else:
        strata = np.array([_stratum(row[target], facts) for row in dealt])
        tested = _stratified(groups, strata, folds, where)
        way_out = f"a few of them have most clips, so lower {where}.number"
    rest, test = np.flatnonzero(~tested), np.flatnonzero(tested)
    left = len(set(groups[rest]))
    if not len(test) or left < 2:
        raise MsaError(
            f"{where}.fold is {folds.fold}, which has {len(test)} clips to test with and leaves {left} "
            f"{unit}s; expected some clips and 2 or more; {way_out}"
        )
    valid = _drawn(groups[rest], folds.valid_fraction, folds.seed)
    for row in dealt:
        row["split"] = TRAIN
    for places, split in ((test, TEST), (rest[valid], VALID)):
        for place in places:
            dealt[place]["split"] = split


def _hold_back(rows: Sequence[dict[str, Any]], target: str, params: HeldBack, where: str) -> None:
    """Put a part of the train clips into the validation split."""
    if number := sum(row["split"] == VALID and row[target] is not None for row in rows):
        raise MsaError(f"{where}: the corpus has {number} validation clips of its own; remove the key")
    train = [row for row in rows if row["split"] == TRAIN and row[target] is not None]
    groups = _groups(train, params.by, where)
    if len(set(groups)) < 2:
        raise MsaError(f"{where}: the train clips are of {len(set(groups))} {params.by}s; expected 2 or more")
    for place in _drawn(groups, params.fraction, params.seed):
        train[place]["split"] = VALID


def _groups(rows: Sequence[dict[str, Any]], unit: str, where: str) -> np.ndarray:
    """What each clip belongs to, (clips,) str."""
    column = {"speaker": "speaker", "video": "video_id", "clip": "clip_id"}[unit]
    unknown = [row["clip_id"] for row in rows if row[column] is None]
    if unknown:
        raise MsaError(
            f"{where} asks for {unit}s, but {len(unknown)} of {len(rows)} clips have no {column}, e.g. "
            f"{unknown[0]!r}; use `by: video`, or give speakers in the label file"
        )
    return np.array([row[column] for row in rows])


def _drawn(groups: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Places of the clips of that share of the groups, of 2 or more; one group at least stays."""
    from sklearn.model_selection import GroupShuffleSplit

    number = len(set(groups))
    held_back = min(math.ceil(fraction * number), number - 1)
    draw = GroupShuffleSplit(1, test_size=held_back, random_state=seed)
    _, places = next(draw.split(groups, groups=groups))
    return places


def _stratified(groups: np.ndarray, strata: np.ndarray, folds: Folds, where: str) -> np.ndarray:
    """Whether each clip is in the fold, (clips,) bool; folds are alike in labels."""
    from sklearn.model_selection import StratifiedGroupKFold

    if len(set(groups)) <= folds.number:
        raise MsaError(
            f"{where}.number is {folds.number}, but there are {len(set(groups))} {folds.by}s; expected more "
            "of them than folds, so that some are left for training and validation"
        )
    splitter = StratifiedGroupKFold(folds.number, shuffle=True, random_state=folds.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a rare label in fewer clips than folds is no fault
        _, test = list(splitter.split(groups, strata, groups))[folds.fold]
    return np.isin(np.arange(len(groups)), test)


def _published(speakers: np.ndarray, facts: ClipFacts, folds: Folds, where: str) -> np.ndarray:
    """Whether each clip is in the fold, (clips,) bool; folds are those of the literature."""
    published = facts.published_folds
    if not published:
        raise MsaError(
            f"{where}.by is 'published', but {facts.dataset} has no published folds (its kind of corpus has "
            "none, or its clip table is older: run its ingest stage); expected speaker, video or clip"
        )
    if folds.number != len(published):
        raise MsaError(f"{where}.number is {folds.number}, but {len(published)} folds are published")
    if strangers := sorted(set(speakers) - {speaker for fold in published for speaker in fold}):
        raise MsaError(f"{where}: speakers {', '.join(strangers)} are in none of the published folds")
    return np.isin(speakers, published[folds.fold])


def _stratum(label: float, facts: ClipFacts) -> int:
    if facts.class_names:
        return int(label)
    low, high = facts.label_range
    return min(int((label - low) / (high - low) * STRATA), STRATA - 1)


def _spoil(train: Sequence[dict[str, Any]], target: str, facts: ClipFacts, params: ProtocolParams) -> None:
    """Give the wanted share of the clips a wrong label; all are chosen before the first is changed."""
    chosen = sorted(train, key=lambda row: _draw(row, params.seed, "noise"))
    labels = [row[target] for row in train]
    for row in chosen[: round(params.label_noise * len(train))]:
        own, number = row[target], int(_draw(row, params.seed, "label"), 16)
        if facts.class_names:
            others = [index for index in range(len(facts.class_names)) if index != own]
            row[target] = others[number % len(others)]
        else:  # from a clip of its own drawing on, the first label that differs
            turned = (labels[(number + step) % len(labels)] for step in range(len(labels)))
            row[target] = next((label for label in turned if label != own), own)


def _draw(row: dict[str, Any], seed: int, purpose: str = "train") -> str:
    """A random number (hex) of this clip's own."""
    return hashlib.sha256(f"{purpose}/{seed}/{row['clip_id']}".encode()).hexdigest()
