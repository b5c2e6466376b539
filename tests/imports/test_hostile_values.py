"""Values in foreign files that no corpus has: one line says so, or the clip is without them; no traceback."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from made.made_imported import SHARDS
from made.made_mmsa import write

from pipeline.core import paths
from pipeline.core.errors import MsaError
from pipeline.formats.source import Source
from pipeline.imports.convert import convert
from pipeline.imports.registry import read
from pipeline.imports.survey import survey
from pipeline.params.params import ImportParams

RANDOM = np.random.default_rng(5)
COUNT = 4  # clips of a split
NOTHING = {  # of a split whose other values have a row for each of its clips
    "(n, 0)": np.zeros((COUNT, 0)),
    "(0,)": np.zeros(0),
    "(n, 0, d)": np.zeros((COUNT, 0, 3)),
    "(n, t, 0)": np.zeros((COUNT, 5, 0)),
    "(0, t, d)": np.zeros((0, 5, 3)),
    "()": np.array(1.0),
    "no clips": [],
    "clips without steps": [np.zeros((0, 3))] * COUNT,
    "clips without columns": [np.zeros((2, 0))] * COUNT,
    "lists of nothing": [[]] * COUNT,
    "None": [None] * COUNT,
    "objects": np.array([None] * COUNT, dtype=object),
    "long text": [["x" * 1_000_000, *"a" * 500]] * COUNT,  # of which NumPy would make 2 GB
    "text": [f"\ud800{row}" for row in range(COUNT)],
    "huge": [2**70] * COUNT,
    "not finite": np.full((COUNT, 5, 3), np.nan),
}


def values(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=(COUNT, *shape)).clip(-3, 3).astype(np.float32)


def split(kind: str, name: str) -> dict[str, Any]:
    """One split of a kind of pickle."""
    ids = [f"{name}{row}$_$1" for row in range(COUNT)]
    common = {"audio": values(5, 4), "text": values(5, 3)}
    if kind == "mmsa_pickle":
        lengths = {"audio_lengths": [5] * COUNT, "vision_lengths": [4] * COUNT}
        labels = {"regression_labels": values()}
        return common | lengths | labels | {"id": ids, "raw_text": ["hi"] * COUNT, "vision": values(5, 2)}
    if kind == "multibench":
        return common | {
            "id": [f"{name}_{row}" for row in range(COUNT)],
            "vision": values(5, 2),
            "labels": values(1, 1),
        }
    return {"audio": values(5, 4), "video": values(5, 2), "labels": values(), "raw_text": ["hi"] * COUNT}


KEYS = [(kind, key) for kind in ("mmsa_pickle", "multibench", "mird") for key in split(kind, "a")]


def tree_of(kind: str) -> dict[str, dict[str, Any]]:
    return {name: split(kind, name) for name in ("train", "valid", "test")}


def params_of(path: Path, kind: str = "mmsa_pickle") -> ImportParams:
    return ImportParams(root=str(path), kind=kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("everywhere", [True, False], ids=["in all splits", "in one"])
@pytest.mark.parametrize(("kind", "key"), KEYS)
def test_values_that_are_none(kind: str, key: str, everywhere: bool, tmp_path: Path) -> None:
    intact = tree_of(kind)
    for what, value in NOTHING.items():
        tree = copy.deepcopy(intact)
        for name in tree if everywhere else ("train",):
            tree[name][key] = value
        path = write(tmp_path / "x.pkl", tree)
        try:
            convert("toy", params_of(path, kind), SHARDS, tmp_path / "out")
        except MsaError as error:
            first, *more = str(error).split("\n")
            assert not more or "problem(s)" in first, what  # labels out of range are listed
            assert len(first) < 600 and first.isascii(), what


# ------------------------------------------------------------------------------------------------------ names
@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([f"a\ud800{row}" for row in range(COUNT)], "control characters"),
        ([f"a\0{row}" for row in range(COUNT)], "control characters"),
        ([f"a\n{row}" for row in range(COUNT)], "control characters"),
        ([f"a\u2028{row}" for row in range(COUNT)], "control characters"),
        ([f"../x{row}" for row in range(COUNT)], "another folder"),
        ([f"{row}" + "x" * 10_000_000 for row in range(COUNT)], "255 bytes"),
        ([""] * COUNT, "empty"),
    ],
    ids=["surrogate", "NUL", "newline", "line separator", "folder", "long", "empty"],
)
def test_ids_that_no_table_or_folder_could_hold(ids: list[str], said: str, tmp_path: Path) -> None:
    tree = tree_of("mmsa_pickle")
    tree["train"]["id"] = ids
    path = write(tmp_path / "x.pkl", tree)
    with pytest.raises(MsaError) as caught:
        read("mmsa_pickle", Source(path), params_of(path))
    message = str(caught.value)
    assert said in message and "\n" not in message and len(message) < 500


@pytest.mark.parametrize(
    "ids", [["A", "a", "B", "b"], ["=1+1", "-3g5yACwYnA", "+x", "@y"]], ids=["case", "formula"]
)
def test_ids_that_are_only_strange_stay_as_they_are(ids: list[str], tmp_path: Path) -> None:
    tree = tree_of("mmsa_pickle")
    tree["train"]["id"] = ids
    convert("toy", params_of(write(tmp_path / "x.pkl", tree)), SHARDS, tmp_path)
    clips = pq.read_table(tmp_path / paths.clip_table("toy")).to_pylist()
    assert {row["video_id"] for row in clips if row["split"] == "train"} == set(ids)


@pytest.mark.parametrize("ids", [["é", "e\u0301", "a", "b"], ["a", "A", "b", "c"]])
def test_ids_that_look_the_same_are_told(ids: list[str], tmp_path: Path) -> None:
    tree = tree_of("mmsa_pickle")
    tree["train"]["id"] = ids
    path = write(tmp_path / "x.pkl", tree)
    notes = read("mmsa_pickle", Source(path), params_of(path)).notes
    assert any(note.startswith("1 ids differ only in case or in how accents are encoded") for note in notes)


def test_halves_of_characters_in_texts_are_replaced_and_told(tmp_path: Path) -> None:
    tree = tree_of("mmsa_pickle")
    tree["train"]["raw_text"] = ["a\ud800b", "\udcff", "fine \U0001f600", "c\0d"]
    found = convert("toy", params_of(write(tmp_path / "x.pkl", tree)), SHARDS, tmp_path).survey
    clips = pq.read_table(tmp_path / paths.clip_table("toy")).to_pylist()
    said = [row["text"] for row in clips if row["split"] == "train"]
    assert said == ["a\ufffdb", "\ufffd", "fine \U0001f600", "c\0d"]
    assert "2 texts have half characters, replaced by U+FFFD" in found.notes


# ---------------------------------------------------------------------------------------------------- lengths
@pytest.mark.parametrize("length", [-1, float("nan"), float("inf"), 2.5, "many", None, [1, 2], -(10**12)])
def test_lengths_that_are_none_are_refused(length: Any, tmp_path: Path) -> None:
    tree = tree_of("mmsa_pickle")
    tree["train"]["audio_lengths"] = [length, 5, 5, 5]
    path = write(tmp_path / "x.pkl", tree)
    with pytest.raises(MsaError, match="audio_lengths"):
        read("mmsa_pickle", Source(path), params_of(path))


@pytest.mark.parametrize("length", [6, 10**12, 2**70])
def test_lengths_beyond_the_steps_are_told_and_the_padding_believed(length: int, tmp_path: Path) -> None:
    tree = tree_of("mmsa_pickle")
    for part in tree.values():
        part["audio"][:, 3:] = 0
        part["audio_lengths"] = [3] * COUNT
    tree["train"]["audio_lengths"] = [length, 3, 3, 3]
    path = write(tmp_path / "x.pkl", tree)
    audio = survey(read("mmsa_pickle", Source(path), params_of(path)), "x").modalities["audio"]
    assert audio.real["train0$_$1"] == slice(0, 3)
    assert audio.ignored_lengths == 1
