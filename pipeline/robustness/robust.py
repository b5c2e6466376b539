"""Trained runs under corruptions, kept as files: what is there already is not computed again.

robust/<set>/<method>.parquet        a row a run, condition and clip: `seed` (of the run), `kind`, `case`,
                                     `level`, `draw` (seed of the corruption), `flat` (the method reads
                                     nothing of what is hit), `clip_id`, `label`, `prediction` (a score, or
                                     the index of a class)
results/<set>/<method>/robust.json   what the runs are, `floors` (what constants reach), `clean` scores and
                                     `kinds`: of each its `settings` and its `cases`, see summary.py; of media
                                     `media`, what there is left to see and to hear
robust/<set>/<method>.media.parquet  of kinds of media alone: what features say of each clip, media/sweep.py
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core import paths
from pipeline.core.console import note
from pipeline.core.errors import FormatError, MsaError, ParamsError, first_line
from pipeline.core.files import json_hash, one_writer, write_parquet, write_text
from pipeline.core.vocabulary import MODALITIES
from pipeline.evaluation.evaluate import DECIMALS
from pipeline.evaluation.metrics import CLASSIFICATION, METRIC_SETS
from pipeline.evaluation.robust_results import ALL, ALL_KINDS, FORMAT, KINDS, read_robust
from pipeline.evaluation.saved import METRICS, ROBUST
from pipeline.robustness.conditions import CLEAN, Condition, conditions, settings_of
from pipeline.robustness.corruptions import Missing, TextUnit
from pipeline.robustness.media.kinds import MEDIA_LEVELS, SOUND
from pipeline.robustness.streams import SEEDS
from pipeline.robustness.summary import constant_floors, summary
from pipeline.robustness.sweep import Sweep, sweep
from pipeline.store.fingerprint import stage_hashes
from pipeline.training.runs import hashes, open_runs, read_config, regime_of

if TYPE_CHECKING:  # it opens encoders, which most sweeps do without
    from pipeline.robustness.media.heard import Listening
    from pipeline.robustness.media.sweep import MediaSweep, Remaking

MEDIA_SUFFIX = ".media.parquet"


@dataclass(frozen=True)
class Asked:
    """What is asked of runs.

    Attributes
    ----------
    sites : whom noise and dropped frames hit
    draws : seeds of the corruptions
    missing : what stands for a missing modality
    remaking : how features of spoilt recordings are made; for kinds of media
    text_unit : what of a text is hit at once, a `piece` or a whole `word`
    text_features : of each set by name, the folder of the text features that it is made of; for words
    """

    kinds: tuple[str, ...] = KINDS
    sites: tuple[str, ...] = (ALL,)
    draws: tuple[int, ...] = SEEDS
    missing: Missing = "blank"
    remaking: Remaking | None = None
    text_unit: TextUnit = "piece"
    text_features: Mapping[str, Path] = field(default_factory=dict)

    def settings(self, kind: str) -> dict[str, Any]:
        """What decides the rows of a kind."""
        return settings_of(kind, self.sites, self.draws, self.missing, self.text_unit)


def robust(
    runs: Sequence[Path], asked: Asked, assembled: Path | None = None, device: str = "auto"
) -> list[dict[str, Any]]:
    """Sweep all runs; gives what robust.json says of each method and set.

    Parameters
    ----------
    runs : run folders, of any methods and sets
    assembled : set with the features that the runs were trained on; None = data/assembled/<set> of each

    Raises
    ------
    ParamsError : recordings are to be spoilt, and nobody says how their features are made
    MsaError : runs of a method have the same seed, or were trained under different regimes; see `sweep` for
        the others
    """
    configs = {run: read_config(run) for run in runs}
    found = []
    ordered = sorted(configs.items(), key=lambda item: (*_group(item[1]), item[1]["seed"]))
    for (dataset, method), group in groupby(ordered, key=lambda item: _group(item[1])):
        mine = dict(group)
        named = ", ".join(map(str, mine))
        if len({config["seed"] for config in mine.values()}) < len(mine):
            raise MsaError(f"{named}: two runs have the same seed; give each run once")
        if len(regimes := sorted({regime_of(config) for config in mine.values()})) > 1:
            raise MsaError(
                f"{named}: trained under the regimes {' and '.join(regimes)}, which never share a "
                "table; give the runs of one regime"
            )
        folder = paths.assembled_folder(dataset) if assembled is None else assembled
        rows, out = paths.robust_rows(method, dataset), paths.results_folder(method, dataset)
        with one_writer(rows):
            _sweep_method(mine, asked, folder, device, rows, out / ROBUST)
        found.append(read_robust(out))
    return found


def _group(config: Mapping[str, Any]) -> tuple[str, str]:
    return config["dataset"], config["method"]


def _sweep_method(
    configs: Mapping[Path, dict[str, Any]], asked: Asked, assembled: Path, device: str, rows: Path, out: Path
) -> None:
    """Write the rows and robust.json, `out`, of one method's runs."""
    config = next(iter(configs.values()))
    metric_set, class_names = metric_set_of(config), config["stats"]["class_names"]
    identity = {
        "runs": {str(own["seed"]): json_hash(own) for own in configs.values()},
        "test": hashes(assembled, "stats.json", "test.parquet", "test.waveform.parquet"),
        "code": json_hash(stage_hashes("robust", config["method"])),
    }
    kept = _kept(rows, out, identity)
    listening = None
    if asked.remaking is not None and not SOUND.keys().isdisjoint(asked.kinds):
        listening = asked.remaking.listening(config, assembled)
    settings = {
        kind: asked.settings(kind) | (listening.identity if listening is not None and kind in SOUND else {})
        for kind in asked.kinds
    }
    due = [kind for kind in asked.kinds if kept.get(kind, {}).get("settings") != settings[kind]]
    if not due:
        note(f"{out}: kept", stdout=True)
        return
    sweeps: dict[int, Sweep] = {}
    for run, own in configs.items():
        known = training_labels(run)
        constant = float(np.bincount(known.astype(int)).argmax()) if class_names else float(np.median(known))
        wanted = _conditions(asked, [kind for kind in due if kind in KINDS])
        weigh = [one for one in wanted if one.kind == "subsets"]
        sweeps[own["seed"]] = sweep(
            run,
            wanted,
            assembled,
            device,
            missing=asked.missing,
            constant=constant,
            weigh=weigh,
            text_unit=asked.text_unit,
            text_features=asked.text_features.get(own["dataset"]),
        )
        clips = len(sweeps[own["seed"]].label)
        note(f"{run}: {len(wanted)} conditions on {clips} test clips", stdout=True)
    media = _sweep_media([*configs], asked, due, sweeps, assembled, device, listening)
    first = next(iter(sweeps.values()))
    floors = constant_floors(known, first.label, metric_set, class_names)
    new = summary(sweeps, metric_set, class_names, floors)
    kinds = {kind: {"settings": settings[kind], "cases": cases} for kind, cases in new["kinds"].items()}
    for kind, told in ({} if media is None else media.told()).items():
        kinds[kind]["media"] = told
    written = {
        "format": FORMAT,
        **{key: config[key] for key in ("method", "dataset")},
        "regime": regime_of(config),
        "reads": [name for name in MODALITIES if name in config["dims"]],
        "identity": identity,
        "metric_set": metric_set,
        "class_names": class_names,
        "n": len(first.label),
        "silent": first.silent,
        "floors": {name: round(value, DECIMALS) for name, value in floors.items()},
        "clean": new["clean"],
        "kinds": {kind: found for kind in ALL_KINDS if (found := kinds.get(kind) or kept.get(kind))},
    }
    table = pa.concat_tables([one.rows(seed) for seed, one in sweeps.items()])
    _write_rows(table, rows, [CLEAN, *kinds], written["kinds"], bool(kept))
    if media is not None:
        _write_rows(
            media.facts, rows.with_suffix(MEDIA_SUFFIX), [CLEAN, *kinds], written["kinds"], bool(kept)
        )
    write_text(json.dumps(written, ensure_ascii=False, separators=(",", ":")) + "\n", out)


