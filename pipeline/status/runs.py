"""The list of runs: those that params.yaml asks for and those that are there, and how each stands.

Only small files are read: config.json of the run, its log, the metrics that evaluate wrote, the progress of a
training. Whether code changed since is not looked at (`msa-cli why` does that), nor are weights.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.files import is_locked
from pipeline.core.paths import PROGRESS, run_folder
from pipeline.params.explain import some_of
from pipeline.params.params import Params
from pipeline.params.search import leaves

if TYPE_CHECKING:
    from rich.table import Table

STATES = ("evaluated", "trained", "running", "unfinished", "stale", "missing", "not wanted")
OF_A_RUN = ("method", "dataset", "seed", "params", "train", "feature_set", "epoch", "epochs", "valid_loss")
Key = tuple[str, str, int]
"""method, training set, seed"""


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


@dataclass(frozen=True)
class Found:
    """What lies there of a run: its config.json, its entry in metrics.json, the epochs that a training did."""

    config: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    done: int = 0


def list_runs(params: Params) -> list[RunRow]:
    """What is wanted first, in the order of params.yaml; then what is there beside."""
    wanted = [*product(params.models_run, params.datasets_run, params.seeds)]
    configs = {
        key: config
        for path, config in _objects("runs/*/*/config.json", OF_A_RUN)
        if run_folder(*(key := (config["method"], config["dataset"], config["seed"]))) == path.parent
    }
    results = {
        (entry["method"], entry["dataset"], entry["seed"]): entry
        | {"test": {name: value for name, value in entry["test"].items() if name in metrics}}
        for _, metrics in _objects("results/*/*/metrics.json", ("runs",))
        for entry in metrics["runs"]
    }
    done = {found["run"]: found["epoch"] for _, found in _objects(f".state/*/{PROGRESS}", ("run", "epoch"))}
    rows = []
    for key in (*wanted, *sorted((configs.keys() | results.keys()) - {*wanted})):
        found = Found(configs.get(key, {}), results.get(key, {}), done.get(_title(key), 0))
        facts: dict[str, Any] = {name: found.config.get(name) for name in ("epoch", "epochs", "valid_loss")}
        facts["seconds"] = _read(Path(f"logs/train-{_title(key)}.json")).get("seconds")
        state, note = _state(key, params, found) if key in wanted else ("not wanted", "")
        rows.append(RunRow(*key, state, note, **facts, test=found.result.get("test", {})))
    return rows


def _objects(pattern: str, keys: Collection[str]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """JSON files with these keys, the oldest first; others are left out: the stage that reads them tells."""
    files = [path for path in Path().glob(pattern) if path.is_file()]
    for path in sorted(files, key=lambda path: path.stat().st_mtime_ns):
        if (found := _read(path)).keys() >= {*keys}:
            yield path, found


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _title(key: Key) -> str:
    return "-".join(map(str, key))


def _state(key: Key, params: Params, found: Found) -> tuple[str, str]:
    """How a wanted run stands, and a note."""
    folder, (method, dataset, _) = run_folder(*key), key
    config, result = found.config, found.result
    differing = _differing(method, dataset, params, config) if config else []
    if not config or differing:
        planned = params.model(method, dataset).get("training", {}).get("epochs", "?")
        progress = f"epoch {found.done} of {planned}" if found.done else ""
        if is_locked(folder):
            return "running", progress
        if progress:
            return "unfinished", progress
        if differing:
            return "stale", f"of other {some_of(differing)}"
        return "missing", "its results are there" if result else ""
    if lacking := [name for name in config.get("files", {}) if not (folder / name).is_file()]:
        return "stale", f"{lacking[0]} is missing"
    if not result:
        return "trained", ""
    if any(result.get(name) != config[name] for name in ("epoch", "feature_set")):
        return "trained", "its results are of an earlier one"
    return "evaluated", ""


def _differing(method: str, dataset: str, params: Params, config: dict[str, Any]) -> list[str]:
    """Settings of params.yaml that a run does not have, and whether its features are others by now."""
    asked = {"params": params.model(method, dataset), "train": params.train.model_dump(mode="json")}
    had = {section: dict(leaves(config[section])) for section in asked}
    found = [
        name
        for section, settings in asked.items()
        for name, value in leaves(settings)
        if had[section].get(name, value) != value
    ]
    stats = _read(Path("data/assembled") / dataset / "stats.json")
    return found + ["features"] * (stats.get("feature_set", config["feature_set"]) != config["feature_set"])


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
        numbers = [row.valid_loss, *(row.test.get(name) for name in metrics)]
        cells = [
            row.method,
            row.dataset,
            str(row.seed),
            state,
            epoch,
            *(_number(value, 4) for value in numbers),
        ]
        shown.add_row(*map(Text, (*cells, _number(row.seconds, 1))))
    return shown


def _number(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}"
