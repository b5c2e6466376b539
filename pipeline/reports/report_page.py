"""`reports/index.html`: all runs of params.yaml on one page that needs no other file and no network.

Made of what evaluate and inspect wrote (`results/<dataset>/<method>-<seed>.*`), so it can be made in a clone
without data. Runs without views are shown without them. The page stays below `LIMIT`: where there are many
runs, those of the later seeds have their numbers and no pictures.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import FormatError, MsaError
from pipeline.core.git import open_revision
from pipeline.core.paths import result_files
from pipeline.evaluation.saved import SavedRun, read_run
from pipeline.evaluation.significance import ALPHA
from pipeline.evaluation.views_file import read_views, views_file
from pipeline.params.params import Params
from pipeline.reports import page, page_template
from pipeline.reports.page_runs import run_figures, worst_table
from pipeline.reports.page_tables import HtmlTable, metric_table
from pipeline.reports.report import OOD, SAMPLE, Scored, summarize
from pipeline.reports.tables import ResultsTable, results_table
from pipeline.training.loop.curves import read_table

LIMIT = 5_000_000  # bytes of the page
PICTURES = 4_300_000  # of these, bytes of pictures


@dataclass(frozen=True)
class Run:
    """One run with all that is known of it.

    Attributes
    ----------
    saved, scored : the same results, as the statistics and as the report take them
    views : of inspect; None where there are none
    """

    saved: SavedRun
    scored: Scored
    views: dict[str, Any] | None

    @property
    def anchor(self) -> str:
        return f"{self.scored.dataset}-{self.scored.method}-{self.scored.seed}"


def write_page(params: Params, results: Path, out: Path) -> Path:
    """Write `index.html` into a folder; the same bytes for the same results.

    Parameters
    ----------
    results : folder with `<dataset>/<method>-<seed>.json` and the files beside it

    Raises
    ------
    MsaError : params name no run, a result is missing or cannot be read, or there are more runs than fit
    """
    runs = [
        read_one(results, method, dataset, seed)
        for dataset in params.datasets_run
        for method in params.models_run
        for seed in params.seeds
    ]
    if not runs:
        raise MsaError("nothing to report: datasets_run, models_run or seeds in params.yaml is empty")
    figures = _figures_that_fit(runs, params)
    text = _rendered(
        style=page.STYLE + page_template.STYLE,
        script=page_template.SCRIPT,
        seeds=", ".join(map(str, params.seeds)),
        datasets=[
            _dataset(name, [run for run in runs if run.scored.dataset == name], figures)
            for name in params.datasets_run
        ],
    )
    if len(text.encode()) > LIMIT:
        raise MsaError(
            f"the page of {len(runs)} runs has {len(text.encode()) / 1e6:.1f} MB, at most {LIMIT / 1e6:.0f} "
            "are wanted; name fewer under datasets_run, models_run or seeds in params.yaml"
        )
    out.mkdir(parents=True, exist_ok=True)
    path = out / "index.html"
    path.write_text(text, encoding="utf-8")
    return path


def read_one(results: Path, method: str, dataset: str, seed: int) -> Run:
    """A run's results, curves and views."""
    files = result_files(method, dataset, seed, results)
    saved = read_run(open_revision(None, results), files.metrics.relative_to(results).as_posix())
    if saved.predictions is None:
        raise FormatError(f"{files.predictions}: no such file; evaluate the run again (`dvc repro`)")
    try:
        curves = read_table(files.curves)
    except (OSError, ValueError) as error:
        raise FormatError(f"{files.curves}: cannot be read ({error}); evaluate the run again") from error
    result: dict[str, Any] = json.loads(saved.content[0])
    predictions = saved.predictions
    scored = Scored(
        method,
        dataset,
        seed,
        result,
        list(saved.result.class_names),
        curves,
        list(predictions.clip_ids),
        predictions.label.tolist(),
        predictions.prediction.tolist(),
    )
    return Run(saved, scored, read_views(views_file(files.metrics)))


def _figures_that_fit(runs: list[Run], params: Params) -> dict[str, list[tuple[str, Any]]]:
    """Anchor -> captions and pictures, first seeds first, until the page is full."""
    found: dict[str, list[tuple[str, Any]]] = {}
    left = PICTURES
    for seed in params.seeds:
        for run in (run for run in runs if run.scored.seed == seed):
            span = params.corpus_of(run.scored.dataset).label_range
            pictures = run_figures(run.scored, run.views, span)
            size = sum(len(picture.png) for _, picture in pictures)
            if size > left:
                return found
            left -= size
            found[run.anchor] = pictures
    return found


