"""All runs side by side: tables, learning curves and predictions, for the names that params.yaml runs.

Numbers are means and sample standard deviations (n - 1) over the seeds, of the test split.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from pipeline.core.console import tracked
from pipeline.core.errors import MsaError
from pipeline.core.files import replaced_files, replaced_folder, write_text
from pipeline.core.spreadsheets import write_cells
from pipeline.core.vocabulary import TEST, TEST_OOD
from pipeline.evaluation.saved import SavedRun, read_runs
from pipeline.params.params import Params
from pipeline.reports.blocks import Block, Heading, Lines, Table, as_markdown
from pipeline.reports.facts import MEANINGLESS, SAMPLE, WHY_MEANINGLESS, constant, facts, remarks
from pipeline.reports.folds import fold_name, fold_scores, fold_text
from pipeline.reports.names import in_words, method_name, metric_name
from pipeline.reports.overview_figures import draw_curves, draw_predictions, write_png
from pipeline.reports.page import SETS, index_page, set_page
from pipeline.reports.robust_tables import robust_blocks, saved_sets
from pipeline.reports.sections import SetResults
from pipeline.reports.tables import DIGITS, OOD, Scores, summarize

KEY = ("method", "dataset", "seed")  # of a run


def report(params: Params, results: Path, out: Path) -> str:
    """Write the report; its Markdown is returned too, to be printed.

    Parameters
    ----------
    results : folder with `<dataset>/<method>/metrics.json` and the files beside it
    out : folder for report.md, index.html with a page a training set in `sets`, curves.tsv, predictions.csv,
        learning_curves.png and predicted_vs_true.png (of classifications: confusion matrices)

    Raises
    ------
    MsaError : a result is missing or cannot be read, or the runs of a dataset saw different features
    """
    grouped = read_runs(params, results)
    by_dataset = {dataset: [*chain(*methods.values())] for dataset, methods in grouped.items()}
    for of_dataset in by_dataset.values():
        _check_features(of_dataset)
    runs = [*chain(*by_dataset.values())]
    summary = {dataset: summarize(methods) for dataset, methods in grouped.items()}
    sets = [SetResults(name, methods, summary[name], params, results) for name, methods in grouped.items()]
    blocks = _report_blocks(sets, params.seeds) + _fold_blocks(params, summary)
    blocks += robust_blocks(
        saved_sets(params.datasets_run, params.models_run, results, params.cross_validations())
    )
    text = as_markdown(blocks, top=1)
    with replaced_files(out) as folder:
        write_text(text, folder / "report.md")
        write_text(index_page(sets, params), folder / "index.html")
        _write_curves(runs, folder / "curves.tsv")
        _write_predictions(runs, folder / "predictions.csv")
        write_png(
            {one.name: draw_curves(one.name, one.methods) for one in sets}, folder / "learning_curves.png"
        )
        drawn = {one.name: draw_predictions(one.name, one.methods, one.span) for one in sets}
        write_png(drawn, folder / "predicted_vs_true.png")
    with replaced_folder(out / SETS) as folder:
        for one in tracked(sets, "writing pages", len(sets)):
            write_text(set_page(one), folder / f"{one.name}.html")
    return text


def _report_blocks(sets: Sequence[SetResults], seeds: Sequence[int]) -> list[Block]:
    """One table a dataset; the last row is a predictor that knows only the training labels."""
    said = (
        f"Test split, mean ± sample standard deviation over the seeds {', '.join(map(str, seeds))}. Every "
        "run is one checkpoint, the epoch with the lowest validation loss: the MAE of a regression, the "
        "cross-entropy of a classification. `train median` always predicts the training labels' median, "
        "`train majority` their most frequent class."
    )
    blocks: list[Block] = [Heading("Results", 1), _marked(said)]
    for found in sets:
        mine, methods = found.runs, found.scores
        blocks.append(Heading(found.name))
        if found.name == SAMPLE:
            blocks.append(_marked(f"**{MEANINGLESS}**: {WHY_MEANINGLESS}."))
        blocks += [_marked(facts(mine, "`")), _own_table(mine, methods)]
        if mine[0].result.test_ood:
            count = mine[0].result.n[TEST_OOD]
            blocks.append(_marked(f"Out of distribution: {count} clips of `{TEST_OOD}`."))
            blocks.append(_table(_metrics(methods, ood=True), methods))
        if said_of_runs := remarks(mine):
            blocks.append(Lines([*map(in_words, said_of_runs)], bullets=True, marked=True))
        blocks += found.said
    return blocks


def _own_table(runs: list[SavedRun], methods: Scores) -> Table:
    metrics = _metrics(methods)
    table = _table(metrics, methods)
    epochs = [
        ", ".join(str(run.result.epoch or "–") for run in runs if run.result.method == method)
        for method in methods
    ]
    floor = {name.removeprefix("test_"): value for name, value in runs[0].result.floor.items()}
    cells = [f"{floor[name]:.{DIGITS}f}" if name in floor else "–" for name in metrics]
    rows = [[*row, told] for row, told in zip(table.rows, epochs, strict=True)]
    return Table([*table.head, "best epochs"], [*rows, [constant(runs), *cells, "–"]])


def _metrics(methods: Scores, ood: bool = False) -> list[str]:
    """Of the first test split, or of the second."""
    return [name for name in next(iter(methods.values())) if name.startswith(OOD) == ood]


def _table(metrics: list[str], methods: Scores) -> Table:
    """A row a method."""
    rows = [
        [method_name(method).text, *(scores[name].text() if name in scores else "–" for name in metrics)]
        for method, scores in methods.items()
    ]
    return Table(["method", *(metric_name(name).text for name in metrics)], rows)


def _fold_blocks(params: Params, summary: dict[str, Scores]) -> list[Block]:
    """A table for each cross-validation: mean ± sample standard deviation over its folds."""
    blocks: list[Block] = []
    for names in params.cross_validations():
        means = fold_scores(names, summary)
        blocks += [
            Heading(fold_name(names)),
            _marked(fold_text(names, params)),
            _table(_metrics(summary[names[0]]), means),
        ]
    return blocks


def _marked(text: str) -> Lines:
    return Lines([text], marked=True)


def _check_features(runs: list[SavedRun]) -> None:
    """Numbers of different features, or of other clips, do not belong into one table."""
    for run in runs:
        if run.result.imported and not _same_clips(run, runs[0]):
            raise MsaError(
                f"{run.folder} was imported for other test clips or labels than {runs[0].folder} has; import "
                "it again with `msa-cli import-predictions`, or remove the folder"
            )
    regimes = {run.result.regime: run.name for run in runs if not run.result.imported}
    if len(regimes) > 1:
        found = "; ".join(f"{name} {regime}" for regime, name in regimes.items())
        raise MsaError(
            f"runs on {runs[0].result.dataset} were trained under different regimes: {found}; run `dvc repro`"
        )
    sets = {run.result.feature_set: run.result for run in runs if not run.result.imported}
    if len(sets) > 1:
        found = "; ".join(
            f"{one.method}-{one.seed} saw {key[:12]} ({', '.join(one.features.values())})"
            for key, one in sets.items()
        )
        raise MsaError(
            f"the runs on {runs[0].result.dataset} saw different features: {found}; run `dvc repro evaluate`"
        )


def _same_clips(run: SavedRun, other: SavedRun) -> bool:
    """Whether two runs are of the same test clips with the same labels."""
    mine, its = run.predictions[TEST], other.predictions[TEST]
    return mine.clip_ids == its.clip_ids and np.allclose(mine.label, its.label)


# ------------------------------------------------------------------------------------------------- writing
def _write_curves(runs: list[SavedRun], path: Path) -> None:
    """Every epoch of every run; a column that a method has not is empty there."""
    last = ["valid_loss", "lr"]
    columns = dict.fromkeys(
        name for run in runs for row in run.curves[:1] for name in row if name not in last
    )
    names = [*columns, *last]
    rows = (
        [*_key(run), *(f"{row[name]:.6g}" if name in row else "" for name in names)]
        for run in runs
        for row in run.curves
    )
    write_cells(path, [*KEY, *names], rows, "\t")


def _write_predictions(runs: list[SavedRun], path: Path) -> None:
    """Of all test splits."""
    rows = (
        [*_key(run), clip, f"{label:.6g}", f"{guess:.6g}"]
        for run in runs
        for found in run.predictions.values()
        for clip, label, guess in zip(found.clip_ids, found.label, found.prediction, strict=True)
    )
    write_cells(path, [*KEY, "clip_id", "label", "prediction"], rows)


def _key(run: SavedRun) -> list[object]:
    return [getattr(run.result, name) for name in KEY]
