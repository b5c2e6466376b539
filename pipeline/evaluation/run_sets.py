"""Two sets of saved runs, named one by one, against each other.

A run is named by its result file (`results/mosi/misr-1111.json`, from any folder), or as its run folder is
called (`misr-mosi-1111`); `misr-mosi` stands for all its seeds. Names are looked up in `results`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.core.errors import MsaError
from pipeline.core.git import open_revision
from pipeline.evaluation.comparison import Entry, compare_runs, correct
from pipeline.evaluation.saved import SavedRun, find_results, read_run
from pipeline.params.explain import unknown


def compare_sets(
    runs: Sequence[str], against: Sequence[str], resamples: int, seed: int, folder: Path = Path()
) -> tuple[Entry, int]:
    """The runs (B) less those that they are compared with (A), and the number of tests.

    Raises
    ------
    MsaError : no such run, runs of several datasets, a seed twice on a side, or no statistics can be made
    """
    a, b = find_runs(against, folder), find_runs(runs, folder)
    datasets = sorted({run.result.dataset for run in (*a, *b)})
    if len(datasets) > 1:
        raise MsaError(f"runs of {' and '.join(datasets)} were given; clips of one dataset can be compared")
    named = [_named(side) for side in (a, b)]
    if named[0] == named[1]:
        named = [
            f"{name}, {len(side)} run(s) ({side[0].path} ...)"
            for name, side in zip(named, (a, b), strict=True)
        ]
    entry = compare_runs(f"{named[0]} (A) and {named[1]} (B) on {datasets[0]}", a, b, resamples, seed)
    if entry.same:
        raise MsaError("both sides are the same files; name other runs after --against")
    if entry.paired is None:
        raise MsaError(f"{entry.title}: {entry.remarks[-1]}; name other runs")
    entries, family = correct([entry])
    return entries[0], family


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
            known = {
                _run_name(run): run
                for path in find_results(workspace)[0]
                if (run := read_run(workspace, path))
            }
        plain = Path(name).name
        chosen = [run for run_name, run in known.items() if plain in (run_name, run_name.rpartition("-")[0])]
        if not chosen:
            raise MsaError(unknown("run", plain, known) + "; a result file can be given by its path too")
        found |= {run.path: run for run in chosen}
    runs = sorted(found.values(), key=lambda run: run.result.seed)
    seeds = [run.result.seed for run in runs]
    twice = next((seed for seed in seeds if seeds.count(seed) > 1), None)
    if twice is not None:
        paths = " and ".join(run.path for run in runs if run.result.seed == twice)
        raise MsaError(f"seed {twice} is twice on one side ({paths}); name one run a seed")
    return runs


def _run_name(run: SavedRun) -> str:
    return f"{run.result.method}-{run.result.dataset}-{run.result.seed}"


def _named(runs: Sequence[SavedRun]) -> str:
    return " and ".join(sorted({run.result.method for run in runs}))
