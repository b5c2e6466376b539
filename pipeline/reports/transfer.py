"""Runs tested on sets that they were not trained on, and the tasks that one run answers at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.vocabulary import TEST
from pipeline.evaluation.metrics import METRIC_SETS
from pipeline.evaluation.saved import SavedRun, Spread, read_transferred
from pipeline.evaluation.tasks import side_by_side
from pipeline.reports.blocks import Block, Cell, Heading, Lines, Table
from pipeline.reports.names import method_name, metric_name
from pipeline.reports.tables import FIRST

if TYPE_CHECKING:
    from pipeline.evaluation.transfer import Transfer

DIGITS = 3
TASKS = {
    "polarity": "polarity (3 classes)",
    "intensity": "intensity",
    "classes_5": "5 classes",
    "classes_7": "7 classes",
}
METRICS = ("accuracy", "f1_weighted", "mae", "corr")  # of tasks
Tasks = Mapping[str, Mapping[str, float]]


def task_blocks(methods: Mapping[str, Sequence[SavedRun]]) -> list[Block]:
    """Polarity, intensity and classes of intensity of every method; nothing of a classification."""
    if next(iter(methods.values()))[0].result.metric_set not in METRIC_SETS:
        return []
    found: dict[str, list[Tasks]] = {}
    for name, runs in methods.items():
        tested = [run.predictions[TEST] for run in runs if TEST in run.predictions]
        kind = runs[0].result.metric_set
        found[name] = [side_by_side(one.prediction, one.label, kind) for one in tested]
    columns = [(task, metric) for task, own in next(iter(found.values()))[0].items() for metric in own]
    rows = [[method_name(name).text, *_cells(each, columns)] for name, each in found.items()]
    said = "One score per clip, read as three tasks; all test clips count, whatever the metric set omits."
    return [
        Heading("Polarity, intensity and classes from one run", 3),
        Lines([said]),
        Table(_head(columns), rows),
    ]


def _head(columns: Sequence[tuple[str, str]]) -> list[str | Cell]:
    return ["method", *(f"{TASKS[task]}: {metric_name(metric).text}" for task, metric in columns)]


def _cells(each: Sequence[Tasks], columns: Sequence[tuple[str, str]]) -> list[str]:
    return [Spread.of([one[task][metric] for one in each]).text(DIGITS) for task, metric in columns]


def transferred_blocks(dataset: str, results: Path) -> list[Block]:
    """Runs of other sets on this one: a table for each metric set, and how they were put on it."""
    found = read_transferred(dataset, results)
    if not found:
        return []
    blocks: list[Block] = [
        Heading("Trained on other sets", 3),
        Lines(
            ["Test split, mean ± sample standard deviation over the seeds; not to be ranked with the above."]
        ),
    ]
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, runs in found.items():
        groups.setdefault((runs[0].result.metric_set, runs[0].result.class_names), []).append(name)
    for names in groups.values():
        there = found[names[0]][0].result.test
        metrics = [*(m for m in FIRST if m in there), *(m for m in there if m not in FIRST)]
        rows = []
        for name in names:
            results_of = [run.result for run in found[name]]
            cells = [Spread.of([one.test[metric] for one in results_of]).text(DIGITS) for metric in metrics]
            rows.append([method_name(name).text, str(results_of[0].n[TEST]), *cells])
        blocks.append(Table(["method", "clips", *(metric_name(metric).text for metric in metrics)], rows))
    said = {name: "; ".join(runs[0].result.map) for name, runs in found.items()}
    return [
        *blocks,
        Lines([f"{method_name(name).text}: {words}." for name, words in said.items()], bullets=True),
    ]


def transfer_blocks(found: Transfer) -> list[Block]:
    """What `evaluate` prints: the metrics, the tasks side by side, intervals, and what a reader must know."""
    entries, first = found.entries, found.entries[0]
    seeds = ", ".join(str(entry["seed"]) for entry in entries)
    blocks: list[Block] = [
        Heading(f"{method_name(first['method']).text} on {first['dataset']}", 1),
        Lines([f"{first['n'][TEST]} test clips; seeds {seeds}; metric set {first['metric_set']}."]),
        Lines([f"{line}." for line in first["map"]], bullets=True),
        Table(
            ["metric", "test", "constant"],
            [
                [
                    metric_name(metric).text,
                    Spread.of([entry[TEST][metric] for entry in entries]).text(DIGITS),
                    f"{floor:.{DIGITS}f}"
                    if (floor := first["floor"].get(f"{TEST}_{metric}")) is not None
                    else "–",
                ]
                for metric in first[TEST]
            ],
        ),
    ]
    if "tasks" in first:
        rows = []
        for task in first["tasks"]:
            cells = [
                Spread.of([entry["tasks"][task][metric] for entry in entries]).text(DIGITS)
                if metric in first["tasks"][task]
                else ""
                for metric in METRICS
            ]
            rows.append([TASKS[task], *cells])
        blocks += [
            Heading("The same scores as tasks"),
            Table(["task", *(metric_name(m).text for m in METRICS)], rows),
        ]
    return [*blocks, *_calibration(entries), *_remarks(entries)]


def _calibration(entries: Sequence[Mapping[str, Any]]) -> list[Block]:
    found = [entry["calibration"] for entry in entries if "calibration" in entry]
    if not found:
        return []
    if "ece" in found[0]:
        ece = Spread.of([one["ece"][TEST] for one in found]).text(DIGITS)
        return [Heading("Calibration"), Lines([f"ECE {ece}."])]
    rows = []
    for level in found[0]["intervals"]:
        own = [one["intervals"][level] for one in found]
        if all(one["half_width"] is not None for one in own):
            width, held = ([one["half_width"] for one in own], [one["coverage"][TEST] for one in own])
            rows.append(
                [f"{float(level):.0%}", *(Spread.of(values).text(DIGITS) for values in (width, held))]
            )
    said = "Intervals are from the errors of the run's validation clips, and hold for clips like those."
    table = Table(["level", "half width", "coverage of the test labels"], rows)
    return [Heading("Calibration"), table, Lines([said])] if rows else []


def _remarks(entries: Sequence[Mapping[str, Any]]) -> list[Block]:
    """What evaluation remarked of each seed, beside the map."""
    said = [
        f"seed {entry['seed']}, {split}: {line}."
        for entry in entries
        for split, lines in entry["remarks"].items()
        for line in lines
        if line not in entry["map"]
    ]
    return [Lines(said, bullets=True)] if said else []
