"""Feature files as their projects publish them, sound and spoilt: padding, NaN, zeros, copies, labels."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from made import made_arrays, made_mmsa
from made.validated import validate

from pipeline.corpora.clips import CLIP_SCHEMA, clip_table, read_clips
from pipeline.corpora.findings import Finding
from pipeline.imports.convert import convert
from pipeline.params.params import ImportParams
from pipeline.validate.imports import examine


def pickled(root: Path, content: Any, **changes: Any) -> list[Finding]:
    path = made_mmsa.write(root / "features.pkl", content)
    return validate(ImportParams.model_validate({"kind": "mmsa_pickle", "root": str(path), **changes}))


def one(findings: list[Finding], check: str, part: str = "") -> Finding:
    (finding,) = [found for found in findings if found.check == check and part in found.message]
    return finding


def test_of_a_sound_file_only_its_size_is_remarked(tmp_path: Path) -> None:
    findings = pickled(tmp_path, made_mmsa.tree(), language="en")
    assert {finding.check for finding in findings if finding.level != "info"} == {"few clips"}
    assert "13 clips of 9 x 5 float32, padded at the back" in one(findings, "audio").message
    counts = [finding.message for finding in findings if finding.check == "counts"]
    assert [count.split(",")[0] for count in counts] == [
        "train: 6 clips of 3 videos",
        "valid: 4 clips of 2 videos",
        "test: 3 clips of 2 videos",
    ]


def test_numbers_that_are_none(tmp_path: Path) -> None:
    content = made_mmsa.tree()
    content["train"]["audio"][0, 0, :2] = np.nan
    content["test"]["audio"][1, 1, 3] = np.inf
    content["valid"]["vision"][2] = 0
    findings = pickled(tmp_path, content)
    assert "audio: 2 NaN and 1 infinite numbers" in one(findings, "not finite").message
    zeros = one(findings, "zeros")
    assert zeros.rows == ("valid-v1$_$1",)
    assert zeros.message.startswith("visual: 1 of 13 clips")
    for split in ("train", "test"):  # zeros in both modalities are no copy of each other, and no short clip
        content[split]["audio"][0] = content[split]["vision"][0] = 0
    for part in content.values():  # lengths are then what the padding shows
        del part["audio_lengths"], part["vision_lengths"]
    checks = {finding.check for finding in pickled(tmp_path, content)}
    assert not checks & {"duplicate features", "short sequences"}


def test_one_clip_under_two_ids_is_found_by_its_features(tmp_path: Path) -> None:
    content = made_mmsa.tree()
    for key in ("audio", "vision"):
        content["test"][key][0] = content["train"][key][3]
        content["valid"][key][1] = content["valid"][key][0]
    findings = pickled(tmp_path, content)
    same = one(findings, "duplicate features")
    assert same.rows == (
        "train-v1$_$2 (train) = test-v0$_$1 (test)",
        "valid-v0$_$1 (valid) = valid-v0$_$2 (valid)",
    )
    assert "1 of them in several splits" in same.message
    content["test"]["vision"][0, 0, 0] += 1
    findings = pickled(tmp_path, content)
    assert len(one(findings, "duplicate features").rows) == 1  # equal in sound alone


def test_what_import_refuses_is_an_error(tmp_path: Path) -> None:
    narrow = pickled(tmp_path, made_mmsa.tree(), label_range=[-1, 1])
    error = one(narrow, "labels", "problem(s)")
    assert error.level == "error" and "label_range" in error.rows[0]
    assert one(narrow, "audio").level == "info"  # the rest is looked at all the same
    wrong = pickled(tmp_path, {"no": "splits"})
    assert [(finding.level, finding.check) for finding in wrong] == [("error", "file")]
    moods = pickled(tmp_path, made_mmsa.tree(), task="classification", classes=["a", "b"])
    assert "but the files are for regression" in one(moods, "task").message


def test_other_types_and_single_steps(tmp_path: Path) -> None:
    made_arrays.make(tmp_path / "arrays")
    params = ImportParams(kind="arrays", root=str(tmp_path / "arrays"), settings=made_arrays.SETTINGS)
    findings = validate(params)
    # visual has 1, 2, 3 and 5 steps of the clips 0, 1, 2 and 4; text is one vector a clip, which is no fault
    assert one(findings, "short sequences", "visual").rows == ("a$_$1",)
    assert "nothing for 1 of 5 clips" in one(findings, "missing features", "visual").message
    assert one(findings, "short sequences", "audio").rows == ("c$_$1",)
    assert not [f for f in findings if f.check == "short sequences" and f.message.startswith("text")]
    half = np.load(tmp_path / "arrays" / "text.npy").astype(np.float16)
    np.save(tmp_path / "arrays" / "text.npy", half)
    assert "text: numbers are float16" in one(validate(params), "number types").message


def test_rows_are_those_that_import_writes(tmp_path: Path) -> None:
    path = made_mmsa.make_sims(tmp_path / "files")
    params = ImportParams(kind="mmsa_pickle", root=str(path), language="zh", label_range=(-1.0, 1.0))
    convert("sims", params, 2, tmp_path)
    rows, _, digests = examine("sims", params)
    written = read_clips(tmp_path / "data" / "clips" / "sims.parquet")
    assert clip_table(rows).cast(CLIP_SCHEMA).to_pylist() == written.to_pylist()
    assert set(digests) == {row["clip_id"] for row in rows}
    shutil.rmtree(tmp_path / "data")
    examine("sims", params)
    assert not (tmp_path / "data").exists()  # to look writes nothing
