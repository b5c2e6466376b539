"""`msa-cli extract` of a folder: several workers, what is done is kept, one file, texts of a table."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made.media_factory import make_clip, tone

from pipeline.api.clips import load_features
from pipeline.features import clip_extraction
from pipeline.params.transcribe import AsrParams, TranscribeParams
from pipeline.store.shard import read_rows
from pipeline.transcripts import stage
from pipeline.transcripts.stage import Transcript

Cli = Callable[..., tuple[int, str]]
HEARING = TranscribeParams(asr=AsrParams(model="base"))
QUICK = ("--text-encoder", "none", "--visual-encoder", "none", "--audio-encoder", "waveform16k")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two clips with sound in `clips`, and a third that is no media file."""
    for place, pitch in (("clips/a.mkv", 200), ("clips/deep/a.mkv", 300)):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        make_clip(tmp_path / place, times=[0.0, 0.04], sound=tone(pitch, 0.5, 16_000))
    (tmp_path / "clips/broken.mp4").write_text("no media")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def reports(printed: str) -> dict[str, dict[str, Any]]:
    """By video, of `--json`; what follows it is on stderr."""
    found, _ = json.JSONDecoder().raw_decode(printed)
    return {report["video"]: report for report in found}


def test_what_is_done_is_kept_and_what_changed_is_computed(folder: Path, cli: Cli) -> None:
    code, printed = cli("extract", "clips", "--out", "out", *QUICK)
    assert code == 1  # the broken one gave nothing
    assert "waveform" in printed and "audio.parquet in 3 folders: out/a.features ..." in printed
    files = sorted((folder / "out").rglob("audio.parquet"))
    assert len(files) == 3
    before = {file: (file.stat().st_ino, file.read_bytes()) for file in files}

    code, printed = cli("extract", "clips", "--out", "out", *QUICK)
    assert code == 1 and "3 of 3 already existed; --fresh computes them again" in printed
    assert "clips/broken.mp4: nothing could be extracted: not a media file" in printed  # said again
    assert before == {file: (file.stat().st_ino, file.read_bytes()) for file in files}

    shutil.copy(folder / "clips/a.mkv", folder / "clips/deep/a.mkv")
    _, printed = cli("extract", "clips", "--out", "out", "--json", *QUICK)
    kept = {video: report["modalities"][0]["kept"] for video, report in reports(printed).items()}
    assert kept == {"clips/a.mkv": True, "clips/deep/a.mkv": False, "clips/broken.mp4": True}
    first, second = (
        read_rows(folder / f"out/{name}.features/audio.parquet").rows["a"] for name in ("a", "deep/a")
    )
    assert first.features is not None and second.features is not None
    np.testing.assert_array_equal(first.features, second.features)

    _, printed = cli("extract", "clips", "--out", "out", "--json", "--fresh", *QUICK)
    assert not any(report["modalities"][0]["kept"] for report in reports(printed).values())


def test_other_settings_and_damage_are_computed_again(folder: Path, cli: Cli) -> None:
    frames = ("--set", "media.max_seconds=1000")
    cli("extract", "clips/a.mkv", *QUICK)
    _, printed = cli("extract", "clips/a.mkv", "--json", *QUICK, *frames)
    assert not reports(printed)["clips/a.mkv"]["modalities"][0]["kept"]
    file = folder / "a.features/audio.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    _, printed = cli("extract", "clips/a.mkv", "--json", *QUICK, *frames)
    assert not reports(printed)["clips/a.mkv"]["modalities"][0]["kept"]
    assert read_rows(file).rows["a"].status == "ok"


def test_one_file_has_the_rows_of_all_clips(folder: Path, cli: Cli) -> None:
    cli("extract", "clips", "--out", "each", *QUICK)
    code, printed = cli("extract", "clips", "--single-file", *QUICK)
    assert code == 1 and "audio.parquet in clips.features" in printed
    whole = read_rows(folder / "clips.features/audio.parquet").rows
    assert list(whole) == ["a", "broken", "deep/a"]
    single = load_features(folder / "each")
    assert list(single) == list(whole)
    for clip_id, row in whole.items():
        alone = single[clip_id]["audio"]
        assert (row.status, row.error) == (alone.status, alone.note)
        if row.features is not None:
            np.testing.assert_array_equal(row.features, alone.values)

    make_clip(folder / "clips/new.mkv", times=[0.0], sound=tone(100, 0.2, 16_000))
    before = (folder / "clips.features/audio.parquet").read_bytes()
    _, printed = cli("extract", "clips", "--single-file", *QUICK)
    assert "3 of 4 already existed" in printed
    assert list(read_rows(folder / "clips.features/audio.parquet").rows) == ["a", "broken", "deep/a", "new"]
    (folder / "clips/new.mkv").unlink()
    shutil.rmtree(folder / "clips.features")
    cli("extract", "clips", "--single-file", *QUICK)
    assert (folder / "clips.features/audio.parquet").read_bytes() == before  # no history in its bytes


