"""`reports/index.html`: all runs of params.yaml on one page that needs no other file and no network.

Made of what evaluate wrote (`results/<set>/<method>/`), so it can be made in a clone without data. Runs
without views are shown without them. The page stays below `LIMIT`: where there are many runs, those of the
later seeds have their numbers and no pictures.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

from pipeline.core.errors import MsaError
from pipeline.core.paths import results_folder
from pipeline.evaluation.saved import CURVES, VIEWS, SavedRun, read_views
from pipeline.evaluation.significance import ALPHA
from pipeline.params.params import Params
from pipeline.reports.blocks import (
    Block,
    Callout,
    Cell,
    Details,
    Figures,
    Heading,
    Lines,
    PageBlock,
    Picture,
    Table,
    as_html,
)
from pipeline.reports.facts import MEANINGLESS, SAMPLE, WHY_MEANINGLESS, constant, facts, remarks
from pipeline.reports.run_figures import run_figures
from pipeline.reports.sections import SetResults, sections
from pipeline.reports.tables import OOD, Scores, metric_table, number_cell, results_table

LIMIT = 5_000_000  # bytes of the page
PICTURES = 4_300_000  # of these, bytes of pictures
READING = (
    "Loss terms are drawn as they are; what training adds up is each times its weight.",
    "A t-SNE keeps neighbours together. Its axes have no unit, and distances between groups mean little. "
    "Full markers are shared (or invariant) representations, hollow ones private (or spurious).",
    "Errors by range stand beside the number of clips: few clips make a range's bar unreliable.",
    "The worst clips are those with the largest error: |prediction - label| of a score, cross-entropy (nats) "
    "of a class.",
    "A method's first seed has all pictures, the others those of losses and predictions.",
)
Views = dict[str, Any]  # of a run, see inspect.py


def page(
    params: Params, grouped: dict[str, dict[str, list[SavedRun]]], summary: dict[str, Scores], results: Path
) -> str:
    """The page; the same text for the same results.

    Parameters
    ----------
    grouped, summary : dataset -> method -> runs, and their scores
    results : folder with `<dataset>/<method>/views.json`

    Raises
    ------
    MsaError : views cannot be read, or there are more runs than fit
    """
    runs = [run for methods in grouped.values() for run in chain(*methods.values())]
    views = {
        of_run: found
        for name, methods in grouped.items()
        for method in methods
        for of_run, found in _views(method, name, results).items()
    }
    pictures = _pictures_that_fit(runs, views, params)
    seeds = ", ".join(map(str, params.seeds))
    said = (
        f"Test split, mean ± sample standard deviation over the seeds {seeds}. Every run is one checkpoint, "
        "the epoch with the lowest validation loss. A heading of a table sorts it. A method's own pictures "
        f"are of the first seed; {VIEWS} and {CURVES} in its folder of results have the others."
    )
    blocks: list[Block | PageBlock] = [Heading("Results", 1), Lines([said])]
    contents = []
    for name, methods in grouped.items():
        contents.append([(name, name), *((method, f"{name}-{method}") for method in methods)])
        blocks += _dataset_blocks(name, methods, summary[name])
        blocks += sections(SetResults(name, methods, summary[name], params, results))
        for method, mine in methods.items():
            blocks.append(Heading(f"{method} on {name}", 3, f"{name}-{method}"))
            reading = next((found["reading"] for run in mine if (found := views.get(_anchor(run)))), "")
            blocks += [Lines([reading])] if reading else []
            for run in mine:
                of_run = _anchor(run)
                blocks.append(_details(run, views.get(of_run), pictures.get(of_run), run is mine[0]))
    blocks += [Heading("How to read the pictures", 2, "reading"), Lines([*READING], bullets=True)]
    text = as_html(blocks, contents)
    if len(text.encode()) > LIMIT:
        raise MsaError(
            f"the page of {len(runs)} runs has {len(text.encode()) / 1e6:.1f} MB, at most {LIMIT / 1e6:.0f} "
            "are wanted; name fewer under datasets_run, models_run or seeds in params.yaml"
        )
    return text


def _anchor(run: SavedRun) -> str:
    return f"{run.result.dataset}-{run.result.method}-{run.result.seed}"


def _views(method: str, dataset: str, results: Path) -> dict[str, Views]:
    """Anchor of a run -> its views."""
    found = read_views(results_folder(method, dataset, results) / VIEWS)
    return {f"{dataset}-{method}-{seed}": of_run for seed, of_run in found.items()}


def _pictures_that_fit(
    runs: list[SavedRun], views: dict[str, Views], params: Params
) -> dict[str, list[Picture]]:
    """Anchor -> pictures, first seeds first, until the page is full."""
    found: dict[str, list[Picture]] = {}
    left = PICTURES
    places = {seed: place for place, seed in enumerate(params.seeds)}
    for run in sorted(runs, key=lambda run: 0 if run.result.imported else places[run.result.seed]):
        span = params.corpus_of(run.result.dataset).label_range
        pictures = run_figures(run, views.get(_anchor(run)), span, run.result.seed == params.seeds[0])
        left -= sum(len(picture.address) for picture in pictures)
        if left < 0:
            break
        found[_anchor(run)] = pictures
    return found


# --------------------------------------------------------------------------------------------------- filling
def _dataset_blocks(name: str, methods: dict[str, list[SavedRun]], scores: Scores) -> list[Block | PageBlock]:
    runs = [*chain(*methods.values())]
    table, floor = results_table(scores, methods, name), constant(runs)
    own = [metric for metric in table.metrics if not metric.startswith(OOD)]
    ood = [metric for metric in table.metrics if metric.startswith(OOD)]
    blocks: list[Block | PageBlock] = [Heading(name, 2, name)]
    if name == SAMPLE:
        blocks.append(Callout("", title=f"{MEANINGLESS}: {WHY_MEANINGLESS}."))
    blocks += [Lines([facts(runs)]), metric_table(table, own, floor)]
    if ood:
        blocks += [Heading("Out of distribution", 3), metric_table(table, ood, floor)]
    legend = f"{floor} is a predictor that knows only the training labels. "
    if any(cell.paper for row in table.rows.values() for cell in row.values()):
        legend += (
            "“paper” is what the method's paper prints of this corpus, with its own features and encoders. "
        )
    legend += (
        f"Bold: better than the second best method at p < {ALPHA:g} (clips swapped between the "
        "methods, those of a speaker or video together, as counted above; Holm's correction over the "
        "metrics); † also as a statement on other seeds. Nothing bold: no best is significant."
    )
    said = [*table.remarks, *remarks(runs)]
    return [*blocks, Lines([legend]), *([Lines(said, bullets=True)] if said else [])]


def _details(run: SavedRun, views: Views | None, pictures: list[Picture] | None, first: bool) -> Details:
    result = run.result
    chief = ("accuracy", "f1_weighted") if result.class_names else ("mae", "corr")
    numbers = " · ".join(f"{metric} {result.test[metric]:.3f}" for metric in chief)
    without = (
        "This run has no views: no maps, no view of the method, no worst clips. "
        f"`dvc repro evaluate@{result.method}-{result.dataset}` makes them."
    )
    if result.imported:
        without = (
            f"Predictions of another system, imported from {result.imported['file']}: there are no weights, "
            "curves or views of it here."
        )
    notes = [without] if views is None else list(views["notes"])
    if pictures is None:
        notes.append("No pictures: the page would be too large with those of all runs.")
    blocks: list[Block | PageBlock] = [*map(Callout, notes), Figures(pictures or [])]
    if views is not None:
        blocks += [Heading("The worst test clips", 4), _worst_table(views["worst"], result.class_names)]
    trained = f"seed {result.seed} · epoch {result.epoch} of {len(run.curves)}"
    summary = f"{'imported' if result.imported else trained} · {numbers}"
    return Details(summary, blocks, _anchor(run), first)


def _worst_table(worst: list[dict[str, Any]], class_names: tuple[str, ...]) -> Table:
    """The clips with the largest errors, as evaluate found them."""

    def shown(value: float) -> Cell:
        return Cell(name := class_names[int(value)], name) if class_names else number_cell(value)

    unit = "cross-entropy (nats)" if class_names else "|prediction - label|, in label units"
    head: list[str | Cell] = ["clip", "label", "prediction", Cell("error", title=unit)]
    told = any("transcript" in clip for clip in worst)
    head += ["transcript"] if told else []
    rows = []
    for clip in worst:
        name, said = Cell(clip["clip_id"], clip["clip_id"]), clip.get("transcript", "")
        scores = shown(clip["label"]), shown(clip["prediction"]), number_cell(clip["error"])
        rows.append([name, *scores, *([Cell(said or "–", said, words=True)] if told else [])])
    return Table(head, rows, sortable=True)
