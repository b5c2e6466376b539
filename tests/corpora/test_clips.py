"""The clip table: what is written is read again, the same rows give the same bytes, wrong files are named."""

from __future__ import annotations

import json
import random
import string
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import FormatError
from pipeline.corpora.clips import (
    CLIP_SCHEMA,
    METADATA_KEY,
    ClipFacts,
    clip_table,
    facts_of,
    natural_key,
    read_clips,
    target_column,
    write_clips,
)
from pipeline.params.params import DatasetParams

FACTS = ClipFacts("tiny", "en", (-3.0, 3.0), root="data/raw/tiny")


def row(video: str, clip: str, **values: Any) -> dict[str, Any]:
    known = {"split": "train", "language": "en", "status": "ok", "text": "hello", "label": 0.5}
    return {"clip_id": f"{video}$_${clip}", "video_id": video, **known, **values}


def test_columns_are_those_of_the_contract() -> None:
    contract = (
        "clip_id video_id split path start_s end_s duration_s sha256 text language label label_text "
        "label_audio label_visual class_label class_text class_audio class_visual speaker position fps width "
        "height sample_rate has_audio status"
    )
    assert contract.split() == CLIP_SCHEMA.names
    assert CLIP_SCHEMA.field("label").type == pa.float64()


def test_rows_come_back_with_their_facts_and_what_is_not_known_is_null(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "tiny.parquet"
    table = clip_table([row("b", "1"), row("a", "2", label=None), row("a", "10", label=-0.1)])
    write_clips(table, path, FACTS)
    back = read_clips(path)
    assert back.to_pylist() == table.to_pylist()
    assert back["clip_id"].to_pylist() == ["a$_$10", "a$_$2", "b$_$1"]
    assert back["label"].to_pylist() == [-0.1, None, 0.5]
    assert back["speaker"].null_count == 3
    assert facts_of(back) == FACTS
    assert json.loads(back.schema.metadata[METADATA_KEY])["format"] == 1


def test_facts_of_a_dataset_hold_no_path_of_this_machine() -> None:
    assert ClipFacts.of("x", DatasetParams(root="data/raw/x", language="zh")).root == "data/raw/x"
    assert ClipFacts.of("x", DatasetParams(root="/somewhere/x")).root is None


def test_classes_come_back_with_their_names(tmp_path: Path) -> None:
    dataset = DatasetParams(root="x", task="classification", classes=["怒", "joy"])
    facts = ClipFacts.of("moods", dataset)
    assert (facts.task, facts.class_names) == ("classification", ("怒", "joy"))
    table = clip_table(
        [row("a", "1", label=None, class_label=1), row("a", "2", label=None, class_label=0, class_text=1)]
    )
    write_clips(table, tmp_path / "moods.parquet", facts)
    back = read_clips(tmp_path / "moods.parquet")
    assert facts_of(back) == facts
    assert back["class_label"].to_pylist() == [1, 0]
    assert back["class_text"].to_pylist() == [None, 1]
    assert (target_column("classification"), target_column("regression")) == ("class_label", "label")


@pytest.mark.parametrize(
    ("names", "column", "message"),
    [
        (("a", "b"), "class_label", "column 'class_label' holds class 2, expected 0 to 1"),
        (("a", "b"), "class_visual", "column 'class_visual' holds class 2, expected 0 to 1"),
        ((), "class_label", "column 'class_label' holds class 2, expected none: the task is regression"),
    ],
)
def test_a_class_that_is_none_of_the_datasets(
    tmp_path: Path, names: tuple[str, ...], column: str, message: str
) -> None:
    table, path = clip_table([row("a", "1", **{column: 2})]), tmp_path / "x.parquet"
    facts = ClipFacts("x", "en", (-3.0, 3.0), "classification" if names else "regression", names)
    with pytest.raises(FormatError, match=message):
        write_clips(table, path, facts)
    assert not path.exists()
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: facts.to_json()}), path)
    with pytest.raises(FormatError, match=message):
        read_clips(path)


