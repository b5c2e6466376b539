"""The study's tables in one page, the folds apart and pooled: results/ -> reports/summary.md."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.core.errors import MsaError
from pipeline.core.files import write_text
from pipeline.evaluation.comparison import compare_runs, correct
from pipeline.evaluation.pooled import pooled
from pipeline.evaluation.saved import SavedRun, Spread, read_runs
from pipeline.evaluation.significance import RESAMPLES, SEED
from pipeline.params.params import load_params

PAGE = Path("reports/summary.md")
METRICS = ("accuracy", "f1_weighted", "f1_macro")
REFERENCES = ("audio_only", "visual_only", "early_fusion", "late_fusion")  # those that are run
Folds = Mapping[str, Mapping[str, Sequence[SavedRun]]]  # training set -> method or system -> runs


def main() -> None:
    try:
        write_text("\n".join(tables(read_runs(load_params(), Path("results")), REFERENCES)), PAGE)
    except MsaError as error:
        sys.exit(f"error: {error}")


def tables(folds: Folds, references: Sequence[str]) -> list[str]:
    """Accuracy of each fold and of all; and each method less each reference that is there."""
    methods = {
        name: {fold: runs[name] for fold, runs in folds.items()} for name in next(iter(folds.values()))
    }
    whole = {name: pooled(of_folds, "ravdess") for name, of_folds in methods.items()}
    found = [name for name in references if name in methods]
    return [accuracies(methods, whole), *(against(name, whole) for name in found)]


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(head)
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *lines))


def accuracies(
    methods: Mapping[str, Mapping[str, Sequence[SavedRun]]], whole: Mapping[str, Sequence[SavedRun]]
) -> str:
    """A row a method: accuracy on each fold, their mean, and the metrics of all clips pooled."""
    lines = []
    for name, folds in methods.items():
        means = [Spread.of([run.result.test["accuracy"] for run in runs]).mean for runs in folds.values()]
        together = [Spread.of([run.result.test[metric] for run in whole[name]]).text(4) for metric in METRICS]
        cells = [*(f"{mean:.3f}" for mean in means), Spread.of(means).text(4), *together]
        lines.append([f"{name} (published)" if whole[name][0].result.imported else name, *cells])
    sets = list(next(iter(methods.values())))
    clips = next(iter(whole.values()))[0].result.n["test"]
    said = (
        "## Accuracy\n\nTest folds: mean over the seeds; the mean of the folds (as papers print it), "
        f"± their sample standard\ndeviation; all {clips} clips pooled, mean ± sample standard deviation "
        "over the seeds.\n\n"
    )
    head = ["method", *sets, "mean of folds", *(f"pooled {metric}" for metric in METRICS)]
    return said + table(head, lines)


def against(reference: str, whole: Mapping[str, Sequence[SavedRun]]) -> str:
    """Each method less the reference, all folds pooled, with what the statistics say."""
    others = [name for name in whole if name != reference]
    entries = [compare_runs(name, whole[reference], whole[name], RESAMPLES, SEED) for name in others]
    entries, family = correct(entries)
    lines = []
    for entry in entries:
        row = next(row for row in entry.rows if row.metric == METRICS[0])
        if (test := row.test) is None:
            lines.append([entry.title, "–", "–", "–", "–", entry.remarks[-1]])
            continue
        p = "–" if test.p_runs_holm is None else f"{test.p_runs_holm:.3f}"
        interval = f"{test.low:+.3f} to {test.high:+.3f}"
        cells = [f"{test.difference:+.3f}", interval, f"{test.p_holm:.3f}", p, test.words]
        lines.append([entry.title, *cells])
    clusters = [entry.clusters["test"].text_with_clips for entry in entries if entry.clusters]
    said = (
        f"## Against {reference}\n\nDifference of the pooled accuracies, its 95 % interval, and p values by "
        f"cluster ({', '.join(dict.fromkeys(clusters))}),\ncorrected by Holm over {family} tests, of all "
        "metrics.\n\n"
    )
    columns = ["method", "difference", "interval", "p, these runs", "p, other runs", "shown"]
    return said + table(columns, lines)


if __name__ == "__main__":
    main()
