"""The transcribe stage with a tiny random Whisper: sources, clips that fail, results that are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made.long_sound import count_decoded, state_no_length, write_hour
from made.media_factory import make_clip, tone
from made.tiny_speech import speech

from pipeline.core.errors import TooManyFailedError
from pipeline.corpora.clips import clip_table
from pipeline.params.params import MediaLimits
from pipeline.params.transcribe import AsrParams, TranscribeParams
from pipeline.transcripts.recognition import Recognizer
from pipeline.transcripts.stage import TranscribeReport, transcribe_dataset

RATE = 16_000
LIMITS = MediaLimits()
ANYTHING = 99.0  # times that a text may be smaller: what a random model says, it may say again and again


def test_the_stage_takes_the_first_source_that_tells(folder: Path, tmp_path: Path) -> None:
    """Six clips: label, sidecar, bad sidecar, recognition, no sound, no file; through real workers."""
    sound = {"sound": speech(1.5), "audio_codec": "pcm_s16le"}
    for name in "abcd":
        make_clip(tmp_path / f"{name}.wav", **sound)
    make_clip(tmp_path / "e.mkv", times=[0.0, 0.04])
    (tmp_path / "a.txt").write_text("never read")
    (tmp_path / "b.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nHi\n")
    (tmp_path / "c.srt").write_text("no cue in it")
    (tmp_path / "f.txt").write_text("of a file that is not there")
    rows = [("a", "the label", "a.wav"), ("b", " ", "b.wav"), ("c", None, "c.wav"), ("d", None, "d.wav")]
    rows += [("e", None, "e.mkv"), ("f", None, "f.wav"), ("g", None, None)]
    clips = clip_table(
        {
            "clip_id": i,
            "video_id": i,
            "split": "train",
            "language": "en",
            "text": t,
            "path": p,
            "status": "ok",
        }
        for i, t, p in rows
    )
    settings = TranscribeParams(asr=AsrParams(model=str(folder), compression_ratio=ANYTHING))
    table, report = transcribe_dataset(clips, tmp_path, "toy", settings, LIMITS, workers=1)
    found = {row["clip_id"]: row for row in table.to_pylist()}
    heard = Recognizer(settings.asr).recognize(tmp_path / "d.wav", LIMITS, "en")
    source = "asr:whisper-tiny-random"
    assert [found[i]["source"] for i in "abcdefg"] == ["label", "sidecar", source, source, None, None, None]
    assert (found["a"]["text"], found["a"]["words"]) == ("the label", None)
    assert found["b"]["words"] == [{"text": "Hi", "start_s": 0.0, "end_s": 1.0, "score": None}]
    assert (found["d"]["text"], found["d"]["words"]) == (heard.text, heard.words)
    assert "no cue found" in report.problems["c"]
    assert "no audio track" in report.problems["e"]
    assert "no such file" in report.problems["f"]
    assert report.failed == 1  # f; a clip without sound has no speech to fail at
    assert str(report).startswith(
        "toy: 4 of 7 clips have a transcript (2 asr:whisper-tiny-random, 1 label, 1 si"
    )
    with pytest.raises(TooManyFailedError, match="speech of 1 of 7 clips"):
        report.check(0.1)
    report.check(0.2)


def test_a_second_run_listens_only_to_what_is_new(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the file of what was heard, half of its last line torn off by a kill; equal rows each time."""
    listened: list[str] = []

    def alone(make: Any, items: list[Any], **limits: object) -> Any:
        """Workers would hide who was listened to."""
        function = make()
        for item in items:
            listened.append(item.clip_id)
            yield item, function(item)

    def run(ids: str, **settings: Any) -> tuple[list[dict[str, Any]], str]:
        listened.clear()
        clips = clip_table(
            {
                "clip_id": i,
                "video_id": i,
                "split": "train",
                "language": "en",
                "path": f"{i}.wav",
                "sha256": i * 64,
                "status": "ok",
            }
            for i in ids
        )
        asked = TranscribeParams(asr=AsrParams(model=str(folder), compression_ratio=ANYTHING, **settings))
        table, _ = transcribe_dataset(clips, tmp_path, "toy", asked, LIMITS, kept=kept, fresh=fresh)
        return table.to_pylist(), "".join(listened)

    monkeypatch.setattr("pipeline.transcripts.stage.local.run", alone)
    kept, fresh = tmp_path / "state" / "toy.jsonl", False
    for seed, name in enumerate("abc"):
        make_clip(tmp_path / f"{name}.wav", sound=speech(1.0, seed), audio_codec="pcm_s16le")
    make_clip(tmp_path / "d.wav", sound=np.zeros(RATE, np.float32), audio_codec="pcm_s16le")
    first, heard = run("abcd")
    assert heard == "abcd"
    again, heard = run("abcd")
    assert heard == "d"  # what gave nothing is tried again
    assert again == first
    lines = kept.read_text().splitlines(keepends=True)
    assert len(lines) == 3
    kept.write_text("".join(lines)[: -len(lines[-1]) // 2])
    again, heard = run("abc")
    assert len(heard) == 1 and again == first[:3]
    assert run("abc", no_speech=0.9)[1] == "abc"  # other settings
    fresh = True
    assert run("abc", no_speech=0.9)[1] == "abc"


def test_a_clip_too_long_or_in_another_language_costs_itself_alone(folder: Path, tmp_path: Path) -> None:
    languages = {"a": "en", "b": "zh", "c": "en"}
    for name in languages:
        sound = speech(5.0 if name == "c" else 1.0)
        make_clip(tmp_path / f"{name}.wav", sound=sound, audio_codec="pcm_s16le")
    clips = clip_table(
        {"clip_id": i, "video_id": i, "split": "train", "language": of, "path": f"{i}.wav", "status": "ok"}
        for i, of in languages.items()
    )
    asr = AsrParams(model={"en": str(folder)}, compression_ratio=ANYTHING)
    table, report = transcribe_dataset(
        clips, tmp_path, "toy", TranscribeParams(asr=asr), MediaLimits(max_seconds=2)
    )
    texts = table["text"].to_pylist()
    assert texts[0] and texts[1:] == [None, None] and report.failed == 2
    assert report.problems["b"] == "transcribe.asr.model has no model for the language 'zh'; name one there"
    assert "longer (5.00 s) than media.max_seconds=2" in report.problems["c"]


@pytest.mark.parametrize("stated", [True, False])
def test_an_hour_is_told_and_not_listened_to(
    stated: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_hour(tmp_path / "hour.wav")
    if not stated:
        state_no_length(monkeypatch)
    decoded = count_decoded(monkeypatch)
    recognizer = Recognizer(AsrParams(model=str(folder)))
    monkeypatch.setattr("pipeline.transcripts.recognition.Recognizer", lambda *_: recognizer)
    monkeypatch.setattr(
        "pipeline.transcripts.stage.local.run",  # workers would hide what is decoded
        lambda make, clips, **_: [(clip, make()(clip)) for clip in clips],
    )
    row = {"clip_id": "a", "video_id": "a", "split": "train", "language": "en", "path": "hour.wav"}
    settings = TranscribeParams(asr=recognizer.settings)
    table, report = transcribe_dataset(
        clip_table([{**row, "status": "ok"}]), tmp_path, "toy", settings, LIMITS
    )
    assert table["text"].to_pylist() == [None] and report.failed == 1
    assert report.problems["a"].startswith("hour.wav: longer (")
    assert "than media.max_seconds=600" in report.problems["a"]
    assert sum(decoded) == 0 if stated else 600 < sum(decoded) < 602
    assert not recognizer._models, "no weights are read for it"


def test_a_txt_cannot_tell_parts_apart(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.wav", sound=tone(220, 2.0, RATE), audio_codec="pcm_s16le")
    (tmp_path / "a.txt").write_text("all of it")
    clips = clip_table(
        {
            "clip_id": i,
            "video_id": "a",
            "split": "train",
            "language": "en",
            "path": "a.wav",
            "start_s": s,
            "status": "ok",
        }
        for i, s in (("whole", None), ("part", 1.0))
    )
    table, report = transcribe_dataset(clips, tmp_path, "toy", TranscribeParams(), LIMITS)
    assert table["text"].to_pylist() == [None, "all of it"]
    assert "only a part of its file" in report.problems["part"]


def test_many_problems_are_told_briefly() -> None:
    report = TranscribeReport("toy", {None: 30}, 0, {f"c{i:02}": "why" for i in range(30)}, 0)
    assert str(report).splitlines()[1] == "  c00: why"
    assert str(report).splitlines()[-1] == "  ... and 10 more"
