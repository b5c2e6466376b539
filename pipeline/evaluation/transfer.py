"""Runs tested on a set of another corpus: `msa-cli evaluate RUN --on SET`.

The set must have the run's features: of the same encoders, columns and lengths. Its values are scaled by the
statistics of the run's training set (rescaled.py), labels and predictions are put on a task that both have
(common_task.py), and its test splits are scored, once. Its train and validation clips are not looked at, and
clips that the run was trained on are refused.

`results/<set>/<method>-from-<trained set>/` has metrics.json and predictions.parquet as evaluate writes them;
`trained_on` and `map` in an entry tell them from runs on the set, and no table mixes the two.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.console import tracked
from pipeline.core.errors import FormatError, MsaError
from pipeline.core.files import replaced_files, rounded, write_json
from pipeline.core.vocabulary import FROM, TEST, TEST_OOD, TRAIN, VALID
from pipeline.datasets.training_set import TrainingSet, read_stats
from pipeline.evaluation.calibration import of_classes, of_scores
from pipeline.evaluation.common_task import CommonTask, common_task
from pipeline.evaluation.evaluate import (
    DECIMALS,
    check_alike,
    encoder_of,
    least_scores,
    score_decided,
    summary,
    training_labels,
)
from pipeline.evaluation.rescaled import rescale
from pipeline.evaluation.saved import FORMAT, METRICS, PREDICTIONS
from pipeline.evaluation.tasks import side_by_side
from pipeline.params.differing import MISSING, differing
from pipeline.params.explain import some_of
from pipeline.training.loop.device import reproducible
from pipeline.training.loop.scoring import predict
from pipeline.training.runs import WAVEFORM, TrainedRun, open_runs, read_config, task_of

ALIKE = ("columns", "max_steps", "shorten", "align")  # of features, beside the encoder that made them
SAME_LABELS = 0.9  # share of labels from which on clips of equal ids are the same clips


@dataclass(frozen=True)
class Transfer:
    """What came of runs of one method on another set.

    Attributes
    ----------
    entries : of the runs, as in metrics.json
    predictions : as in predictions.parquet
    """

    entries: list[dict[str, Any]]
    predictions: pa.Table

    @property
    def trained_on(self) -> str:
        name: str = self.entries[0]["trained_on"]
        return name

    def write(self, out: Path) -> None:
        """Into a folder of results, which is replaced."""
        with replaced_files(out) as folder:
            write_json({**summary(self.entries), "runs": self.entries}, folder / METRICS)
            pq.write_table(self.predictions, folder / PREDICTIONS)


def name_of(method: str, trained_on: str) -> str:
    """What results of another set's runs are called, in folders and commands."""
    return f"{method}{FROM}{trained_on}"


def evaluate_on(
    runs: Sequence[Path],
    assembled: Path,
    dataset: str,
    metric_set: str,
    device: str = "auto",
    remarks: Sequence[str] = (),
) -> Transfer:
    """Test runs, seeds of one training, on the test splits of a set.

    Parameters
    ----------
    assembled, dataset, metric_set : the set, its name, and the metrics that it is scored with
    remarks : what the caller knows of both corpora, to be said with the results

    Raises
    ------
    MsaError : the set has other features or no task in common with the runs, or they were trained on its
        test clips, or predictions are not finite
    FormatError : a run or the set cannot be read
    """
    configs = {run: read_config(run) for run in runs}
    configs = dict(sorted(configs.items(), key=lambda item: item[1]["seed"]))
    check_alike(configs)
    stats = read_stats(assembled)
    entries: list[dict[str, Any]] = []
    columns: dict[str, dict[int, pa.Table]] = {}
    title = f"evaluating on {dataset}"
    for run, config in tracked(configs.items(), title, len(configs)):
        common = common_task(config["stats"], stats, metric_set)
        opened = open_runs([run], device)[0]
        check_features(opened, stats, assembled)
        with tempfile.TemporaryDirectory() as folder:
            place, lost = rescale(assembled, stats, opened.entries, Path(folder))
            with reproducible(config["seed"], opened.device):
                splits = TrainingSet.load(place, opened.reading, opened.device, only=(TEST, TEST_OOD)).splits
                outputs = {name: predict(opened.method, split) for name, split in splits.items()}
        found = {}
        for name, split in splits.items():
            prediction, chances = common.predict(outputs[name], opened.task)
            label = common.of_set(split.label.cpu().numpy())
            found[name] = _Scored.of(
                split.clip_ids, label, prediction, chances, f"{run}: {name} of {assembled}"
            )
        lost += _check_unseen(run, common, found, assembled)
        entries.append(_entry(run, config, stats, dataset, common, found, [*common.said, *lost, *remarks]))
        for name, one in found.items():
            columns.setdefault(name, {})[config["seed"]] = one.table(bool(common.class_names))
    return Transfer(entries, _side_by_side(columns, assembled))


