"""What an importer found, written as our own: clip table, transcripts, and a feature store a modality.

    data/clips/<name>.parquet, data/transcripts/<name>.parquet
    data/features/<name>/{text,audio,visual}-imported/    of a modality that the files lack: only none.json

Values are those of the files as float32, NaN and infinities replaced by 0, padding taken away; a clip of
which a file has nothing, or only zeros, is *absent*, one whose own file cannot be read *failed*. The footer
says which files (SHA-256), which kind, and what was cleaned.
"""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.core import paths
from pipeline.core.errors import FormatError, LabelFileError, ParamsError
from pipeline.core.files import json_hash, replaced_folder, write_text
from pipeline.core.vocabulary import ABSENT, CLASSES, FAILED, LABELS, MODALITIES, OK
from pipeline.corpora.clips import EMPTY_TEXT, ClipFacts, clip_table, write_clips
from pipeline.formats.source import Source
from pipeline.imports.contract import Imported
from pipeline.imports.padding import clean
from pipeline.imports.registry import importer, read
from pipeline.imports.survey import ImportSurvey, checked, survey
from pipeline.params.params import ImportParams, class_key
from pipeline.store.fingerprint import code_hash
from pipeline.store.shard import FeatureRow
from pipeline.store.store import FeatureStore, Update
from pipeline.transcripts.table import LABEL, TRANSCRIPTS, write_transcripts

ENCODER = "imported"
NAMED_FILES = 20  # of an import, in the footer; of more only their number and joint hash
SHOWN = 20  # problems that are spelt out


@dataclass
class Conversion:
    """What was found, and what was written by modality."""

    survey: ImportSurvey
    updates: dict[str, Update]


def convert(name: str, params: ImportParams, shards: int, project: Path = Path()) -> Conversion:
    """Read the files of `imports.<name>` and write tables and stores below `project`.

    Raises
    ------
    FormatError : the files are not of that kind, or contradict themselves
    ParamsError : the task or the classes in params.yaml are not those of the files
    LabelFileError : labels out of range
    """
    source = Source(Path(params.root))
    imported = read(params.kind, source, params)
    check_rows(imported, name, params)
    found = survey(imported, str(source))
    return Conversion(found, write(name, params, source, imported, found, shards, project))


def write(
    name: str,
    params: ImportParams,
    source: Source,
    imported: Imported,
    found: ImportSurvey,
    shards: int,
    project: Path = Path(),
) -> dict[str, Update]:
    """Tables and stores of files that were read, checked (`check_rows`) and surveyed; updates by modality."""
    facts = replace(ClipFacts.of(name, params), root=None)  # where the files lie is one machine's business
    write_clips(clip_table(clip_rows(imported, params)), project / paths.clip_table(name), facts)
    write_transcripts(_transcripts(imported, params), project / paths.transcript_table(name))
    hashes = source.hashes(source.files)
    updates = {}
    for modality in MODALITIES:
        folder = project / paths.feature_folder(name, modality, ENCODER)
        if modality in imported.modalities:
            (folder / "none.json").unlink(missing_ok=True)
            meta = _footer(modality, imported, found, params, source, hashes)
            updates[modality] = _store(folder, modality, imported, found, meta, shards)
        else:
            text = json.dumps({"modality": modality, "reason": f"the files of {name} have none"})
            with replaced_folder(folder) as empty:
                write_text(text + "\n", empty / "none.json")
    return updates


def discard(name: str, project: Path = Path()) -> None:
    """Remove what `write` wrote."""
    for table in (paths.clip_table(name), paths.transcript_table(name)):
        (project / table).unlink(missing_ok=True)
    shutil.rmtree(project / paths.feature_folder(name, "text", ENCODER).parent, ignore_errors=True)


def check_rows(imported: Imported, name: str, params: ImportParams) -> None:
    """Refuse rows that cannot be a clip table; errors as in `convert`."""
    where, found = f"imports.{name}", imported.labelling
    if not imported.modalities:
        raise FormatError(
            f"{params.root}: no text, audio or visual features; import labels and texts alone as a corpus "
            "(msa-cli ingest)"
        )
    if found.task != params.task:
        raise ParamsError(
            f"{where}.task is {params.task!r}, but the files are for {found.task}; correct it, or check "
            "that these are the right files"
        )
    if found.task == "classification" and len(params.classes) != len(found.classes):
        raise ParamsError(
            f"{where}.classes has {len(params.classes)} names, but the files have the {len(found.classes)} "
            f"classes {', '.join(found.classes)}; name these in this order"
        )
    theirs = [class_key(name) for name in found.classes]
    for place, name in enumerate(params.classes):
        if class_key(name) in theirs and theirs.index(class_key(name)) != place:
            raise ParamsError(
                f"{where}.classes has {name!r} at index {place}, but the classes in the files are "
                f"{', '.join(found.classes)}; name them in this order"
            )
    problems = [problem for row in imported.rows for problem in _beyond(row, params, where)]
    if problems:
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise LabelFileError(params.root, problems[:SHOWN] + more)


