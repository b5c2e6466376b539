"""A raw corpus as a clip table: its kind's module surveys it, its media are probed."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import get_args

import pyarrow as pa

from pipeline.core.errors import LabelFileError, ParamsError
from pipeline.core.section import Section
from pipeline.corpora.clips import ClipFacts, clip_table
from pipeline.corpora.findings import shortened
from pipeline.corpora.survey import (
    CorpusSurvey,
    clip_rows,
    note_labelling,
    note_passed_over,
    note_sizes,
    note_twins,
)
from pipeline.params.explain import settings_of, unknown
from pipeline.params.params import DatasetParams, MediaLimits

# kind of a dataset in params.yaml, and the name of its module in kinds
KINDS: tuple[str, ...] = get_args(DatasetParams.model_fields["kind"].annotation)


def reader(kind: str) -> ModuleType:
    """The module that reads corpora of that kind."""
    if kind not in KINDS:
        raise ParamsError(unknown("kind of dataset", kind, KINDS))
    return importlib.import_module(f"{__package__}.kinds.{kind}")


def survey(name: str, dataset: DatasetParams) -> CorpusSurvey:
    """A corpus looked through, with everything that is wrong or strange; no media file is opened.

    Raises
    ------
    ParamsError : of `datasets.<name>.settings`
    FormatError : a file holds values of a shape that nobody expects there
    """
    kind = reader(dataset.kind)
    section: type[Section] = getattr(kind, "SETTINGS", Section)
    settings = settings_of(section, dataset.settings, f"datasets.{name}.settings")
    found: CorpusSurvey = kind.survey(name, dataset, settings)
    if dataset.kind not in ("mmsa", "folder"):  # these can be of any corpus
        note_labelling(found, name, dataset, kind.LABELLING)
    note_passed_over(found, Path(dataset.root))
    note_twins(found)
    if found.clips:
        note_sizes(found, getattr(kind, "PUBLISHED", {}))
    return found


def ingest(
    name: str,
    dataset: DatasetParams,
    limits: MediaLimits,
    workers: int = 1,
    found: CorpusSurvey | None = None,
) -> tuple[pa.Table, ClipFacts]:
    """The clip table of a raw corpus, and what holds for all of its rows.

    Parameters
    ----------
    workers : media files that are hashed and probed at the same time
    found : what `survey` found, where that was asked before

    Raises
    ------
    LabelFileError : the label files cannot be used; lists all their problems
    """
    found = survey(name, dataset) if found is None else found
    if found.problems:
        raise LabelFileError(found.source, shortened(found.problems))
    return clip_table(clip_rows(found.clips, dataset, limits, workers)), facts(name, dataset)


def facts(name: str, dataset: DatasetParams) -> ClipFacts:
    """What holds for all clips of a raw corpus."""
    folds = getattr(reader(dataset.kind), "PUBLISHED_FOLDS", ())
    return replace(ClipFacts.of(name, dataset), published_folds=folds)
