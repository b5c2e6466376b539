"""`import pipeline as msa`: what is loaded is what was written, and importing costs next to nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from made.feature_rows import META, make_row
from made.made_set import LABELS, SPLITS, TEXTS, make_set

import pipeline as msa
from pipeline.core.errors import FormatError, MsaError
from pipeline.store.shard import write_rows
from pipeline.store.store import shard_name

HEAVY = ("numpy", "pandas", "pyarrow", "torch", "transformers", "librosa", "mediapipe")
IDS = ("a", "b", "c")


def test_the_import_is_light() -> None:
    program = (
        "import sys, time; before = time.process_time()\n"
        "import pipeline as msa; after = time.process_time()\n"
        f"assert not [name for name in {HEAVY} if name in sys.modules]; print(after - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.2  # CPU seconds
    assert set(msa.__all__) <= set(dir(msa))
    assert all(callable(getattr(msa, name)) for name in msa.__all__)
    with pytest.raises(AttributeError, match="no attribute 'load_feature'"):
        msa.load_feature  # noqa: B018


def test_a_file_and_a_folder_of_shards(tmp_path: Path) -> None:
    rows = {clip: make_row(clip) for clip in IDS} | {"d": make_row("d", status="failed", error="empty")}
    write_rows(tmp_path / shard_name(0), [rows["a"], rows["d"]], META)
    write_rows(tmp_path / shard_name(1), [rows["b"], rows["c"]], META)
    clips = msa.load_features(tmp_path)
    assert list(clips) == ["a", "b", "c", "d"] and clips.streams == ("audio",)
    assert clips.columns() == tuple(META["column_names"])
    for clip, row in rows.items():
        frames = clips[clip]["audio"]
        assert (frames.status, frames.note) == (row.status, row.error)
        if row.features is None:
            assert frames.values.shape == (0, 5) and frames.times is None
        else:
            np.testing.assert_array_equal(frames.values, row.features)
            np.testing.assert_allclose(frames.times, row.times)
            assert torch.equal(frames.torch(), torch.from_numpy(row.features.copy()))
    assert list(msa.load_features(tmp_path / shard_name(1))) == ["b", "c"]

    frame = clips.frame()
    assert list(frame.columns) == ["clip_id", "frame", "time", *META["column_names"]]
    assert len(frame) == sum(len(clips[clip]["audio"]) for clip in clips)
    for clip in IDS:
        mine = frame[frame["clip_id"] == clip]
        np.testing.assert_array_equal(mine[list(META["column_names"])].to_numpy(), rows[clip].features)
        assert mine["frame"].tolist() == list(range(len(mine)))

    values, mask = clips.torch()
    assert values.shape == (4, max(len(clips[clip]["audio"]) for clip in clips), 5)
    assert mask.sum(dim=1).tolist() == [len(clips[clip]["audio"]) for clip in clips]
    for place, clip in enumerate(clips):
        np.testing.assert_array_equal(values[place][mask[place]].numpy(), clips[clip]["audio"].values)
    assert not values[~mask].any()
    assert clips.table()["audio_status"].tolist() == ["ok", "ok", "ok", "failed"]


def test_what_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    with pytest.raises(MsaError, match="no such file or folder"):
        msa.load_features(tmp_path / "nothing")
    with pytest.raises(FormatError, match="no feature file in this folder; give what extract"):
        msa.load_features(tmp_path)
    with pytest.raises(FormatError, match="load_set reads it"):
        msa.load_features(make_set(tmp_path / "set"))
    with pytest.raises(MsaError, match="nowhere: not a training set, and neither is data/assembled/nowhere"):
        msa.load_set("nowhere")
    folder = tmp_path / "features"
    write_rows(folder / "a.features/audio.parquet", [make_row("a")], META)
    write_rows(folder / "b.features/audio.parquet", [make_row("b")], {**META, "fingerprint": "other"})
    with pytest.raises(FormatError, match="audio toy has other settings here than in"):
        msa.load_features(folder)
    write_rows(folder / "b.features/audio.parquet", [make_row("b")], {**META, "encoder": "second"})
    clips = msa.load_features(folder)
    assert clips["a"]["audio-second"].note == "not extracted" and len(clips["b"]["audio-second"])
    with pytest.raises(MsaError, match="name one of them"):
        clips.frame()
    with pytest.raises(MsaError, match="'visual' is not a stream"):
        clips.columns("visual")


def test_a_training_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_set(tmp_path / "data/assembled/made")
    monkeypatch.chdir(tmp_path)
    found = msa.load_set("made")
    assert {split: list(clips) for split, clips in found.items() if clips} == {
        split: [clip for clip in TEXTS if SPLITS[clip] == split]
        for split in ("train", "valid", "test", "unlabeled")
    }
    table = pd.concat(clips.table() for clips in found.values() if clips).set_index("clip_id")
    assert table["transcript"].to_dict() == TEXTS
    assert table["label"].dropna().to_dict() == {
        clip: label for clip, label in LABELS.items() if label is not None
    }
    reference = pd.read_parquet(folder / "train.parquet").set_index("clip_id")
    for clip, frames in found["train"].items():
        for modality in ("text", "audio", "visual"):
            np.testing.assert_array_equal(frames[modality].values, np.stack(list(reference[modality][clip])))
    silent = found["test"]["v4$_$1"]["audio"]
    assert silent.status == "absent" and silent.values.shape == (0, 3)
    assert found["train"].columns("visual") == tuple(found.stats["modalities"]["visual"]["columns"])


def test_extract_gives_what_the_command_writes(project: Path, tmp_path: Path) -> None:
    clip = min((project / "data/sample/Raw").rglob("*.mp4"))
    only = {"text_encoder": None, "visual_encoder": None, "audio_encoder": "waveform16k"}
    kept = msa.extract(clip, tmp_path / "out", **only)
    gone = msa.extract(str(clip), **only)
    assert list(kept) == list(gone) == [clip.stem] and kept.streams == ("audio",)
    np.testing.assert_array_equal(kept[clip.stem]["audio"].values, gone[clip.stem]["audio"].values)
    assert msa.load_features(tmp_path / "out")[clip.stem]["audio"].values.dtype == np.int16
    folder = tmp_path / "clips"
    (folder / "deep").mkdir(parents=True)
    shutil.copy(clip, folder / "x.mp4")
    shutil.copy(clip, folder / "deep/x.mp4")
    assert list(msa.extract(folder, **only)) == ["deep/x", "x"]
    with pytest.raises(MsaError, match="text belongs to one clip, 2 were given"):
        msa.extract(folder, text="one", **only)
