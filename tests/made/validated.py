"""Findings of a corpus that params.yaml does not describe."""

from __future__ import annotations

from pathlib import Path

from pipeline.corpora.findings import Finding
from pipeline.params.params import DatasetParams, ImportParams, MediaLimits, Params
from pipeline.validate.subjects import Subject
from pipeline.validate.validate import UNNAMED, examine


def validate(
    source: DatasetParams | ImportParams | Path, limits: MediaLimits | None = None, workers: int = 1
) -> list[Finding]:
    """Worst first; a folder is a corpus in MMSA's layout."""
    corpus = DatasetParams(root=str(source)) if isinstance(source, Path) else source
    params = Params(media=limits or MediaLimits())
    return examine(Subject(UNNAMED, corpus), params, workers).findings