def check_features(run: TrainedRun, stats: Mapping[str, Any], assembled: Path) -> None:
    """MsaError that lists every stream of the run that the set has not, or has made otherwise."""
    problems = []
    for stream, wanted in run.needed.items():
        known = stats.get(WAVEFORM) if stream == WAVEFORM else stats["modalities"].get(stream)
        if known is None:
            problems.append(f"{stream}: the set has none, but the run reads {wanted['encoder']}")
            continue
        if known["fingerprint"] != wanted["fingerprint"]:
            problems.append(f"{stream}: {_otherwise(known, wanted)}")
            continue
        problems += [
            f"{stream}: {key} is {_short(known.get(key))}, but {_short(wanted.get(key))} in the run"
            for key in ALIKE
            if known.get(key) != wanted.get(key)
        ]
    if problems:
        raise MsaError(
            f"{run.folder} cannot read {assembled}: {'; '.join(problems)}. Extract and assemble the set like "
            f"{run.stats['dataset']} (jobs and assemble in params.yaml), or train on features that both have"
        )


def _otherwise(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """How features were made that are not those of the run."""
    if known["encoder"] != wanted["encoder"]:
        return f"features of {known['encoder']}, but the run reads {wanted['encoder']}"
    pairs = differing(known.get("provenance", {}), wanted.get("provenance", {}))
    keys = [
        f"{key} {_short(ours)}, but {_short(theirs)} in the run"
        for key, ours, theirs in pairs
        if key != "fingerprint"
    ]
    return f"made differently by {known['encoder']} ({some_of(keys) or 'another fingerprint'})"


def _short(value: Any) -> str:
    if value is None or value is MISSING:
        return "not there"
    if isinstance(value, list):
        return f"{len(value)} of them ({value[0]} ...)" if value else "none"
    return str(value)[:12] if len(str(value)) > 40 else str(value)


# ---------------------------------------------------------------------------------------------------- clips
@dataclass(frozen=True)
class _Scored:
    """The clips of a split that have a label of the common task.

    Attributes
    ----------
    label, prediction : (clips,)
    chances : (clips, classes) of a run of classes
    left_out : clips that have no such label
    """

    clip_ids: list[str]
    label: np.ndarray
    prediction: np.ndarray
    chances: np.ndarray | None
    left_out: int

    @classmethod
    def of(
        cls, clip_ids: Sequence[str], label: np.ndarray, prediction: np.ndarray, chances: Any, what: str
    ) -> _Scored:
        kept = np.flatnonzero(np.isfinite(label)).tolist()
        if not np.isfinite(prediction).all():
            raise MsaError(f"{what}: predictions are not finite; train again with a lower rate")
        if not kept:
            raise FormatError(f"{what}: no clip has a label that the run knows; evaluation needs some")
        return cls(
            [clip_ids[place] for place in kept],
            label[kept],
            prediction[kept],
            None if chances is None else chances[kept],
            len(label) - len(kept),
        )

    def table(self, classes: bool) -> pa.Table:
        """`clip_id`, `label`, `prediction`, of a run of classes `probability`; by clip id."""
        kind = pa.int32() if classes else pa.float32()
        columns = {
            "clip_id": pa.array(self.clip_ids, pa.string()),
            "label": pa.array(self.label).cast(kind),
            "prediction": pa.array(self.prediction).cast(kind, safe=False),
        }
        if self.chances is not None:
            columns["probability"] = pa.array(self.chances.tolist(), pa.list_(pa.float32()))
        return pa.table(columns).sort_by("clip_id")


def _side_by_side(columns: Mapping[str, Mapping[int, pa.Table]], assembled: Path) -> pa.Table:
    """The tables of all seeds beside each other, test splits one after the other."""
    parts = []
    for split, tables in columns.items():
        first = next(iter(tables.values()))
        known = pq.read_table(assembled / f"{split}.parquet", columns=["clip_id", "video_id", "speaker"])
        part = first.select(["clip_id", "label"]).join(known.replace_schema_metadata(None), "clip_id")
        part = part.sort_by("clip_id").select(["clip_id", "video_id", "speaker", "label"])
        part = part.add_column(0, "split", pa.array([split] * len(part), pa.string()))
        for seed, table in tables.items():
            for name in ("prediction", "probability"):
                if name in table.column_names:
                    part = part.append_column(f"{name}_{seed}", table[name])
        parts.append(part)
    return pa.concat_tables(parts)


def _check_unseen(run: Path, common: CommonTask, found: Mapping[str, _Scored], assembled: Path) -> list[str]:
    """MsaError where the run learnt from test clips; what to say where other clips have the same ids."""
    known: dict[str, float] = {}
    for split in (TRAIN, VALID):
        table = pq.read_table(run / f"{split}.predictions.parquet", columns=["clip_id", "label"])
        labels = common.of_run(table["label"].to_numpy())
        known |= dict(zip(table["clip_id"].to_pylist(), labels.tolist(), strict=True))
    clips = {
        clip: label for one in found.values() for clip, label in zip(one.clip_ids, one.label, strict=True)
    }
    both = clips.keys() & known.keys()
    if not both:
        return []
    same = np.mean([bool(np.isclose(clips[clip], known[clip], atol=1e-4)) for clip in both])
    if same >= SAME_LABELS:
        raise MsaError(
            f"{run} was trained or chosen on {len(both)} of the {len(clips)} test clips of {assembled}, e.g. "
            f"{min(both)!r} (their ids and {same:.0%} of their labels are the same); test it on other clips"
        )
    return [f"{len(both)} test clips share ids with training clips, but not labels: treated as different"]


# -------------------------------------------------------------------------------------------------- scoring
def _entry(
    run: Path,
    config: Mapping[str, Any],
    stats: Mapping[str, Any],
    dataset: str,
    common: CommonTask,
    found: Mapping[str, _Scored],
    said: list[str],
) -> dict[str, Any]:
    """What metrics.json says of a run."""
    trained_on, names = config["stats"]["dataset"], list(common.class_names)
    known = common.of_run(training_labels(run))
    entry: dict[str, Any] = {
        "format": FORMAT,
        "method": config["method"] if trained_on == dataset else name_of(config["method"], trained_on),
        "dataset": dataset,
        "trained_on": trained_on,
        "map": said,
        **{key: config[key] for key in ("seed", "feature_set", "epoch")},
        "features": {modality: encoder_of(modality, config) for modality in config["dims"]},
        "task": "classification" if names else "regression",
        "class_names": names,
        "metric_set": common.metric_set,
        "n": {name: len(one.label) for name, one in found.items()},
        "floor": {},
        "remarks": {},
        "valid": {},
    }
    for name, one in found.items():
        metrics, warned = score_decided(one.prediction, one.label, common.metric_set, names)
        entry[name] = rounded(metrics, DECIMALS)
        left_out = [f"{one.left_out} clips without a label in common are omitted"] if one.left_out else []
        entry["remarks"][name] = [*(said if name == TEST else []), *left_out, *warned]
        least = least_scores(known[np.isfinite(known)], one.label, names)
        entry["floor"] |= {f"{name}_{key}": round(value, DECIMALS) for key, value in least.items()}
    if not names:
        entry["tasks"] = rounded(
            side_by_side(found[TEST].prediction, found[TEST].label, common.metric_set), DECIMALS
        )
        valid = pq.read_table(run / "valid.predictions.parquet", columns=["prediction", "label"])
        errors = np.abs(valid["prediction"].to_numpy() - valid["label"].to_numpy()) * common.scale
        tested = {name: np.abs(one.prediction - one.label) for name, one in found.items()}
        entry["calibration"] = of_scores(errors, tested)
    elif task_of(config["stats"]).classes:
        chances = {name: (one.chances, one.label) for name, one in found.items() if one.chances is not None}
        entry["calibration"] = of_classes(chances)
    return entry
