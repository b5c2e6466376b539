"""`msa-cli extract`: one clip, many clips, broken clips; as a user calls it."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made.media_factory import make_clip, tone

from pipeline.core.errors import MsaError
from pipeline.core.vocabulary import ABSENT, FAILED, OK
from pipeline.execution import local
from pipeline.features.clip import plan
from pipeline.features.clip_report import ClipReport, ModalityReport, overview
from pipeline.store.shard import FeatureRow, read_rows
from pipeline.store.store import FeatureStore

CLI = str(Path(sys.executable).parent / "msa-cli")


def cli(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder without params.yaml; a traceback is never right."""
    threads = local.THREADS  # which a user has not set
    environment = {name: value for name, value in os.environ.items() if name not in threads}
    environment |= {"COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(
        [CLI, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


@dataclass(frozen=True)
class Expected:
    """status and part of the note of a clip's audio and visual row; frames where they are known."""

    audio: str
    visual: str
    audio_note: str = ""
    visual_note: str = ""
    visual_frames: int | None = None


# What each awkward file gives. Text is absent for all: no transcript is given.
AWKWARD = {
    "60fps_mono_8k.mp4": Expected("ok", "ok", visual_frames=180),
    "audio_only.mp4": Expected("ok", "absent", visual_note="no video track"),
    "av1_video.mkv": Expected("absent", "ok", "no audio track", "no face in any of 125 frames", 125),
    "empty.mp4": Expected("failed", "failed", "the file is empty (0 bytes)", "the file is empty (0 bytes)"),
    "face_lost_1s_to_2s.mp4": Expected("ok", "ok", visual_note="no face in 2", visual_frames=75),
    "ffv1_flac.mkv": Expected("ok", "ok", visual_frames=75),
    "mjpeg_pcm.avi": Expected("ok", "ok", visual_frames=75),
    "nasa_13013_rotated.mp4": Expected("absent", "ok", "no audio track", "no face in any of 17 frames", 17),
    "noaudio_track.mp4": Expected("absent", "ok", "no audio track", visual_frames=75),
    "not_a_video.mp4": Expected("failed", "failed", "not a media file", "not a media file"),
    "pixels_rotated_90.mp4": Expected("ok", "ok", visual_frames=75),
    "rotation_flag_90.mp4": Expected("ok", "ok", visual_frames=75),
    "silent_audio.mp4": Expected("ok", "ok", "silent", visual_frames=75),
    "tiny_90x72.mp4": Expected("ok", "ok", visual_frames=75),
    "truncated_faststart.mp4": Expected("ok", "ok", "file is cut off", "file is cut off"),
    "truncated_no_moov.mp4": Expected(
        "failed", "failed", "cut off before its index", "cut off before its index"
    ),
    "two_faces_two_voices.mp4": Expected("ok", "ok", visual_note="2 faces in 75 of 75", visual_frames=75),
    "very_dark.mp4": Expected("ok", "ok", visual_frames=75),
    "very_short_0.32s.mp4": Expected("ok", "ok", visual_frames=8),
    "vfr.mp4": Expected("ok", "ok", visual_frames=45),
    "vp9_opus.webm": Expected("ok", "ok", visual_frames=75),
}


# Made here, because no such file lies among the awkward ones.
MADE = {
    "single_frame.mkv": Expected("absent", "ok", "no audio track", "no face in any of 1 frames", 1),
    "no_face.mkv": Expected("ok", "ok", visual_note="no face in any of 12 frames", visual_frames=12),
}
EXPECTED = AWKWARD | MADE


@pytest.fixture(scope="module")
def corpus(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The awkward files as a corpus in the MMSA layout, in a project of its own."""
    project = tmp_path_factory.mktemp("awkward")
    clips = project / "corpus/Raw/awkward"
    clips.mkdir(parents=True)
    for name in AWKWARD:
        shutil.copyfile(shared / "clips/awkward" / name, clips / name)
    make_clip(clips / "single_frame.mkv", times=[0.0])
    make_clip(clips / "no_face.mkv", times=[k / 25 for k in range(12)], sound=tone(220, 0.5, 16_000))
    rows = [f"awkward,{Path(name).stem},,0.0,train" for name in sorted(EXPECTED)]
    label_csv = "\n".join(["video_id,clip_id,text,label,mode", *rows]) + "\n"
    (project / "corpus/label.csv").write_text(label_csv)
    (project / "params.yaml").write_text(
        "datasets: {awkward: {root: corpus}}\nshards: 4\nmax_failed_fraction: 0.2\n"
        "audio: {librosa33: {kind: librosa33, f0: yin}}\n"  # a tenth of the default's time
    )
    return project


@pytest.fixture(scope="module")
def extracted(corpus: Path) -> tuple[dict[str, dict[str, Any]], int, str]:
    """All in one call of extract: reports by file name, exit code, standard error."""
    done = cli("extract", "--video", "corpus/Raw", "--out", "features", "--json", cwd=corpus)
    reports = {Path(report["video"]).name: report for report in json.loads(done.stdout)}
    return reports, done.returncode, done.stderr


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_awkward_files(
    extracted: tuple[dict[str, dict[str, Any]], int, str], corpus: Path, name: str
) -> None:
    reports, _, errors = extracted
    found = {entry["modality"]: entry for entry in reports[name]["modalities"]}
    expected = EXPECTED[name]
    assert found["text"]["status"] == "absent" and "--text-file" in found["text"]["note"]
    for modality in ("audio", "visual"):
        file = corpus / f"features/awkward/{Path(name).stem}.features/{modality}.parquet"
        row = next(iter(read_rows(file).rows.values()))
        assert (row.status, row.error) == (found[modality]["status"], found[modality]["note"])
        check_row(row, expected, modality)
    if expected.visual_frames:
        assert found["visual"]["frames"] == expected.visual_frames
    nothing = (expected.audio, expected.visual) == ("failed", "failed")
    assert (f"{name}: nothing could be extracted: {expected.audio_note}" in errors) == nothing


def check_row(row: FeatureRow, expected: Expected, modality: str) -> None:
    assert row.status == getattr(expected, modality), row.error
    note = getattr(expected, f"{modality}_note")
    assert note in row.error if note else not row.error
    if row.status == "ok":  # never a silent zero
        assert row.features is not None and np.isfinite(row.features).all()
        assert np.any(row.features) or "no face" in row.error


@pytest.mark.shared
@pytest.mark.slow
def test_the_table_is_complete_and_the_exit_code_says_that_some_gave_nothing(
    extracted: tuple[dict[str, dict[str, Any]], int, str],
) -> None:
    reports, code, _ = extracted
    assert set(reports) == set(EXPECTED)
    assert code == 1


@pytest.mark.shared
@pytest.mark.slow
def test_awkward_files_as_rows_of_the_dag(
    extracted: tuple[dict[str, dict[str, Any]], int, str], corpus: Path
) -> None:
    """The stages give each file the very row that extract gave it, and too many failures an exit code."""
    for stage in (["ingest"], ["transcribe"], ["text"], ["audio"], ["visual"]):
        encoder = {"text": ["minilm"], "audio": ["librosa33"], "visual": ["facemesh"]}.get(stage[0], [])
        done = cli("stage", *stage, "awkward", *encoder, cwd=corpus)
        assert done.returncode == 0, done.stdout + done.stderr
    broken = [name for name, expected in EXPECTED.items() if expected.visual == "failed"]
    for modality, encoder in (("audio", "librosa33"), ("visual", "facemesh")):
        store = FeatureStore(corpus / f"data/features/awkward/{modality}-{encoder}").read()
        assert store is not None and len(store.rows) == len(EXPECTED)
        for name, expected in EXPECTED.items():
            row = store.rows[f"awkward$_${Path(name).stem}"]
            check_row(row, expected, modality)
            file = corpus / f"features/awkward/{Path(name).stem}.features/{modality}.parquet"
            single = next(iter(read_rows(file).rows.values()))
            assert (row.status, row.error) == (single.status, single.error)
            if row.features is not None:
                np.testing.assert_array_equal(row.features, single.features)
    texts = FeatureStore(corpus / "data/features/awkward/text-minilm").read()
    assert texts is not None and {row.status for row in texts.rows.values()} == {"absent"}
    (corpus / "params.yaml").write_text("datasets: {awkward: {root: corpus}}\nshards: 4\n")
    done = cli("stage", "visual", "awkward", "facemesh", cwd=corpus)
    assert done.returncode == 1
    assert (
        f"{len(broken)} of {len(EXPECTED)} clips failed, more than max_failed_fraction = 0.02" in done.stderr
    )


@pytest.mark.shared
def test_one_clip_gives_three_files_and_a_table(shared: Path, tmp_path: Path) -> None:
    clip = shared / "clips/grid/bbaf2n.mpg"
    done = cli("extract", "--video", clip, "--text", "bin blue at f two now", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in ("modality", "minilm", "librosa33", "facemesh", "75", "33"))
    folder = tmp_path / "bbaf2n.features"
    assert sorted(path.name for path in folder.iterdir()) == [
        "audio.parquet",
        "text.parquet",
        "visual.parquet",
    ]
    text, audio, visual = (read_rows(folder / f"{name}.parquet") for name in ("text", "audio", "visual"))
    words = text.rows["bbaf2n"]
    assert words.token_ids is not None and words.char_start is not None and words.char_end is not None
    pieces = [
        "bin blue at f two now"[a:b] for a, b in zip(words.char_start, words.char_end, strict=True) if a >= 0
    ]
    assert pieces == ["bin", "blue", "at", "f", "two", "now"]
    assert len(audio.meta["column_names"]) == audio.meta["dim"] == 33
    assert audio.meta["frame_rate"] == pytest.approx(43.066, abs=1e-3)
    success = visual.meta["column_names"].index("success")
    pictures = visual.rows["bbaf2n"].features
    assert pictures is not None and len(pictures) == 75
    assert pictures[:, success].sum() >= 74
    for name in ("text", "audio", "visual"):
        explained = cli("info", folder / f"{name}.parquet", cwd=tmp_path)
        assert explained.returncode == 0
        assert "fingerprint" in explained.stdout and f"modality: {name}" in explained.stdout


@pytest.mark.shared
def test_settings_by_full_key_and_a_text_file(shared: Path, tmp_path: Path) -> None:
    subtitles = tmp_path / "talk.srt"
    subtitles.write_text(
        "1\n00:00:00,000 --> 00:00:02,000\nbin blue\n\n2\n00:00:02,000 --> 00:00:03,000\nat f\n"
    )
    done = cli(
        *("extract", "--video", shared / "clips/grid/bbaf2n.mpg", "--text-file", subtitles),
        *("--set", "visual.facemesh.fps=5", "--out", tmp_path / "here", "--json"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    modalities = {entry["modality"]: entry for entry in json.loads(done.stdout)[0]["modalities"]}
    assert modalities["visual"]["frames"] == 15
    assert modalities["text"]["frames"] == 6  # four words, two special tokens
    assert read_rows(tmp_path / "here/visual.parquet").meta["params"]["fps"] == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--video", "nowhere.mp4"], "nowhere.mp4: no such file or folder"),
        (["--video", "empty_folder"], "no video in this folder"),
        (["--video", "clip.mp4", "--text", "a", "--text-file", "a.txt"], "give one of them"),
        (["--video", "clip.mp4", "--video", "other.mp4", "--text", "a"], "belong to one clip, 2 were given"),
        (["--video", "clip.mp4", "--visual-encoder", "openfaze"], "'openfaze' is not known"),
        (["--video", "clip.mp4", "--set", "visual.facemesh.fsp=5"], "did you mean 'fps'"),
        (["--video", "clip.mp4", "--text-file", "a.txt"], "a.txt"),
        (["--video", "clip.mp4", "--params", "no.yaml"], "no.yaml: cannot be read"),
        (["--video", "clip.mp4", "--set", "visual=["], "cannot be read as YAML"),
        (
            ["--video", "clip.mp4", "--device", "gpu"],
            "device 'gpu': expected auto, cpu, cuda or cuda:<index>",
        ),
        (["--video", "clip.mp4", "--out", "other.mp4"], "--out: the folder other.mp4"),
        (["--video", "clip.mp4", "--out", "other.mp4/sub"], "--out: the folder other.mp4/sub"),
        ([], "no clip was given; name one, or a folder of clips: msa-cli extract clip.mp4"),
        (["clip.mp4", "--single-file"], "--single-file needs several clips"),
        (["clip.mp4", "--texts", "a.csv"], "--texts a.csv: applies to a folder of clips"),
    ],
)
def test_wrong_use_is_a_message_and_exit_code_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    for name in ("clip.mp4", "other.mp4"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "empty_folder").mkdir()
    done = cli("extract", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr


def test_names_that_look_like_markup(project: Path, tmp_path: Path) -> None:
    name = "x[bold][/y].mp4"
    (tmp_path / "x[bold][").mkdir()
    shutil.copy(min((project / "data/sample/Raw").rglob("*.mp4")), tmp_path / name)
    done = cli("extract", "--video", name, "--out", "[red]out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{name} -> [red]out" in done.stdout
    explained = cli("info", "[red]out/visual.parquet", cwd=tmp_path)
    assert explained.returncode == 0 and "[red]out/visual.parquet" in explained.stdout


def test_nothing_extracted_is_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "note.mp4").write_text("this is text")
    done = cli("extract", "--video", "note.mp4", cwd=tmp_path)
    assert done.returncode == 1
    assert "note.mp4: nothing could be extracted: not a media file" in done.stderr


def test_where_several_clips_go(tmp_path: Path) -> None:
    for name in ("a/x.mp4", "a/deep/x.mp4", "b.mkv", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    requests = plan([tmp_path / "a", tmp_path / "b.mkv"], Path("out"))
    assert {
        request.video.relative_to(tmp_path).as_posix(): request.out.as_posix() for request in requests
    } == {
        "a/deep/x.mp4": "out/deep/x.features",
        "a/x.mp4": "out/x.features",
        "b.mkv": "out/b.features",
    }
    assert plan([tmp_path / "b.mkv"], None)[0].out == Path("b.features")
    shutil.copy(tmp_path / "a/x.mp4", tmp_path / "a/x.avi")
    both = plan([tmp_path / "a/x.mp4", tmp_path / "a/x.avi"], None)
    assert {one.video.name: one.out.name for one in both} == {
        "x.mp4": "x.mp4.features",
        "x.avi": "x.avi.features",
    }
    (tmp_path / "c").mkdir()
    shutil.copy(tmp_path / "a/x.mp4", tmp_path / "c/x.mp4")
    with pytest.raises(MsaError, match="would both be written to"):
        plan([tmp_path / "a", tmp_path / "c"], None)


def test_every_help_page_reads(tmp_path: Path) -> None:
    for command in ([], ["extract"], ["info"], ["doctor"], ["validate"], ["stage"], ["stage", "visual"]):
        done = cli(*command, "--help", cwd=tmp_path)
        assert done.returncode == 0 and "Usage" in done.stdout


def test_reason_names_failures_before_absences() -> None:
    report = ClipReport("x/clip.mp4", "out")
    entry = ModalityReport
    report.modalities = [
        entry("text", "minilm", "absent", 0, 384, 0.0, "no transcript"),
        entry("audio", "librosa33", "failed", 0, 33, 0.0, "clip.mp4: the file is empty"),
        entry("visual", "facemesh", "failed", 0, 9, 0.0, "clip.mp4: the file is empty"),
    ]
    assert report.reason == "the file is empty" and not report.gave_something


def test_a_folder_is_one_table_with_a_line_a_file() -> None:
    from rich.console import Console

    def report(name: str, note: str) -> ClipReport:
        items = [
            ModalityReport("text", "minilm", ABSENT, 0, 384, 0.0, "no transcript; give one"),
            ModalityReport("audio", "librosa33", FAILED if note else OK, 0, 33, 0.1, note),
            ModalityReport("visual", "facemesh", OK, 75, 366, 0.1, ""),
        ]
        return ClipReport(f"/clips/{name}", "out", items)

    console = Console(width=160, record=True, file=io.StringIO())
    console.print(overview([report("a/1.mp4", ""), report("b/2.mp4", "2.mp4: the file is empty")]))
    lines = console.export_text().splitlines()
    assert lines[0].strip() == "/clips"
    (first,) = (line for line in lines if "a/1.mp4" in line)
    (second,) = (line for line in lines if "b/2.mp4" in line)
    assert "75 x 366" in first and "transcript" not in first
    assert "failed" in second and "audio: the file is empty" in second and "2.mp4:" not in second
    assert "all files: text: no transcript; text: give one" in lines[-1]
