"""The list of runs: those that params.yaml asks for and those that are there, and how each stands.

Only small files are read: config.json of the run, its log, the metrics that evaluate wrote, the progress of a
training. Whether code changed since is not looked at (`msa-cli why` does that), nor are weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from pipeline.core.files import is_locked
from pipeline.core.paths import PROGRESS, run_folder
from pipeline.params.explain import some_of
from pipeline.params.params import Params
from pipeline.params.search import leaves

if TYPE_CHECKING:
    from rich.table import Table

STATES = (
    "evaluated",
    "imported",
    "transferred",
    "trained",
    "running",
    "unfinished",
    "stale",
    "missing",
    "not wanted",
)
CONFIG = "config.json"
Key = tuple[str, str, int]
"""method, training set, seed"""
F = TypeVar("F", bound="RunFile")


@dataclass(frozen=True)
class RunRow:
    """A run.

    Attributes
    ----------
    state : one of STATES; `note` says more about it
    epoch, epochs : the best one, from 1, and how many there were
    valid_loss : of the best epoch
    seconds : that its training took, from its log
    test : the chief metrics by name; empty where it is not evaluated
    """

    method: str
    dataset: str
    seed: int
    state: str
    note: str = ""
    epoch: int | None = None
    epochs: int | None = None
    valid_loss: float | None = None
    seconds: float | None = None
    test: dict[str, float] = field(default_factory=dict)


class RunFile(BaseModel):
    """What is read of a JSON file."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class OfOneRun(RunFile):
    """What says which run it is."""

    method: str
    dataset: str
    seed: int
    feature_set: str

    @property
    def key(self) -> Key:
        return self.method, self.dataset, self.seed


class TrainedConfig(OfOneRun):
    """config.json."""

    params: dict[str, Any]
    train: dict[str, Any]
    epoch: int
    epochs: int
    valid_loss: float
    files: dict[str, str]


class EvaluatedRun(OfOneRun):
    """An entry of metrics.json; of imported predictions there is no epoch."""

    test: dict[str, float]
    epoch: int | None = None
    imported: dict[str, str] = Field(default_factory=dict)
    trained_on: str = ""


class MethodMetrics(RunFile):
    """metrics.json, whose other keys are the chief metrics."""

    model_config = ConfigDict(extra="allow")
    runs: list[EvaluatedRun]


class TrainingProgressFile(RunFile):
    """How far a training came."""

    run: str
    epoch: int


class TrainingLog(RunFile):
    """What a training took."""

    seconds: float


class AssembledStats(RunFile):
    """stats.json of a training set."""

    feature_set: str


def list_runs(params: Params) -> list[RunRow]:
    """What is wanted first, in the order of params.yaml; then what is there beside."""
    wanted = [*product(params.models_run, params.datasets_run, params.seeds)]
    runs = _read_all(f"runs/*/*/{CONFIG}", TrainedConfig)
    configs = {config.key: config for path, config in runs if run_folder(*config.key) == path.parent}
    results: dict[Key, EvaluatedRun] = {}
    for _, metrics in _read_all("results/*/*/metrics.json", MethodMetrics):
        for entry in metrics.runs:
            chief = {name: value for name, value in entry.test.items() if name in (metrics.model_extra or ())}
            results[entry.key] = entry.model_copy(update={"test": chief})
    done = {found.run: found.epoch for _, found in _read_all(f".state/*/{PROGRESS}", TrainingProgressFile)}
    rows = []
    for key in (*wanted, *sorted((configs.keys() | results.keys()) - {*wanted})):
        config, result, title = configs.get(key), results.get(key), "-".join(map(str, key))
        state, note = "not wanted", ""
        if result and result.imported:
            state, note = "imported", result.imported.get("file", "")
        if result and result.trained_on:
            state, note = "transferred", f"trained on {result.trained_on}"
        if key in wanted:
            state, note = _state(key, params, config, result, done.get(title))
        row = RunRow(*key, state, note, test=result.test if result else {})
        if config:  # a log outlives its run
            log = _read(Path(f"logs/train-{title}.json"), TrainingLog)
            facts = {name: getattr(config, name) for name in ("epoch", "epochs", "valid_loss")}
            row = replace(row, **facts, seconds=log.seconds if log else None)
        rows.append(row)
    return rows


def _read_all(pattern: str, kind: type[F]) -> Iterator[tuple[Path, F]]:
    """Files of a kind, the oldest first; of others the stage that reads them says what is wrong."""
    files = [path for path in Path().glob(pattern) if path.is_file()]
    for path in sorted(files, key=lambda path: path.stat().st_mtime_ns):
        if (found := _read(path, kind)) is not None:
            yield path, found


def _read(path: Path, kind: type[F]) -> F | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def _state(
    key: Key, params: Params, config: TrainedConfig | None, result: EvaluatedRun | None, done: int | None
) -> tuple[str, str]:
    """How a wanted run stands, and a note; `done` are the epochs of a training that has not ended."""
    folder, (method, dataset, _) = run_folder(*key), key
    differing = _differing(method, dataset, params, config) if config else []
    if config is None or differing:
        planned = params.model(method, dataset).get("training", {}).get("epochs", "?")
        progress = f"epoch {done} of {planned}" if done else ""
        if is_locked(folder):
            return "running", progress
        if progress:
            return "unfinished", progress
        if differing:
            return "stale", f"with other {some_of(differing)}"
        if (folder / CONFIG).exists():
            return "stale", f"{CONFIG} cannot be read"
        return "missing", "its results exist" if result else ""
    if lacking := [name for name in config.files if not (folder / name).is_file()]:
        return "stale", f"{lacking[0]} is missing"
    if result is None:
        return "trained", ""
    if (result.epoch, result.feature_set) != (config.epoch, config.feature_set):
        return "trained", "its results are from an earlier training"
    return "evaluated", ""


def _differing(method: str, dataset: str, params: Params, config: TrainedConfig) -> list[str]:
    """Settings of params.yaml that a run does not have, and whether its features are others by now."""
    asked = {"params": params.model(method, dataset), "train": params.train.model_dump(mode="json")}
    had = {section: dict(leaves(getattr(config, section))) for section in asked}
    found = [
        name
        for section, settings in asked.items()
        for name, value in leaves(settings)
        if had[section].get(name, value) != value
    ]
    stats = _read(Path("data/assembled") / dataset / "stats.json", AssembledStats)
    return found + ["features"] * (stats is not None and stats.feature_set != config.feature_set)


def table(rows: Sequence[RunRow]) -> Table:
    """For a terminal; a column a metric that a run has."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    metrics = list(dict.fromkeys(name for row in rows for name in row.test))
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("method", "set", "seed", "state"):
        shown.add_column(name, justify="right" if name == "seed" else "left", no_wrap=name != "state")
    for name in ("epoch", "valid loss", *metrics, "seconds"):
        shown.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        state = f"{row.state}: {row.note}" if row.note else row.state
        epoch = "" if row.epoch is None else f"{row.epoch}/{row.epochs}"
        losses = [_number(value, 4) for value in (row.valid_loss, *(row.test.get(name) for name in metrics))]
        cells = [row.method, row.dataset, str(row.seed), state, epoch, *losses, _number(row.seconds, 1)]
        shown.add_row(*map(Text, cells))
    return shown


def _number(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}"
