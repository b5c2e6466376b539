"""The results page: `reports/index.html`, each set's methods side by side, and a page a set in `sets`.

Made of what evaluate wrote (`results/<set>/<method>/`), so it can be made in a clone without data. Each page
needs no other file and no network, and stays below `LIMIT`: where there are many methods, the later ones have
their numbers and no pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.core.errors import MsaError
from pipeline.core.paths import results_folder
from pipeline.evaluation.pooled import pooled
from pipeline.evaluation.saved import CURVES, VIEWS, SavedRun, read_views
from pipeline.evaluation.significance import ALPHA
from pipeline.evaluation.standing import chief_metric, standings
from pipeline.params.params import Params
from pipeline.reports.blocks import (
    Beside,
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
from pipeline.reports.figures import picture
from pipeline.reports.folds import fold_name, fold_scores, fold_text
from pipeline.reports.names import OOD, in_words, method_name, metric_name, term_name
from pipeline.reports.overview_figures import draw_curves, draw_forest
from pipeline.reports.robust_tables import robust_section, saved_sets
from pipeline.reports.run_figures import method_drawings
from pipeline.reports.sections import SetResults, sections
from pipeline.reports.tables import (
    DIGITS,
    FIRST,
    ResultsTable,
    Scores,
    metric_table,
    number_cell,
)

SETS = "sets"  # folder of the pages of training sets
LIMIT = 3_000_000  # bytes of a page
PICTURES = 2_600_000  # of these, bytes of methods' pictures
FEW_CLASSES = 3  # whose F1 each have a column
READING = (
    "Loss terms are drawn without their weights. The first seed's line is black, those of the others are "
    "grey; a dot marks the chosen epoch.",
    "Where methods stand: ticks are seeds, lines 95 % intervals over speakers or videos. A filled dot "
    "marks a difference whose interval excludes 0; intervals are not corrected for the number of methods.",
    "A t-SNE map keeps neighbours together. Its axes have no unit, and distances between groups mean little. "
    "Full markers are shared (or invariant) representations, hollow ones private (or spurious).",
    "Errors by range are shown with the number of clips: with few clips, a range's bar is unreliable.",
    "The worst clips are those with the largest error: |prediction - label| of a score, cross-entropy (nats) "
    "of a class.",
    "Click a picture to enlarge it; the enlarged one can be saved as SVG. `msa-cli figures` writes all "
    "pictures as PDF, SVG or PNG at the width of a paper's column.",
)
Views = dict[str, Any]  # of a run, see inspect.py
Blocks = list[Block | PageBlock]


def index_page(sets: Sequence[SetResults], params: Params) -> str:
    """All sets, each cross-validation as one; the same text for the same results."""
    by_name = {one.name: one for one in sets}
    groups = params.cross_validations()
    folds = {name for names in groups for name in names}
    said = (
        f"Test split, mean ± sample standard deviation over the seeds {', '.join(map(str, params.seeds))}. "
        "Every run is one checkpoint, the epoch of the lowest validation loss. Click a heading to sort by it."
    )
    blocks: Blocks = [Heading("Results", 1), Lines([said])]
    contents: list[tuple[str, str]] = []
    for names in groups:
        contents.append((fold_name(names), f"#{names[0]}"))
        blocks += _fold_blocks([by_name[name] for name in names], names, params)
    for one in sets:
        if one.name not in folds:
            contents.append((one.name, f"#{one.name}"))
            blocks += [Heading(one.name, 2, one.name), *_overview(one, f"{SETS}/{one.name}.html#")]
    return _bounded(as_html(blocks, [contents] if len(contents) > 1 else []), "index.html")


def set_page(found: SetResults) -> str:
    """Everything of one training set: the overview, the sections, and each method."""
    name = found.name
    blocks: Blocks = [Heading(name, 1), Lines([facts(found.runs)]), *_overview(found, "#")]
    blocks += sections(found)
    blocks.append(Heading("Each method", 2, "methods"))
    views = {method: _views(method, found) for method in found.methods}
    pictures = _pictures_that_fit(found, views)
    for method, runs in found.methods.items():
        blocks += _method_blocks(method, runs, views[method], pictures.get(method))
    blocks += [Heading("How to read the pictures", 2, "reading"), Lines([*READING], bullets=True)]
    links = [(method_name(method).text, f"#{method}") for method in found.methods]
    return _bounded(as_html(blocks, [[("All results", "../index.html"), *links]]), f"{SETS}/{name}.html")


def _bounded(text: str, name: str) -> str:
    if (size := len(text.encode())) > LIMIT:
        raise MsaError(
            f"the page {name} takes up {size / 1e6:.1f} MB, expected at most {LIMIT / 1e6:.0f}; name fewer "
            "under datasets_run, models_run or seeds in params.yaml"
        )
    return text


# ------------------------------------------------------------------------------------------------- overview
def _overview(found: SetResults, links: str) -> Blocks:
    """Where the methods stand, how they learnt, and their numbers."""
    runs, floor, table = found.runs, constant(found.runs), found.table
    own = [metric for metric in table.metrics if not metric.startswith(OOD)]
    own = _shown(own, runs)
    ood = [metric for metric in table.metrics if metric.startswith(OOD)]
    blocks: Blocks = []
    if found.name == SAMPLE:
        blocks.append(Callout("", title=f"{MEANINGLESS}: {WHY_MEANINGLESS}."))
    if links != "#":  # the set's page says it above
        blocks.append(Lines([facts(runs)]))
    numbers: Blocks = [metric_table(table, own, floor, links)]
    if ood:
        numbers += [Heading("Out of distribution", 3), metric_table(table, ood, floor, links)]
    said = [in_words(line) for line in (*table.remarks, *remarks(runs))]
    return [
        *blocks,
        Beside([[Figures(found.overview, overview=True)], numbers]),
        Lines([_legend(table, floor)]),
        *(
            [Details(_counted(len(said), "remark"), [Lines(said, bullets=True)], f"{found.name}-remarks")]
            if said
            else []
        ),
    ]


def _shown(metrics: Sequence[str], runs: Sequence[SavedRun]) -> list[str]:
    """Of many classes without the F1 of each, which each method's table of seeds has."""
    many = len(runs[0].result.class_names) > FEW_CLASSES
    return [one for one in metrics if not many or one in FIRST or one.startswith("valid_")]


