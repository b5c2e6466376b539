"""A validation as one page of HTML: verdict, findings, plots, tables. It needs no other file and no network.

Every plot has its numbers in words, for who cannot see it, and beside it as a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.corpora.findings import Finding
from pipeline.params.params import MediaLimits
from pipeline.reports.blocks import Block, Callout, Figures, Heading, Lines, PageBlock, Picture, as_html
from pipeline.validate import figures
from pipeline.validate.labels import sides
from pipeline.validate.report import (
    EXAMPLES,
    conflict_lines,
    conflict_table,
    maker_lines,
    split_table,
    store_table,
    untold,
    verdict,
)
from pipeline.validate.validate import Validation

MOST_ROWS = 200  # of one finding that are listed


def write_page(found: Validation, path: Path, limits: MediaLimits) -> None:
    """Write the page; equal validations give equal bytes.

    Parameters
    ----------
    limits : those that the clips were measured against
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(found, limits), encoding="utf-8")


def page(found: Validation, limits: MediaLimits) -> str:
    """The page as text."""
    return as_html([*_blocks(found, limits)])


def _blocks(found: Validation, limits: MediaLimits) -> Iterator[Block | PageBlock]:
    yield Heading(found.what, 1)
    yield Callout("", title=verdict(found.findings))
    yield Heading("Findings")
    yield from map(_note, untold(found.findings))
    if found.summaries:
        yield Heading("Splits and labels")
        yield split_table(found.summaries, found.corpus)
        yield Figures([*_split_pictures(found, limits)], large=True)
    if found.conflicts is not None and found.conflicts.clips:
        yield Heading("Where the modalities disagree")
        yield Lines(conflict_lines(found.conflicts, bool(found.corpus.classes)))
        yield conflict_table(found.conflicts)
        by_modality = figures.modality_picture(found.conflicts, sides(found.corpus))
        yield Figures([figures.conflict_picture(found.conflicts), by_modality], large=True)
    if found.stores:
        yield Heading("Features")
        yield store_table(found)
        yield Lines(maker_lines(found), bullets=True)
        yield Figures([figures.feature_picture(found.stores)], large=True)


def _split_pictures(found: Validation, limits: MediaLimits) -> Iterator[Picture]:
    if any(sum(summary.histogram) for summary in found.summaries):
        yield figures.label_picture(found.summaries, found.corpus)
    if any(summary.polarity is not None for summary in found.summaries):
        yield figures.polarity_picture(found.summaries)
    if found.seconds:
        yield figures.duration_picture(found.seconds, limits.max_seconds)


def _note(finding: Finding) -> Callout:
    """All rows behind a line that opens them; a few are open from the start."""
    count = len(finding.rows)
    rows = [*finding.rows[:MOST_ROWS], *([f"and {count - MOST_ROWS} more"] if count > MOST_ROWS else [])]
    return Callout(finding.message, finding.check, finding.level, rows, count, count <= EXAMPLES)
