"""A file of predictions that another system made: its rows, which columns are meant, and what a row says."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import MsaError, ParamsError, first_line
from pipeline.corpora.survey import CorpusSurvey
from pipeline.corpora.tables.csv import read_table
from pipeline.corpora.tables.values import label_value, number_of
from pipeline.formats.text import listed
from pipeline.params.explain import unknown
from pipeline.params.params import class_key

CLIP, PREDICTION = "clip", "prediction"  # what columns are of, beside classes
NAMES = {  # the first that is there
    CLIP: ("clip_id", "clip", "id", "utterance_id", "utterance", "file", "filename", "path"),
    PREDICTION: ("prediction", "predicted", "pred", "y_pred"),
}
TASK_NAMES = {
    True: ("class", "predicted_class"),
    False: ("score",),
}  # of predictions too: of classes, of scores
BEFORE_CLASS = re.compile(r"(score|prob|probability|logit|p)[ _]")


@dataclass(frozen=True)
class PredictionRows:
    """Lower-case names of the columns, and rows with their number in the file; empty where it is no table."""

    columns: list[str]
    rows: Iterator[tuple[int, dict[str, str]]]


def open_rows(file: Path, found: CorpusSurvey) -> PredictionRows:
    if not file.is_file():
        raise MsaError(f"{file}: no such file; expected a CSV or Parquet file of predictions")
    if file.suffix.lower() not in (".parquet", ".pq"):
        read = read_table(file, found, (), ())
        return PredictionRows(read.columns, read.rows)
    try:
        opened = pq.ParquetFile(file)
        flat = [field.name for field in opened.schema_arrow if not pa.types.is_nested(field.type)]
        table = opened.read(columns=flat)
    except (OSError, pa.ArrowException) as error:
        found.reject("file", f"cannot be read as Parquet ({first_line(error)})")
        return PredictionRows([], iter(()))
    names = [name.lower() for name in flat]
    rows = (
        (
            number,
            {name: "" if row[was] is None else str(row[was]) for name, was in zip(names, flat, strict=True)},
        )
        for number, row in enumerate(table.to_pylist(), 1)
    )
    return PredictionRows(names, rows)


def choose_columns(
    there: Sequence[str], classes: Sequence[str], asked: Mapping[str, str], found: CorpusSurvey
) -> dict[str, str]:
    """`clip`, `prediction` or the classes -> column; empty and a problem where they cannot be told."""
    for key, column in asked.items():
        if key not in (known := (CLIP, PREDICTION, *classes)):
            raise ParamsError(unknown("--column", key, known))
        if column.lower() not in there:
            raise ParamsError(unknown(f"--column {key}: column", column, there))
    chosen = {key: column.lower() for key, column in asked.items()}
    for key, usual in NAMES.items():
        names = [*usual, *(TASK_NAMES[bool(classes)] if key == PREDICTION else ())]
        found_here = next((name for name in names if name in there and name not in chosen.values()), None)
        by_class = key == PREDICTION and any(name in chosen for name in classes)  # it was said
        if found_here is not None and key not in chosen and not by_class:
            chosen[key] = found_here
    if PREDICTION not in chosen:
        chosen |= _score_columns(there, classes, chosen, found)
    if len(decisive := [key for key in chosen if key != CLIP]) > 1 and PREDICTION in chosen:
        found.reject("columns", f"a prediction and scores are both given ({listed(decisive)}); name one kind")
    listing = f"found: {listed(list(there))}; name it with --column"
    if CLIP not in chosen:
        found.reject(
            "columns", f"no clip column, expected {' or '.join(NAMES[CLIP][:3])} ({listing} clip=...)"
        )
    if not decisive and not found.problems:
        scores = " or a score for each class" if classes else ""
        expected = f"expected prediction{scores} ({listing} prediction=...)"
        found.reject("columns", f"no prediction column, {expected}")
    if twice := sorted({column for column in chosen.values() if there.count(column) > 1}):
        found.reject("columns", f"column(s) {', '.join(twice)} occur twice: remove one")
    return {} if found.problems else chosen


def _score_columns(
    there: Sequence[str], classes: Sequence[str], chosen: Mapping[str, str], found: CorpusSurvey
) -> dict[str, str]:
    """Class -> column of its scores; a problem where some classes have one and others have not."""
    plain = {column: class_key(BEFORE_CLASS.sub("", column, count=1)) for column in dict.fromkeys(there)}
    numbered = not any(number_of(name) is not None for name in classes)
    scores: dict[str, str] = {}
    for index, name in enumerate(classes):
        ways = {class_key(name), *([str(index)] if numbered else [])}
        mine = (
            [chosen[name]]
            if name in chosen
            else [c for c, key in plain.items() if key in ways or c == name.lower()]
        )
        if len(mine) > 1:
            said = f"columns {', '.join(mine)} could be the scores of {name}; say which: --column {name}=..."
            found.reject("columns", said)
        elif mine:
            scores[name] = mine[0]
    lacking = [name for name in classes if name not in scores]
    if scores and lacking and not found.problems:
        found.reject(
            "columns",
            f"no scores for {', '.join(lacking)}; expected a column for each of {len(classes)} classes",
        )
    return scores


def value_of(
    cells: Mapping[str, str],
    chosen: Mapping[str, str],
    classes: Sequence[str],
    clip_id: str,
    found: CorpusSurvey,
    line: int,
) -> tuple[float, bool]:
    """The predicted score or class index of a clip, and whether other classes have as high a score."""
    if PREDICTION in chosen:
        given = cells[chosen[PREDICTION]]
        value, check, expected = label_value(given, (-math.inf, math.inf), classes)
        if value is None:
            found.reject(check, f"prediction of {clip_id} is {given!r}, expected {expected}", line)
        return value or 0.0, False
    scores = []
    for name in classes:
        given = cells[chosen[name]]
        if (number := number_of(given)) is None:
            found.reject(
                "scores", f"score of {name} of {clip_id} is {given!r}, expected a finite number", line
            )
        scores.append(number or 0.0)
    highest = int(np.argmax(scores))
    return float(highest), scores.count(scores[highest]) > 1