def test_workers_give_the_same_bytes(folder: Path, cli: Cli) -> None:
    for out, workers in (("one", "1"), ("two", "2")):
        code, _ = cli("extract", "clips", "--out", out, "--workers", workers, *QUICK)
        assert code == 1
    alone, together = (
        {
            file.relative_to(folder / out): file.read_bytes()
            for file in sorted((folder / out).rglob("*.parquet"))
        }
        for out in ("one", "two")
    )
    assert alone == together and len(alone) == 3


def test_texts_of_the_table_that_ingest_folder_reads(folder: Path, cli: Cli) -> None:
    (folder / "clips/labels.csv").write_text(
        "file,text,label,start_s\na.mkv,It was great.,99,\ndeep/a,Not so good.,x,\nbroken,Part,1,0.5\n"
    )
    only_text = ("--audio-encoder", "none", "--visual-encoder", "none")
    code, printed = cli("extract", "clips", "--out", "out", *only_text)
    assert code == 1 and "1 texts are of parts of a file" in printed  # labels are no business of it
    clips = load_features(folder / "out")
    great, good, part = (clips[name]["text"] for name in ("a", "deep/a", "broken"))
    assert (great.status, good.status, part.status) == ("ok", "ok", "absent")
    for frames, text in ((great, "It was great."), (good, "Not so good.")):
        assert frames.char_start is not None and frames.char_end is not None
        pieces = [text[a:b] for a, b in zip(frames.char_start, frames.char_end, strict=True) if a >= 0]
        assert "".join(pieces) == text.replace(" ", "")

    (folder / "clips/labels.csv").write_text("file,text\na.mkv,It was awful.\ndeep/a,Not so good.\n")
    _, printed = cli("extract", "clips", "--out", "out", "--json", *only_text)
    kept = {video: report["modalities"][0]["kept"] for video, report in reports(printed).items()}
    assert kept == {"clips/a.mkv": False, "clips/deep/a.mkv": True, "clips/broken.mp4": True}

    (folder / "clips/other.csv").write_text("name,text\na,b\n")
    _, printed = cli("extract", "clips", "--out", "out", "--texts", "other.csv", *only_text)
    assert "other.csv: " in printed and "file" in printed


def test_info_explains_the_folder_that_extract_wrote(
    folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    both = (*QUICK, "--audio-encoder", "librosa33")
    cli("extract", "clips", "--out", "out", *both)
    code, printed = cli("info", "out", "--json")
    assert code == 0
    encoders = json.loads(printed)["encoders"]
    assert list(encoders) == ["audio-librosa33", "audio-waveform16k"]
    assert encoders["audio-waveform16k"]["status"] == {"ok": 2, "failed": 1}
    assert encoders["audio-waveform16k"]["frames"]["total"] == 16_000
    code, printed = cli("info", "out")
    assert code == 0 and "librosa33" in printed and "2 ok, 1 failed" in printed


def test_what_was_heard_is_not_heard_again(
    folder: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recognition costs more than all else; `--fresh` asks it again."""
    asked: list[str] = []

    def listener(*settings: Any) -> Callable[[Transcript], Transcript]:
        def listen(clip: Transcript) -> Transcript:
            asked.append(clip.clip_id)
            return replace(clip, text="heard words", source="asr")

        return listen

    monkeypatch.setattr(clip_extraction, "transcriber", listener)
    monkeypatch.setattr(stage, "weights_of", lambda settings: {})
    monkeypatch.setattr(clip_extraction, "recognition", lambda params, asr: HEARING)
    words = ("extract", "clips/a.mkv", "--out", "out", "--json", "--asr", "base")
    only_text = ("--audio-encoder", "none", "--visual-encoder", "none")
    for options, kept, times in (((), False, 1), ((), True, 1), (("--fresh",), False, 2), ((), True, 2)):
        code, printed = cli(*words, *only_text, *options)
        (text,) = reports(printed)["clips/a.mkv"]["modalities"]
        assert (code, text["status"], text["note"], text["kept"]) == (0, "ok", "from asr", kept)
        assert len(asked) == times
    _, printed = cli(*words, *only_text, "--set", "text.minilm.max_length=8")  # its words are known
    assert len(asked) == 2 and not reports(printed)["clips/a.mkv"]["modalities"][0]["kept"]
