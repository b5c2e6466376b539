"""Trained runs under corruptions, kept as files: what is there already is not computed again.

`robust/<regime>/<set>/<method>/`, all seeds of a method that was trained under one regime
    predictions.parquet   a row a run, condition and clip: `seed` (of the run), `kind`, `case`, `level`,
                          `draw` (seed of the corruption), `flat` (the method reads nothing of what is hit),
                          `clip_id`, `label`, `prediction` (a score, or the index of a class)
    summary.json          what the runs are, `floors` (what constants reach), `clean` and `kinds`
                          (summary.py), of subsets `internals`: what the method weighs, as a mean over runs
                          and test clips; of media `media`: what there is to see and hear at each level
    media.parquet         of kinds of media alone: what the features say of each test clip (media/sweep.py)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import paths
from pipeline.core.console import say
from pipeline.core.errors import FormatError, MsaError, first_line
from pipeline.core.files import json_hash, one_writer, read_described, replaced_files, write_json
from pipeline.core.vocabulary import MODALITIES
from pipeline.evaluation.metrics import CLASSIFICATION, METRIC_SETS
from pipeline.evaluation.saved import METRICS
from pipeline.robustness.conditions import ALL, KINDS, Condition, conditions
from pipeline.robustness.corruptions import Missing
from pipeline.robustness.media.kinds import MEDIA_LEVELS
from pipeline.robustness.media.sweep import Remaking, media_sweep, seen_and_heard
from pipeline.robustness.streams import SEEDS
from pipeline.robustness.summary import constant_floors, mean_internals, summary
from pipeline.robustness.sweep import Sweep, sweep
from pipeline.training.runs import open_runs, read_config

FORMAT = 1
PREDICTIONS, SUMMARY, MEDIA_FACTS = "predictions.parquet", "summary.json", "media.parquet"
COMPLETE = "complete"


@dataclass(frozen=True)
class Asked:
    """What is asked of runs.

    Attributes
    ----------
    sites : whom noise and dropped frames hit
    draws : seeds of the corruptions
    missing : what stands for a missing modality
    remaking : how features of spoilt recordings are made; for kinds of media
    """

    kinds: tuple[str, ...] = KINDS
    sites: tuple[str, ...] = (ALL,)
    draws: tuple[int, ...] = SEEDS
    missing: Missing = "blank"
    remaking: Remaking | None = None

    def conditions(self) -> list[Condition]:
        return [one for kind in self.kinds for one in conditions(kind, self.sites, self.draws)]


def robust(
    runs: Sequence[Path],
    asked: Asked,
    assembled: Path | None = None,
    device: str = "auto",
    root: Path = Path("robust"),
) -> list[Path]:
    """Sweep all runs; gives the folders with what came of them, a method and set each.

    Parameters
    ----------
    runs : run folders, of any methods and sets
    assembled : set with the features that the runs were trained on; None = data/assembled/<set> of each

    Raises
    ------
    MsaError : two runs of a method have the same seed; see `sweep` for the others
    """
    configs = {run: read_config(run) for run in runs}
    folders = []
    ordered = sorted(configs.items(), key=lambda item: (*_group(item[1]), item[1]["seed"]))
    for key, of_method in groupby(ordered, key=lambda item: _group(item[1])):
        mine = dict(of_method)
        seeds = [config["seed"] for config in mine.values()]
        if len(set(seeds)) < len(seeds):
            raise MsaError(f"{', '.join(map(str, mine))}: two runs have the same seed; give each run once")
        regime, dataset, method = key
        out = paths.robust_folder(method, dataset, regime, root)
        folder = paths.assembled_folder(dataset) if assembled is None else assembled
        with one_writer(out):
            _sweep_method(mine, asked, folder, device, out)
        folders.append(out)
    return folders


def regime_of(config: Mapping[str, Any]) -> str:
    """What a run was trained on: `complete` clips, or a regime that takes something away."""
    return str(config["train"].get("regime", COMPLETE))


def _group(config: Mapping[str, Any]) -> tuple[str, str, str]:
    return regime_of(config), config["dataset"], config["method"]


def _sweep_method(
    configs: Mapping[Path, dict[str, Any]], asked: Asked, assembled: Path, device: str, out: Path
) -> None:
    config = next(iter(configs.values()))
    metric_set, class_names = metric_set_of(config), config["stats"]["class_names"]
    sweeps: dict[int, Sweep] = {}
    of_media = [one for one in asked.conditions() if one.kind in MEDIA_LEVELS]
    for run, own in configs.items():
        known = training_labels(run)
        constant = float(np.bincount(known.astype(int)).argmax()) if class_names else float(np.median(known))
        found = [one for one in asked.conditions() if one not in of_media]
        weigh = [one for one in found if one.kind == "subsets"]
        sweeps[own["seed"]] = sweep(
            run, found, assembled, device, missing=asked.missing, constant=constant, weigh=weigh
        )
        say(f"{run}: {len(found)} conditions on {len(sweeps[own['seed']].label)} test clips")
    media: dict[str, Any] = {}
    if of_media:
        assert asked.remaking is not None, "kinds of media need to know how features are made"
        opened = open_runs(list(configs), device)
        remade = media_sweep(opened, of_media, assembled, asked.remaking)
        for one, predictions in zip(opened, remade.predictions, strict=True):
            sweeps[one.config["seed"]].add(predictions, of_media)
        media = seen_and_heard(remade)
        for remark in remade.remarks:
            say(f"note: {remark}", error=True)
    first = next(iter(sweeps.values()))
    floors = constant_floors(known, first.label, metric_set, class_names)
    internals = {
        condition.case: shares
        for condition in first.internals
        if (shares := mean_internals([one.internals[condition] for one in sweeps.values()]))
    }
    written = {
        "format": FORMAT,
        **{key: config[key] for key in ("method", "dataset")},
        "regime": regime_of(config),
        "reads": [name for name in MODALITIES if name in config["dims"]],
        "runs": {str(own["seed"]): json_hash(own) for own in configs.values()},
        "metric_set": metric_set,
        "class_names": class_names,
        "n": len(first.label),
        "missing": asked.missing,
        "draws": len(asked.draws),
        "silent": first.silent,
        "nothing_left": {one.case: number for one, number in first.floored.items() if one.kind == "subsets"},
        "floors": {name: round(value, 6) for name, value in floors.items()},
        "internals": internals,
        "media": media,
        **summary(sweeps, metric_set, class_names, floors),
    }
    with replaced_files(out) as folder:
        if media:
            pq.write_table(remade.facts, folder / MEDIA_FACTS, compression="zstd")
        table = pa.concat_tables([one.rows(seed) for seed, one in sweeps.items()])
        pq.write_table(table.unify_dictionaries(), folder / PREDICTIONS, compression="zstd")
        write_json(written, folder / SUMMARY, sort_keys=False)


def training_labels(run: Path) -> np.ndarray:
    """(clips,) of the training split, as the run's folder has them."""
    path = run / "train.predictions.parquet"
    try:
        labels: np.ndarray = pq.read_table(path, columns=["label"])["label"].to_numpy()
        return labels.astype(np.float64)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise FormatError(
            f"{path}: no predictions of a training ({first_line(error)}); train again"
        ) from error


def metric_set_of(config: Mapping[str, Any]) -> str:
    """The set that the runs were evaluated with, from the results in the current folder."""
    if config["stats"]["task"] == "classification":
        return CLASSIFICATION
    path = paths.results_folder(config["method"], config["dataset"]) / METRICS
    try:
        name: str = json.loads(path.read_text(encoding="utf-8"))["runs"][0]["metric_set"]
        METRIC_SETS[name]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise FormatError(f"{path}: no metric set in it ({error}); run its evaluate stage") from error
    return name


def read_summary(folder: Path) -> dict[str, Any]:
    """summary.json of a folder; FormatError where there is none, or of another format."""
    keys = (
        "method",
        "dataset",
        "regime",
        "reads",
        "metric_set",
        "class_names",
        "n",
        "floors",
        "clean",
        "kinds",
    )
    return read_described(
        folder / SUMMARY, "what runs are under corruptions", FORMAT, "run `msa-cli robust`", keys
    )
