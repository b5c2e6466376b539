"""All runs side by side: tables, learning curves and predictions, for the names that params.yaml runs.

Numbers are means and sample standard deviations (n - 1) over the seeds, of the test split. What is listed
comes from params (models_run x datasets_run x seeds), never from what lies in a folder, so that results of
methods or seeds that are no longer run do not slip in.
"""

from __future__ import annotations

import csv
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.core.errors import MsaError
from pipeline.core.paths import result_files
from pipeline.params.params import Params
from pipeline.reports.figures import draw_learning_curves, draw_predictions
from pipeline.training.loop.curves import read_table

SAMPLE = "sample"  # the corpus that ships with the project
FIRST = ("mae", "corr", "accuracy", "f1_weighted", "f1_macro")  # metrics, before all others
OOD = "ood_"  # before the names of metrics of a second test split
ROUNDED = 3  # decimals in the table
DECIMALS = 6


@dataclass
class Scored:
    """One run that was evaluated.

    Attributes
    ----------
    result : what evaluate wrote
    class_names : empty for a regression
    curves : a row an epoch
    clip_ids, labels, predictions : of the test split, in label units, or indices of classes
    """

    method: str
    dataset: str
    seed: int
    result: dict[str, Any]
    class_names: list[str]
    curves: list[dict[str, float]]
    clip_ids: list[str]
    labels: list[float]
    predictions: list[float]


