"""What is refused of an import, and which files it has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import made_mmsa
from made.made_imported import LENGTHS, SHARDS, STEPS, imported, params_of, rows, sequences, written
from made.made_mmsa import write

from pipeline.core.errors import FormatError, LabelFileError, ParamsError
from pipeline.corpora.survey import Labelling
from pipeline.formats.source import Source
from pipeline.imports.convert import check_rows, convert
from pipeline.imports.kinds import mmsa_pickle
from pipeline.imports.registry import read
from pipeline.imports.survey import survey


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "foreign.pkl"
    path.write_bytes(b"what the importer is said to have read")
    return path


# ----------------------------------------------------------------------------------------- what is refused
def test_wrong_widths_name_both_shapes(file: Path, tmp_path: Path) -> None:
    found = {"audio": sequences("audio", {"a$_$2": np.ones((STEPS, 74))})}
    with pytest.raises(FormatError, match=r"audio of clip 'a\$_\$2' has shape \(5, 74\), expected .*, 3\)"):
        written(imported(modalities=found), file, tmp_path)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (np.ones(3), r"has shape \(3,\), expected \(steps, 3\)"),
        (np.array([["a", "b", "c"]]), "is of type <U1, expected numbers"),
        (np.array([[None, 1, 2]]), "is of type object, expected numbers"),
        ([[1, 2, 3], [1, 2]], "is not a table"),
    ],
)
def test_sequences_that_are_no_table_of_numbers(block: Any, message: str, file: Path, tmp_path: Path) -> None:
    found = {"audio": sequences("audio", {"a$_$2": block})}
    with pytest.raises(FormatError, match=message):
        written(imported(modalities=found), file, tmp_path)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("value", [3.01, -4, float("nan"), float("inf")])
def test_labels_out_of_range(value: float, file: Path) -> None:
    found = imported(rows(**{"a$_$2": {"label": value}, "b$_$1": {"label_audio": -3.5}}))
    with pytest.raises(LabelFileError) as caught:
        check_rows(found, "toy", params_of(file))
    assert caught.value.problems == [
        f"label of clip 'a$_$2' is {value:g}, expected -3 to 3 (imports.toy.label_range)",
        "label_audio of clip 'b$_$1' is -3.5, expected -3 to 3 (imports.toy.label_range)",
    ]
    check_rows(imported(rows(**{"a$_$2": {"label": -3.0}})), "toy", params_of(file))


def test_classes_out_of_range(file: Path) -> None:
    changed: dict[str, Any] = {clip_id: {"label": None, "class_label": 1} for clip_id in LENGTHS}
    changed["b$_$1"]["class_label"] = 2
    found = imported(rows(**changed), labelling=Labelling("classification", classes=("no", "yes")))
    params = params_of(file, task="classification", classes=["no", "yes"])
    with pytest.raises(LabelFileError, match=r"class_label of clip 'b\$_\$1' is 2, expected 0 to 1"):
        check_rows(found, "toy", params)


def test_ids_that_occur_twice_and_in_two_splits(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    doubled = [*rows(), {**rows()[0]}, rows()[2], {**rows()[2], "split": "test"}]
    monkeypatch.setattr(mmsa_pickle, "read", lambda *_: imported(doubled))
    with pytest.raises(FormatError, match="in two splits") as caught:
        read("mmsa_pickle", Source(file), params_of(file))
    assert "1 clip(s) are in two splits: b$_$1 (valid and test)" in str(caught.value)
    assert "1 clip(s) are twice in a split: a$_$1 (train)" in str(caught.value)


def test_many_problems_are_shortened(file: Path) -> None:
    many = [{**rows()[0], "clip_id": f"a$_${i}", "label": 9.0} for i in range(30)]
    with pytest.raises(LabelFileError) as caught:
        check_rows(imported(many), "toy", params_of(file))
    assert len(caught.value.problems) == 21 and caught.value.problems[-1] == "and 10 more"


def test_another_task_than_that_of_the_files(file: Path) -> None:
    wanted = params_of(file, task="classification", classes=["no", "yes"])
    with pytest.raises(ParamsError, match=r"toy\.task is 'classification', but the files are for regression"):
        check_rows(imported(), "toy", wanted)
    three = imported(labelling=Labelling("classification", classes=("a", "b", "c")))
    with pytest.raises(ParamsError, match=r"toy\.classes has 2 names, but the files have the 3 classes a, b"):
        check_rows(three, "toy", wanted)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"gone\.pkl: no such file or folder"):
        convert("toy", params_of(tmp_path / "gone.pkl"), SHARDS, tmp_path)


# --------------------------------------------------------------------------------------------------- files
def test_files_of_a_source_through_links_and_loops(tmp_path: Path) -> None:
    real = tmp_path / "real"
    (real / "sub").mkdir(parents=True)
    for name in ("b.csv", "sub/a.npy", ".hidden", "sub/._a.npy"):
        (real / name).write_text(name)
    (real / "sub" / "up").symlink_to(real)
    (real / "broken").symlink_to(real / "nothing")
    place = tmp_path / "place"
    place.mkdir()
    (place / "real").symlink_to(real)
    (place / "one.pkl").symlink_to(real / "b.csv")
    for root, names in ((real, ["b.csv", "sub/a.npy"]), (place, ["one.pkl", "real/b.csv", "real/sub/a.npy"])):
        source = Source(root)
        assert [path.relative_to(root).as_posix() for path in source.files] == names
        assert list(source.hashes(source.files)) == names


def test_classes_in_another_order_are_refused(file: Path, tmp_path: Path) -> None:
    found = imported(
        [{**row, "label": None, "class_label": 1} for row in rows()],
        labelling=Labelling("classification", classes=("no", "maybe", "yes")),
    )
    check_rows(found, "toy", params_of(file, task="classification", classes=["No", "perhaps", "YES"]))
    for classes in (["yes", "maybe", "no"], ["no", "yes", "perhaps"]):
        with pytest.raises(ParamsError, match="files are no, maybe, yes; name them in this order"):
            check_rows(found, "toy", params_of(file, task="classification", classes=classes))


def test_files_without_features_are_refused(file: Path) -> None:
    with pytest.raises(FormatError, match=r"foreign\.pkl: no text, audio or visual features"):
        check_rows(imported(modalities={}), "toy", params_of(file))


def test_values_of_no_expected_shape_are_one_line(tmp_path: Path) -> None:
    ragged = {
        "regression_labels": [0.5],
        "id": ["a$_$1"],
        "text": np.zeros((1, 2, 3)),
        "text_bert": [[[1], [1, 2]]],
    }
    path = write(tmp_path / "foreign.pkl", {"train": ragged})
    with pytest.raises(
        FormatError, match=r"foreign\.pkl \(kind mmsa_pickle\): the contents are not .*ValueError"
    ):
        read("mmsa_pickle", Source(path), params_of(path))

    def strange(*_: object) -> None:
        len(1.5)  # type: ignore[arg-type]

    broken = replace(sequences("audio"), read=strange)
    with pytest.raises(FormatError, match=r"x: audio of clip 'a\$_\$1': the contents are not"):
        survey(imported(modalities={"audio": broken}), "x")


@pytest.mark.parametrize("function", ["about_sizes", "_labelling"])
def test_a_bug_of_ours_is_not_told_as_damage(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made_mmsa.make(tmp_path)
    assert read("mmsa_pickle", Source(path), params_of(path)).rows

    def wrong(*_: object) -> None:
        len(1.5)  # type: ignore[arg-type]

    monkeypatch.setattr(mmsa_pickle, function, wrong)
    with pytest.raises(TypeError):
        read("mmsa_pickle", Source(path), params_of(path))
