"""Runs under corruptions as tables: what a method keeps, kind by kind, beside its clean score.

Methods that were trained under different regimes never stand in one table. Folds of a cross-validation are
one set: their mean, and the deviation over them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.files import replaced_files, write_text
from pipeline.core.paths import results_folder
from pipeline.core.vocabulary import MODALITIES
from pipeline.evaluation.robust_results import ALL, ALL_KINDS, SUBSETS, read_robust
from pipeline.evaluation.saved import ROBUST, Spread
from pipeline.evaluation.significance import lower_is_better
from pipeline.params.params import COMPLETE
from pipeline.reports.blocks import (
    Block,
    Cell,
    Details,
    Figures,
    Heading,
    Lines,
    PageBlock,
    Table,
    as_html,
    as_markdown,
)
from pipeline.reports.figures import picture, save
from pipeline.reports.names import method_name, metric_name
from pipeline.reports.robust_figures import drawings
from pipeline.reports.tables import DIGITS, EMPTY

CASES = ("blocks", "subsets", "imbalanced")  # kinds of which a table has a column a case, not a level
CHIEF = (("mae", "accuracy"), ("acc2_non0", "acc2", "f1_weighted"))  # of each the first that there is
FRAMES = ("acc7", "acc5", "acc3", "acc2_has0", "acc2_non0", "acc2", "f1_has0", "f1_non0", "f1", "mae", "corr")
TITLES = {
    "gaussian": "Gaussian noise on a share r of the steps",
    "laplace": "Laplace noise on a share r of the steps",
    "erase": "A share r of the steps hidden",
    "frames": "A share r of the frames and words dropped",
    "blocks": "A stretch of one modality dropped",
    "subsets": "What is left of the modalities",
    "shared": "Each modality missing with probability r",
    "imbalanced": "One modality missing four times as often as the others",
    "white": "White noise, by its signal-to-noise ratio in dB",
    "babble": "Six other voices at once, by the signal-to-noise ratio in dB",
    "mute": "A share of the sound muted",
    "blur": "Pictures blurred, σ in pixels at 480 lines",
    "lowres": "Pictures with so many times fewer lines and columns",
    "occlude": "A black rectangle on a share of the face",
    "eyes": "A black band over the eyes",
    "mouth": "A black band over the mouth",
    "freeze": "One picture for a share of the clip",
}
READING = (
    "Only the test clips are corrupted, alike for every method. `mean` is over the levels (with the "
    "clean score where the kind's authors include it), `kept` is what is left above a constant predictor: "
    "(mean - f) / (clean - f). A method can keep much by being bad when clean: read both.",
    "= marks what equals the clean score as the method does not read what is hit: that is not robustness.",
)
ROOM = 450_000  # bytes of pictures on the page of results

Summary = dict[str, Any]  # see robust.py
Methods = dict[str, Summary]


def as_sets(
    summaries: Sequence[Summary], folds: Sequence[Sequence[str]] = ()
) -> dict[tuple[str, str], Methods]:
    """(Set, regime) -> method -> its summary.

    Parameters
    ----------
    folds : names of the training sets of each cross-validation; they become one set where a method has all
    """
    found: dict[tuple[str, str], Methods] = {}
    for one in summaries:
        found.setdefault((one["dataset"], one["regime"]), {})[one["method"]] = one
    for names in folds:
        for regime in {one["regime"] for one in summaries}:
            parts = [found.get((name, regime), {}) for name in names]
            methods = [name for name in parts[0] if all(name in part for part in parts)]
            if len(names) < 2 or not methods:
                continue
            for name in names:
                found.pop((name, regime))
            title = f"{names[0]} to {names[-1]}"
            found[title, regime] = {name: across([part[name] for part in parts]) for name in methods}
    return found


def across(folds: Sequence[Summary]) -> Summary:
    """One summary of several sets: means of their means, deviations over them, of the cases that all have."""

    def joined(parts: Sequence[Any]) -> Any:
        first = parts[0]
        if isinstance(first, dict):
            return {
                key: joined([part[key] for part in parts]) for key in first if all(key in p for p in parts)
            }
        if isinstance(first, bool):
            return all(parts)
        if isinstance(first, list):
            return [joined(each) for each in zip(*parts, strict=True)]
        if isinstance(first, int | float):
            return sum(parts) / len(parts) if None not in parts else None
        return first

    def spreads(parts: Sequence[Any]) -> Any:
        """As `joined`, of [mean, sd] pairs."""
        if isinstance(parts[0], dict):
            return {key: spreads([part[key] for part in parts]) for key in parts[0]}
        found = Spread.of([mean for mean, _ in parts])
        return [found.mean, found.sd]

    whole: Summary = {**joined(folds), "n": sum(one["n"] for one in folds)}
    whole["clean"] = spreads([one["clean"] for one in folds])
    for kind, of_kind in whole["kinds"].items():
        for case, found in of_kind["cases"].items():
            own = [one["kinds"][kind]["cases"][case]["scores"] for one in folds]
            found["scores"] = {
                metric: [spreads(each) for each in zip(*(one[metric] for one in own), strict=True)]
                for metric in found["scores"]
            }
    return whole


def robust_blocks(sets: Mapping[tuple[str, str], Methods], level: int = 2) -> list[Block]:
    """A table for each set, regime, kind and chief metric; nothing where there are no sets."""
    blocks: list[Block] = [Lines([*READING])] if sets else []
    for (name, regime), methods in sets.items():
        blocks += [*_set_heading(name, regime, methods, level), *_tables(methods, level + 1)]
    return blocks


def overview(sets: Mapping[tuple[str, str], Methods]) -> list[Block]:
    """A table for each set, regime and chief metric, a column a kind: its mean over levels and cases."""
    blocks: list[Block] = []
    for (name, regime), methods in sets.items():
        blocks += _set_heading(name, regime, methods, 2)
        kinds = [kind for kind in ALL_KINDS if any(kind in one["kinds"] for one in methods.values())]
        for metric in chief_metrics(next(iter(methods.values()))):
            rows = []
            for method, one in methods.items():
                of_kinds = [one["kinds"].get(kind, {}).get("cases", {}) for kind in kinds]
                means = [
                    [found["numbers"][metric]["mean"] for case, found in cases.items() if case != SUBSETS[-1]]
                    for cases in of_kinds
                ]
                cells = [_number(sum(found) / len(found)) if found else EMPTY for found in means]
                rows.append([_name(method, one), _spread_cell(one["clean"][metric]), *cells])
            blocks += [Lines([_meaning(metric)]), Table(["method", "clean", *kinds], rows)]
    return blocks


def robust_section(sets: Mapping[tuple[str, str], Methods]) -> list[Block | PageBlock]:
    """For the pages of results: pictures, and the tables behind a line; nothing where no run was tested."""
    blocks: list[Block | PageBlock] = []
    left = ROOM
    for (name, regime), methods in sets.items():
        pictures = []
        for drawing in drawings(methods, chief_metrics(next(iter(methods.values())))[0]):
            drawn = picture(drawing)
            left -= len(drawn.svg.encode())
            if left > 0:
                pictures.append(drawn)
        anchor = "-".join([*name.split(), "robust"])
        blocks += [
            *_set_heading(name, regime, methods, 3),
            Lines([*READING]),
            Figures(pictures, overview=True),
        ]
        blocks.append(Details("Tables of every kind of corruption", _tables(methods, 4), anchor))
    return blocks


def saved_sets(
    names: Sequence[str], methods: Sequence[str], results: Path, folds: Sequence[Sequence[str]] = ()
) -> dict[tuple[str, str], Methods]:
    """What is saved of the methods on the sets of these names; `folds` as in `as_sets`."""
    folders = [results_folder(method, name, results) for name in names for method in methods]
    return as_sets([read_robust(folder) for folder in folders if (folder / ROBUST).is_file()], folds)


def _set_heading(name: str, regime: str, methods: Methods, level: int) -> list[Block]:
    clips = next(iter(methods.values()))["n"]
    trained = "complete clips" if regime == COMPLETE else f"clips of the regime {regime}"
    said = f"{clips} test clips; methods were trained on {trained}. Means over runs and draws."
    return [Heading(f"{name}: under corruptions", level), Lines([said])]


def _tables(methods: Methods, level: int) -> list[Block]:
    """Of every kind that a method was tested under."""
    blocks: list[Block] = []
    for kind in ALL_KINDS:
        mine = {method: one for method, one in methods.items() if kind in one["kinds"]}
        if mine:
            blocks += [Heading(TITLES[kind], level), *_kind_tables(kind, mine)]
    return blocks


def chief_metrics(summary: Summary) -> list[str]:
    """The one or two that tables and pictures have."""
    return [next(name for name in names if name in summary["clean"]) for names in CHIEF]


def _kind_tables(kind: str, methods: Methods) -> list[Block]:
    first = next(iter(methods.values()))
    blocks: list[Block] = []
    for metric in chief_metrics(first):
        said = _meaning(metric)
        if kind in CASES:
            blocks += [Lines([said]), _case_table(kind, metric, methods)]
            continue
        for case in first["kinds"][kind]["cases"]:
            where = "" if case == ALL else f"; only {case} is hit"
            blocks += [Lines([said + where]), _level_table(kind, case, metric, methods)]
    told = [one["kinds"][kind]["media"] for one in methods.values() if "media" in one["kinds"][kind]]
    if told:
        blocks.append(Lines(_seen_and_heard(told[0])))
    if kind == "frames" and not first["class_names"]:
        blocks += [Lines(["Means over the ten rates 0 to 0.9"]), _means_table(methods)]
    return blocks


def _seen_and_heard(told: Mapping[str, Any]) -> list[str]:
    """What there is left to see and to hear in recordings of a kind."""
    found = []
    for key, what in (("face", "a face"), ("voiced", "a pitch")):
        clean, *levels = told[key]
        if clean is not None:
            found.append(f"Frames with {what}: {', '.join(map(_percent, levels))} (clean {_percent(clean)})")
    if any(told["failed"]):
        found.append(f"Clips that could no longer be encoded: {', '.join(map(str, told['failed']))}")
    if told["silent"]:
        found.append(f"Clips without sound, which get no noise: {told['silent']}")
    if "text" in told:
        found.append(f"Texts remain those of the clean clips: {told['text']}")
    if "heard" in told:
        clean, *levels = map(_percent, told["wer"])
        found.append(
            f"The text of {told['heard']:.0f} test clips is what a recogniser hears. Word error rate against "
            f"the set's text: {', '.join(levels)} (clean sound {clean})"
        )
        if any(told["wordless"]):
            found.append(f"Clips in which it hears no words: {', '.join(map(_percent, told['wordless']))}")
    return found


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _meaning(metric: str) -> str:
    arrow = "↓" if lower_is_better(metric) else "↑"
    name = metric_name(metric)
    return f"{name.text} {arrow}: {name.why}"


def _case_table(kind: str, metric: str, methods: Methods) -> Table:
    """A column a case, of its mean over the levels."""
    cases = dict.fromkeys(case for one in methods.values() for case in one["kinds"][kind]["cases"])
    columns = [case for case in cases if case != SUBSETS[-1]]
    rows = []
    for method, one in methods.items():
        found = one["kinds"][kind]["cases"]
        cells = [EMPTY if case not in found else _mean_cell(found[case], metric) for case in columns]
        rows.append([_name(method, one), _spread_cell(one["clean"][metric]), *cells])
    floor = next(iter(methods.values()))["floors"].get(metric)
    return Table(["method", "clean", *columns], [*rows, _floor_row(floor, len(columns) + 1)], sortable=True)


def _level_table(kind: str, case: str, metric: str, methods: Methods) -> Table:
    """A column a level, then what the curve comes to."""
    levels = next(iter(methods.values()))["kinds"][kind]["cases"][case]["levels"]
    rows = []
    for method, one in methods.items():
        found = one["kinds"][kind]["cases"].get(case)
        if found is None:
            continue
        numbers = found["numbers"][metric]
        summed = [numbers["mean"], numbers["auilc"], numbers["above_floor"], found["change"][-1]]
        rows.append(
            [
                _name(method, one),
                _spread_cell(one["clean"][metric]),
                *(_spread_cell(pair, found["flat"]) for pair in found["scores"][metric]),
                *(EMPTY if value is None else _number(value) for value in summed),
            ]
        )
    floor = next(iter(methods.values()))["floors"].get(metric)
    head = [
        "method",
        "clean",
        *(f"{r:g}" for r in levels),
        "mean",
        "AUILC",
        "kept",
        f"change at {levels[-1]:g}",
    ]
    return Table(head, [*rows, _floor_row(floor, len(head) - 1)], sortable=True)


def _means_table(methods: Methods) -> Table:
    """Every metric's mean over the rates, in the order of LNLN's tables."""
    first = next(iter(methods.values()))
    metrics = [name for name in FRAMES if name in first["clean"]]
    rows = [
        [
            _name(method, one),
            *(_number(one["kinds"]["frames"]["cases"][ALL]["numbers"][name]["mean"]) for name in metrics),
        ]
        for method, one in methods.items()
        if ALL in one["kinds"]["frames"]["cases"]
    ]
    return Table(["method", *(metric_name(name).text for name in metrics)], rows, sortable=True)


def _name(method: str, summary: Summary) -> Cell:
    """With what it reads, where that is not everything."""
    reads = summary["reads"]
    said = "" if [*reads] == [*MODALITIES] else f" ({', '.join(reads) or 'nothing'})"
    name = method_name(method)
    return Cell(f"{name.text}{said}", name.text, name.why)


def _mean_cell(found: Mapping[str, Any], metric: str) -> Cell:
    if len(found["levels"]) == 1:
        return _spread_cell(found["scores"][metric][0], found["flat"])
    return _number(found["numbers"][metric]["mean"], found["flat"])


def _spread_cell(pair: Sequence[float | None], flat: bool = False) -> Cell:
    mean, sd = pair
    if mean is None:
        return EMPTY
    spread = "" if sd is None or flat else f"± {sd:.{DIGITS}f}"
    return Cell(f"{mean:.{DIGITS}f}{' =' if flat else ''}", f"{mean:.6g}", spread=spread)


def _number(value: float, flat: bool = False) -> Cell:
    return Cell(f"{value:.{DIGITS}f}{' =' if flat else ''}", f"{value:.6g}")


def _floor_row(floor: float | None, columns: int) -> list[Cell]:
    cell = EMPTY if floor is None else _number(floor)
    return [Cell("best constant", "best constant"), cell, *[EMPTY] * (columns - 1)]


def write_robust(sets: Mapping[tuple[str, str], Methods], out: Path) -> None:
    """index.html, tables.md and a PNG of each picture into a folder."""
    blocks: list[Block | PageBlock] = [Heading("Under corruptions", 1), Lines([*READING])]
    with replaced_files(out) as folder:
        for (name, regime), methods in sets.items():
            pictures = []
            for metric in chief_metrics(next(iter(methods.values()))):
                for drawing in drawings(methods, metric):
                    stem = "-".join([*name.split(), *([] if regime == COMPLETE else [regime]), drawing.name])
                    save(drawing, folder / f"{stem}.png", drawing.width)
                    pictures.append(picture(drawing))
            blocks += [*_set_heading(name, regime, methods, 2), Figures(pictures, overview=True)]
            blocks += _tables(methods, 3)
        write_text(as_html(blocks), folder / "index.html")
        write_text(as_markdown(robust_blocks(sets, 1), top=1), folder / "tables.md")
