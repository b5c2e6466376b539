"""OpenFace as an encoder: its program (a stand-in that writes real tables), or tables from elsewhere."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made.media_factory import make_clip
from made.openface_tables import FULL, POSE, number, row, write

from pipeline.core.errors import AbsentError, ClipError, ClipTimeoutError, MissingDependencyError, ParamsError
from pipeline.core.openface_layout import OPENFACE, OPENFACE_709
from pipeline.features.encoder import Clip
from pipeline.features.registry import build_encoder
from pipeline.features.visual import openface
from pipeline.features.visual.openface import OpenFace
from pipeline.params.encoders import OpenFaceParams as Params
from pipeline.params.params import MediaLimits

LIMITS = MediaLimits()


def build(name: str = "openface", **params: Any) -> OpenFace:
    encoder = build_encoder("visual", name, Params(**params), LIMITS)
    assert isinstance(encoder, OpenFace)
    return encoder


def program(folder: Path, body: str) -> str:
    """An executable FeatureExtraction; `body` is Python in which `arguments` is a dict of its options."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "FeatureExtraction"
    path.write_text(
        f"#!{sys.executable}\n"
        "import os, pathlib, shutil, subprocess, sys, time\n"
        "if len(sys.argv) == 1:\n"
        "    sys.exit(0)\n"
        "words = sys.argv[1:]\n"
        "arguments = {word: value for word, value in zip(words, words[1:] + [None]) if word[0] == '-'}\n"
        "out = pathlib.Path(arguments['-out_dir'], arguments['-of'] + '.csv')\n"
        f"{body}\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def copies(table: Path) -> str:
    """The body of a program that always writes this table."""
    return f"shutil.copy({str(table)!r}, out)"


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second without anybody; what the stand-in finds in it is made up."""
    times = [frame / 25 for frame in range(12)]
    return make_clip(tmp_path_factory.mktemp("media") / "talk.mp4", times=times, video_codec="mpeg4")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write(tmp_path / "made" / "table.csv", [row(frame) for frame in range(1, 51)])


# ----------------------------------------------------------------------------------------------- the program
def test_what_the_program_is_asked_and_gives(tmp_path: Path, video: Path, table: Path) -> None:
    asked = tmp_path / "asked.txt"
    body = f"pathlib.Path({str(asked)!r}).write_text('\\n'.join([os.getcwd(), *words]))\n{copies(table)}"
    encoder = build(binary=program(tmp_path / "bin", body))
    encoder.load()
    encoded = encoder.encode(Clip("talk", video))
    folder, *words = asked.read_text().splitlines()
    assert words == [
        *("-f", str(video.resolve()), "-out_dir", f"{folder}/out", "-of", "clip", "-q"),
        *("-2Dfp", "-3Dfp", "-pdmparams", "-pose", "-aus", "-gaze"),
    ]
    assert not Path(folder).exists()  # its place is gone with it
    groups = ("gaze", "pose", "landmarks2d", "landmarks3d", "shape", "aus")
    assert encoder.column_names == ["confidence", "success", *(n for g in groups for n in OPENFACE[g])]
    assert encoded.features.shape == (50, encoder.dim) and encoded.features.dtype == np.float32
    assert (encoded.features[:, :2] == np.array([0.98, 1], np.float32)).all()
    assert encoded.features[7, encoder.column_names.index("AU45_c")] == np.float32(number("AU45_c", 8))
    assert encoded.times is not None
    np.testing.assert_allclose(encoded.times, np.arange(50) / 25, atol=1e-6)
    assert encoded.note == ""


def test_the_fields_709_columns(tmp_path: Path, video: Path, table: Path) -> None:
    write(table, [row(1), row(2, success=0), row(3)])
    encoder = build(binary=program(tmp_path, copies(table)), groups="openface709")
    assert encoder.dim == 709 and encoder.column_names == OPENFACE_709 == FULL[5:]
    encoded = encoder.encode(Clip("talk", video))
    np.testing.assert_array_equal(
        encoded.features[2], np.array([number(name, 3) for name in FULL[5:]], np.float32)
    )
    assert not encoded.features[1].any()
    assert encoded.note == "no face in 1 of 3 frames"


def test_no_face_at_all_is_a_good_row(tmp_path: Path, video: Path, table: Path) -> None:
    write(table, [row(frame, success=0, AU01_r="-nan(ind)") for frame in range(1, 4)])
    encoded = build(binary=program(tmp_path, copies(table))).encode(Clip("talk", video))
    assert encoded.note == "no face in any of 3 frames"
    assert encoded.features.shape[0] == 3 and not encoded.features.any()


def test_windows_share_one_run(tmp_path: Path, video: Path, table: Path) -> None:
    runs = tmp_path / "runs"
    body = f"open({str(runs)!r}, 'a').write('x')\n{copies(table)}"
    encoder = build(binary=program(tmp_path, body), groups=["pose"])
    parts = [
        encoder.encode(Clip(f"v$_${i}", video, start_s=a, end_s=b))
        for i, (a, b) in enumerate([(0, 1), (1, 9)])
    ]
    assert runs.read_text() == "x"
    assert [len(part.features) for part in parts] == [25, 25]
    column = encoder.column_names.index("pose_Tx")
    assert parts[1].features[0, column] == np.float32(number("pose_Tx", 26))
    assert parts[1].times is not None and parts[1].times[0] == 0
    later = time.time_ns() + 10**9
    os.utime(video, ns=(later, later))  # another file of that name
    encoder.encode(Clip("v$_$0", video, start_s=0, end_s=1))
    assert runs.read_text() == "xx"


def test_a_run_that_fails_says_why(tmp_path: Path, video: Path) -> None:
    complain = "sys.stderr.write('loading\\nCould not open the video\\n\\n'); sys.exit(3)"
    with pytest.raises(
        ClipError, match=r"^talk\.mp4: FeatureExtraction ended with code 3: Could not open the v"
    ):
        build(binary=program(tmp_path / "a", complain)).encode(Clip("talk", video))
    with pytest.raises(ClipError, match="ended with code 1: said aloud"):
        build(binary=program(tmp_path / "b", "print('said aloud'); sys.exit(1)")).encode(Clip("talk", video))
    with pytest.raises(
        ClipError, match="ended with code 0 and wrote 0 tables instead of one: it says nothing"
    ):
        build(binary=program(tmp_path / "c", "")).encode(Clip("talk", video))
    with pytest.raises(ClipError, match="was killed by signal 9"):
        build(binary=program(tmp_path / "d", "os.kill(os.getpid(), 9)")).encode(Clip("talk", video))


def test_a_run_that_hangs_is_ended_with_its_children(
    tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child"
    body = (
        "process = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(child)!r}).write_text(str(process.pid))\ntime.sleep(60)"
    )
    monkeypatch.setattr(openface, "LONGEST_RUN_S", 2.0)
    with pytest.raises(ClipTimeoutError, match="was stopped after 2 s") as caught:
        build(binary=program(tmp_path, body)).encode(Clip("talk", video))
    assert caught.value.transient
    deadline = time.monotonic() + 5
    while running(int(child.read_text())):
        assert time.monotonic() < deadline, "its child still runs"
        time.sleep(0.05)


def running(process: int) -> bool:
    """Whether it is there and no zombie that waits for its parent."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True)
    return bool(done.stdout.strip()) and not done.stdout.strip().startswith("Z")


def test_files_that_it_is_not_given(tmp_path: Path, table: Path) -> None:
    encoder = build(binary=program(tmp_path, copies(table)))
    with pytest.raises(AbsentError):
        encoder.encode(Clip("text only"))
    (tmp_path / "x.mp4").write_bytes(b"no video")
    with pytest.raises(ClipError, match=r"x\.mp4"):
        encoder.encode(Clip("x", tmp_path / "x.mp4"))


@pytest.mark.parametrize(
    ("given", "why"),
    [(None, "is not on the PATH"), ("nowhere", "which is not a file"), ("plain", "which is not executable")],
)
def test_without_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, why: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "plain").write_text("")
    encoder = build("mine", binary=None if given is None else str(tmp_path / given))
    for ask in (encoder.load, lambda: encoder.fingerprint):
        with pytest.raises(MissingDependencyError) as caught:
            ask()
        message = str(caught.value)
        assert why in message
        for way_out in (
            "github.com/TadasBaltrusaitis/OpenFace",
            "visual.mine.binary",
            "visual.mine.csv",
            "facemesh",
        ):
            assert way_out in message


