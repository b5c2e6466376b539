"""Predictions that another system made for the test clips of a set, scored as a run without weights.

A CSV or Parquet file has a row a clip: which clip it is, and a prediction (a score; a class by name or index)
or one score a class, of which the highest decides. Columns are found by name, case aside:

    clip         clip_id, clip, id ...: the whole id, a part of it (`video_id$_$clip_id`), or the media file,
                 where that says which clip is meant
    prediction   prediction, pred, y_pred ...
    scores       the classes' names, or their indices; `score_`, `prob_`, `logit_` ... may stand before

Every clip of the test split must be there, once. Clips of other splits, or that assemble left out, are passed
over: a file of all folds serves each fold. `results/<set>/<name>/` then has metrics.json and
predictions.parquet as evaluate writes them; seed 0, no epoch, no validation metrics, and `imported` says of
which file. How the system was trained and chosen is not known here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.errors import FormatError, LabelFileError, MsaError
from pipeline.core.files import file_hash, replaced_files, write_json
from pipeline.core.vocabulary import ALL_SPLITS, SEPARATOR, TEST, TEST_OOD, TRAIN
from pipeline.corpora.clips import target_column
from pipeline.corpora.findings import shortened
from pipeline.corpora.survey import CorpusSurvey
from pipeline.datasets.training_set import read_stats
from pipeline.evaluation.evaluate import DECIMALS, least_scores, score_decided, summary
from pipeline.evaluation.prediction_file import CLIP, choose_columns, open_rows, value_of
from pipeline.evaluation.saved import FORMAT, METRICS, PREDICTIONS, is_imported
from pipeline.formats.text import listed
from pipeline.params.params import class_key

SEED = 0  # of what has none
LEFT_OUT = "left out"  # beside the splits


@dataclass(frozen=True)
class ImportedPredictions:
    """What became of a file; printed, it is a summary."""

    name: str
    dataset: str
    columns: dict[str, str]
    scored: int
    passed_over: int
    metrics: dict[str, float]

    def __str__(self) -> str:
        of = {class_key(what): column for what, column in self.columns.items()}
        read = ", ".join(column if what == column else f"{what}: {column}" for what, column in of.items())
        chief = ("accuracy", "f1_weighted") if "accuracy" in self.metrics else ("mae", "corr")
        numbers = ", ".join(f"{metric} {self.metrics[metric]:.4f}" for metric in chief)
        return (
            f"{self.name} on {self.dataset}: all {self.scored} test clips scored, {numbers}; "
            f"{self.passed_over} rows of other clips ignored (columns: {read})"
        )


def import_predictions(
    file: Path,
    name: str,
    dataset: str,
    assembled: Path,
    out: Path,
    metric_set: str,
    columns: Mapping[str, str] | None = None,
) -> ImportedPredictions:
    """Write the results of a system that was trained elsewhere.

    Parameters
    ----------
    name, dataset : what the system is called in tables, and the training set whose test split it predicted
    assembled : that set
    out : folder of the results; only what was imported before is replaced
    columns : `clip`, `prediction` or a class -> its column, where the name does not say it

    Raises
    ------
    LabelFileError : the file's columns, clips or values are not as described; all that is wrong is listed
    ParamsError : `columns` names what is not there
    FormatError : the assembled set cannot be read
    MsaError : there are results of a method that was trained here
    """
    stats = read_stats(assembled)
    if (out / METRICS).exists() and not is_imported(out / METRICS):
        raise MsaError(f"{out} has results of a method that was trained here; choose another --name")
    clips = _Clips.read(assembled, stats)
    found = CorpusSurvey(str(file))
    table = open_rows(file, found)
    chosen = (
        choose_columns(table.columns, stats["class_names"], dict(columns or {}), found)
        if table.columns
        else {}
    )
    values: dict[str, float] = {}
    seen: Counter[str] = Counter()
    ties = 0
    for line, cells in table.rows if chosen else ():
        clip_id = clips.find(cells[chosen[CLIP]], found, line)
        if clip_id is None:
            continue
        seen[clip_id] += 1
        if seen[clip_id] > 1:
            found.reject("clips twice", f"clip {clip_id} occurs twice; keep one row", line)
        elif clips.splits[clip_id] in (TEST, TEST_OOD):
            value, tied = value_of(cells, chosen, stats["class_names"], clip_id, found, line)
            values[clip_id], ties = value, ties + tied
    if chosen:
        clips.check_all(seen, found)
    if found.problems:
        raise LabelFileError(found.source, shortened(found.problems))
    entry, predictions = _scored(clips, values, stats, metric_set)
    if ties:
        entry["remarks"].setdefault(TEST, []).append(
            f"{ties} clips have several highest scores: the first is used"
        )
    entry = {
        "format": FORMAT,
        "method": name,
        "dataset": dataset,
        "seed": SEED,
        "imported": {"file": file.name, "sha256": file_hash(file)},
        "feature_set": "",
        "features": {},
        "task": stats["task"],
        "class_names": stats["class_names"],
        "metric_set": metric_set,
        **entry,
    }
    with replaced_files(out) as folder:
        write_json({**summary([entry]), "runs": [entry]}, folder / METRICS)
        pq.write_table(predictions, folder / PREDICTIONS)
    passed_over = sum(seen.values()) - len(values)
    return ImportedPredictions(name, dataset, chosen, entry["n"][TEST], passed_over, entry[TEST])


# ------------------------------------------------------------------------------------------------- the clips
@dataclass(frozen=True)
class _Clips:
    """The clips of an assembled set.

    Attributes
    ----------
    splits : clip id -> split, or LEFT_OUT
    names : every way to name a clip -> the ids that are named so
    tables : test split -> its clips in order: clip_id, video_id, speaker and the target
    known : labels of the train split
    """

    splits: dict[str, str]
    names: dict[str, set[str]]
    tables: dict[str, pa.Table]
    known: np.ndarray

    @classmethod
    def read(cls, assembled: Path, stats: Mapping[str, Any]) -> _Clips:
        target = target_column(stats["task"])
        wanted = ("clip_id", "video_id", "speaker", "path", target)
        splits = dict.fromkeys(stats.get("left_out", {}), LEFT_OUT)
        files: dict[str, str | None] = dict.fromkeys(splits)
        tables = {}
        for split in ALL_SPLITS:
            path = assembled / f"{split}.parquet"
            if not path.exists():
                continue
            try:
                there = pq.read_schema(path).names
                table = pq.read_table(path, columns=[column for column in wanted if column in there])
            except (OSError, pa.ArrowException) as error:
                raise FormatError(
                    f"{path}: cannot be read ({error}); run the assemble stage again"
                ) from error
            ids = table["clip_id"].to_pylist()
            splits |= dict.fromkeys(ids, split)
            paths = table["path"].to_pylist() if "path" in there else [None] * len(ids)
            files |= dict(zip(ids, paths, strict=True))
            tables[split] = table.sort_by("clip_id").replace_schema_metadata(None)
        for split in (TRAIN, TEST):
            if split not in tables or not len(tables[split]):
                raise FormatError(f"{assembled}: no clips in {split}; run its assemble stage")
        names: dict[str, set[str]] = {}
        for clip_id, file in files.items():
            for alias in _aliases(clip_id, file):
                names.setdefault(alias, set()).add(clip_id)
        tested = {split: tables[split] for split in (TEST, TEST_OOD) if split in tables}
        return cls(splits, names, tested, tables[TRAIN][target].to_numpy())

    def find(self, given: str, found: CorpusSurvey, line: int) -> str | None:
        """The clip of that name; None and a problem where there is none, or several."""
        if given in self.splits:
            return given
        meant = self.names.get(given, set())
        if len(meant) == 1:
            return next(iter(meant))
        if meant:
            message = f"clip {given!r} could be {listed(sorted(meant))}; write the full id"
            found.reject("ambiguous clips", message, line)
        else:
            known = next(iter(self.tables[TEST]["clip_id"].to_pylist()))
            message = f"clip {given!r} is not in this set; expected ids such as {known}"
            found.reject("unknown clips", message, line)
        return None

    def check_all(self, seen: Mapping[str, int], found: CorpusSurvey) -> None:
        """A problem where test clips have no row; a second test split may be left out as a whole."""
        for split, table in self.tables.items():
            ids = table["clip_id"].to_pylist()
            lacking = [clip_id for clip_id in ids if clip_id not in seen]
            if lacking and (split == TEST or len(lacking) < len(ids)):
                said = f"{len(lacking)} of {len(ids)} {split} clips have no row: {listed(lacking)}"
                found.reject("missing clips", f"{said}; predict them too, as every run here did")


def _aliases(clip_id: str, file: str | None) -> set[str]:
    """Ways to name a clip beside its id."""
    video, _, clip = clip_id.partition(SEPARATOR)
    names = {video, clip}
    if file is not None:
        path = PurePosixPath(file)
        names |= {file, str(path.with_suffix("")), path.name, path.stem}
    return names


# -------------------------------------------------------------------------------------------------- scoring
def _scored(
    clips: _Clips, values: Mapping[str, float], stats: Mapping[str, Any], metric_set: str
) -> tuple[dict[str, Any], pa.Table]:
    """What metrics.json says of the predictions, and the table of them."""
    class_names, target = stats["class_names"], target_column(stats["task"])
    kind = pa.int32() if class_names else pa.float32()
    entry: dict[str, Any] = {"n": {}, "floor": {}, "remarks": {}, "valid": {}}
    parts = []
    for split, table in clips.tables.items():
        ids = table["clip_id"].to_pylist()
        if ids[0] not in values:  # a second test split that the file has not
            continue
        predicted = np.array([values[clip_id] for clip_id in ids], np.float32)
        labels = table[target].to_numpy()
        metrics, said = score_decided(predicted, labels, metric_set, class_names)
        entry[split] = {key: round(value, DECIMALS) for key, value in metrics.items()}
        entry["remarks"] |= {split: said} if said else {}
        entry["n"][split] = len(ids)
        for key, value in least_scores(clips.known, labels, class_names).items():
            entry["floor"][f"{split}_{key}"] = round(value, DECIMALS)
        columns = {"split": pa.array([split] * len(ids), pa.string())}
        columns |= {column: table[column] for column in ("clip_id", "video_id", "speaker")}
        columns["label"] = pc.cast(table[target], kind)
        columns[f"prediction_{SEED}"] = pa.array(predicted).cast(kind)
        parts.append(pa.table(columns))
    return entry, pa.concat_tables(parts)
