"""Which clips of Parquet files differ: values of every kind, whatever the files look like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.status.rows import row_changes

CLIPS = 600  # more than are read at once
FRAMES = pa.list_(pa.list_(pa.float32(), 3))
WORDS = pa.list_(pa.struct([("text", pa.string()), ("start_s", pa.float64())]))


def table() -> pa.Table:
    numbers = np.random.default_rng(0)
    frames = [numbers.normal(size=(place % 5, 3)).tolist() for place in range(CLIPS)]
    words = [[{"text": "good", "start_s": None if place % 2 else 0.5}] for place in range(CLIPS)]
    return pa.table(
        {
            "clip_id": [f"v$_${place:03d}" for place in range(CLIPS)],
            "label": pa.array([float("nan")] * CLIPS, pa.float32()),
            "frames": pa.array([None, *frames[1:]], FRAMES),
            "words": pa.array(words, WORDS),
        }
    )


def with_row(table: pa.Table, place: int, **values: object) -> pa.Table:
    rows = table.to_pylist()
    rows[place] |= values
    return pa.Table.from_pylist(rows, table.schema)


def save(path: Path, table: pa.Table, **how: object) -> Path:
    pq.write_table(table, path, **how)
    return path


@pytest.mark.parametrize(
    ("place", "values"),
    [
        (7, {"label": 1.0}),
        (511, {"frames": [[0.0, 0.0, 0.0]]}),
        (0, {"frames": []}),  # not known, and known to be empty, are different
        (8, {"words": [{"text": "good", "start_s": None}]}),
        (9, {"words": [{"text": "goods", "start_s": None}]}),
        (599, {"words": None}),
    ],
)
def test_one_value(tmp_path: Path, place: int, values: dict[str, object]) -> None:
    old = save(tmp_path / "old", table())
    new = save(tmp_path / "new", with_row(table(), place, **values))
    (column,) = values
    expected = [f"1 clip changed in {column} (v$_${place:03d})"]
    assert row_changes({"": old}, {"": new}) == expected
    assert row_changes({"": old.read_bytes()}, {"": new.read_bytes()}) == expected


def test_how_rows_are_stored_is_no_difference(tmp_path: Path) -> None:
    old = save(tmp_path / "old", table())
    shuffled = table().take(np.random.default_rng(1).permutation(CLIPS))
    new = save(
        tmp_path / "new", shuffled.replace_schema_metadata({"a": "b"}), row_group_size=7, compression="zstd"
    )
    assert row_changes({"": old}, {"": new}) == ["the same rows, stored differently"]


def test_rows_that_come_go_and_move(tmp_path: Path) -> None:
    whole = table()
    splits = {"train.parquet": whole.slice(0, 300), "test.parquet": whole.slice(300)}
    old = {name: save(tmp_path / f"old-{name}", part) for name, part in splits.items()}
    moved = {"train.parquet": whole.slice(2, 301), "test.parquet": whole.slice(303).drop_columns("label")}
    new = {name: save(tmp_path / name, part) for name, part in moved.items()}
    assert row_changes(old, new) == [
        "2 clips removed (v$_$000, v$_$001)",
        "3 clips moved from test to train (v$_$300, v$_$301, v$_$302)",
        "297 clips changed in label (v$_$303, v$_$304, v$_$305 and 294 more)",
    ]


def test_tables_that_have_a_clip_twice_say_nothing(tmp_path: Path) -> None:
    """As the results of several methods have."""
    old, new = ({name: save(tmp_path / name, table()) for name in names} for names in (("a", "b"), ("c",)))
    assert row_changes(old, new) == []


def test_tables_without_clips_say_nothing(tmp_path: Path) -> None:
    files = [save(tmp_path / str(value), pa.table({"a": [value]})) for value in (1, 2)]
    assert row_changes({"": files[0]}, {"": files[1]}) == []
