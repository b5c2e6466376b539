"""The study's tables in one page: results/ -> reports/summary.md."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.core.errors import MsaError
from pipeline.core.files import write_text
from pipeline.evaluation.comparison import MethodComparison, compare_runs, correct
from pipeline.evaluation.saved import Spread, find_runs
from pipeline.evaluation.significance import RESAMPLES, SEED
from pipeline.params.params import load_params

DATASET, REFERENCE = "mosi", "text_only"
METRICS = ("mae", "corr", "acc7", "acc5", "acc3", "acc2_has0", "acc2_non0", "f1_non0")
COLUMNS = (("test", "mae"), ("test", "corr"), ("valid", "mae"))  # of the rows
ROWS, ABLATIONS, PAGE = Path("ablations.yaml"), Path("results/ablations"), Path("reports/summary.md")


def main() -> None:
    try:
        methods = load_params().models_run
        rows = [json.loads((ABLATIONS / f"{name}.json").read_text(encoding="utf-8")) for name in row_names()]
        parts = [whole_methods(methods), against_reference(methods), *rows_beside(methods, rows)]
        write_text("\n".join(parts), PAGE)
    except MsaError as error:
        sys.exit(f"error: {error}")


def row_names() -> list[str]:
    names: list[str] = list(YAML(typ="safe").load(ROWS.read_text(encoding="utf-8"))["ablations"])
    return names


def runs_of(method: str) -> list[dict[str, Any]]:
    """Entries of results/, a seed each."""
    file = Path("results") / DATASET / method / "metrics.json"
    found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["runs"]
    return found


def shown(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation."""
    spread = Spread.of(values)
    return f"{spread.mean:.3f}" if spread.sd is None else f"{spread.mean:.3f} ± {spread.sd:.3f}"


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(head)
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *lines))


def whole_methods(methods: Sequence[str]) -> str:
    """Test metrics of all seeds, and the validation MAE by which epochs and settings were chosen."""
    lines = []
    for method in methods:
        runs = runs_of(method)
        cells = [shown([run["test"][name] for run in runs]) for name in METRICS]
        lines.append([method, shown([run["valid"]["mae"] for run in runs]), *cells])
    seeds = ", ".join(str(run["seed"]) for run in runs_of(methods[0]))
    head = f"## Methods\n\nTest split, mean ± sample standard deviation over the seeds {seeds}.\n\n"
    return head + table(["method", "valid MAE", *METRICS], lines)


def against_reference(methods: Sequence[str]) -> str:
    """Each method less the text alone, with what the statistics say of the difference."""
    reference = find_runs([f"{REFERENCE}-{DATASET}"])
    entries: list[MethodComparison] = []
    for method in methods:
        if method != REFERENCE:
            runs = find_runs([f"{method}-{DATASET}"])
            entries.append(compare_runs(method, reference, runs, RESAMPLES, SEED))
    entries, family = correct(entries)
    lines = []
    for entry in entries:
        for row in entry.rows:
            test = row.test
            if test is None or row.metric not in ("mae", "corr"):
                continue
            p = "–" if test.p_runs_holm is None else f"{test.p_runs_holm:.3f}"
            interval = f"{test.low:+.3f} to {test.high:+.3f}"
            cells = [f"{test.difference:+.3f}", interval, f"{test.p_holm:.3f}", p, test.words]
            lines.append([entry.title, row.metric, *cells])
    (clusters,) = {entry.clusters["test"].text_with_clips for entry in entries}
    head = (
        "## Against the text alone\n\nDifference of the means over the seeds, its 95 % interval, and p values"
        f" by cluster ({clusters}),\ncorrected by Holm over {family} tests, of all metrics.\n\n"
    )
    columns = ["method", "metric", "difference", "interval", "p, these runs", "p, other runs", "shown"]
    return head + table(columns, lines)


def rows_beside(methods: Sequence[str], rows: Sequence[dict[str, Any]]) -> list[str]:
    """Each method's rows beside the whole method with the same seeds."""
    lines = []
    for method in methods:
        own = [row["runs"] for row in rows if row["runs"][0]["method"] == method]
        if not own:
            continue
        (seeds,) = {frozenset(run["seed"] for run in runs) for runs in own}
        whole = [run | {"row": "whole"} for run in runs_of(method) if run["seed"] in seeds]
        for runs in (whole, *own):
            cells = [shown([run[split][name] for run in runs]) for split, name in COLUMNS]
            lines.append([method, runs[0]["row"], str(len(runs)), *cells])
    head = ["method", "row", "seeds", *(f"{split} {name}" for split, name in COLUMNS)]
    return ["## Without one part, and with another audio\n\n" + table(head, lines)] if lines else []


if __name__ == "__main__":
    main()
