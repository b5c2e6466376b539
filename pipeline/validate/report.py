"""What a validation says: the blocks of its page (blocks.py) for a terminal, and its facts for programs."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from pipeline.corpora.findings import LEVELS, Finding, has_errors, percent
from pipeline.params.params import CorpusParams
from pipeline.reports.blocks import Block, Heading, Lines, Table
from pipeline.validate.labels import JOINT, Conflicts, SplitSummary, side_counts, sides
from pipeline.validate.validate import Validation

EXAMPLES = 5  # rows that are shown of a finding
MOST_SIDES = 4  # classes that have columns of their own in the table of splits
IN_TABLES = ("counts", "features", "modality conflicts")  # infos that say what a table says already


def blocks(found: Validation) -> list[Block]:
    """All tables, and the verdict last, where a reader of a terminal looks."""
    page: list[Block] = [Heading(found.what, 1)]
    if found.summaries:
        page += [Heading("Splits"), split_table(found.summaries, found.corpus)]
    if found.conflicts is not None:
        page += [
            Heading("Clips whose labels disagree"),
            Lines(conflict_lines(found.conflicts, bool(found.corpus.classes))),
            conflict_table(found.conflicts),
        ]
    if found.stores:
        page += [Heading("Features"), store_table(found), Lines(maker_lines(found), bullets=True)]
    page += [Heading("Findings"), finding_table(found.findings), Lines([verdict(found.findings)])]
    return page


def split_table(summaries: list[SplitSummary], corpus: CorpusParams) -> Table:
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


def conflict_lines(conflicts: Conflicts, classes: bool) -> list[str]:
    """The share of MISR's figure 1 (b)."""
    what = "class" if classes else "polarity"
    return [
        f"{conflicts.apart} of {conflicts.clips} clips ({percent(conflicts.apart, conflicts.clips)}): labels "
        f"of {', '.join(conflicts.modalities)} are not all of one {what}. By pair:"
    ]


def conflict_table(conflicts: Conflicts) -> Table:
    """Shares of clips in which two labels disagree, as a triangle."""
    names = [*conflicts.modalities, JOINT]
    rows = []
    for place, one in enumerate(names[:-1]):
        cells = [conflicts.pairs[one, other] for other in names[place + 1 :]]
        rows.append([one, *[""] * place, *(percent(apart, both) if both else "–" for both, apart in cells)])
    return Table(["", *names[1:]], rows)


def store_table(found: Validation) -> Table:
    """A row a feature store: clips by status."""
    head = ["store", "columns", "ok", "absent", "failed", "no row", "unknown", "NaN"]
    rows = [
        [
            store.folder,
            str(store.columns),
            str(store.ok),
            str(store.absent),
            str(store.failed),
            str(store.lacking),
            str(len(store.unknown)),
            str(len(store.not_finite)),
        ]
        for store in found.stores
    ]
    return Table(head, rows)


def maker_lines(found: Validation) -> list[str]:
    """Which tool, of which version, made each store."""
    return [f"{store.folder}: {store.made_by}" for store in found.stores]


def finding_table(findings: list[Finding], examples: int = EXAMPLES) -> Table:
    """What was found, with a few of the clips that each concerns; errors stand out."""
    shown, rows = untold(findings), []
    for finding in shown:
        lines = [finding.message, *(f"  {row}" for row in finding.rows[:examples])]
        if len(finding.rows) > examples:
            lines.append(f"  and {len(finding.rows) - examples} more")
        rows.append([finding.level, finding.check, "\n".join(lines)])
    strong = frozenset(place for place, one in enumerate(shown) if one.level == "error")
    return Table(["level", "check", "what"], rows, words=range(3), strong=strong)


def untold(findings: list[Finding]) -> list[Finding]:
    """Without the infos that are in the tables of a page."""
    return [one for one in findings if one.level != "info" or one.check not in IN_TABLES]


def verdict(findings: list[Finding]) -> str:
    """Whether the corpus can be used, and how much there is to read."""
    levels = Counter(finding.level for finding in findings)
    counts = ", ".join(f"{levels[level]} {level}(s)" for level in LEVELS[:2])
    return f"{counts}: {'mend the errors first' if has_errors(findings) else 'usable'}"


def facts(found: Validation) -> dict[str, Any]:
    """The same for programs; every finding with all its rows."""
    conflicts: dict[str, Any] | None = None
    if found.conflicts is not None:
        pairs = {
            f"{one}-{other}": {"clips": both, "apart": apart}
            for (one, other), (both, apart) in found.conflicts.pairs.items()
        }
        conflicts = {**asdict(found.conflicts), "pairs": pairs}
    return {
        "what": found.what,
        "usable": not has_errors(found.findings),
        "sides": sides(found.corpus),
        "splits": [asdict(summary) for summary in found.summaries],
        "conflicts": conflicts,
        "features": [asdict(store) for store in found.stores],
        "findings": [asdict(finding) for finding in found.findings],
    }
