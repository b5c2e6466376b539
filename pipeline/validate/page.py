"""What a validation says: for a terminal, as one page of HTML with plots, and its facts for programs.

Every plot has its numbers in words, for who cannot see it, and beside it as a table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.files import write_text
from pipeline.corpora.findings import LEVELS, Finding, has_errors, percent
from pipeline.params.params import CorpusParams, MediaLimits
from pipeline.reports.blocks import Block, Callout, Figures, Heading, Lines, PageBlock, Table, as_html
from pipeline.validate import figures
from pipeline.validate.features import StoreSummary
from pipeline.validate.labels import BINS, JOINT, Conflicts, SplitSummary, side_counts, sides
from pipeline.validate.validate import Validation

EXAMPLES = 5  # rows that are shown of a finding
MOST_ROWS = 200  # of one finding that a page lists
MOST_SIDES = 4  # classes that have columns of their own in the table of splits
IN_TABLES = ("counts", "features", "labels", "modality conflicts")  # infos that say what a table says already


def blocks(found: Validation) -> list[Block]:
    """All tables, and the verdict last, where a reader of a terminal looks."""
    page: list[Block] = [Heading(found.what, 1)]
    if found.summaries:
        page += [Heading("Splits"), _split_table(found.summaries, found.corpus)]
        page += _labels(found.summaries, found.corpus)
    if found.conflicts is not None:
        page += [Heading("Clips whose labels disagree"), *_conflicts(found.conflicts, found.corpus)]
    if found.stores:
        page += _features(found.stores)
    return [*page, Heading("Findings"), _finding_table(found.findings), Lines([_verdict(found)])]


def write_page(found: Validation, path: Path, limits: MediaLimits) -> None:
    """Write the page, findings first; equal validations under equal limits give equal bytes."""
    write_text(as_html([*_page_blocks(found, limits)]), path)


def _page_blocks(found: Validation, limits: MediaLimits) -> Iterator[Block | PageBlock]:
    yield Heading(found.what, 1)
    yield Callout("", title=_verdict(found))
    yield Heading("Findings")
    yield from map(_note, _untold(found.findings))
    if found.summaries:
        yield Heading("Splits and labels")
        yield _split_table(found.summaries, found.corpus)
        yield from _labels(found.summaries, found.corpus)
        pictures = []
        if any(sum(summary.histogram) for summary in found.summaries):
            pictures.append(figures.label_picture(found.summaries, found.corpus))
        if any(summary.polarity is not None for summary in found.summaries):
            pictures.append(figures.polarity_picture(found.summaries))
        if found.seconds:
            pictures.append(figures.duration_picture(found.seconds, limits.max_seconds))
        yield Figures(pictures, large=True)
    if found.conflicts is not None and found.conflicts.clips:
        yield Heading("Where the modalities disagree")
        yield from _conflicts(found.conflicts, found.corpus)
        by_modality = figures.modality_picture(found.conflicts, sides(found.corpus))
        yield Figures([figures.conflict_picture(found.conflicts), by_modality], large=True)
    if found.stores:
        yield from _features(found.stores)
        yield Figures([figures.feature_picture(found.stores)], large=True)


def _note(finding: Finding) -> Callout:
    """All rows behind a line that opens them; a few are open from the start."""
    count = len(finding.rows)
    rows = [*finding.rows[:MOST_ROWS], *([f"and {count - MOST_ROWS} more"] if count > MOST_ROWS else [])]
    return Callout(finding.message, finding.check, finding.level, rows, count, count <= EXAMPLES)


# -------------------------------------------------------------------------------------------------- tables
def _split_table(summaries: list[SplitSummary], corpus: CorpusParams) -> Table:
    """A row a split; clips of each polarity or class where there are few of them."""
    shown = names if len(names := sides(corpus)) <= MOST_SIDES else ()
    speakers = any(summary.speakers is not None for summary in summaries)
    timed = any(summary.seconds for summary in summaries)
    head = ["split", "clips", "videos", *(["speakers"] if speakers else []), *(["min"] if timed else [])]
    rows = []
    for summary in summaries:
        counts = side_counts(summary, corpus) if shown else ()
        row = [summary.split, str(summary.clips), str(summary.videos)]
        row += [str(summary.speakers or "–")] if speakers else []
        row += [f"{summary.seconds / 60:.1f}"] if timed else []
        shares = [f"{count} ({percent(count, sum(counts))})" for count in counts]
        row += shares if sum(counts) else ["–"] * len(shown)
        rows.append(row)
    return Table([*head, *shown], rows)


def _labels(summaries: list[SplitSummary], corpus: CorpusParams) -> list[Block]:
    """How the labels of each split are spread: a row a class, or a bin of the label range."""
    shown = [summary for summary in summaries if sum(summary.histogram)]
    if not shown:
        return []
    if corpus.classes:
        names = [*corpus.classes]
    else:
        edges = np.linspace(*corpus.label_range, BINS + 1)
        names = [f"{low:.2f} to {high:.2f}" for low, high in pairwise(edges)]
    counts = [summary.histogram for summary in shown]
    rows = [
        [name, *(f"{of[place]} ({percent(of[place], sum(of))})" for of in counts)]
        for place, name in enumerate(names)
    ]
    if all(summary.central is not None for summary in shown):
        middle = [percent(summary.central or 0, sum(summary.histogram)) for summary in shown]
        rows.append(["in the middle third", *middle])
    title = "class" if corpus.classes else "label"
    return [Heading("Labels", 3), Table([title, *(summary.split for summary in shown)], rows)]


def _conflicts(conflicts: Conflicts, corpus: CorpusParams) -> list[Block]:
    """The share of MISR's figure 1 (b), and shares of clips in which two labels disagree, as a triangle."""
    said = (
        f"{conflicts.apart} of {conflicts.clips} clips ({percent(conflicts.apart, conflicts.clips)}): labels "
        f"of {', '.join(conflicts.modalities)} are not all of one "
        f"{'class' if corpus.classes else 'polarity'}. By pair:"
    )
    names = [*conflicts.modalities, JOINT]
    rows = []
    for place, one in enumerate(names[:-1]):
        cells = [conflicts.pairs[one, other] for other in names[place + 1 :]]
        rows.append([one, *[""] * place, *(percent(apart, both) if both else "–" for both, apart in cells)])
    return [Lines([said]), Table(["", *names[1:]], rows)]


