"""Runs of one method on one set scored: of each seed the checkpoint that training chose, on the validation
and, once, on the test split.

`results/<set>/<method>/` holds all seeds, the same bytes for the same runs and data:

    metrics.json         mean and sd over the seeds of the chief metrics: what `dvc metrics show` lists. Under
                         `runs`, which DVC does not list, an entry a seed: `test` and `valid` metrics of the
                         set's metric set (and `test_ood` where the set has a second test split, of another
                         distribution); `floor`, what a predictor that only knows the training labels reaches;
                         clips; best epoch; feature set; task and classes; calibration; `tasks` (tasks.py)
    predictions.parquet  a row a test clip: split, clip_id, video_id, speaker, label, label_text, label_audio
                         and label_visual where the corpus has them, and of each seed `prediction_<seed>`, of
                         a classification `probability_<seed>` too
    curves.tsv           the learning curves: a row an epoch of a seed
    views.json           see inspect.py
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from models.core.batch import Reading
from models.core.method import Task
from pipeline.core.console import tracked
from pipeline.core.errors import FormatError, MsaError, ParamsError, first_line
from pipeline.core.files import replaced_files, rounded, write_json
from pipeline.core.vocabulary import CLASSES, LABELS, TEST, TEST_OOD, VALID
from pipeline.datasets.splits import Split
from pipeline.datasets.training_set import TrainingSet, read_stats
from pipeline.evaluation.calibration import of_classes, of_scores
from pipeline.evaluation.inspect import inspect
from pipeline.evaluation.metrics import CLASSIFICATION, METRIC_SETS, MetricWarning, cls
from pipeline.evaluation.saved import CURVES, FORMAT, METRICS, PREDICTIONS, VIEWS, Spread, write_views
from pipeline.evaluation.tasks import side_by_side
from pipeline.params.explain import unknown
from pipeline.params.params import COMPLETE
from pipeline.training.loop.device import reproducible
from pipeline.training.loop.scoring import predict
from pipeline.training.runs import open_runs, prediction_table, read_config, regime_of

DECIMALS = 6
SCORED = (TEST, VALID, TEST_OOD)
ALIKE = ("method", "dataset", "params", "train", "dims", "feature_set")  # of all seeds
# metrics of the test splits that a person compares experiments by; all others are in the entries of the runs
CHIEF = ("mae", "corr", "acc2", "acc2_non0", "f1", "f1_non0", "accuracy", "f1_weighted")
CHOSEN_BY = ("mae", "accuracy")  # of the validation split


def evaluate(
    runs: Sequence[Path],
    assembled: Path,
    out: Path,
    metric_set: str,
    device: str = "auto",
    *,
    transcripts: bool = False,
) -> dict[str, Any]:
    """Write metrics, test predictions, curves and views of a method's runs; the metrics are returned too.

    Parameters
    ----------
    runs : run folders of a training, of different seeds and alike in all else
    assembled : assembled set with the features that the runs were trained on
    out : folder of the files
    metric_set : a name of metrics.METRIC_SETS, or `cls` for a classification
    device : `auto`, `cpu`, `cuda` or `cuda:<index>`
    transcripts : whether the views may hold texts of clips; git tracks them

    Raises
    ------
    ParamsError : unknown device, or a metric set that is unknown or for another task
    FormatError : a run or the assembled set cannot be read, or a split has no clips
    MsaError : the assembled set has other features or labels than the runs were trained on, the runs are not
        alike, or predictions are not finite
    """
    known = (*METRIC_SETS, CLASSIFICATION)
    if metric_set not in known:
        raise ParamsError(unknown("metric set", metric_set, known))
    configs = {run: read_config(run) for run in runs}
    configs = dict(sorted(configs.items(), key=lambda item: item[1]["seed"]))
    check_alike(configs)
    for run, config in configs.items():
        stats = stats_of_run(assembled, run, config)
    if (metric_set == CLASSIFICATION) != (stats["task"] == "classification"):
        raise ParamsError(
            f"metric set {metric_set!r} is not for the {stats['task']} {stats['dataset']}; correct "
            f"assemble.{stats['dataset']}.metrics in params.yaml"
        )
    splits: dict[str, Split] = {}
    entries, tested, views = [], {}, {}
    title = f"evaluating on {stats['dataset']}"
    for run, config in tracked(configs.items(), title, len(configs)):
        opened = open_runs([run], device)[0]
        splits = splits or _splits(assembled, opened.reading, opened.device)
        with reproducible(config["seed"], opened.device):
            predictions = {name: predict(opened.method, splits[name]) for name in SCORED if name in splits}
        entries.append(_entry(run, config, stats, splits, predictions, metric_set))
        tested[config["seed"]] = {
            name: prediction_table(splits[name], predictions[name], opened.task)
            for name in predictions
            if name != VALID
        }
        views[config["seed"]] = inspect(opened, splits, predictions[TEST], assembled if transcripts else None)
    result = {**summary(entries), "runs": entries}
    with replaced_files(out) as folder:
        write_json(result, folder / METRICS)
        pq.write_table(_all_predictions(tested, assembled, bool(stats["class_names"])), folder / PREDICTIONS)
        (folder / CURVES).write_text(_all_curves(configs), encoding="utf-8")
        write_views(views, folder / VIEWS)
    return result


def summary(entries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Mean and sample standard deviation over the entries of runs, of the metrics that DVC shows."""
    values: dict[str, list[float]] = {}
    for entry in entries:
        found = {name: entry["test"][name] for name in CHIEF if name in entry["test"]}
        ood = entry.get(TEST_OOD, {})
        found |= {f"{TEST_OOD}_{name}": ood[name] for name in CHIEF if name in ood}
        found |= {f"{VALID}_{name}": entry["valid"][name] for name in CHOSEN_BY if name in entry["valid"]}
        for name, value in found.items():
            values.setdefault(name, []).append(value)
    spreads = {name: Spread.of(numbers, DECIMALS) for name, numbers in values.items()}
    return {name: {"mean": spread.mean, "sd": spread.sd} for name, spread in spreads.items()}


