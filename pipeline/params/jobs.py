"""The `jobs` section of params.yaml: what is extracted."""

from __future__ import annotations

from pydantic import Field

from pipeline.core.section import Section
from pipeline.params.names import JobName, LocalPath, Name

NO_TABLES = "data/features/none"  # an empty folder


class JobParams(Section):
    """One extraction stage: this encoder on this dataset; `kind` repeats the encoder's, for DVC to see."""

    dataset: Name
    encoder: Name
    kind: str
    source: LocalPath = NO_TABLES
    """of a visual job: folder of tables that openface reads (its `csv`), so that DVC sees a change"""


class Jobs(Section):
    """What is extracted: one entry a DVC stage."""

    text: dict[JobName, JobParams] = Field(default_factory=dict)
    audio: dict[JobName, JobParams] = Field(default_factory=dict)
    visual: dict[JobName, JobParams] = Field(default_factory=dict)
