"""The clip table: one row a clip of a corpus, `data/clips/<dataset>.parquet`.

Columns (null where a corpus does not know; times in seconds, labels within the dataset's `label_range`):

    clip_id        `video_id$_$clip_id`, unique; rows are sorted by it
    video_id       the recording that the clip is cut from
    split          train, valid, test or unlabeled; in some corpora test_ood (a second test split, of another
                   distribution) and context (what was said before a clip; same video_id, no label)
    path           media file relative to the corpus' root, null where there is none
    start_s, end_s part of the file that is the clip, null = the whole file
    duration_s, fps, width, height, sample_rate, has_audio, sha256    facts of the media file
    text           transcript of the corpus, null where it is empty
    language       ISO 639-1 code
    label, label_text, label_audio, label_visual    regression: of all modalities together, and of each alone
    class_label, class_text, class_audio, class_visual    classification: index into `class_names`
    speaker        who speaks
    position       order of the clip in its video: as the corpus says, else from 0 by start_s or by the id
    status         `ok`, or the reasons why the clip cannot be used in full, joined by `; `

What holds for the whole dataset (`ClipFacts`) is JSON in the schema's metadata under `msa.dataset`.
The bytes of a table depend on nothing but its content.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import ClipError, FormatError
from pipeline.core.files import file_hash, write_parquet
from pipeline.core.vocabulary import ALL_SPLITS, CLASSES, LABELS, SEPARATOR, TEST, TRAIN, VALID
from pipeline.media.containers import check_regular
from pipeline.media.decode import probe
from pipeline.params.params import CorpusParams, MediaLimits

FORMAT = 1
METADATA_KEY = b"msa.dataset"


MISSING_MEDIA = "missing media"
AMBIGUOUS_MEDIA = "ambiguous media"
UNREADABLE_MEDIA = "unreadable media"
EMPTY_TEXT = "empty text"

CLIP_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("clip_id", "video_id", "split", "path")),
        *((name, pa.float64()) for name in ("start_s", "end_s", "duration_s")),
        *((name, pa.string()) for name in ("sha256", "text", "language")),
        *((name, pa.float64()) for name in LABELS),
        *((name, pa.int32()) for name in CLASSES),
        *(("speaker", pa.string()), ("position", pa.int32()), ("fps", pa.float64())),
        *((name, pa.int32()) for name in ("width", "height", "sample_rate")),
        *(("has_audio", pa.bool_()), ("status", pa.string())),
    ]
)
NEVER_NULL = ("clip_id", "video_id", "split", "language", "position", "status")


@dataclass(frozen=True)
class ClipFacts:
    """What holds for every clip of a dataset.

    Attributes
    ----------
    dataset : its name in params.yaml
    task : `regression` or `classification`
    label_range : smallest and largest label of a regression
    class_names : names of the classes, empty for a regression
    language : ISO 639-1 code
    root : folder of the corpus relative to the project, None where it lies elsewhere
    published_folds : the speakers of each fold of a cross-validation that was published; empty without one
    """

    dataset: str
    language: str
    label_range: tuple[float, float]
    task: str = "regression"
    class_names: tuple[str, ...] = ()
    root: str | None = None
    published_folds: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of(cls, name: str, dataset: CorpusParams) -> ClipFacts:
        """The facts of a dataset of params.yaml; an absolute root is one machine's and left out."""
        root = None if Path(dataset.root).is_absolute() else Path(dataset.root).as_posix()
        return cls(name, dataset.language, dataset.label_range, dataset.task, tuple(dataset.classes), root)

    def to_json(self) -> bytes:
        known = {"format": FORMAT, **vars(self)}
        if not self.published_folds:  # tables without stay as they were
            del known["published_folds"]
        return json.dumps(known, sort_keys=True, ensure_ascii=False).encode()


