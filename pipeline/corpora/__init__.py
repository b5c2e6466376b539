"""Raw corpora: one small file per layout on disk, each turning a corpus into clip-table rows.

A reader module has `read(name, dataset, limits, workers) -> list[dict]`, the rows of the clip table
without `position`, and raises LabelFileError with every fatal problem at once.
"""

from __future__ import annotations

import importlib
from types import ModuleType

import pyarrow as pa

from pipeline.clips import ClipFacts, clip_table
from pipeline.errors import ParamsError
from pipeline.params import DatasetParams, MediaLimits

# kind of a dataset in params.yaml -> module
READERS = {"mmsa": "pipeline.corpora.mmsa"}


def reader(kind: str) -> ModuleType:
    """The module that reads corpora of that kind."""
    if kind not in READERS:
        raise ParamsError(f"kind of dataset {kind!r} is not known (there are: {', '.join(READERS)})")
    return importlib.import_module(READERS[kind])


def ingest(
    name: str, dataset: DatasetParams, limits: MediaLimits, workers: int = 1
) -> tuple[pa.Table, ClipFacts]:
    """The clip table of a raw corpus, and what holds for all of its rows.

    Parameters
    ----------
    name : of the dataset in params.yaml, for messages
    workers : media files that are hashed and probed at the same time

    Raises
    ------
    LabelFileError : the label file cannot be used; lists all its problems
    """
    rows = reader(dataset.kind).read(name, dataset, limits, workers)
    return clip_table(rows), ClipFacts.of(name, dataset)