def test_same_rows_same_bytes_in_whatever_order_and_chunks(tmp_path: Path) -> None:
    rows = [row("v", str(number), label=number / 10) for number in range(20)]
    write_clips(clip_table(rows), tmp_path / "one", FACTS)
    random.Random(1).shuffle(rows)
    table = clip_table(rows)
    shuffled = pa.concat_tables([table.slice(15), table.slice(0, 15)]).select(CLIP_SCHEMA.names[::-1])
    write_clips(shuffled, tmp_path / "two", FACTS)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["one", "two"]  # no temporary file is left


def test_position_is_the_natural_order_of_ids() -> None:
    table = clip_table([row("v", clip) for clip in ("10", "9", "x2", "x10", "0011")] + [row("w", "3")])
    places = dict(zip(table["clip_id"].to_pylist(), table["position"].to_pylist(), strict=True))
    assert places == {"v$_$9": 0, "v$_$10": 1, "v$_$0011": 2, "v$_$x2": 3, "v$_$x10": 4, "w$_$3": 0}


def test_position_follows_time_where_it_is_known() -> None:
    table = clip_table([row("v", "1", start_s=9.0, end_s=11.0), row("v", "2", start_s=2.0, end_s=4.0)])
    assert table["position"].to_pylist() == [1, 0]


@given(st.lists(st.text(string.digits + "ab-_"), max_size=6))
def test_natural_key_orders_everything(names: list[str]) -> None:
    assert len(sorted(names, key=natural_key)) == len(names)
    numbers = [name for name in names if name.isdigit()]
    values = [int(name) for name in sorted(numbers, key=natural_key)]
    assert values == sorted(values)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row("a", "1"), row("a", "1")], "1 clip_id(s) occur twice, e.g. 'a$_$1'"),
        ([row("a", "1", split="dev")], "split 'dev' is not one of train, valid, test, unlabeled"),
        (
            [row("a", "1", label=float("nan"))],
            "column 'label' holds NaN or infinity; a missing label is null",
        ),
        ([row("a", "1", label_text=float("inf"))], "column 'label_text' holds NaN"),
        ([row("a", "1", status=None)], "column 'status' has empty cells"),
        ([row("a", "1", split=None)], "column 'split' has empty cells"),
    ],
)
def test_rows_that_are_no_clip_table(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(FormatError) as caught:
        clip_table(rows)
    assert message in str(caught.value)


def test_a_table_without_a_column_is_not_written(tmp_path: Path) -> None:
    table = clip_table([row("a", "1")]).drop_columns(["status"])
    with pytest.raises(FormatError, match="needs the columns status"):
        write_clips(table, tmp_path / "x.parquet", FACTS)
    assert not list(tmp_path.iterdir())


def rewrite(path: Path, table: pa.Table, facts: dict[str, Any] | None) -> None:
    metadata = None if facts is None else {METADATA_KEY: json.dumps(facts).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path)


def test_another_format_version_names_both_and_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "mosi.parquet"
    rewrite(path, clip_table([row("a", "1")]), {"format": 2, "dataset": "mosi"})
    with pytest.raises(FormatError) as caught:
        read_clips(path)
    message = str(caught.value)
    assert str(path) in message
    assert "format 2" in message
    assert "reads format 1" in message
    assert "ingest stage of dataset 'mosi' again" in message
    assert caught.value.exit_code == 2


def test_files_that_are_no_clip_table(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with pytest.raises(FormatError, match=r"no such clip table; make it with the ingest stage"):
        read_clips(path)
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(FormatError, match="cannot be read as Parquet"):
        read_clips(path)
    rewrite(path, clip_table([row("a", "1")]), None)
    with pytest.raises(FormatError, match=r"not a clip table .*'msa\.dataset'"):
        read_clips(path)
    good = {"format": 1, "dataset": "x"}
    rewrite(path, pa.table({"clip_id": ["a$_$1"]}), good)
    with pytest.raises(FormatError, match="column 'video_id' is missing"):
        read_clips(path)
    table = clip_table([row("a", "1")])
    rewrite(path, table.set_column(10, "label", pa.array(["0.5"])), good)
    with pytest.raises(FormatError, match="column 'label' is string, expected double"):
        read_clips(path)
