"""What a comparison of revisions or of runs says: the blocks of its page, and its facts as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

from pipeline.core.git import Revision
from pipeline.core.vocabulary import TEST
from pipeline.evaluation.compare import Comparison, ParamChange
from pipeline.evaluation.comparison import MethodComparison, MetricRow
from pipeline.evaluation.significance import ALPHA, LEVEL, lower_is_better
from pipeline.params.explain import some_of
from pipeline.reports.agreement import parts_blocks
from pipeline.reports.blocks import Block, Heading, Lines, Table
from pipeline.reports.tables import interval, signed

SHORT = 10  # characters of a commit's hash
LONGEST_VALUE = 60  # characters of a param's value


# --------------------------------------------------------------------------------------------------- blocks
def comparison_blocks(comparison: Comparison, everything: bool = False) -> list[Block]:
    """What two revisions differ in; `everything` also shows the metrics of unchanged runs."""
    a, b = comparison.a, comparison.b
    blocks: list[Block] = [
        Heading(f"{a.name} (A) and {b.name} (B)", 1),
        Lines([f"A: {_revision(a)}", f"B: {_revision(b)}"], bullets=True),
        Heading("Params"),
        _params_table(comparison.params) if comparison.params else Lines(["params.yaml is the same."]),
        Heading("Code that computes results"),
    ]
    rows = []
    for change in comparison.code:
        methods = "all methods" if change.methods == comparison.methods else ", ".join(change.methods)
        rows.append([change.path, change.state, methods])
    same = Lines(["The same on both sides."])
    blocks.append(Table(["file", "", "of"], rows, words=range(3)) if rows else same)
    for entry in comparison.entries:
        if everything or not entry.same:
            blocks += entry_blocks(entry)
    lists = {
        "Same results on both sides": [_unchanged(entry) for entry in comparison.entries if entry.same],
        "Only in A": comparison.only_a,
        "Only in B": comparison.only_b,
    }
    for title, lines in lists.items():
        blocks += [Heading(title), Lines(lines, bullets=True)] if lines else []
    blocks += parts_blocks(comparison.parts, comparison.told_apart, comparison.parts_family)
    if comparison.not_compared:
        some = some_of(comparison.not_compared)
        blocks += [Heading("Not compared"), Lines([f"Files that are not runs of a method: {some}."])]
    return [*blocks, *method_blocks(comparison.resamples, comparison.seed, comparison.family)]


def entry_blocks(entry: MethodComparison, level: int = 2) -> list[Block]:
    """One method on one dataset."""
    tests = [row.test for row in entry.rows]
    head = ["metric", "A", "B", "B - A"]
    if any(tests):
        head += [f"{LEVEL:.0%} interval", "p", "p Holm", "p runs", "shown"]
    rows = [_cells(row)[: len(head)] for row in entry.rows]
    strong = frozenset(i for i, test in enumerate(tests) if test is not None and test.shown != "open")
    remarks = [Lines([f"{line}." for line in entry.remarks], bullets=True)] if entry.remarks else []
    return [Heading(entry.title, level), Lines([_runs(entry)]), Table(head, rows, strong=strong), *remarks]


def method_blocks(resamples: int, seed: int, family: int) -> list[Block]:
    """How the numbers were made; nothing where there were no tests."""
    if not family:
        return []
    lines = [
        f"A, B: mean ± sample standard deviation over the runs, as recorded. {LEVEL:.0%} interval and p "
        "are computed from the saved test predictions, for these runs on other clips. Clips of one "
        "speaker or one video (the coarser one known) are correlated, so whole clusters are "
        "resampled: the interval is Student's t of a jackknife over them, and p is from a test that swaps "
        f"them between the sides, in all runs together ({resamples:,} resamples, seed {seed}).",
        f"p Holm: p corrected for the {family} tests of this page. p runs: for new seeds too, with runs "
        "and clusters as samples (Obuchowski-Rockette, Student's t), corrected likewise; – with fewer "
        "than three runs per side.",
        f"shown, at {ALPHA:g}: better, worse = both corrected p are below; better*, worse* = only p Holm "
        "is, so new seeds may not differ; open = no difference is shown, which does not mean equal.",
    ]
    return [Heading("How to read this"), Lines(lines, bullets=True)]


def _revision(revision: Revision) -> str:
    if not revision.commit:
        return "the working folder, committed or not"
    named = "" if revision.commit.startswith(revision.name) else f"{revision.name}, "
    return f"{named}{revision.commit[:SHORT]}, {revision.subject}"


def _params_table(changes: list[ParamChange]) -> Table:
    rows = []
    for change in changes:
        values = zip((change.old, change.new), change.given, strict=True)
        sides = [_value(value) if given else "absent" for value, given in values]
        reach = "" if change.reaches is None else some_of(change.reaches) or "no compared run"
        rows.append([change.key, *sides, reach])
    return Table(["key", "A", "B", "settings of"], rows, words=range(4))


def _value(value: Any) -> str:
    if isinstance(value, dict) and value:
        return f"a section of {len(value)} key(s)"
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def _unchanged(entry: MethodComparison) -> str:
    remarks = "".join(f" ({remark})" for remark in entry.remarks)
    return f"{entry.title}, seeds {_numbers(entry.seeds_a)}{remarks}"


def _runs(entry: MethodComparison) -> str:
    if entry.seeds_a == entry.seeds_b:
        said = f"Seeds {_numbers(entry.seeds_a)}"
    else:
        said = f"Seeds of A: {_numbers(entry.seeds_a) or 'none'}; of B: {_numbers(entry.seeds_b) or 'none'}"
    if entry.paired is None:
        return f"{said}."
    how = "runs paired by seed" if entry.paired else "seeds differ: each run of A against each of B"
    return f"{said}; {how}; {entry.clusters[TEST].text_with_clips}."


def _numbers(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def _cells(row: MetricRow) -> list[str]:
    arrow = " ↓" if lower_is_better(row.metric) else " ↑"
    sides = ["–" if side is None else side.text() for side in (row.a, row.b)]
    cells = [row.metric + arrow, *sides, "–" if row.difference is None else signed(row.difference)]
    test = row.test
    if test is None:
        return [*cells, "–", "–", "–", "–", ""]
    return [
        *cells,
        interval(test.low, test.high),
        _p(test.p),
        _p(test.p_holm),
        _p(test.p_runs_holm),
        test.words,
    ]


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "<.001" if value < 0.001 else f"{value:.3f}"


def comparison_facts(comparison: Comparison) -> dict[str, Any]:
    """All numbers, unrounded, and every remark; keys as the classes' attributes."""
    found = {name: getattr(comparison, name) for name in ("methods", "only_a", "only_b", "not_compared")}
    for name in ("params", "code"):
        found[name] = [dataclasses.asdict(change) for change in getattr(comparison, name)]
    for name, side in (("a", comparison.a), ("b", comparison.b)):
        found[name] = {"name": side.name, "commit": side.commit or None, "subject": side.subject or None}
    return found | {
        "entries": [entry_facts(entry) for entry in comparison.entries],
        "agreement": {
            "told_apart": {
                name: {"by": found.text, "clips": found.counts, "unknown": found.unknown}
                for name, found in comparison.told_apart.items()
            },
            "tests": comparison.parts_family,
            "entries": [dataclasses.asdict(entry) for entry in comparison.parts],
        },
        "statistics": statistics_facts(comparison.resamples, comparison.seed, comparison.family),
    }


def statistics_facts(resamples: int, seed: int, family: int) -> dict[str, Any]:
    """How the numbers were made, for programs."""
    return {
        "interval": "jackknife over clusters of clips, Student's t with clusters - 1 degrees of freedom",
        "test": "swap of clusters of clips between the sides, two-sided",
        "over_runs": "Obuchowski-Rockette, runs and clusters random, Satterthwaite's degrees of freedom",
        "correction": "Holm",
        "level": LEVEL,
        "alpha": ALPHA,
        "resamples": resamples,
        "seed": seed,
        "tests": family,
    }


def entry_facts(entry: MethodComparison) -> dict[str, Any]:
    """An entry for programs."""
    found = dataclasses.asdict(entry)
    for row, plain in zip(entry.rows, found["rows"], strict=True):
        plain["difference"] = row.difference
        if row.test is not None:
            plain["test"] |= {"shown": row.test.shown, "shown_for_other_runs": row.test.shown_for_other_runs}
    return found
