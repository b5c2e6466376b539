"""What is said in each clip: the transcripts table and its hash.

`data/transcripts/<dataset>.parquet` has one row a clip, sorted by clip_id. Text encoders and assembly read
it, never the clip table's text, so that another transcriber can take the place of the corpus' own labels.
Text is in Unicode NFC everywhere; character offsets of the text features count characters of it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import FormatError
from pipeline.core.files import json_hash, write_parquet

FORMAT_KEY = b"msa.transcripts"
FORMAT = b'{"format": 1}'
LABEL = "label"  # source: the corpus' own text

TRANSCRIPTS = pa.schema(
    [
        pa.field("clip_id", pa.string()),
        pa.field("text", pa.string()),  # NFC; null where nothing is known to be said
        pa.field("language", pa.string()),  # ISO 639-1
        pa.field("source", pa.string()),  # label, sidecar, subtitle, asr:<model>; null without text
        pa.field(
            "words",  # null where the times of the words are not known
            pa.list_(
                pa.struct(
                    [
                        pa.field("text", pa.string()),
                        pa.field("start_s", pa.float64()),  # seconds from the clip's start
                        pa.field("end_s", pa.float64()),
                        pa.field("score", pa.float32()),  # confidence, 0 to 1
                    ]
                )
            ),
        ),
    ],
    metadata={FORMAT_KEY: FORMAT},
)


def write_transcripts(table: pa.Table, path: Path) -> None:
    """Write a table of schema TRANSCRIPTS, at once or not at all. Equal rows, equal bytes."""
    write_parquet(table.cast(TRANSCRIPTS).combine_chunks(), path)


def read_transcripts(path: Path) -> pa.Table:
    """The transcripts of a dataset.

    Raises
    ------
    FormatError : not there, not Parquet, or not of this format
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise FormatError(f"{path}: no readable transcripts ({error}); run the transcribe stage") from error
    found = (table.schema.metadata or {}).get(FORMAT_KEY)
    if found != FORMAT or not table.schema.equals(TRANSCRIPTS):
        raise FormatError(
            f"{path}: not a transcripts table of format {FORMAT.decode()} "
            f"(has {found.decode() if found else 'none'}); run the transcribe stage again"
        )
    return table


def text_hash(text: str | None, language: str | None, words: Iterable[Mapping[str, Any]] | None) -> str:
    """SHA-256 (hex) of all that text features may depend on: the `source_sha256` of a text row.

    Texts that are equal in NFC hash alike; of the words only their times count.
    """
    nfc = None if text is None else unicodedata.normalize("NFC", text)
    times = None if words is None else [[word["start_s"], word["end_s"]] for word in words]
    return json_hash([nfc, language, times])
