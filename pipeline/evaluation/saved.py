"""Results as evaluate wrote them: `results/<set>/<method>/`, whose files evaluate.py describes.

They are read from any revision that has this layout. Runs are named by their results folder
(`results/mosi/misr`, from any folder, or the metrics.json in it): all its seeds; or as their run folder is
called: `misr-mosi` are all seeds, `misr-mosi/1111` is one.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.core.errors import FormatError, MsaError
from pipeline.core.files import write_text
from pipeline.core.git import Revision, open_revision
from pipeline.core.paths import results_folder
from pipeline.core.vocabulary import FROM
from pipeline.evaluation.predictions import Predictions, read_predictions
from pipeline.params.explain import unknown
from pipeline.params.params import Params
from pipeline.training.loop.curves import read_table

RESULTS = "results"
METRICS, PREDICTIONS, CURVES, VIEWS = "metrics.json", "predictions.parquet", "curves.tsv", "views.json"
ROBUST = "robust.json"  # what runs are under corruptions, see pipeline/robustness
FOLDER = re.compile(rf"({RESULTS}/[^/]+/[^/]+)/{METRICS}")
OLDER = re.compile(rf"{RESULTS}/[^/]+/[^/]+-\d+\.json")  # where a run's metrics lay before format 2
FORMAT = 2  # of results and views
VIEWS_KEYS = ("reading", "terms", "panels", "maps", "worst", "notes")


class Interval(BaseModel):
    """Around a score: its half width, and the share of labels that it holds by test split."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    half_width: float | None
    coverage: dict[str, float]


class Calibration(BaseModel):
    """What calibration.py measured: `intervals` by their level, of scores; `ece` by split, of classes."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    clips: int = 0
    intervals: dict[float, Interval] = Field(default_factory=dict)
    ece: dict[str, float] = Field(default_factory=dict)


class Result(BaseModel):
    """What is read of a run's entry in metrics.json.

    Of predictions that another system made (imported.py) `imported` names the file, there is no epoch, and
    `valid` and `features` are empty. Of runs of another set (transfer.py) `trained_on` names that, and `map`
    says how they were put on this one.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    format: int
    method: str
    dataset: str
    seed: int
    metric_set: str
    feature_set: str
    regime: str = "complete"
    features: dict[str, str]
    class_names: tuple[str, ...]
    test: dict[str, float]
    valid: dict[str, float]
    test_ood: dict[str, float] = Field(default_factory=dict)
    epoch: int | None = None
    imported: dict[str, str] = Field(default_factory=dict)
    n: dict[str, int]
    floor: dict[str, float]
    remarks: dict[str, list[str]]
    calibration: Calibration = Calibration()
    trained_on: str = ""
    map: tuple[str, ...] = ()


