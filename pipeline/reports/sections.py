"""What the report and the page say of a set below its table of results, alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.evaluation.saved import SavedRun
from pipeline.reports.agreement import agreement_blocks
from pipeline.reports.blocks import Block
from pipeline.reports.calibration import calibration_blocks
from pipeline.reports.transfer import task_blocks, transferred_blocks


def sections(dataset: str, methods: Mapping[str, Sequence[SavedRun]], results: Path) -> list[Block]:
    """Of the methods on one set, with headings of level 3; `results` is the folder of all of them."""
    return [
        *task_blocks(methods),
        *agreement_blocks(methods),
        *calibration_blocks(methods),
        *transferred_blocks(dataset, results),
    ]