def facts_of(table: pa.Table) -> ClipFacts:
    """The facts that a table from `read_clips` carries."""
    known = json.loads(table.schema.metadata[METADATA_KEY])
    known.pop("format")
    known["label_range"] = tuple(known["label_range"])
    known["class_names"] = tuple(known["class_names"])
    known["published_folds"] = tuple(map(tuple, known.get("published_folds", ())))
    return ClipFacts(**known)


def target_column(task: str) -> str:
    """The column that is to be predicted."""
    return "class_label" if task == "classification" else "label"


def can_train(labels: Iterable[tuple[str | None, object]], folds: int) -> bool:
    """Whether a corpus has clips to train with.

    Parameters
    ----------
    labels : split and label of each clip, None where it has none
    folds : of a cross-validation, which trains on clips of all labelled splits
    """
    splits = (TRAIN, VALID, TEST) if folds else (TRAIN,)
    return any(label is not None and split in splits for split, label in labels)


# --------------------------------------------------------------------------------------------- making rows
def full_id(video_id: str, clip_id: str) -> str:
    """`video_id$_$clip_id`, the name of a clip everywhere outside its corpus."""
    return f"{video_id}{SEPARATOR}{clip_id}"


def measure(path: Path, limits: MediaLimits) -> tuple[dict[str, Any], str | None]:
    """The columns that come from a clip's media file, and why it cannot be read.

    Returns
    -------
    facts : sha256, duration_s, fps, width, height, sample_rate, has_audio; what is not known is left out
    problem : the reason for the row's status, None where the file and its tracks are fine
    """
    facts: dict[str, Any] = {}
    reason: object
    try:
        check_regular(path)
        facts["sha256"] = file_hash(path)
        info = probe(path, limits)
        names = ("duration_s", "fps", "width", "height", "sample_rate", "has_audio")
        facts |= {name: getattr(info, name) for name in names}
        if not info.problems:
            return facts, None
        reason = "; ".join(info.problems)
    except OSError as error:
        reason = error.strerror or error
    except ClipError as error:
        reason = error
    except Exception as error:  # a library's own: one strange file must not end the whole corpus
        reason = f"{type(error).__name__}: {error}"
    # one line, and `; ` separates the reasons of a status
    return facts, f"{UNREADABLE_MEDIA}: {reason}".splitlines()[0].replace("; ", ", ")


def clip_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows as a checked, sorted table; columns that are left out are null, a `position` is worked out."""
    ordered = sorted(rows, key=lambda row: row["clip_id"])
    full = [{"position": place, **row} for row, place in zip(ordered, _positions(ordered), strict=True)]
    table = pa.Table.from_pylist(full, schema=CLIP_SCHEMA)
    _check(table, "clip table")
    return table


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key under which `2` comes before `10` and `clip2` before `clip10`."""
    parts = re.split(r"([0-9]+)", text)
    # digits compare by value: first by their number without leading zeros, then one by one
    return tuple(
        (0, len(part.lstrip("0")), part.lstrip("0")) if index % 2 else (1, 0, part)
        for index, part in enumerate(parts)
        if part
    )


