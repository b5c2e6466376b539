"""What a comparison of revisions or of runs says: the blocks of its page, and its facts as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

from pipeline.core.git import Revision
from pipeline.evaluation.compare import Comparison, ParamChange
from pipeline.evaluation.comparison import MethodComparison, MetricRow
from pipeline.evaluation.significance import ALPHA, LEVEL, lower_is_better
from pipeline.reports.blocks import Block, Heading, Lines, Table

SHORT = 10  # characters of a commit's hash
LONGEST_VALUE = 60  # characters of a param's value
ALTERNATIVES = 3  # files or names listed of many


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
    if comparison.code:
        rows = [
            [
                change.path,
                change.state,
                "all methods" if change.methods == comparison.methods else ", ".join(change.methods),
            ]
            for change in comparison.code
        ]
        blocks.append(Table(["file", "", "of"], rows, words=range(3)))
    else:
        blocks.append(Lines(["The same on both sides."]))
    same = [entry for entry in comparison.entries if entry.same]
    shown = [entry for entry in comparison.entries if everything or not entry.same]
    for entry in shown:
        blocks.extend(entry_blocks(entry))
    if same:
        blocks += [
            Heading("Same results on both sides"),
            Lines([_unchanged(entry) for entry in same], bullets=True),
        ]
    for name, paths in (("A", comparison.only_a), ("B", comparison.only_b)):
        if paths:
            blocks += [Heading(f"Only in {name}"), Lines(paths, bullets=True)]
    if comparison.not_compared:
        some = ", ".join(comparison.not_compared[:ALTERNATIVES])
        more = len(comparison.not_compared) - ALTERNATIVES
        tail = f" and {more} more" if more > 0 else ""
        blocks += [Heading("Not compared"), Lines([f"Files that are no runs of a method: {some}{tail}."])]
    return [*blocks, *method_blocks(comparison.resamples, comparison.seed, comparison.family)]


def entry_blocks(entry: MethodComparison, level: int = 2) -> list[Block]:
    """One method on one dataset."""
    blocks: list[Block] = [Heading(entry.title, level), Lines([_runs(entry)])]
    tested = any(row.test is not None for row in entry.rows)
    head = ["metric", "A", "B", "B - A"]
    if tested:
        head += [f"{LEVEL:.0%} interval", "p", "p Holm", "p runs", "shown"]
    rows = [_cells(row, tested) for row in entry.rows]
    strong = frozenset(
        i for i, row in enumerate(entry.rows) if row.test is not None and row.test.shown != "open"
    )
    blocks.append(Table(head, rows, strong=strong))
    if entry.remarks:
        blocks.append(Lines([f"{line}." for line in entry.remarks], bullets=True))
    return blocks


def method_blocks(resamples: int, seed: int, family: int) -> list[Block]:
    """How the numbers were made; nothing where there were no tests."""
    if not family:
        return []
    lines = [
        "A, B: mean ± sample standard deviation over the runs, as recorded. "
        f"{LEVEL:.0%} interval and p are of the saved test predictions, for these runs on other clips: a "
        "percentile bootstrap of the clips, and a test that swaps clips between the sides, in all runs "
        f"together ({resamples:,} resamples each, seed {seed}).",
        f"p Holm: p corrected for the {family} tests of this page. p runs: for other seeds too, runs and "
        "clips as samples (Obuchowski-Rockette, Student's t), corrected likewise; – below three runs a side.",
        f"shown, at {ALPHA:g}: better, worse = both corrected p are below; better*, worse* = p Holm is, but "
        "other seeds may not differ; open = not shown to differ, which is not shown to be equal.",
    ]
    return [Heading("How to read this"), Lines(lines, bullets=True)]


def _revision(revision: Revision) -> str:
    if not revision.commit:
        return "the working folder, committed or not"
    named = "" if revision.commit.startswith(revision.name) else f"{revision.name}, "
    return f"{named}{revision.commit[:SHORT]}, {revision.subject}"


def _params_table(changes: list[ParamChange]) -> Table:
    rows = [
        [
            change.key,
            _value(change.old) if change.given[0] else "absent",
            _value(change.new) if change.given[1] else "absent",
            _reach(change),
        ]
        for change in changes
    ]
    return Table(["key", "A", "B", "settings of"], rows, words=range(4))


def _value(value: Any) -> str:
    if isinstance(value, dict) and value:
        return f"a section of {len(value)} key(s)"
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def _reach(change: ParamChange) -> str:
    """What a change does: which runs, or none, because a corpus' own value comes before it."""
    if change.reaches is None:
        return ""
    if not change.reaches:
        return "no run compared here"
    more = len(change.reaches) - ALTERNATIVES
    return ", ".join(change.reaches[:ALTERNATIVES]) + (f" and {more} more" if more > 0 else "")


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
    return f"{said}; {entry.clips} clips, {how}."


def _numbers(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def _cells(row: MetricRow, tested: bool) -> list[str]:
    arrow = " ↓" if lower_is_better(row.metric) else " ↑"
    difference = row.difference
    cells = [
        row.metric + arrow,
        "–" if row.a is None else row.a.text(),
        "–" if row.b is None else row.b.text(),
        "–" if difference is None else signed(difference),
    ]
    if not tested:
        return cells
    test = row.test
    if test is None:
        return [*cells, "–", "–", "–", "–", ""]
    shown = test.shown if test.shown == "open" or test.shown_for_other_runs else f"{test.shown}*"
    interval = f"{signed(test.low)} to {signed(test.high)}"
    return [*cells, interval, _p(test.p), _p(test.p_holm), _p(test.p_runs_holm), shown]


def signed(value: float) -> str:
    """Three decimals with a sign that is seen; zero has none."""
    text = f"{value:+.3f}".replace("-", "−")
    return "0.000" if text[1:] == "0.000" else text


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "<.001" if value < 0.001 else f"{value:.3f}"


def comparison_facts(comparison: Comparison) -> dict[str, Any]:
    """All numbers, unrounded, and every remark; keys as the classes' attributes."""
    return {
        "entries": [entry_facts(entry) for entry in comparison.entries],
        **{
            name: [dataclasses.asdict(change) for change in getattr(comparison, name)]
            for name in ("params", "code")
        },
        **{name: getattr(comparison, name) for name in ("methods", "only_a", "only_b", "not_compared")},
        **{
            name: {"name": side.name, "commit": side.commit or None, "subject": side.subject or None}
            for name, side in (("a", comparison.a), ("b", comparison.b))
        },
        "statistics": statistics_facts(comparison.resamples, comparison.seed, comparison.family),
    }


def statistics_facts(resamples: int, seed: int, family: int) -> dict[str, Any]:
    """How the numbers were made, for programs."""
    return {
        "interval": "percentile bootstrap over clips",
        "test": "swap of clips between the sides, two-sided",
        "over_runs": "Obuchowski-Rockette with Hillis' degrees of freedom, runs and clips random",
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