def _beyond(row: dict[str, Any], params: ImportParams, where: str) -> Iterator[str]:
    """Labels of a clip that params.yaml does not allow."""
    low, high = params.label_range
    last = len(params.classes) - 1
    for column in (*LABELS, *CLASSES):
        value = row.get(column)
        if value is None:
            continue
        if column in CLASSES and not 0 <= value <= last:
            expected = f"0 to {last} ({where}.classes)" if last > 0 else f"none: {where}.task is regression"
            yield f"{column} of clip {row['clip_id']!r} is {value}, expected {expected}"
        if column in LABELS and not low <= value <= high and params.task == "regression":
            yield (
                f"{column} of clip {row['clip_id']!r} is {value:g}, expected {low:g} to {high:g} "
                f"({where}.label_range)"
            )


def clip_rows(imported: Imported, params: ImportParams) -> Iterator[dict[str, Any]]:
    """Rows of the clip table."""
    for row in imported.rows:
        text = row.get("text") or None
        status = OK if text or "text" in imported.modalities else EMPTY_TEXT
        yield {"language": params.language, "status": status, **row, "text": text}


def _transcripts(imported: Imported, params: ImportParams) -> pa.Table:
    rows = []
    for row in sorted(imported.rows, key=lambda row: row["clip_id"]):
        text = unicodedata.normalize("NFC", row["text"]) if row.get("text") else None
        rows.append(
            {
                "clip_id": row["clip_id"],
                "text": text,
                "language": row.get("language", params.language),
                "source": LABEL if text else None,
                "words": imported.words.get(row["clip_id"]) if text else None,
            }
        )
    return pa.Table.from_pylist(rows, schema=TRANSCRIPTS)


def _footer(
    modality: str,
    imported: Imported,
    found: ImportSurvey,
    params: ImportParams,
    source: Source,
    hashes: dict[str, str],
) -> dict[str, Any]:
    """What the feature files say of themselves; how others computed the numbers is not known."""
    columns, looked = imported.modalities[modality].columns, found.modalities[modality]
    files: dict[str, Any] = {"count": len(hashes), "sha256": json_hash(hashes)}
    if len(hashes) <= NAMED_FILES:
        files["names"] = hashes
    identity = {
        "modality": modality,
        "params": {"kind": params.kind, "settings": params.settings, "files": files},
        "model": "none: imported",
        "code": code_hash(importer(params.kind).read, survey, _store),
    }
    called = source.files[0].name if len(source.files) == 1 else source.root.name
    return {
        **identity,
        "encoder": f"{params.kind}:{called}",
        "fingerprint": json_hash(identity),
        "dim": len(columns),
        "dtype": "float32",
        "column_names": columns,
        "frame_rate": None,
        "cleaned": {"nan": looked.nan, "infinite": looked.infinite},
        "padding": looked.side,
        "aligned": imported.aligned,
    }


def _store(
    folder: Path, modality: str, imported: Imported, found: ImportSurvey, meta: dict[str, Any], shards: int
) -> Update:
    sequences, looked = imported.modalities[modality], found.modalities[modality]

    def compute(clip_ids: list[str]) -> Iterator[FeatureRow]:
        for clip_id in clip_ids:
            steps = looked.real.get(clip_id)
            if clip_id in looked.failed:
                yield FeatureRow(clip_id, meta["fingerprint"], FAILED, looked.failed[clip_id])
            elif clip_id in looked.zero:
                yield FeatureRow(clip_id, meta["fingerprint"], ABSENT, "all values in the file are 0")
            elif steps is None or (block := sequences.read(clip_id)) is None:
                yield FeatureRow(clip_id, meta["fingerprint"], ABSENT, "the files have nothing for this clip")
            else:
                values, _, _ = clean(checked(block, meta["dim"], modality, clip_id)[steps])
                remark = sequences.remark(clip_id) if sequences.remark is not None else ""
                row = FeatureRow(clip_id, meta["fingerprint"], OK, remark, features=values)
                if sequences.times is not None and (times := sequences.times(clip_id)) is not None:
                    row.times = times[steps]
                if sequences.token_ids is not None and (ids := sequences.token_ids(clip_id)) is not None:
                    row.token_ids = ids[steps]
                yield row

    wanted = {row["clip_id"]: meta["fingerprint"] for row in imported.rows}
    return FeatureStore(folder).update(wanted, meta, shards, compute)


def summary(name: str, conversion: Conversion) -> str:
    """One line a modality."""
    lines = [f"{name}: {sum(conversion.survey.splits.values())} clips"]
    for modality, update in conversion.updates.items():
        counts = ", ".join(f"{count} {status}" for status, count in sorted(update.status.items()))
        lines.append(f"  {modality}: {counts}")
    return "\n".join(lines)
