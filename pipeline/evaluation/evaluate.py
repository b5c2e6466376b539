"""A run scored: the one checkpoint that training chose, on the validation and, once, on the test split.

`results/<dataset>/<method>-<seed>.json`: `test` and `valid` metrics of the set's metric set (and `test_ood`
where the set has a second test split, of another distribution); `floor`,
what a predictor that only knows the training labels reaches; number of clips; best epoch; feature set; task
and classes. Beside it the test predictions, and the run's learning curves, so that a clone without data has
them. All are the same bytes for the same run and data.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from models.core.method import Task
from pipeline.core.errors import FormatError, MsaError, ParamsError, first_line
from pipeline.core.files import replaced_files, write_json
from pipeline.core.paths import ResultFiles
from pipeline.core.vocabulary import TEST, TEST_OOD, VALID
from pipeline.datasets.training_set import TrainingSet, read_stats
from pipeline.evaluation.metrics import CLASSIFICATION, METRIC_SETS, MetricWarning, cls
from pipeline.evaluation.saved import FORMAT
from pipeline.params.explain import unknown
from pipeline.training.loop.device import open_device, reproducible
from pipeline.training.loop.train import predict
from pipeline.training.runs import load_method, prediction_table, read_config

DECIMALS = 6


def evaluate(
    run: Path,
    assembled: Path,
    out: ResultFiles,
    metric_set: str,
    device: str = "auto",
) -> dict[str, Any]:
    """Write a run's metrics, test predictions and curves; the metrics are returned too.

    Parameters
    ----------
    run : run folder of a training
    assembled : assembled set with the features that the run was trained on
    metric_set : a name of metrics.METRIC_SETS, or `cls` for a classification
    device : `auto`, `cpu`, `cuda` or `cuda:<index>`

    Raises
    ------
    ParamsError : unknown device, or a metric set that is unknown or for another task
    FormatError : the run or the assembled set cannot be read, or a split has no clips
    MsaError : the assembled set has other features or labels than the run was trained on, or predictions
        are not finite
    """
    known = (*METRIC_SETS, CLASSIFICATION)
    if metric_set not in known:
        raise ParamsError(unknown("metric set", metric_set, known))
    config = read_config(run)
    stats = stats_of_run(assembled, run, config)
    if (metric_set == CLASSIFICATION) != (stats["task"] == "classification"):
        raise ParamsError(
            f"metric set {metric_set!r} is not for the {stats['task']} {stats['dataset']}; correct "
            f"assemble.{stats['dataset']}.metrics in params.yaml"
        )
    class_names = stats["class_names"]
    place = open_device(device)
    with reproducible(config["seed"], place):
        method = load_method(run, config).to(place).eval()
        only = (TEST, VALID, TEST_OOD)
        splits = TrainingSet.load(assembled, method.reading(), place, only=only).splits
        for name, split in splits.items():
            if len(split) == 0:
                raise FormatError(f"{assembled}: no clips in {name}; evaluation needs some")
        predictions = {name: predict(method, split) for name, split in splits.items()}

    known_labels = _training_labels(run / "train.predictions.parquet")
    scores: dict[str, Any] = {}
    remarks: dict[str, list[str]] = {}
    floor: dict[str, float] = {}
    for name, split in splits.items():
        labels, what = split.label.cpu().numpy(), f"{run}: predictions of {name}"
        metrics, said = score(predictions[name], labels, metric_set, class_names, what)
        scores[name] = {key: round(value, DECIMALS) for key, value in metrics.items()}
        remarks |= {name: said} if said else {}
        least = least_scores(known_labels, labels, class_names)
        floor |= {f"{name}_{key}": round(value, DECIMALS) for key, value in least.items()}
    result = {
        "format": FORMAT,
        **{key: config[key] for key in ("method", "dataset", "seed", "feature_set", "epoch")},
        "features": {modality: _encoder(modality, config) for modality in config["dims"]},
        "task": stats["task"],
        "class_names": class_names,
        "metric_set": metric_set,
        "n": {name: len(split) for name, split in splits.items()},
        "floor": floor,
        "remarks": remarks,
        **scores,
    }
    tested = {
        name: prediction_table(split, predictions[name], method.task)
        for name, split in splits.items()
        if name != VALID
    }
    if len(tested) > 1:
        for name, table in tested.items():
            tested[name] = table.append_column("split", pa.array([name] * len(table), pa.string()))
    with replaced_files(out.metrics.parent) as folder:
        shutil.copyfile(run / "curves.tsv", folder / out.curves.name)
        pq.write_table(pa.concat_tables(tested.values()), folder / out.predictions.name)
        write_json(result, folder / out.metrics.name)
    return result


def _training_labels(path: Path) -> np.ndarray:
    try:
        labels: np.ndarray = pq.read_table(path, columns=["label"])["label"].to_numpy()
        return labels
    except (OSError, pa.ArrowException, KeyError) as error:
        raise FormatError(
            f"{path}: no predictions of a training ({first_line(error)}); train again"
        ) from error


def score(
    predictions: np.ndarray, labels: np.ndarray, metric_set: str, class_names: Sequence[str], what: str
) -> tuple[dict[str, float], list[str]]:
    """Metrics, and why some of them mean nothing.

    Parameters
    ----------
    predictions, labels : (clips,); of a classification predictions are logits (clips, classes)
    what : was predicted, for messages

    Raises
    ------
    MsaError : predictions are not finite
    """
    if not np.isfinite(predictions).all():  # of NaN a class would be made too
        raise MsaError(f"{what} are not finite; train again with a lower rate")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MetricWarning)
        if metric_set == CLASSIFICATION:
            decided = Task(len(class_names)).decide(torch.from_numpy(predictions)).numpy()
            metrics = cls(decided, labels, class_names)
        else:
            metrics = METRIC_SETS[metric_set](predictions, labels)
    return metrics, [str(w.message) for w in caught if issubclass(w.category, MetricWarning)]


def least_scores(known: np.ndarray, labels: np.ndarray, class_names: list[str]) -> dict[str, float]:
    """What a constant that is fitted to the training labels reaches.

    Parameters
    ----------
    known, labels : (clips,) of the training split, and of the split that is scored
    class_names : none = a regression

    Returns
    -------
    `mae` of the median; of a classification `accuracy` and `f1_weighted` of the most frequent class, which is
    the first of equals
    """
    if not class_names:
        return {"mae": float(np.abs(labels.astype(np.float64) - np.median(known)).mean())}
    constant = np.full(len(labels), np.bincount(known.astype(np.int64)).argmax())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetricWarning)  # said of the run itself
        scores = cls(constant, labels, class_names)
    return {name: scores[name] for name in ("accuracy", "f1_weighted")}


def stats_of_run(assembled: Path, run: Path, config: dict[str, Any]) -> dict[str, Any]:
    """stats.json of the assembled set on which a run is evaluated.

    Raises
    ------
    MsaError : its labels mean something else than those of the run, or its features are not the run's
    """
    stats, known = read_stats(assembled), config["stats"]
    dims = [{m: entry["dim"] for m, entry in one["modalities"].items()} for one in (known, stats)]
    if _task(known) != _task(stats):
        trained, found = f"a {_task(known)}", f"is a {_task(stats)}"
    elif dims[0] != dims[1]:
        widths = [", ".join(f"{modality} {dim}" for modality, dim in sorted(side.items())) for side in dims]
        trained, found = f"features of widths {widths[0]}", f"has {widths[1]}"
    elif stats["feature_set"] != config["feature_set"]:
        trained = f"feature set {config['feature_set'][:12]} ({_encoders(known)})"
        found = f"is {stats['feature_set'][:12]} ({_encoders(stats)})"
    else:
        return stats
    raise MsaError(
        f"{run} was trained on {trained}, but {assembled} {found}; evaluate on the set that it was trained "
        "on, or train again"
    )


def _task(stats: dict[str, Any]) -> str:
    classes = ", ".join(stats["class_names"])
    return f"classification of {classes}" if classes else "regression"


def _encoders(stats: dict[str, Any]) -> str:
    return ", ".join(f"{name} {entry['encoder']}" for name, entry in sorted(stats["modalities"].items()))


def _encoder(modality: str, config: dict[str, Any]) -> str:
    """What the method read of a modality: an encoder's name, or the encoder that it fine-tuned."""
    params = config["params"]
    if params.get(modality) == "finetune":  # text, or the sound
        return f"{params[f'{modality}_backbone']} (fine-tuned)"
    return str(config["stats"]["modalities"][modality]["encoder"])
