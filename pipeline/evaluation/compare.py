"""What differs between two revisions of the project: params, code, features, metrics, and how surely.

Everything that is read lies in git (params.yaml, code, results with their test predictions), so this works in
a clone without data. Runs are matched by dataset, method and seed; what only one side has is listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import MsaError, ParamsError
from pipeline.core.git import Revision
from pipeline.evaluation.agreement import (
    Agreement,
    PartsComparison,
    compare_parts,
    correct_parts,
    modality_agreement,
)
from pipeline.evaluation.comparison import MethodComparison, compare_runs, correct
from pipeline.evaluation.saved import METRICS, SavedRun, find_results, read_results
from pipeline.evaluation.significance import RESAMPLES, SEED
from pipeline.params.differing import MISSING, differing
from pipeline.params.explain import some_of
from pipeline.params.params import PARAMS_FILE, ModelParams

LOCK_FILE = "dvc.lock"
STAGES_OF_RESULTS = ("train", "evaluate")


@dataclass(frozen=True)
class ParamChange:
    """One key of params.yaml; a side that lacks it is None in `old` or `new` and not in `given`.

    `reaches`: runs whose settings it changes, `misr on mosi`; None where the key is no method's. A value of
    `base` that the corpus overrides reaches nothing.
    """

    key: str
    old: Any
    new: Any
    given: tuple[bool, bool]
    reaches: list[str] | None


@dataclass(frozen=True)
class CodeChange:
    """Code that results were made with, a file or folder; `methods` are those for which it changed."""

    path: str
    state: str
    methods: list[str]


@dataclass(frozen=True)
class Comparison:
    """Everything that differs.

    Attributes
    ----------
    methods : that have results on a side
    entries : methods on datasets that both sides have
    only_a, only_b : runs that one side lacks
    not_compared : JSON files in `results` that are no runs of a method
    family : number of tests that Holm's correction covers
    parts : of the same methods, where modalities agree and where they do not, corrected apart
    told_apart : set -> its parts
    parts_family : number of their tests
    """

    a: Revision
    b: Revision
    methods: list[str]
    params: list[ParamChange]
    code: list[CodeChange]
    entries: list[MethodComparison]
    only_a: list[str]
    only_b: list[str]
    not_compared: list[str]
    resamples: int
    seed: int
    family: int
    parts: list[PartsComparison]
    told_apart: dict[str, Agreement]
    parts_family: int


def compare(
    a: Revision, b: Revision, resamples: int = RESAMPLES, seed: int = SEED, test: bool = True
) -> Comparison:
    """Compare two revisions of the project.

    Parameters
    ----------
    test : compute intervals and p values too

    Raises
    ------
    MsaError : a revision has no results, one of its files cannot be read, or labels differ
    """
    results_a, results_b = _results(a), _results(b)
    names_a, names_b = (
        {run.name for runs in side.values() for run in runs} for side in (results_a, results_b)
    )
    only_a, only_b = sorted(names_a - names_b), sorted(names_b - names_a)
    keys = sorted(results_a.keys() | results_b.keys())
    changes = _param_changes(_yaml(PARAMS_FILE, a), _yaml(PARAMS_FILE, b), keys)
    methods = sorted({method for _, method in keys})
    code = _code_changes(a, b, methods)
    entries, parts = [], []
    agreements = {dataset: _agreement(dataset, results_a, results_b) for dataset, _ in keys} if test else {}
    for dataset, method in keys:
        runs_a, runs_b = (side.get((dataset, method), []) for side in (results_a, results_b))
        entry = compare_runs(f"{method} on {dataset}", runs_a, runs_b, resamples, seed, test)
        causes = [change.key for change in changes if entry.title in (change.reaches or [])]
        if entry.same and causes:  # perhaps nobody made them again
            entry.remarks.append(
                f"the results are the same on both sides, though {some_of(causes)} differ; if that is "
                "unintended, `dvc repro` makes them again"
            )
        entries.append(entry)
        if (agreement := agreements.get(dataset)) is not None and entry.paired is not None:
            parts.append(compare_parts(entry.title, runs_a, runs_b, agreement, resamples, seed))
    entries, family = correct(entries)
    parts, parts_family = correct_parts(parts)
    told_apart = {dataset: found for dataset, found in agreements.items() if found is not None}
    others = sorted({path for revision in (a, b) for path in find_results(revision)[1]})
    found = (a, b, methods, changes, code, entries, only_a, only_b, others, resamples, seed, family)
    return Comparison(*found, parts, told_apart, parts_family)


# ------------------------------------------------------------------------------------------------- results
def _results(revision: Revision) -> dict[tuple[str, str], list[SavedRun]]:
    """(dataset, method) -> runs, by seed."""
    folders, _ = find_results(revision)
    if not folders:
        raise MsaError(
            f"{revision.name} has no results/<set>/<method>/{METRICS}; run this in the folder that has "
            "`results`, and commit what `dvc repro` writes there"
        )
    found = [read_results(revision, folder) for folder in folders]
    return {(runs[0].result.dataset, runs[0].result.method): runs for runs in found}


def _agreement(dataset: str, *sides: dict[tuple[str, str], list[SavedRun]]) -> Agreement | None:
    """The parts of a set's test clips, by the runs of the later side that knows them."""
    found = None
    for results in sides:
        of_set = {method: runs for (name, method), runs in results.items() if name == dataset}
        found = modality_agreement(of_set) or found
    return found


