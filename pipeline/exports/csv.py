"""CSV files: `clips.csv` with a row a clip, and of each modality `<modality>.csv` with a row a step.

Steps have `clip_id`, `split`, `step` (from 0) and the columns of the modality; numbers are written so that
reading gives the same float32. A text that a spreadsheet would run as a formula stands behind an apostrophe.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv

from pipeline.api.sets import LoadedSet
from pipeline.core.files import write_json
from pipeline.core.spreadsheets import write_cells

KIND_OF_FILES = "CSV files"


def write(found: LoadedSet, folder: Path) -> list[str]:
    """clips.csv, a file a modality, and stats.json."""
    rows = [{"clip_id": clip, **clips.facts[clip]} for clips in found.values() for clip in clips]
    header = list(rows[0]) if rows else ["clip_id"]
    write_cells(folder / "clips.csv", header, ([row[name] for name in header] for row in rows))
    for modality, entry in found.stats["modalities"].items():
        kinds = {"clip_id": pa.string(), "split": pa.string(), "step": pa.int32()}
        schema = pa.schema([*kinds.items(), *((name, pa.float32()) for name in entry["columns"])])
        with pacsv.CSVWriter(folder / f"{modality}.csv", schema) as file:
            for split, clips in found.items():
                for clip_id, frames in clips.items():
                    values, count = frames[modality].values, len(frames[modality])
                    names = [pa.array([clip_id] * count), pa.array([split] * count)]
                    steps = pa.array(range(count), pa.int32())
                    columns = [pa.array(column) for column in values.T]
                    file.write_table(pa.table([*names, steps, *columns], schema=schema))
    write_json(dict(found.stats), folder / "stats.json")
    return []