def report(params: Params, results: Path, out: Path) -> str:
    """Write the report; its Markdown is returned too, to be printed.

    Parameters
    ----------
    results : folder with `<dataset>/<method>-<seed>.json`, `.predictions.parquet` and `.curves.tsv`
    out : folder for report.md, summary.json, curves.tsv, predictions.csv, learning_curves.png and
        predicted_vs_true.png (of classifications: confusion matrices); summary.json is
        {dataset: {method: {metric: {mean, sd, n}}}}, where sd is null for a single seed

    Raises
    ------
    MsaError : a result is missing or cannot be read, or the runs of a dataset saw different features
    """
    scored = [
        _read(method, dataset, seed, results)
        for dataset in params.datasets_run
        for method in params.models_run
        for seed in params.seeds
    ]
    if not scored:
        raise MsaError("nothing to report: datasets_run, models_run or seeds in params.yaml is empty")
    for dataset in params.datasets_run:
        _check_features([run for run in scored if run.dataset == dataset])

    table = summarize(scored)
    text = markdown(scored, table) + "".join(f"{line}\n" for line in _folds_markdown(params, table))
    out.mkdir(parents=True, exist_ok=True)
    (out / "summary.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    (out / "report.md").write_text(text, encoding="utf-8")
    _write_curves(scored, out / "curves.tsv")
    _write_predictions(scored, out / "predictions.csv")
    draw_learning_curves(scored, out)
    ranges = {name: params.corpus_of(name).label_range for name in params.datasets_run}
    draw_predictions(scored, ranges, out)
    return text


def summarize(scored: list[Scored]) -> dict[str, dict[str, dict[str, dict[str, float | None]]]]:
    """{dataset: {method: {metric: {mean, sd, n}}}} over the seeds.

    The test metrics, and `valid_mae`, or `valid_accuracy` of a classification; where there is a second test
    split, of another distribution, its metrics with `ood_` before their names.
    """
    values: dict[str, dict[str, dict[str, list[float]]]] = {}
    for run in scored:
        metrics = values.setdefault(run.dataset, {}).setdefault(run.method, {})
        test = run.result["test"]
        first = [n for n in (*FIRST, *(f"f1_{name}" for name in run.class_names)) if n in test]
        for name in [*first, *sorted(n for n in test if n not in first)]:
            metrics.setdefault(name, []).append(test[name])
        chief = "accuracy" if run.class_names else "mae"
        metrics.setdefault(f"valid_{chief}", []).append(run.result["valid"][chief])
        for name, value in run.result.get("test_ood", {}).items():
            metrics.setdefault(f"{OOD}{name}", []).append(value)
    return {
        dataset: {
            method: {metric: _spread(numbers) for metric, numbers in metrics.items()}
            for method, metrics in methods.items()
        }
        for dataset, methods in values.items()
    }


def _spread(numbers: list[float]) -> dict[str, float | None]:
    sd = round(statistics.stdev(numbers), DECIMALS) if len(numbers) > 1 else None
    return {"mean": round(statistics.fmean(numbers), DECIMALS), "sd": sd, "n": len(numbers)}


def markdown(scored: list[Scored], table: dict[str, Any]) -> str:
    """One table a dataset; the last row is a predictor that knows only the training labels."""
    seeds = ", ".join(str(seed) for seed in dict.fromkeys(run.seed for run in scored))
    lines = [
        "# Results",
        "",
        f"Test split, mean ± sample standard deviation over the seeds {seeds}. Every run is one checkpoint, "
        "the epoch with the lowest validation loss: the MAE of a regression, the cross-entropy of a "
        "classification. `train median` always says the training labels' median, `train majority` their "
        "most frequent class.",
    ]
    for dataset, methods in table.items():
        runs = [run for run in scored if run.dataset == dataset]
        result = runs[0].result
        features = ", ".join(f"{name} `{encoder}`" for name, encoder in _features(runs).items())
        counts = ", ".join(f"{result['n'][split]} {split}" for split in ("valid", "test"))
        lines += ["", f"## {dataset}", ""]
        if dataset == SAMPLE:
            lines += [
                "**These numbers mean nothing**: the sample corpus is a handful of made clips that show that "
                "everything runs.",
                "",
            ]
        lines += [
            f"Features: {features} (feature set `{result['feature_set'][:12]}`). Clips: {counts}. "
            f"Metric set: {result['metric_set']}.",
            "",
        ]
        metrics = [name for name in next(iter(methods.values())) if not name.startswith(OOD)]
        heads = ["method", *(_head(metric) for metric in metrics), "best epochs"]
        rows = []
        for method, scores in methods.items():
            epochs = ", ".join(str(run.result["epoch"]) for run in runs if run.method == method)
            rows.append([method, *(_cell(scores[m]) for m in metrics), epochs])
        floor = {name.removeprefix("test_"): value for name, value in result["floor"].items()}
        cells = [f"{floor[m]:.{ROUNDED}f}" if m in floor else "–" for m in metrics]
        rows.append(["train majority" if runs[0].class_names else "train median", *cells, "–"])
        lines += _table(heads, rows)
        if "test_ood" in result:
            lines += ["", f"Out of distribution: {result['n']['test_ood']} clips of `test_ood`.", ""]
            lines += _out_of_distribution(methods)
        remarks = [
            f"- {run.method}, seed {run.seed}, {split}: {line}"
            for run in runs
            for split, said in run.result["remarks"].items()
            for line in said
        ]
        lines += ["", *remarks] if remarks else []
    return "\n".join(lines) + "\n"


def _out_of_distribution(methods: dict[str, Any]) -> list[str]:
    """The same runs on the second test split."""
    metrics = [name for name in next(iter(methods.values())) if name.startswith(OOD)]
    heads = ["method", *(_head(metric.removeprefix(OOD)) for metric in metrics)]
    return _table(
        heads, [[method, *(_cell(scores[m]) for m in metrics)] for method, scores in methods.items()]
    )


def cross_validations(params: Params) -> dict[str, list[str]]:
    """Training sets that are folds of one cross-validation: {name of the whole: names of its sets}."""
    groups: dict[str, list[str]] = {}
    for name in params.datasets_run:
        folds = params.assemble[name].protocol.folds
        if folds is not None:
            alike = params.assemble[name].model_dump(mode="json")
            alike["protocol"]["folds"].pop("fold")
            groups.setdefault(json.dumps(alike, sort_keys=True), []).append(name)
    return {f"{names[0]} to {names[-1]}": names for names in groups.values() if len(names) > 1}


def _folds_markdown(params: Params, table: dict[str, Any]) -> list[str]:
    """A table for each cross-validation: mean ± sample standard deviation over its folds."""
    lines: list[str] = []
    for whole, names in cross_validations(params).items():
        folds = params.assemble[names[0]].protocol.folds
        assert folds is not None
        lines += ["", f"## {whole}, cross-validated", ""]
        lines += [
            f"{len(names)} of {folds.number} folds by {folds.by} ({', '.join(names)}); mean ± sample "
            "standard deviation over the folds, each the mean of its seeds.",
            "",
        ]
        metrics = [name for name in next(iter(table[names[0]].values())) if not name.startswith(OOD)]
        rows = []
        for method in table[names[0]]:
            means = {m: [table[name][method][m]["mean"] for name in names] for m in metrics}
            rows.append([method, *(_cell(_spread(means[m])) for m in metrics)])
        lines += _table(["method", *(_head(metric) for metric in metrics)], rows)
    return lines


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def _head(metric: str) -> str:
    return metric.replace("_", " ").replace("|", "\\|")  # a class may be called anything


def _cell(spread: dict[str, float | None]) -> str:
    mean = f"{spread['mean']:.{ROUNDED}f}"
    return mean if spread["sd"] is None else f"{mean} ± {spread['sd']:.{ROUNDED}f}"


def _features(runs: list[Scored]) -> dict[str, str]:
    """Modality -> encoder, of all methods together; all of them where methods differ (frozen, fine-tuned)."""
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, encoder in sorted(run.result["features"].items()):
            found.setdefault(name, {})[encoder] = None
    return {name: "` or `".join(encoders) for name, encoders in found.items()}


# ------------------------------------------------------------------------------------------------- reading
def _read(method: str, dataset: str, seed: int, results: Path) -> Scored:
    files = result_files(method, dataset, seed, results)
    stage = f"evaluate@{method}-{dataset}-{seed}"
    for path in files:
        if not path.exists():
            raise MsaError(
                f"{path} is missing, but params.yaml runs {method} on {dataset} with seed {seed}; "
                f"`dvc repro {stage}` makes it"
            )
    try:
        result = json.loads(files.metrics.read_text(encoding="utf-8"))
        class_names = result["class_names"]
    except (ValueError, KeyError) as error:
        raise MsaError(
            f"{files.metrics}: cannot be read ({error!r}); `dvc repro -f {stage}` writes it anew"
        ) from error
    table = pq.read_table(files.predictions).to_pydict()
    return Scored(
        method,
        dataset,
        seed,
        result,
        class_names,
        read_table(files.curves),
        table["clip_id"],
        table["label"],
        table["prediction"],
    )


def _check_features(runs: list[Scored]) -> None:
    """Numbers of different features do not belong into one table."""
    sets = {run.result["feature_set"]: run for run in runs}
    if len(sets) > 1:
        found = "; ".join(
            f"{run.method}-{run.seed} saw {key[:12]} ({', '.join(map(str, run.result['features'].values()))})"
            for key, run in sets.items()
        )
        raise MsaError(
            f"the runs on {runs[0].dataset} saw different features: {found}; run `dvc repro evaluate`"
        )


# ------------------------------------------------------------------------------------------------- writing
def _write_curves(scored: list[Scored], path: Path) -> None:
    """Every epoch of every run; a column that a method has not is empty there."""
    last = ["valid_loss", "lr"]
    columns = dict.fromkeys(name for run in scored for name in run.curves[0] if name not in last)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(
            file,
            ["method", "dataset", "seed", *columns, *last],
            delimiter="\t",
            lineterminator="\n",
            restval="",
        )
        writer.writeheader()
        for run in scored:
            for row in run.curves:
                numbers = {name: f"{value:.6g}" for name, value in row.items()}
                writer.writerow({"method": run.method, "dataset": run.dataset, "seed": run.seed, **numbers})


def _write_predictions(scored: list[Scored], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["method", "dataset", "seed", "clip_id", "label", "prediction"])
        for run in scored:
            for clip_id, label, prediction in zip(run.clip_ids, run.labels, run.predictions, strict=True):
                writer.writerow(
                    [run.method, run.dataset, run.seed, clip_id, f"{label:.6g}", f"{prediction:.6g}"]
                )