def _legend(table: ResultsTable, floor: str) -> str:
    paper = ""
    if any(cell.paper for row in table.rows.values() for cell in row.values()):
        paper = (
            "“paper” is what the method's paper reports for this corpus, with its own features and encoders. "
        )
    bold = any(cell.strong for row in table.rows.values() for cell in row.values())
    shown = (
        f"Bold: better than the second best method at p < {ALPHA:g} (clips swapped between the methods, "
        "those of a speaker or video together, as counted above; Holm's correction over the metrics); † also "
        "holds for new seeds."
    )
    none = (
        f"No bold: no significant winner at p < {ALPHA:g} (the best against the second best, clips swapped "
        "between them, those of a speaker or video together, as counted above; Holm's correction over the "
        "metrics)."
    )
    known = f"{floor.capitalize()} is a predictor that knows only the training labels."
    return f"{known} {paper}{shown if bold else none}"


def _fold_blocks(folds: Sequence[SetResults], names: list[str], params: Params) -> Blocks:
    """A cross-validation: its test clips together, its numbers as means over the folds."""
    scores = fold_scores(names, {one.name: one.scores for one in folds})
    together: dict[str, list[SavedRun]] = {}
    notes: dict[str, None] = {}
    for method in scores:
        try:
            together[method] = pooled({one.name: one.methods[method] for one in folds}, names[0])
        except MsaError as error:
            notes[f"{method_name(method).text} has no interval over all folds: {error}."] = None
    learnt = {method: [run for one in folds for run in one.methods[method]] for method in scores}
    floor = constant(folds[0].runs)
    chief = chief_metric(folds[0].runs)
    standing, clusters = standings(together, chief)
    drawings = [draw_curves(f"{names[0]}-curves", learnt)]
    if clusters is not None:
        drawings.insert(0, draw_forest(f"{names[0]}-standing", standing, chief, None, floor, clusters))
    metrics = _shown([*next(iter(scores.values()))], folds[0].runs)
    rows = [_fold_row(one, chief) for one in folds]
    return [
        Heading(fold_name(names), 2, names[0]),
        Lines([fold_text(names, params), f"{names[0]}: {facts(folds[0].runs)}", *notes]),
        Beside([[Figures([*map(picture, drawings)], overview=True)], [_plain_table(scores, metrics)]]),
        Table(["fold", f"best {metric_name(chief).text}"], rows),
        *robust_section(saved_sets(names, [*scores], folds[0].results, [names])),
    ]


def _fold_row(fold: SetResults, chief: str) -> list[str | Cell]:
    cell = Cell(fold.name, link=f"{SETS}/{fold.name}.html")
    means = {method: scores[chief].mean for method, scores in fold.scores.items() if chief in scores}
    best = (min if chief == "mae" else max)(means, key=means.__getitem__)
    return [cell, f"{means[best]:.{DIGITS}f}, {method_name(best).text}"]


def _plain_table(scores: Scores, metrics: Sequence[str]) -> Table:
    """Without tests, papers' figures and floors."""
    cells = {
        method: {
            metric: Cell(
                f"{found[metric].mean:.{DIGITS}f}",
                f"{found[metric].mean:.6g}",
                spread="" if found[metric].sd is None else f"± {found[metric].sd:.{DIGITS}f}",
            )
            for metric in metrics
            if metric in found
        }
        for method, found in scores.items()
    }
    return metric_table(ResultsTable([*metrics], cells, {}, []), metrics, "")