# --------------------------------------------------------------------------------------------------- filling
def _dataset(name: str, runs: list[Run], figures: dict[str, list[tuple[str, Any]]]) -> dict[str, Any]:
    summary = summarize([run.scored for run in runs])[name]
    result = runs[0].scored.result
    saved = {method: [run.saved for run in runs if run.scored.method == method] for method in summary}
    table = results_table(summary, saved, name, result["floor"])
    own = [metric for metric in table.metrics if not metric.startswith(OOD)]
    ood = [metric for metric in table.metrics if metric.startswith(OOD)]
    constant = "train majority" if runs[0].scored.class_names else "train median"
    return {
        "name": name,
        "anchor": name,
        "warnings": _warnings(name, runs),
        "facts": _facts(runs),
        "table": metric_table(table, own, constant),
        "ood": metric_table(table, ood, constant) if ood else None,
        "legend": _legend(table, constant),
        "remarks": [*table.remarks, *_remarks(runs)],
        "methods": [
            _method(name, method, [run for run in runs if run.scored.method == method], figures)
            for method in summary
        ],
    }


def _warnings(name: str, runs: list[Run]) -> list[str]:
    found = []
    if name == SAMPLE:
        found.append(
            "These numbers mean nothing: the sample corpus is a handful of made clips that show that "
            "everything runs."
        )
    if len({run.saved.result.feature_set for run in runs}) > 1:
        found.append("The runs saw different features: the rows do not compare. Run `dvc repro evaluate`.")
    return found


def _facts(runs: list[Run]) -> str:
    encoders: dict[str, dict[str, None]] = {}
    for run in runs:
        for modality, encoder in sorted(run.saved.result.features.items()):
            encoders.setdefault(modality, {})[encoder] = None
    features = ", ".join(f"{modality} {' or '.join(found)}" for modality, found in encoders.items())
    result = runs[0].scored.result
    sets = ", ".join(dict.fromkeys(run.saved.result.feature_set[:12] for run in runs))
    clips = ", ".join(f"{count} {split}" for split, count in sorted(result["n"].items()))
    return f"Features: {features} (feature set {sets}). Clips: {clips}. Metric set: {result['metric_set']}."


def _legend(table: ResultsTable, constant: str) -> str:
    cells = [cell for row in table.rows.values() for cell in row.values()]
    parts = [f"{constant} is a predictor that knows only the training labels."]
    if any(cell.paper is not None for cell in cells):
        parts.append(
            "“paper” is what the method's paper prints of this corpus, with its own features and encoders."
        )
    parts.append(
        f"Bold: better than the second best method at p < {ALPHA:g} (clips swapped between the methods, "
        "Holm's correction over the metrics); † also as a statement on other seeds. Nothing bold: no best is "
        "significant."
    )
    return " ".join(parts)


def _remarks(runs: list[Run]) -> list[str]:
    return [
        f"{run.scored.method}, seed {run.scored.seed}, {split}: {line}"
        for run in runs
        for split, lines in run.scored.result.get("remarks", {}).items()
        for line in lines
    ]


def _method(
    dataset: str, method: str, runs: list[Run], figures: dict[str, list[tuple[str, Any]]]
) -> dict[str, Any]:
    return {
        "name": method,
        "anchor": f"{dataset}-{method}",
        "reading": next((run.views["reading"] for run in runs if run.views is not None), ""),
        "runs": [_run(run, figures.get(run.anchor)) for run in runs],
    }


def _run(run: Run, pictures: list[tuple[str, Any]] | None) -> dict[str, Any]:
    scored = run.scored
    chief = ("accuracy", "f1_weighted") if scored.class_names else ("mae", "corr")
    numbers = " · ".join(f"{metric} {scored.result['test'][metric]:.3f}" for metric in chief)
    notes = [] if run.views is None else list(run.views["notes"])
    if run.views is None:
        stage = f"inspect@{scored.method}-{scored.dataset}-{scored.seed}"
        notes.append(
            "This run has no views: no maps, no view of the method, no worst clips. "
            f"`dvc repro {stage}` makes them."
        )
    if pictures is None:
        notes.append("No pictures: the page would be too large with those of all runs.")
    worst: HtmlTable | None = worst_table(run.views["worst"], scored.class_names) if run.views else None
    return {
        "anchor": run.anchor,
        "summary": f"seed {scored.seed} · epoch {scored.result['epoch']} of {len(scored.curves)} · {numbers}",
        "notes": notes,
        "figures": pictures or [],
        "worst": worst,
    }


def _rendered(**content: Any) -> str:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    ours = {name: Markup(content.pop(name)) for name in ("style", "script")}  # constants, not anybody's text
    return environment.from_string(page_template.TEMPLATE).render(**ours, **content)