def _features(stores: list[StoreSummary]) -> list[Block]:
    """A row a feature store: clips by status; and which tool, of which version, made each."""
    head = ["store", "columns", "ok", "absent", "failed", "no row", "unknown", "NaN"]
    rows = []
    for store in stores:
        clips = (store.ok, store.absent, store.failed, store.lacking)
        numbers = (store.columns, *clips, len(store.unknown), len(store.not_finite))
        rows.append([store.folder, *map(str, numbers)])
    makers = [f"{store.folder}: {store.made_by}" for store in stores]
    return [Heading("Features"), Table(head, rows), Lines(makers, bullets=True)]


def _finding_table(findings: list[Finding]) -> Table:
    """What was found, with a few of the clips that each concerns; errors stand out."""
    shown, rows = _untold(findings), []
    for finding in shown:
        lines = [finding.message, *(f"  {row}" for row in finding.rows[:EXAMPLES])]
        if len(finding.rows) > EXAMPLES:
            lines.append(f"  and {len(finding.rows) - EXAMPLES} more")
        rows.append([finding.level, finding.check, "\n".join(lines)])
    strong = frozenset(place for place, one in enumerate(shown) if one.level == "error")
    return Table(["level", "check", "what"], rows, words=range(3), strong=strong)


def _untold(findings: list[Finding]) -> list[Finding]:
    """Without the infos that are in the tables of a page."""
    return [one for one in findings if one.level != "info" or one.check not in IN_TABLES]


def _verdict(found: Validation) -> str:
    """Whether the corpus can be used, and how much there is to read."""
    levels = Counter(finding.level for finding in found.findings)
    counts = ", ".join(f"{levels[level]} {level}(s)" for level in LEVELS[:2])
    if has_errors(found.findings):
        return f"{counts}: fix the errors first"
    labels = sum(sum(summary.histogram) for summary in found.summaries)
    return f"{counts}: usable{'' if labels else ' for pretraining alone, there are no labels'}"


def facts(found: Validation) -> dict[str, Any]:
    """The same for programs; every finding with all its rows."""
    conflicts: dict[str, Any] | None = None
    if found.conflicts is not None:
        pairs = found.conflicts.pairs.items()
        counts = {"-".join(pair): {"clips": both, "apart": apart} for pair, (both, apart) in pairs}
        conflicts = {**asdict(found.conflicts), "pairs": counts}
    return {
        "what": found.what,
        "usable": not has_errors(found.findings),
        "sides": sides(found.corpus),
        "splits": [asdict(summary) for summary in found.summaries],
        "conflicts": conflicts,
        "features": [asdict(store) for store in found.stores],
        "findings": [asdict(finding) for finding in found.findings],
    }