# -------------------------------------------------------------------------------------------------- params
def _yaml(path: str, revision: Revision) -> dict[str, Any]:
    """A file as it is, unchecked: an older params.yaml may have keys that are no longer known."""
    from pipeline.params.plain_yaml import read_yaml

    content = revision.read(path)
    if not content:
        return {}
    tree = read_yaml(content, f"{path} of {revision.name}")
    if not isinstance(tree, dict):
        raise ParamsError(f"{path} of {revision.name}: is not a mapping with sections")
    return tree


def _param_changes(a: dict[str, Any], b: dict[str, Any], runs: list[tuple[str, str]]) -> list[ParamChange]:
    resolved = {run: [key for key, *_ in differing(_settings(a, *run), _settings(b, *run))] for run in runs}
    return [
        ParamChange(
            key,
            None if old is MISSING else old,
            None if new is MISSING else new,
            (old is not MISSING, new is not MISSING),
            _reached(key, resolved),
        )
        for key, old, new in differing(a, b)
    ]


def _settings(tree: dict[str, Any], dataset: str, method: str) -> dict[str, Any]:
    """A method's settings on a dataset; what is no section where one is expected counts as an empty one."""
    section = _section(_section(tree.get("models")).get(method))
    corpora = {name: _section(values) for name, values in _section(section.get("corpora")).items()}
    return ModelParams(base=_section(section.get("base")), corpora=corpora).resolved(dataset)


def _section(value: Any) -> dict[str, Any]:
    return {str(key): below for key, below in value.items()} if isinstance(value, dict) else {}


def _reached(key: str, resolved: dict[tuple[str, str], list[str]]) -> list[str] | None:
    """Runs whose settings this key changes; None if it is no setting of a method.

    Parameters
    ----------
    resolved : (dataset, method) -> settings that differ once the corpus' values are laid over `base`
    """
    top, *below = key.split(".")
    if top == "train":
        return [f"{method} on {dataset}" for dataset, method in resolved]
    if top != "models":
        return None
    method, section, *setting = [*below, "", ""][: max(2, len(below))]
    corpus, setting = (setting[0], setting[1:]) if section == "corpora" and setting else ("", setting)
    wanted = ".".join(setting)
    return [
        f"{name} on {dataset}"
        for (dataset, name), differing in resolved.items()
        if method in ("", name) and corpus in ("", dataset)
        if any(f"{one}.".startswith(f"{wanted}.") or not wanted for one in differing)
    ]


# ---------------------------------------------------------------------------------------------------- code
def _code_changes(a: Revision, b: Revision, methods: list[str]) -> list[CodeChange]:
    """Code with which the results of these methods were made, where it differs, or one side alone has it."""
    old, new = _code(a), _code(b)
    known_a, known_b = ({method for uses in side.values() for method in uses} for side in (old, new))
    on_both = known_a & known_b & set(methods)
    changes = []
    for path in sorted(old.keys() | new.keys()):
        before, after = old.get(path, {}), new.get(path, {})
        if changed := [method for method in sorted(on_both) if before.get(method) != after.get(method)]:
            state = "added" if not before else "removed" if not after else "changed"
            changes.append(CodeChange(path, state, changed))
    return changes


def _code(revision: Revision) -> dict[str, dict[str, str]]:
    """Path of code -> method -> its hash when the method's results were made, as dvc.lock has it."""
    stages = _yaml(LOCK_FILE, revision).get("stages")
    found: dict[str, dict[str, str]] = {}
    for name, stage in _section(stages).items():
        kind, _, item = name.partition("@")
        if kind not in STAGES_OF_RESULTS:
            continue
        for dependency in _section(stage).get("deps") or []:
            path = str(dependency.get("path"))
            if path.replace("../", "").startswith(("models/", "pipeline/")):
                found.setdefault(path, {})[item.partition("-")[0]] = str(dependency.get("md5"))
    return found
