"""`msa-cli figures`: pictures of runs as files for a paper, those of the results page and in its names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.core.errors import MsaError
from pipeline.core.files import replaced_files
from pipeline.core.vocabulary import TEST
from pipeline.evaluation.saved import CURVES, VIEWS, SavedRun, find_runs, read_curves, read_views
from pipeline.evaluation.standing import chief_metric, standings
from pipeline.params.explain import unknown
from pipeline.params.params import Params
from pipeline.reports.facts import constant
from pipeline.reports.figures import FORMATS, Drawing, save
from pipeline.reports.overview_figures import draw_curves, draw_forest, draw_predictions
from pipeline.reports.run_figures import method_drawings

SPANS = {"sims": (-1.0, 1.0)}  # metric set -> label range, of what params.yaml does not name
USUAL = (-3.0, 3.0)


def write_figures(
    names: Sequence[str], out: Path, kind: str, params: Params | None, width: float | None = None
) -> tuple[list[Path], str]:
    """Write the pictures of runs: each method's, all seeds; of several methods also what compares them.

    Parameters
    ----------
    names : as `find_runs` takes them
    out : folder, whose other files stay
    params : where corpora say their label range; None = there are none
    width : inches of every picture; None = a column of a paper, or its page for wide ones

    Returns
    -------
    the files, and the letters that no font of this machine has

    Raises
    ------
    MsaError : no such run, or format
    """
    if kind not in FORMATS:
        raise MsaError(unknown("format", kind, FORMATS))
    sets: dict[str, dict[str, list[SavedRun]]] = {}
    for name in names:
        for run in find_runs([name]):
            runs = sets.setdefault(run.result.dataset, {}).setdefault(run.result.method, [])
            if run.result.seed not in [one.result.seed for one in runs]:
                runs.append(_with_curves(run))
    drawings = [one for name, methods in sets.items() for one in _of_set(name, methods, params)]
    lacking: dict[str, None] = {}
    with replaced_files(out) as folder:
        for drawing in drawings:
            lacking |= dict.fromkeys(save(drawing, folder / f"{drawing.name}.{kind}", width))
    return [out / f"{drawing.name}.{kind}" for drawing in drawings], "".join(lacking)


def _of_set(name: str, methods: dict[str, list[SavedRun]], params: Params | None) -> Iterable[Drawing]:
    first = next(iter(methods.values()))
    span = SPANS.get(first[0].result.metric_set, USUAL)
    if params is not None and name in params.assemble:
        span = params.corpus_of(name).label_range
    if len(methods) > 1:
        metric = chief_metric(first)
        standing, clusters = standings(methods, metric)
        if clusters is not None:
            floor = first[0].result.floor.get(f"{TEST}_{metric}")
            yield draw_forest(f"{name}-standing", standing, metric, floor, constant(first), clusters)
        if any(run.curves for runs in methods.values() for run in runs):
            yield draw_curves(f"{name}-curves", methods)
        yield draw_predictions(f"{name}-predictions", methods, span)
    for runs in methods.values():
        views = read_views(Path(runs[0].folder) / VIEWS)
        yield from method_drawings(runs, views.get(runs[0].result.seed), span)


def _with_curves(run: SavedRun) -> SavedRun:
    if run.result.imported:
        return run
    return replace(run, curves=read_curves(Path(run.folder) / CURVES).get(run.result.seed, []))
