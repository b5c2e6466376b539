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
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from models.core.method import Method, Task
from pipeline.core.errors import FormatError, MsaError, ParamsError
from pipeline.core.files import write_json
from pipeline.core.paths import ResultFiles
from pipeline.datasets.splits import Split
from pipeline.datasets.training_set import TrainingSet, read_stats
from pipeline.evaluation.metrics import CLASSIFICATION, METRIC_SETS, MetricWarning, cls
from pipeline.training.loop.fabric import open_fabric, reproducible
from pipeline.training.loop.train import predict
from pipeline.training.runs import load_method, prediction_table, read_config

FORMAT = 1  # of the results
DECIMALS = 6
SPLITS = ("test", "valid")
TEST_OOD = "test_ood"  # a second test split, which some sets have


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
        raise ParamsError(f"metric set {metric_set!r} is not known (there are: {', '.join(known)})")
    config = read_config(run)
    stats = read_stats(assembled)
    check_task(config, run, stats, assembled)
    check_features(config, run, stats, assembled)
    if (metric_set == CLASSIFICATION) != (stats["task"] == "classification"):
        raise ParamsError(
            f"metric set {metric_set!r} is not for the {stats['task']} {stats['dataset']}; correct "
            f"assemble.{stats['dataset']}.metrics in params.yaml"
        )
    class_names = _class_names(stats)
    fabric = open_fabric(device, config["train"]["precision"])
    with reproducible(config["seed"], fabric.device):
        method, _ = load_run(run, str(fabric.device))
        model = fabric.setup_module(method)
        only = (*SPLITS, TEST_OOD)
        splits = TrainingSet.load(assembled, method.reading(), fabric.device, only=only).splits
        for name, split in splits.items():
            if len(split) == 0:
                raise FormatError(f"{assembled}: no clips in {name}; evaluation needs some")
        predictions = {name: predict(model, split) for name, split in splits.items()}

    known_labels = pq.read_table(run / "train.predictions.parquet")["label"].to_numpy()
    scores: dict[str, Any] = {}
    remarks: dict[str, list[str]] = {}
    floor: dict[str, float] = {}
    for name, split in splits.items():
        labels, found = split.label.cpu().numpy(), predictions[name]
        if not np.isfinite(found).all():  # of NaN a class would be made too
            raise MsaError(f"{run}: predictions of {name} are not finite; train again with a lower rate")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", MetricWarning)
            if class_names:
                decided = method.task.decide(torch.from_numpy(found)).numpy()
                metrics = cls(decided, labels, class_names)
            else:
                metrics = METRIC_SETS[metric_set](found, labels)
        scores[name] = {key: round(value, DECIMALS) for key, value in metrics.items()}
        remarks[name] = [str(w.message) for w in caught if issubclass(w.category, MetricWarning)]
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
        "remarks": {name: lines for name, lines in remarks.items() if lines},
        **scores,
    }
    for path in out:
        path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run / "curves.tsv", out.curves)
    tested = {name: split for name, split in splits.items() if name != "valid"}
    write_tested(tested, predictions, method.task, out.predictions)
    write_json(result, out.metrics)
    return result


def write_tested(
    splits: dict[str, Split], predictions: dict[str, np.ndarray], task: Task, path: Path
) -> None:
    """The test predictions; where there are two test splits, with a column `split`."""
    tables = {name: prediction_table(split, predictions[name], task) for name, split in splits.items()}
    if len(tables) > 1:
        named = [
            table.append_column("split", pa.array([name] * len(table), pa.string()))
            for name, table in tables.items()
        ]
        pq.write_table(pa.concat_tables(named), path)
    else:
        pq.write_table(tables["test"], path)


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


def load_run(run: Path, device: str = "cpu") -> tuple[Method, dict[str, Any]]:
    """The trained method, on the device and ready to predict, and the run's config.json.

    Raises
    ------
    FormatError : not a run folder, of another format version, or its weights do not fit its settings
    """
    config = read_config(run)
    return load_method(run, config).to(device).eval(), config


def check_task(config: dict[str, Any], run: Path, stats: dict[str, Any], assembled: Path) -> None:
    """Refuse an assembled set whose labels mean something else than those of the run."""
    trained, found = _task(config["stats"]), _task(stats)
    if trained != found:
        raise MsaError(
            f"{run} was trained on a {trained}, but {assembled} is a {found}; evaluate on the set that it "
            "was trained on, or train again"
        )


def check_features(config: dict[str, Any], run: Path, stats: dict[str, Any], assembled: Path) -> None:
    """Refuse an assembled set whose features are not those of the run."""
    found = {modality: entry["dim"] for modality, entry in stats["modalities"].items()}
    trained = {modality: entry["dim"] for modality, entry in config["stats"]["modalities"].items()}
    if found != trained:
        raise MsaError(
            f"{run} was trained on features of widths {_widths(trained)}, but {assembled} has "
            f"{_widths(found)}; evaluate on the set that it was trained on, or train again"
        )
    if stats["feature_set"] != config["feature_set"]:
        raise MsaError(
            f"{run} was trained on feature set {config['feature_set'][:12]} "
            f"({_encoders(config['stats'])}), but {assembled} is {stats['feature_set'][:12]} "
            f"({_encoders(stats)}); evaluate on the set that it was trained on, or train again"
        )


def _class_names(stats: dict[str, Any]) -> list[str]:
    """Empty for a regression."""
    return list(stats["class_names"]) if stats["task"] == "classification" else []


def _task(stats: dict[str, Any]) -> str:
    classes = _class_names(stats)
    return f"classification of {', '.join(classes)}" if classes else "regression"


def _widths(dims: dict[str, int]) -> str:
    return ", ".join(f"{modality} {dim}" for modality, dim in sorted(dims.items()))


def _encoders(stats: dict[str, Any]) -> str:
    return ", ".join(f"{name} {entry['encoder']}" for name, entry in sorted(stats["modalities"].items()))


def _encoder(modality: str, config: dict[str, Any]) -> str:
    """What the method read of a modality: an encoder's name, or the encoder that it fine-tuned."""
    params = config["params"]
    if params.get(modality) == "finetune":  # text, or the sound
        return f"{params[f'{modality}_backbone']} (fine-tuned)"
    name: str = config["stats"]["modalities"][modality]["encoder"]
    return name
