"""What the report and the page say of a set below its table of results, alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.evaluation.saved import SavedRun
from pipeline.reports.agreement import agreement_blocks
from pipeline.reports.blocks import Block
from pipeline.reports.calibration import calibration_blocks


def sections(methods: Mapping[str, Sequence[SavedRun]]) -> list[Block]:
    """Of the methods on one set, with headings of level 3."""
    return [*agreement_blocks(methods), *calibration_blocks(methods)]