def _conditions(asked: Asked, kinds: Sequence[str]) -> list[Condition]:
    return [one for kind in kinds for one in conditions(kind, asked.sites, asked.draws)]


def _sweep_media(
    runs: Sequence[Path],
    asked: Asked,
    due: Sequence[str],
    sweeps: Mapping[int, Sweep],
    assembled: Path,
    device: str,
    listening: Listening | None,
) -> MediaSweep | None:
    """Add predictions of spoilt recordings to the sweeps, by seed; None where none are due."""
    found = _conditions(asked, [kind for kind in due if kind in MEDIA_LEVELS])
    if not found:
        return None
    if asked.remaking is None:
        raise ParamsError(
            f"{found[0].kind}: recordings are corrupted only by the command: msa-cli robust RUN ... "
            f"--kind {found[0].kind}; remove it from robust.kinds"
        )
    opened = open_runs(runs, device)
    remade = asked.remaking.sweep(opened, found, assembled, listening)
    for run, predictions in zip(opened, remade.predictions, strict=True):
        sweeps[run.config["seed"]].add(predictions, found)
    for remark in remade.remarks:
        note(f"note: {remark}")
    return remade


def _write_rows(
    table: pa.Table, path: Path, new: Sequence[str], kinds: Collection[str], with_old: bool
) -> None:
    """Rows of new kinds, and those that were there of others that stay."""
    before = pq.read_table(path) if with_old and path.is_file() else table.slice(0, 0)
    parts = [(table if kind in new else before).filter(pc.field("kind") == kind) for kind in (CLEAN, *kinds)]
    write_parquet(pa.concat_tables(parts), path)


def _kept(rows: Path, out: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Kinds that are there already, of these very runs, clips and this code; none where anything differs."""
    if not (rows.is_file() and out.is_file()):
        return {}
    found = read_robust(out.parent)
    kinds: dict[str, Any] = found["kinds"] if found["identity"] == identity else {}
    return kinds


def training_labels(run: Path) -> np.ndarray:
    """(clips,) of the training split, as the run's folder has them."""
    path = run / "train.predictions.parquet"
    try:
        labels: np.ndarray = pq.read_table(path, columns=["label"])["label"].to_numpy()
        return labels.astype(np.float64)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise FormatError(f"{path}: no training predictions ({first_line(error)}); train again") from error


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