# -------------------------------------------------------------------------------------------------- methods
def _views(method: str, found: SetResults) -> dict[int, Views]:
    """Seed -> its views."""
    return read_views(results_folder(method, found.name, found.results) / VIEWS)


def _pictures_that_fit(found: SetResults, views: dict[str, dict[int, Views]]) -> dict[str, list[Picture]]:
    """Method -> its pictures, until the page is full."""
    fitting: dict[str, list[Picture]] = {}
    left = PICTURES
    for method, runs in found.methods.items():
        drawings = method_drawings(runs, views[method].get(runs[0].result.seed), found.span)
        pictures = [*map(picture, drawings)]
        left -= sum(len(one.svg.encode()) for one in pictures)
        if left < 0:
            break
        fitting[method] = pictures
    return fitting


def _method_blocks(
    method: str, runs: Sequence[SavedRun], views: dict[int, Views], pictures: list[Picture] | None
) -> Blocks:
    name, result = method_name(method), runs[0].result
    first = views.get(result.seed)
    blocks: Blocks = [Heading(name.text, 3, method)]
    said = [f"{name.why[0].upper()}{name.why[1:]}." if name.why else "", first["reading"] if first else ""]
    blocks.append(Lines([" ".join(filter(None, said))]))
    notes = [] if first is None else list(first["notes"])
    if result.imported:
        notes.append(
            f"Predictions of another system, imported from {result.imported['file']}: there are no weights, "
            "curves or views of it here."
        )
    elif first is None:
        notes.append(
            "There are no views: no maps, no view of the method, no worst clips. "
            f"`dvc repro evaluate@{method}-{result.dataset}` makes them."
        )
    notes += _below_zero(method, runs, first)
    if pictures is None:
        notes.append("No pictures: the page would be too large with those of all methods.")
    blocks += [*map(Callout, notes), Figures(pictures or [])]
    seeds = f"{_counted(len(runs), 'seed')}: {', '.join(str(run.result.seed) for run in runs)}"
    blocks.append(Details(seeds, [_seed_table(runs)], f"{method}-seeds"))
    if first is not None and first["worst"]:
        worst = f"The worst test clips of seed {result.seed}"
        blocks.append(Details(worst, [_worst_table(first["worst"], result.class_names)], f"{method}-worst"))
    return blocks


def _below_zero(method: str, runs: Sequence[SavedRun], views: Views | None) -> list[str]:
    """Why a loss falls below zero, where it does."""
    if views is None or all(row["total"] >= 0 for run in runs for row in run.curves):
        return []
    terms = [
        name
        for name, weight in views["terms"].items()
        if weight and any(row.get(name, 0.0) < 0 for run in runs for row in run.curves)
    ]
    why = "; ".join(f"{term_name(name, method).text}: {term_name(name, method).why}" for name in terms)
    return [f"The weighted sum of this method's loss is below 0, which is not an error. {why}."]


def _seed_table(runs: Sequence[SavedRun]) -> Table:
    metrics = [*runs[0].result.test]
    rows: list[list[str | Cell]] = []
    for run in runs:
        epoch = "–" if run.result.epoch is None else f"{run.result.epoch} of {len(run.curves)}"
        rows.append([Cell(str(run.result.seed)), epoch, *(number_cell(run.result.test[m]) for m in metrics)])
    head: list[str | Cell] = ["seed", Cell("epoch", title=f"the chosen one, of those in {CURVES}")]
    head += [Cell((name := metric_name(metric)).text, title=name.why) for metric in metrics]
    return Table(head, rows)


def _worst_table(worst: list[dict[str, Any]], class_names: tuple[str, ...]) -> Table:
    """The clips with the largest errors, as evaluate found them."""

    def shown(value: float) -> Cell:
        return Cell(name := class_names[int(value)], name) if class_names else number_cell(value)

    unit = "cross-entropy (nats)" if class_names else "|prediction - label|, in label units"
    head: list[str | Cell] = ["clip", "label", "prediction", Cell("error", title=unit)]
    told = any(clip.get("transcript") for clip in worst)
    head += ["transcript"] if told else []
    rows = []
    for clip in worst:
        name, said = Cell(clip["clip_id"], clip["clip_id"]), clip.get("transcript", "")
        scores = shown(clip["label"]), shown(clip["prediction"]), number_cell(clip["error"])
        rows.append([name, *scores, *([Cell(said or "–", said, words=True)] if told else [])])
    return Table(head, rows, sortable=True)


def _counted(count: int, kind: str) -> str:
    return f"{count} {kind}{'' if count == 1 else 's'}"
