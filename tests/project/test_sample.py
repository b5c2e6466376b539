"""The committed sample corpus: what its README promises, and that it can be rebuilt."""

from __future__ import annotations

import csv
import shutil
import sys
from collections import Counter
from pathlib import Path

import av
import pytest

DATA = Path(__file__).parents[2] / "data"
SAMPLE = DATA / "sample"
UNIMODAL = ("label_T", "label_A", "label_V")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with (SAMPLE / "label.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def clip_path(row: dict[str, str]) -> Path:
    return SAMPLE / "Raw" / row["video_id"] / f"{row['clip_id']}.mp4"


def test_columns_are_those_of_mmsa(rows):
    assert list(rows[0]) == [
        *("video_id", "clip_id", "text", "label", "label_T", "label_A", "label_V", "annotation", "mode")
    ]


def test_every_row_has_its_file_and_every_file_its_row(rows):
    assert len(rows) == 96
    assert {clip_path(row) for row in rows} == set((SAMPLE / "Raw").rglob("*.*"))


def test_splits_are_by_video(rows):
    mode_of = {row["video_id"]: row["mode"] for row in rows}
    assert all(mode_of[row["video_id"]] == row["mode"] for row in rows)
    assert Counter(mode_of.values()) == {"train": 16, "valid": 4, "test": 4}
    assert set(Counter(row["video_id"] for row in rows).values()) == {4}


def test_folder_is_small():
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) < 5_000_000


def test_labels_are_in_range_and_rounded(rows):
    for row in rows:
        for name in ("label", *UNIMODAL):
            value = float(row[name])
            assert -3 <= value <= 3, row
            assert f"{round(value * 5) / 5:.1f}" == row[name], row


def test_annotation_is_the_sign_of_the_label(rows):
    for row in rows:
        label = float(row["label"])
        expected = "Neutral" if label == 0 else "Positive" if label > 0 else "Negative"
        assert row["annotation"] == expected, row


def test_a_quarter_of_the_clips_disagree_between_modalities(rows):
    signed = [[float(row[name]) for name in UNIMODAL] for row in rows]
    assert sum(min(values) < 0 < max(values) for values in signed) >= len(rows) / 4


@pytest.mark.parametrize("mode", ["train", "valid", "test"])
def test_labels_are_spread_in_every_split(rows, mode):
    labels = [float(row["label"]) for row in rows if row["mode"] == mode]
    mean = sum(labels) / len(labels)
    assert abs(mean) < 0.5
    assert (sum((label - mean) ** 2 for label in labels) / len(labels)) ** 0.5 >= 1.2


def test_no_sentence_is_spoken_twice(rows):
    assert len({row["text"].casefold() for row in rows}) == len(rows)


def test_streams_and_durations(rows):
    for row in rows:
        with av.open(clip_path(row)) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            assert (video.codec_context.name, video.pix_fmt) == ("h264", "yuv420p")
            assert (video.width, video.height, video.average_rate) == (320, 240, 25)
            assert (audio.codec_context.name, audio.channels, audio.rate) == ("aac", 1, 22_050)
            assert 1.5 <= container.duration / av.time_base <= 3.0, row
            assert abs(float(video.duration * video.time_base - audio.duration * audio.time_base)) < 0.1, row


def test_index_comes_before_the_media(rows):
    """+faststart: a player, or a probe with a size limit, need not read to the end."""
    content = clip_path(rows[0]).read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


@pytest.fixture
def make_sample(monkeypatch):
    pytest.importorskip("skimage", reason="scikit-image holds the picture (extra: dev)")
    monkeypatch.syspath_prepend(str(DATA))
    import make_sample

    yield make_sample
    for name in ("make_sample", "sample_face"):
        sys.modules.pop(name, None)


def test_labels_are_those_that_the_script_draws(make_sample, tmp_path):
    make_sample.write_labels(tmp_path / "label.csv", make_sample.plan())
    assert (tmp_path / "label.csv").read_bytes() == (SAMPLE / "label.csv").read_bytes()


@pytest.mark.filterwarnings("ignore:SymbolDatabase")  # mediapipe's protobuf code
@pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed: it speaks the clips"
)
def test_rebuilding_gives_the_same_bytes(make_sample, tmp_path):
    clip = make_sample.plan()[4]  # of the second video: its smooth backdrop shows an encoder that varies
    actor = make_sample.Actor(make_sample.Still(), make_sample.look_of(clip.video))
    with make_sample.FaceMesh(refine_landmarks=True) as mesh:
        rates = [make_sample.make(clip, actor, mesh, tmp_path / name) for name in ("first", "second")]
    assert min(rates) >= make_sample.FACE_RATE
    first, second = ((tmp_path / name).rglob("*.mp4") for name in ("first", "second"))
    assert next(first).read_bytes() == next(second).read_bytes()


def test_missing_espeak_is_said_with_the_way_out(make_sample, tmp_path, monkeypatch):
    monkeypatch.setattr(make_sample.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match="apt-get install espeak-ng"):
        make_sample.build(tmp_path, 1)
