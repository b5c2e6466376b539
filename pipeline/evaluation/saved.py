"""Runs as evaluate and inspect saved them: `results/<dataset>/<method>-<seed>.json` and the files beside it.

`.predictions.parquet` are the test predictions, `.curves.tsv` the learning curves, `.views.json` what inspect
saw (inspect.py describes it). Results and predictions are read from any revision, written by this version or
by an older one. Runs are named by their result file (`results/mosi/misr-1111.json`, from any folder), or as
their run folder is called (`misr-mosi-1111`); `misr-mosi` stands for all its seeds.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.core.errors import FormatError, MsaError
from pipeline.core.files import write_text
from pipeline.core.git import Revision, open_revision
from pipeline.core.paths import result_files
from pipeline.core.vocabulary import TEST, TEST_OOD
from pipeline.params.explain import unknown
from pipeline.params.params import Params
from pipeline.training.loop.curves import read_table

RESULTS = "results"
RESULT_FILE = re.compile(rf"{RESULTS}/[^/]+/[^/]+-\d+\.json")
FORMAT = 1  # of the results that are read here
VIEWS_FORMAT = 1
VIEWS_KEYS = ("reading", "terms", "panels", "maps", "worst", "notes")
NEEDED = ("class_names", "epoch", "floor", "n")  # by reports, but not in results of older versions


class Result(BaseModel):
    """What is read of a result file."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    format: int = FORMAT
    method: str
    dataset: str
    seed: int
    metric_set: str
    feature_set: str = ""
    features: dict[str, str] = Field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    test: dict[str, float]
    valid: dict[str, float] = Field(default_factory=dict)
    test_ood: dict[str, float] = Field(default_factory=dict)
    epoch: int = 0
    n: dict[str, int] = Field(default_factory=dict)
    floor: dict[str, float] = Field(default_factory=dict)
    remarks: dict[str, list[str]] = Field(default_factory=dict)


@dataclass(frozen=True)
class Predictions:
    """Predictions of one run for a test split.

    Attributes
    ----------
    clip_ids : sorted, each once
    label, prediction : (clips,) float64, label units or indices of classes
    """

    clip_ids: tuple[str, ...]
    label: np.ndarray
    prediction: np.ndarray


@dataclass(frozen=True)
class SavedRun:
    """One run: where its result lies, in which revision, what it says, its predictions if they were saved.

    `predictions` are by test split; `content` is the bytes of both files: equal content was not made anew, or
    came out the same; `curves` has a row an epoch, of `read_runs` alone.
    """

    path: str
    source: str
    result: Result
    predictions: dict[str, Predictions]
    content: tuple[bytes, bytes | None] = field(repr=False)
    curves: list[dict[str, float]] = field(default_factory=list)


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
    """Paths of the result files of runs, and of other JSON files in `results`."""
    views = ".views.json"  # what `inspect` saw of a run is no result of it
    files = [path for path in revision.files(RESULTS) if path.endswith(".json") and not path.endswith(views)]
    runs = [path for path in files if RESULT_FILE.fullmatch(path)]
    return runs, [path for path in files if path not in runs]


def read_run(revision: Revision, path: str) -> SavedRun:
    """A run's result and predictions.

    Raises
    ------
    FormatError : no such file, not a result, or its predictions are no test predictions
    """
    source = f"{path} of {revision.name}"
    content = revision.read(path)
    if content is None:
        raise FormatError(f"{source}: no such result; the evaluate stage writes it (`dvc repro`)")
    result = _parse(content, source)
    table = f"{path.removesuffix('.json')}.predictions.parquet"
    saved = revision.read(table)
    found = {} if saved is None else _predictions(saved, f"{table} of {revision.name}")
    return SavedRun(path, revision.name, result, found, (content, saved))


def read_runs(params: Params, results: Path) -> dict[str, dict[str, list[SavedRun]]]:
    """Dataset -> method -> the runs that params name, by seed, with their learning curves.

    What is read comes from params (models_run x datasets_run x seeds), never from what lies in a folder, so
    that results of methods or seeds that are no longer run do not slip in.

    Parameters
    ----------
    results : folder with `<dataset>/<method>-<seed>.json` and the files beside it

    Raises
    ------
    MsaError : params name no run, a file is missing or cannot be read
    """
    if not (params.datasets_run and params.models_run and params.seeds):
        raise MsaError("nothing to report: datasets_run, models_run or seeds in params.yaml is empty")
    return {
        dataset: {
            method: [_read_whole(method, dataset, seed, results) for seed in params.seeds]
            for method in params.models_run
        }
        for dataset in params.datasets_run
    }