# ---------------------------------------------------------------------------------------- one run, all runs
def check_alike(configs: Mapping[Path, Mapping[str, Any]]) -> None:
    """Seeds of one training differ in nothing else, and each is there once."""
    (first, one), *others = configs.items()
    for run, config in others:
        if differing := [key for key in ALIKE if config[key] != one[key]]:
            raise MsaError(
                f"{run} and {first} differ in {', '.join(differing)} and are not seeds of one training; run "
                "their train stage"
            )
    seed, times = Counter(config["seed"] for config in configs.values()).most_common(1)[0]
    if times > 1:
        raise MsaError(f"seed {seed} occurs in {times} of the runs {', '.join(map(str, configs))}")


def _splits(assembled: Path, reading: Reading, device: torch.device) -> dict[str, Split]:
    """What is scored, and the train split for views; none of them empty."""
    splits = TrainingSet.load(assembled, reading, device, only=("train", *SCORED)).splits
    for name in SCORED:
        if name in splits and len(splits[name]) == 0:
            raise FormatError(f"{assembled}: no clips in {name}; evaluation needs some")
    return splits


def _entry(
    run: Path,
    config: dict[str, Any],
    stats: Mapping[str, Any],
    splits: Mapping[str, Split],
    predictions: Mapping[str, np.ndarray],
    metric_set: str,
) -> dict[str, Any]:
    """What metrics.json says of a run."""
    class_names = stats["class_names"]
    known_labels = training_labels(run)
    scores: dict[str, Any] = {}
    remarks: dict[str, list[str]] = {}
    floor: dict[str, float] = {}
    labels = {name: splits[name].label.cpu().numpy() for name in predictions}
    for name, predicted in predictions.items():
        what = f"{run}: predictions of {name}"
        metrics, said = score(predicted, labels[name], metric_set, class_names, what)
        scores[name] = {key: round(value, DECIMALS) for key, value in metrics.items()}
        remarks |= {name: said} if said else {}
        least = least_scores(known_labels, labels[name], class_names)
        floor |= {f"{name}_{key}": round(value, DECIMALS) for key, value in least.items()}
    return {
        "format": FORMAT,
        **{key: config[key] for key in ("method", "dataset", "seed", "feature_set", "epoch")},
        "features": {modality: encoder_of(modality, config) for modality in config["dims"]},
        **({} if (regime := regime_of(config)) == COMPLETE else {"regime": regime}),
        "task": stats["task"],
        "class_names": class_names,
        "metric_set": metric_set,
        "n": {name: len(splits[name]) for name in predictions},
        "floor": floor,
        "remarks": remarks,
        **scores,
        **_beside(predictions, labels, metric_set, class_names),
    }