def _positions(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    untimed = {row["video_id"] for row in rows if row.get("start_s") is None}

    def order(index: int) -> tuple[Any, ...]:
        row = rows[index]
        start_s = 0.0 if row["video_id"] in untimed else row["start_s"]
        return start_s, natural_key(row["clip_id"]), row["clip_id"]

    places, counts = [0] * len(rows), Counter[str]()
    for index in sorted(range(len(rows)), key=order):
        places[index] = counts[rows[index]["video_id"]]
        counts[rows[index]["video_id"]] += 1
    return places


# -------------------------------------------------------------------------------------- reading and writing
def write_clips(table: pa.Table, path: Path | str, facts: ClipFacts) -> None:
    """Write a clip table: sorted by clip_id, at once or not at all, the same bytes for the same rows.

    Raises
    ------
    FormatError : the table is not a clip table
    """
    path = Path(path)
    if absent := [name for name in CLIP_SCHEMA.names if name not in table.column_names]:
        raise FormatError(f"{path}: a clip table needs the columns {', '.join(absent)}")
    rows = table.select(CLIP_SCHEMA.names).sort_by("clip_id").combine_chunks()
    rows = rows.replace_schema_metadata().cast(CLIP_SCHEMA)
    _check(rows, str(path), facts)
    rows = rows.replace_schema_metadata({METADATA_KEY: facts.to_json()})
    write_parquet(rows, path)


def read_clips(path: Path | str) -> pa.Table:
    """Read a clip table; its facts stay with it (`facts_of`).

    Raises
    ------
    FormatError : no such file, not a clip table, or one of another format version
    """
    path = Path(path)
    if not path.is_file():
        raise FormatError(f"{path}: no such clip table; make it with the ingest stage (`dvc repro`)")
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise FormatError(
            f"{path}: cannot be read as Parquet ({error}); run the ingest stage again"
        ) from error
    facts = (table.schema.metadata or {}).get(METADATA_KEY)
    try:
        known = json.loads(facts or b"null")
        version, dataset = known["format"], known["dataset"]
    except (TypeError, KeyError, ValueError) as error:
        raise FormatError(
            f"{path}: not a clip table (its metadata has no {METADATA_KEY.decode()!r}); "
            "expected a file written by the ingest stage"
        ) from error
    if version != FORMAT:
        raise FormatError(
            f"{path}: clip table of format {version}, but this version reads format {FORMAT}; run the ingest "
            f"stage of dataset {dataset!r} again (`dvc repro`), or use the version that wrote the file"
        )
    if not table.schema.equals(CLIP_SCHEMA):
        raise FormatError(f"{path}: {_difference(table.schema)}; run the ingest stage of {dataset!r} again")
    _check(table, str(path), facts_of(table))
    return table


def _difference(schema: pa.Schema) -> str:
    expected = {field.name: field.type for field in CLIP_SCHEMA}
    given = {field.name: field.type for field in schema}
    parts = [f"column {name!r} is missing" for name in expected if name not in given]
    parts += [f"unknown column {name!r}" for name in given if name not in expected]
    parts += [
        f"column {name!r} is {given[name]}, expected {expected[name]}"
        for name in expected
        if name in given and given[name] != expected[name]
    ]
    return ", ".join(parts) or f"columns in the order {', '.join(given)}, expected {', '.join(expected)}"


def _check(table: pa.Table, source: str, facts: ClipFacts | None = None) -> None:
    """Raise FormatError where the rows are not those of a clip table, or a class is none of the dataset's."""
    ids = table["clip_id"].to_pylist()
    problems = [f"column {name!r} has empty cells" for name in NEVER_NULL if table[name].null_count]
    twice = [clip for clip, count in Counter(ids).items() if count > 1]
    if twice:
        problems.append(f"{len(twice)} clip_id(s) occur twice, e.g. {twice[0]!r}")
    elif None not in ids and ids != sorted(ids):
        problems.append("rows are not sorted by clip_id")
    if strange := sorted({str(split) for split in table["split"].to_pylist()} - set(ALL_SPLITS)):
        problems.append(f"split {', '.join(map(repr, strange))} is not one of {', '.join(ALL_SPLITS)}")
    for name in LABELS:
        if any(value is not None and not math.isfinite(value) for value in table[name].to_pylist()):
            problems.append(f"column {name!r} holds NaN or infinity; a missing label is null")
    if problems:
        raise FormatError(f"{source}: {'; '.join(problems)}")
    count = 0 if facts is None else len(facts.class_names)
    for name in CLASSES if facts is not None else ():
        if outside := set(table[name].to_pylist()) - {None, *range(count)}:
            expected = f"0 to {count - 1}" if count else "none: the task is regression"
            raise FormatError(f"{source}: column {name!r} holds class {min(outside)}, expected {expected}")