def _read_whole(method: str, dataset: str, seed: int, results: Path) -> SavedRun:
    files = result_files(method, dataset, seed, results)
    stage = f"evaluate@{method}-{dataset}-{seed}"
    for path in files:
        if not path.exists():
            raise FormatError(
                f"{path} is missing, but params.yaml runs {method} on {dataset} with seed {seed}; "
                f"`dvc repro {stage}` makes it"
            )
    run = read_run(open_revision(None, results), files.metrics.relative_to(results).as_posix())
    lacking = [name for name in NEEDED if name not in run.result.model_fields_set]
    if lacking:
        raise FormatError(f"{files.metrics}: has no {lacking[0]!r}; `dvc repro -f {stage}` writes it anew")
    try:
        return replace(run, curves=read_table(files.curves))
    except (OSError, ValueError) as error:
        raise FormatError(f"{files.curves}: cannot be read ({error}); evaluate the run again") from error


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
        if name.endswith(".json"):
            found[name] = read_run(workspace, name)
            continue
        if not known:
            every = [read_run(workspace, path) for path in find_results(workspace)[0]]
            known = {f"{one.result.method}-{one.result.dataset}-{one.result.seed}": one for one in every}
        plain = Path(name).name
        chosen = [run for run_name, run in known.items() if plain in (run_name, run_name.rpartition("-")[0])]
        if not chosen:
            raise MsaError(unknown("run", plain, known) + "; a result file can be given by its path too")
        found |= {run.path: run for run in chosen}
    runs = sorted(found.values(), key=lambda run: run.result.seed)
    for seed, alike in groupby(runs, key=lambda run: run.result.seed):
        if len(paths := [run.path for run in alike]) > 1:
            raise MsaError(f"seed {seed} is twice on one side ({' and '.join(paths)}); name one run a seed")
    return runs


def _parse(content: bytes, source: str) -> Result:
    try:
        result = Result.model_validate(json.loads(content))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
        problem = f"not a result that evaluate wrote ({wrong})"
        raise FormatError(f"{source}: {problem}; evaluate the run again") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{source}: not JSON ({error}); evaluate the run again") from error
    if result.format != FORMAT:
        problem = f"result of format {result.format}, this version reads {FORMAT}"
        raise FormatError(f"{source}: {problem}; use the version that wrote it")
    return result


def _predictions(content: bytes, source: str) -> dict[str, Predictions]:
    """By test split."""
    try:
        table = pq.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        raise FormatError(f"{source}: not readable as Parquet ({error}); evaluate the run again") from error
    for name in ("clip_id", "label", "prediction"):
        if name not in table.column_names:
            raise FormatError(f"{source}: column {name!r} is missing; evaluate the run again")
        kind = table.schema.field(name).type
        if name != "clip_id" and not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            problem = f"column {name!r} is {kind}, expected numbers"
            raise FormatError(f"{source}: {problem}; evaluate the run again")
    if "split" not in table.column_names:
        return {TEST: _sorted(table, source)}
    splits = {split: table.filter(pc.equal(table["split"], split)) for split in (TEST, TEST_OOD)}
    return {split: _sorted(part, source) for split, part in splits.items() if len(part)}


def _sorted(table: pa.Table, source: str) -> Predictions:
    table = table.sort_by("clip_id")
    clips = table["clip_id"].to_pylist()
    if len(set(clips)) < len(clips):
        twice = next(one for one, other in pairwise(clips) if one == other)
        raise FormatError(f"{source}: clip {twice!r} occurs twice; evaluate the run again")
    label, prediction = (table[name].to_numpy().astype(np.float64) for name in ("label", "prediction"))
    if not (np.isfinite(label).all() and np.isfinite(prediction).all()):
        raise FormatError(f"{source}: labels or predictions are not finite; evaluate the run again")
    return Predictions(tuple(clips), label, prediction)


# --------------------------------------------------------------------------------------------------- views
def views_file(metrics: Path) -> Path:
    """Where the views lie, beside a run's metrics `<method>-<seed>.json`."""
    return metrics.with_name(f"{metrics.stem}.views.json")


def write_views(views: dict[str, Any], path: Path) -> dict[str, Any]:
    """Write views, with the format's version, which are returned too.

    In the order given, which is that of modalities, terms and series; equal views have equal bytes.
    """
    written = {"format": VIEWS_FORMAT, **views}
    text = json.dumps(written, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    write_text(text + "\n", path)
    return written


def read_views(path: Path) -> dict[str, Any] | None:
    """The views of a run, None where there are none.

    Raises
    ------
    FormatError : not a file of views, or of another format version
    """
    if not path.is_file():
        return None
    again = "run its inspect stage again (`dvc repro`)"
    try:
        views: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = views["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path}: not the views of a run ({error!r}); {again}") from error
    if version != VIEWS_FORMAT:
        raise FormatError(f"{path}: views of format {version}, this version reads {VIEWS_FORMAT}; {again}")
    if lacking := [key for key in VIEWS_KEYS if key not in views]:
        raise FormatError(f"{path}: {', '.join(lacking)} is missing; {again}")
    return views