class _Metrics(BaseModel):
    """metrics.json, without the means that are made of its runs."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    runs: tuple[Result, ...] = Field(min_length=1)


@dataclass(frozen=True)
class SavedRun:
    """One run: in which folder of which revision its results lie, what they say, its test predictions.

    `predictions` are by test split, none where none were saved; `curves` has a row an epoch, of `read_runs`
    alone.
    """

    folder: str
    source: str
    result: Result
    predictions: dict[str, Predictions]
    curves: list[dict[str, float]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """`misr-mosi/1111`."""
        return f"{self.result.method}-{self.result.dataset}/{self.result.seed}"


@dataclass(frozen=True)
class Spread:
    """Numbers over runs; sd is the sample standard deviation (n - 1), None of one run."""

    mean: float
    sd: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float], decimals: int | None = None) -> Spread:
        """Of at least one number, rounded where decimals are given."""
        mean = statistics.fmean(values)
        sd = statistics.stdev(values) if len(values) > 1 else None
        if decimals is not None:
            mean, sd = round(mean, decimals), None if sd is None else round(sd, decimals)
        return cls(mean, sd, len(values))

    def text(self, decimals: int = 3) -> str:
        """`0.750 ± 0.050`."""
        mean = f"{self.mean:.{decimals}f}"
        return mean if self.sd is None else f"{mean} ± {self.sd:.{decimals}f}"


def find_results(revision: Revision) -> tuple[list[str], list[str]]:
    """Folders with results of a method, and other JSON files in `results`.

    Raises
    ------
    FormatError : all results are of the layout before this one
    """
    files = [path for path in revision.files(RESULTS) if path.endswith(".json")]
    folders = [found[1] for path in files if (found := FOLDER.fullmatch(path))]
    own = {f"{folder}/{name}" for folder in folders for name in (METRICS, VIEWS, ROBUST)}
    others = [path for path in files if path not in own]
    older = [path for path in others if OLDER.fullmatch(path)]
    if older and not folders:
        raise FormatError(_of_older_layout(f"{older[0]} of {revision.name}"))
    return folders, others


def _of_older_layout(source: str) -> str:
    return (
        f"{source}: a result in the layout before `{RESULTS}/<set>/<method>/{METRICS}`; the version of its "
        "own commit reads it, and `dvc repro` with this version makes it again"
    )


def read_results(revision: Revision, folder: str) -> list[SavedRun]:
    """The runs of a results folder, by seed.

    Raises
    ------
    FormatError : no such folder, no results, or its predictions are no test predictions of these seeds
    """
    path = f"{folder}/{METRICS}"
    content = revision.read(path)
    if content is None:
        raise FormatError(
            f"{path} of {revision.name}: no such result; the evaluate stage writes it (`dvc repro`)"
        )
    results = sorted(_parse(content, f"{path} of {revision.name}"), key=lambda result: result.seed)
    table = f"{folder}/{PREDICTIONS}"
    saved = revision.read(table)
    seeds = [result.seed for result in results]
    found = {} if saved is None else read_predictions(saved, seeds, f"{table} of {revision.name}")
    return [SavedRun(folder, revision.name, result, found.get(result.seed, {})) for result in results]


def read_runs(params: Params, results: Path) -> dict[str, dict[str, list[SavedRun]]]:
    """Dataset -> method -> the runs that params name, by seed, with their learning curves; and behind them
    the predictions that were imported for the dataset, which have none.

    What is read of methods comes from params (models_run x datasets_run x seeds), never from what lies in a
    folder, so that results of methods or seeds that are no longer run do not slip in.

    Parameters
    ----------
    results : folder with `<dataset>/<method>/metrics.json` and the files beside it

    Raises
    ------
    MsaError : params name no run, a file is missing or cannot be read
    """
    if not (params.datasets_run and params.models_run and params.seeds):
        raise MsaError("nothing to report: datasets_run, models_run or seeds in params.yaml is empty")
    return {
        dataset: {method: _read_whole(method, dataset, params.seeds, results) for method in params.models_run}
        | _read_imported(dataset, results)
        for dataset in params.datasets_run
    }


def _read_imported(dataset: str, results: Path) -> dict[str, list[SavedRun]]:
    """Predictions of other systems, by their names."""
    folders = [path.parent for path in sorted((results / dataset).glob(f"*/{METRICS}")) if is_imported(path)]
    revision = open_revision(None, results)
    return {folder.name: read_results(revision, f"{dataset}/{folder.name}") for folder in folders}


def read_transferred(dataset: str, results: Path) -> dict[str, list[SavedRun]]:
    """Runs that were trained on other sets and tested on this one, by their names."""
    revision = open_revision(None, results)
    folders = [path.parent.name for path in sorted((results / dataset).glob(f"*{FROM}*/{METRICS}"))]
    found = {name: read_results(revision, f"{dataset}/{name}") for name in folders}
    return {name: runs for name, runs in found.items() if runs[0].result.trained_on}


def is_imported(metrics: Path) -> bool:
    """Whether a metrics.json is of predictions that were imported; False too where it is none."""
    try:
        runs = json.loads(metrics.read_text(encoding="utf-8"))["runs"]
        return bool(runs) and all(bool(run.get("imported")) for run in runs)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def _read_whole(method: str, dataset: str, seeds: Sequence[int], results: Path) -> list[SavedRun]:
    folder = results_folder(method, dataset, results)
    again = f"`dvc repro evaluate@{method}-{dataset}` makes it"
    for path in (folder / name for name in (METRICS, PREDICTIONS, CURVES)):
        if not path.exists():
            raise FormatError(f"{path} is missing, but params.yaml runs {method} on {dataset}; {again}")
    revision = open_revision(None, results)
    saved = {run.result.seed: run for run in read_results(revision, folder.relative_to(results).as_posix())}
    curves = read_curves(folder / CURVES)
    for seed in seeds:
        if seed not in saved or seed not in curves:
            lacking = METRICS if seed not in saved else CURVES
            raise FormatError(
                f"{folder / lacking} has no seed {seed}, but params.yaml runs {method} on {dataset} with it; "
                f"{again}"
            )
    return [replace(saved[seed], curves=curves[seed]) for seed in seeds]


def read_curves(path: Path) -> dict[int, list[dict[str, float]]]:
    """Seed -> rows of `curves.tsv`; FormatError where it cannot be read."""
    found: dict[int, list[dict[str, float]]] = {}
    try:
        for row in read_table(path):
            found.setdefault(int(row.pop("seed")), []).append(row)
    except (OSError, ValueError, KeyError) as error:
        raise FormatError(f"{path}: cannot be read ({error}); evaluate the runs again") from error
    return found


def find_runs(names: Sequence[str], folder: Path = Path()) -> list[SavedRun]:
    """The runs of these names, by seed.

    Raises
    ------
    MsaError : no such run, or two with the same seed
    """
    workspace = open_revision(None, folder)
    known: dict[str, SavedRun] = {}
    found: dict[str, SavedRun] = {}
    for name in names:
        place = name.removesuffix(f"/{METRICS}").rstrip("/")
        if OLDER.search(name):
            raise FormatError(_of_older_layout(name))
        if name.endswith(METRICS) or (folder / place / METRICS).is_file():
            found |= {f"{run.folder}/{run.result.seed}": run for run in read_results(workspace, place)}
            continue
        if not known:
            every = [run for path in find_results(workspace)[0] for run in read_results(workspace, path)]
            known = {run.name: run for run in every}
        plain = place.removeprefix("runs/")
        chosen = [run for of, run in known.items() if plain in (of, of.rpartition("/")[0])]
        if not chosen:
            raise MsaError(unknown("run", plain, known) + "; a results folder can be given by its path too")
        found |= {f"{run.folder}/{run.result.seed}": run for run in chosen}
    runs = sorted(found.values(), key=lambda run: run.result.seed)
    for seed, alike in groupby(runs, key=lambda run: run.result.seed):
        if len(places := [run.folder for run in alike]) > 1:
            raise MsaError(
                f"seed {seed} occurs twice on one side ({' and '.join(places)}); name one run per seed"
            )
    return runs


def _parse(content: bytes, source: str) -> tuple[Result, ...]:
    try:
        tree = json.loads(content)
        for run in tree["runs"] if isinstance(tree, dict) and isinstance(tree.get("runs"), list) else []:
            version = run.get("format") if isinstance(run, dict) else None
            if isinstance(version, int) and version != FORMAT:
                problem = f"result of format {version}, but this version reads {FORMAT}"
                raise FormatError(f"{source}: {problem}; use the version that wrote it")
        found = _Metrics.model_validate(tree)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
        problem = f"not a result written by evaluate ({wrong})"
        raise FormatError(f"{source}: {problem}; evaluate the runs again") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{source}: not JSON ({error}); evaluate the runs again") from error
    return found.runs


# --------------------------------------------------------------------------------------------------- views
def write_views(views: dict[int, dict[str, Any]], path: Path) -> None:
    """Write the views of each seed, with the format's version.

    In the order given, which is that of modalities, terms and series; equal views have equal bytes.
    """
    written = {"format": FORMAT, "seeds": {str(seed): of_run for seed, of_run in views.items()}}
    text = json.dumps(written, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    write_text(text + "\n", path)


def read_views(path: Path) -> dict[int, dict[str, Any]]:
    """The views of each seed; none where there is no file.

    Raises
    ------
    FormatError : not a file of views, or of another format version
    """
    if not path.is_file():
        return {}
    again = "run its evaluate stage again (`dvc repro`)"
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if tree["format"] != FORMAT:
            problem = f"views of format {tree['format']}, but this version reads {FORMAT}"
            raise FormatError(f"{path}: {problem}; {again}")
        views = {int(seed): dict(found) for seed, found in tree["seeds"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"{path}: not the views of runs ({error!r}); {again}") from error
    for seed, found in views.items():
        if lacking := [key for key in VIEWS_KEYS if key not in found]:
            raise FormatError(f"{path}: {', '.join(lacking)} of seed {seed} is missing; {again}")
    return views