@pytest.mark.parametrize(
    "content",
    [
        "#!/bin/sh\necho 'error while loading shared libraries: libboost.so' >&2\nexit 127\n",
        "#!/no/such/shell\n",
    ],
)
def test_a_program_that_cannot_start(tmp_path: Path, content: str) -> None:
    path = tmp_path / "FeatureExtraction"
    path.write_text(content)
    path.chmod(0o700)
    with pytest.raises(MissingDependencyError, match=r"does not start: .*(libboost|No such file)"):
        build(binary=str(path)).load()


def test_the_program_on_the_path(
    tmp_path: Path, video: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", copies(table))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    assert len(build().encode(Clip("talk", video)).features) == 50


def test_identity_of_the_program(tmp_path: Path) -> None:
    here, there = (program(tmp_path / name, "pass") for name in ("here", "there"))
    first = build(binary=here).fingerprint
    assert build(binary=there).fingerprint == first  # where it lies does not matter
    (tmp_path / "link").symlink_to(here)
    assert build(binary=str(tmp_path / "link")).fingerprint == first
    assert str(tmp_path) not in str(build(binary=here).provenance)
    model = tmp_path / "here" / "model" / "main_ceclm_general.txt"
    model.parent.mkdir()
    model.write_text("12")
    with_model = build(binary=here).fingerprint
    model.write_text("123")
    changed = build(binary=here).fingerprint
    assert len({first, with_model, changed, build(binary=program(tmp_path / "x", "1")).fingerprint}) == 4
    assert build(binary=there, groups=["pose"]).fingerprint != first


# ---------------------------------------------------------------------------------------------------- tables
def test_where_tables_are_looked_for(tmp_path: Path) -> None:
    def first(clip: Clip, *, start: float = 0.0) -> float:
        encoded = encoder.encode(clip)
        assert encoded.times is not None and encoded.times[0] == np.float32(start)
        return float(encoded.features[0, encoder.column_names.index("pose_Tx")])

    def put(place: str, mark: float) -> None:
        rows = [row(frame, pose_Tx=mark + frame / 1000) for frame in range(1, 101)]
        write(tmp_path / "csv" / place, rows, [*FULL[:5], *POSE])

    put("talk.csv", 3)
    encoder = build(csv=str(tmp_path / "csv"), groups=["pose"])
    encoder.load()
    clip = Clip("v$_$7", Path("media/talk.mp4"), start_s=2.0, end_s=3.0)
    assert first(clip) == pytest.approx(3.051)  # the file's table: the window is cut out
    put("v/talk.csv", 2)
    assert first(clip) == pytest.approx(2.051)
    put("v/7.csv", 1)
    assert first(clip) == pytest.approx(1.001)  # the clip's own
    assert first(Clip("talk", Path("elsewhere/talk.mp4"))) == pytest.approx(3.001)
    # a file in the folder of its video: other videos have a file of that name too
    put("0001.csv", 9)
    with pytest.raises(
        ClipError, match=r"u\$_\$1: no table of OpenFace in visual\.openface\.csv; looked for u/1"
    ):
        encoder.encode(Clip("u$_$1", Path("Raw/u/0001.mp4")))
    put("u/0001.csv", 4)
    assert first(Clip("u$_$1", Path("Raw/u/0001.mp4"))) == pytest.approx(4.001)


def test_no_table_outside_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "secret.csv", [row(1)])
    write(tmp_path / "csv" / "v" / "1.csv", [row(1)])
    encoder = build(csv=str(tmp_path / "csv"))
    for clip_id in ("..$_$secret", f"{tmp_path}$_$secret", "v$_$../../secret"):
        with pytest.raises(ClipError, match="no table of OpenFace"):
            encoder.encode(Clip(clip_id, Path("media/other.mp4")))


