"""experiments/mosi: the importer of CMU-MOSI's labels, transcripts, split and audio vectors."""

from __future__ import annotations

import csv
import hashlib
import importlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from ruamel.yaml import YAML

from models import METHODS
from pipeline.clips import facts_of, read_clips
from pipeline.errors import FormatError, LabelFileError
from pipeline.features import FeatureStore
from pipeline.layout import clip_table, feature_folder
from pipeline.params import DatasetParams, load_params
from pipeline.shards import Features

COUNTS = {"train": 1284, "valid": 229, "test": 686}


@pytest.fixture
def importer(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(project / "experiments" / "mosi"))
    import import_mosi

    yield import_mosi
    sys.modules.pop("import_mosi")


def written(importer: ModuleType, source: Path, monkeypatch: pytest.MonkeyPatch, out: Path) -> Path:
    out.mkdir(exist_ok=True)
    monkeypatch.chdir(out)
    importer.import_mosi(DatasetParams(root=str(source)), shards=4)
    return out


def clips_in(out: Path) -> pa.Table:
    return read_clips(out / clip_table("mosi"))


def audio_in(out: Path) -> Features:
    features = FeatureStore(out / feature_folder("mosi", "audio", "bclstm73")).read()
    assert features is not None
    return features


def bytes_of(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# ------------------------------------------------------------------------------------------- the real files
@pytest.fixture
def mosi(shared: Path) -> Path:
    return shared / "datasets" / "mosi"


@pytest.fixture
def label_rows(mosi: Path) -> dict[str, dict[str, str]]:
    with (mosi / "label.csv").open(encoding="utf-8-sig", newline="") as file:
        return {f"{row['video_id']}$_${row['clip_id']}": row for row in csv.DictReader(file)}


@pytest.fixture
def imported(importer: ModuleType, mosi: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return written(importer, mosi, monkeypatch, tmp_path / "mosi")


@pytest.mark.shared
def test_clips_are_those_of_the_label_file(imported: Path, label_rows: dict[str, dict[str, str]]) -> None:
    clips = clips_in(imported).to_pylist()
    assert {clip["clip_id"] for clip in clips} == set(label_rows)
    for clip in clips:
        row = label_rows[clip["clip_id"]]
        assert (clip["video_id"], clip["split"], clip["text"]) == (row["video_id"], row["mode"], row["text"])
        assert clip["label"] == float(row["label"])
        assert (clip["status"], clip["path"], clip["language"]) == ("ok", None, "en")
    facts = facts_of(clips_in(imported))
    assert (facts.task, facts.label_range, facts.root) == ("regression", (-3.0, 3.0), None)


@pytest.mark.shared
def test_counts_of_the_standard_split_which_is_by_video(imported: Path) -> None:
    clips = clips_in(imported).to_pylist()
    assert Counter(clip["split"] for clip in clips) == COUNTS
    assert len({clip["video_id"] for clip in clips}) == 93
    assert len({(clip["video_id"], clip["split"]) for clip in clips}) == 93


@pytest.mark.shared
def test_labels_are_not_snapped_to_a_grid(imported: Path) -> None:
    labels = np.array(clips_in(imported)["label"].to_pylist())
    assert (labels.min(), labels.max()) == (-3, 3)
    fifths = np.isclose(labels * 5, np.rint(labels * 5))
    quarters = np.isclose(labels * 4, np.rint(labels * 4))
    assert (fifths.sum(), (quarters & ~fifths).sum(), (~quarters & ~fifths).sum()) == (2072, 113, 14)
    test = labels[np.array(clips_in(imported)["split"].to_pylist()) == "test"]
    assert ((test < 0).sum(), (test > 0).sum(), (test == 0).sum()) == (379, 277, 30)


@pytest.mark.shared
def test_positions_follow_the_video(imported: Path) -> None:
    videos: dict[str, list[tuple[int, int]]] = {}
    for clip in clips_in(imported).to_pylist():
        number = int(clip["clip_id"].partition("$_$")[2])
        videos.setdefault(clip["video_id"], []).append((clip["position"], number))
    for places in videos.values():
        assert [position for position, _ in sorted(places)] == list(range(len(places)))
        assert [number for _, number in sorted(places)] == sorted(number for _, number in places)


@pytest.mark.shared
def test_audio_is_the_files_and_nothing_of_its_other_arrays(imported: Path, mosi: Path) -> None:
    features = audio_in(imported)
    with np.load(mosi / "bclstm_utterance.npz", allow_pickle=False) as archive:
        expected = dict(zip(archive["id"].tolist(), archive["audio"], strict=True))
    assert features.rows.keys() == expected.keys()
    for clip_id, row in features.rows.items():
        assert row.status == "ok" and row.features is not None
        np.testing.assert_array_equal(row.features, expected[clip_id][None])
    stores = imported / "data" / "features" / "mosi"
    assert [folder.name for folder in stores.iterdir()] == ["audio-bclstm73"]


@pytest.mark.shared
def test_the_footer_says_where_the_vectors_come_from(imported: Path, mosi: Path) -> None:
    meta = audio_in(imported).meta
    assert (meta["modality"], meta["encoder"], meta["dim"]) == ("audio", "bclstm73", 73)
    sha256 = hashlib.sha256((mosi / "bclstm_utterance.npz").read_bytes()).hexdigest()
    assert meta["params"] == {"file": "bclstm_utterance.npz", "array": "audio", "sha256": sha256}
    assert str(mosi) not in str(meta)


@pytest.mark.shared
def test_the_same_bytes_twice(
    importer: ModuleType, imported: Path, mosi: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = bytes_of(imported)
    assert len(first) == 1 + 4
    assert bytes_of(written(importer, mosi, monkeypatch, tmp_path / "again")) == first
    assert bytes_of(written(importer, mosi, monkeypatch, imported)) == first  # over what is there


# ------------------------------------------------------------------------------- small files made for a test
@pytest.fixture
def small(tmp_path: Path, importer: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three clips of two videos."""
    monkeypatch.setattr(importer, "STANDARD_SPLIT", {"train": 1, "valid": 1, "test": 1})
    folder = tmp_path / "source"
    folder.mkdir()
    rows = ["v,10,GOOD,1.333333,train", "v,9,BAD,-0.25,valid", "w,1,SO SO,0.0,test"]
    text = "\n".join(["video_id,clip_id,text,label,mode", *rows])
    (folder / "label.csv").write_text(text + "\n", encoding="utf-8")
    save(folder)
    return folder


def save(folder: Path, **arrays: Any) -> None:
    ids = np.array(["v$_$10", "v$_$9", "w$_$1"])
    audio = np.arange(3 * 73, dtype=np.float32).reshape(3, 73)
    np.savez(folder / "bclstm_utterance.npz", **({"id": ids, "audio": audio} | arrays))


def test_a_clip_without_a_vector_is_absent(
    importer: ModuleType, small: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    save(small, id=np.array(["v$_$10", "w$_$1"]), audio=np.ones((2, 73), np.float32))
    rows = audio_in(written(importer, small, monkeypatch, tmp_path / "out")).rows
    assert {clip_id: row.status for clip_id, row in rows.items()} == {
        "v$_$10": "ok",
        "v$_$9": "absent",
        "w$_$1": "ok",
    }
    assert "no vector" in rows["v$_$9"].error


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (
            {"audio": np.ones((3, 74), np.float32)},
            r"shape \(3, 74\); expected finite float32 of shape \(3, 73\)",
        ),
        ({"audio": np.ones((2, 73), np.float32)}, r"shape \(2, 73\); expected"),
        ({"audio": np.full((3, 73), np.nan, np.float32)}, "expected finite"),
        ({"id": np.array(["v$_$10", "v$_$9", "v$_$9"])}, "1 ids occur twice"),
        ({"id": np.array(["v$_$10", "v$_$9", "x$_$1"])}, r"1 of 3 ids are not in label.csv, e.g. 'x\$_\$1'"),
        ({"id": np.array(["v$_$10", None, "x"], dtype=object)}, "cannot be read .*allow_pickle"),
    ],
)
def test_wrong_vectors_are_said(
    arrays: dict[str, Any],
    said: str,
    importer: ModuleType,
    small: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    save(small, **arrays)
    with pytest.raises(FormatError, match=said):
        written(importer, small, monkeypatch, tmp_path / "out")
    assert not (tmp_path / "out" / "data").exists()


@pytest.mark.parametrize("content", [None, b"", b"not an archive"])
def test_a_missing_or_broken_file_of_vectors_is_said(
    content: bytes | None,
    importer: ModuleType,
    small: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    path = small / "bclstm_utterance.npz"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FormatError, match=r"bclstm_utterance.npz: cannot be read .* datasets.mosi.root"):
        written(importer, small, monkeypatch, tmp_path / "out")


def test_other_counts_than_the_standard_splits_are_said(
    importer: ModuleType, small: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importer, "STANDARD_SPLIT", COUNTS)
    with pytest.raises(LabelFileError, match=r"1 train, 1 valid, 1 test; expected .* 1284 train, 229 valid"):
        written(importer, small, monkeypatch, tmp_path / "out")


def test_a_wrong_place_is_a_message_and_no_traceback(project: Path, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(
        f"datasets: {{mosi: {{root: {tmp_path}/nowhere}}}}\n", encoding="utf-8"
    )
    script = project / "experiments" / "mosi" / "import_mosi.py"
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "datasets.mosi.root" in done.stderr and "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


# ------------------------------------------------------------------------------------------- its params.yaml
def test_params_of_the_study_are_valid(project: Path) -> None:
    params = load_params(project / "experiments" / "mosi" / "params.yaml")
    assert params.models_run == ["misr", "cmir", "slad", "mird", "khar"]
    assert params.seeds == [1111, 1112, 1113]
    chosen = params.assemble["mosi"]
    assert (chosen.text, chosen.audio, chosen.visual) == ("none", "mosi/audio-bclstm73", "none")
    for name in params.models_run:
        method = getattr(importlib.import_module(METHODS[name].module), METHODS[name].class_name)
        config = method.Config.model_validate(params.model(name, "mosi"))
        assert (config.text, config.text_backbone, config.training.batch_size) == (
            "finetune",
            "minilm",
            32,
        ), name


# ----------------------------------------------------------------------------------------------- its stages
@pytest.mark.parametrize("stage", ["transcribe", "assemble", "pretrain", "train", "evaluate", "report"])
def test_stages_are_those_of_the_project(stage: str, project: Path) -> None:
    """The same commands with the same code and params, the code two folders up."""
    ours, theirs = (
        YAML(typ="safe").load(folder / "dvc.yaml")["stages"]
        for folder in (project / "experiments" / "mosi", project)
    )
    found, wanted = ours[stage], theirs[stage].get("do", theirs[stage])
    if "do" in theirs[stage]:  # for each dataset there, of which there is one here
        wanted = YAML(typ="safe").load(json.dumps(wanted).replace("${key}", "mosi"))
    assert found["cmd"] == wanted["cmd"]
    assert found.get("params") == wanted.get("params")
    assert found.get("matrix") == wanted.get("matrix")
    assert found.get("outs") == wanted.get("outs")
    endings = (".py", "models/parts")
    code = [f"../../{file}" for file in wanted["deps"] if file.endswith(endings)]
    assert [file for file in found["deps"] if file.endswith(endings)] == code