def _beside(
    outputs: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray], metric_set: str, classes: list[str]
) -> dict[str, Any]:
    """`calibration`, and of a regression `tasks`; outputs and labels are by split."""
    if classes:
        sure = Task(len(classes)).probabilities
        found = {name: (sure(torch.from_numpy(out)).numpy(), labels[name]) for name, out in outputs.items()}
        return {"calibration": of_classes(found)}
    errors = {name: np.abs(found - labels[name]) for name, found in outputs.items()}
    tasks = side_by_side(outputs[TEST], labels[TEST], metric_set)
    return {"calibration": of_scores(errors.pop(VALID), errors), "tasks": rounded(tasks, DECIMALS)}


def _all_predictions(
    tested: Mapping[int, Mapping[str, pa.Table]], assembled: Path, classes: bool
) -> pa.Table:
    """Of all seeds beside each other, test splits one after the other, by clip id."""
    parts = []
    of_modalities = dict(zip(LABELS[1:], (CLASSES if classes else LABELS)[1:], strict=True))
    for split in next(iter(tested.values())):
        wanted = ("clip_id", "video_id", "speaker", *of_modalities.values())
        clips = pq.read_table(assembled / f"{split}.parquet", columns=[*wanted])
        clips = clips.sort_by("clip_id").replace_schema_metadata(None)
        part = clips.select(wanted[:3]).add_column(0, "split", pa.array([split] * len(clips), pa.string()))
        for seed, tables in tested.items():
            table = tables[split]
            if "label" not in part.column_names:
                part = part.append_column("label", table["label"])
                for name, column in of_modalities.items():
                    if clips[column].null_count < len(clips):
                        part = part.append_column(name, clips[column])
            for name in ("prediction", "probability"):
                if name in table.column_names:
                    part = part.append_column(f"{name}_{seed}", table[name])
        parts.append(part)
    return pa.concat_tables(parts, promote_options="default")  # a split may lack labels of modalities


def _all_curves(configs: Mapping[Path, Mapping[str, Any]]) -> str:
    """The rows of all runs' curves, as they are, each with its seed."""
    lines: list[str] = []
    for run, config in configs.items():
        path = run / CURVES
        try:
            header, *rows = path.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise FormatError(f"{path}: no learning curves ({error}); train again") from error
        lines = lines or [f"seed\t{header}"]
        if lines[0] != f"seed\t{header}":
            raise FormatError(f"{path}: columns differ from those of the other seeds; train again")
        lines += [f"{config['seed']}\t{row}" for row in rows]
    return "\n".join(lines) + "\n"


def training_labels(run: Path) -> np.ndarray:
    path = run / "train.predictions.parquet"
    try:
        labels: np.ndarray = pq.read_table(path, columns=["label"])["label"].to_numpy()
        return labels
    except (OSError, pa.ArrowException, KeyError) as error:
        raise FormatError(f"{path}: no training predictions ({first_line(error)}); train again") from error


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
    if metric_set == CLASSIFICATION:
        predictions = Task(len(class_names)).decide(torch.from_numpy(predictions)).numpy()
    return score_decided(predictions, labels, metric_set, class_names)


def score_decided(
    predictions: np.ndarray, labels: np.ndarray, metric_set: str, class_names: Sequence[str]
) -> tuple[dict[str, float], list[str]]:
    """The same of predictions (clips,) that are indices of classes, or finite scores."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MetricWarning)
        if metric_set == CLASSIFICATION:
            metrics = cls(predictions, labels, class_names)
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


def encoder_of(modality: str, config: Mapping[str, Any]) -> str:
    """What the method read of a modality: an encoder's name, or the encoder that it fine-tuned."""
    params = config["params"]
    if params.get(modality) == "finetune":  # text, or the sound
        return f"{params[f'{modality}_backbone']} (fine-tuned)"
    return str(config["stats"]["modalities"][modality]["encoder"])