def test_a_changed_table_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "csv"
    place = write(folder / "v" / "1.csv", [row(1)])
    clip = Clip("v$_$1", Path("Raw/v/1.mp4"))
    encoder = build(csv=str(folder), groups=["pose"])
    before = encoder.encode(clip).features.copy(), encoder.fingerprint
    write(place, [row(1, pose_Tx=1234.5)])
    after = build(csv=str(folder), groups=["pose"])
    assert after.fingerprint != before[1]
    assert encoder.encode(clip).features[0, 2] == np.float32(1234.5) != before[0][0, 2]
    folder.rename(tmp_path / "moved")
    moved = build(csv=str(tmp_path / "moved"), groups=["pose"])
    assert moved.fingerprint == after.fingerprint
    assert moved.model_identity.startswith("csv:")
    write(tmp_path / "moved" / "v" / "2.csv", [row(1)])
    assert build(csv=str(tmp_path / "moved"), groups=["pose"]).fingerprint != after.fingerprint


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    encoder = build("mine", csv=str(tmp_path / "nowhere"))
    for ask in (encoder.load, lambda: encoder.fingerprint):
        with pytest.raises(ParamsError, match=r"visual\.mine\.csv is '.*nowhere', which is not a folder"):
            ask()


def test_a_table_longer_than_allowed(tmp_path: Path) -> None:
    write(tmp_path / "talk.csv", [row(1), row(2, timestamp=601.5)])
    with pytest.raises(ClipError, match=r"longer \(601\.50 s\) than media\.max_seconds=600"):
        build(csv=str(tmp_path)).encode(Clip("talk", Path("talk.mp4")))


def test_a_group_that_openface_has_not(tmp_path: Path) -> None:
    with pytest.raises(
        ParamsError, match=r"groups names emotions, .* gaze, pose, landmarks2d, landmarks3d, shape, aus"
    ):
        build(groups=["aus", "emotions"])
