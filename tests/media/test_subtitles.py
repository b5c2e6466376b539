"""Subtitles with times: cues, word times, parts of a file, files beside media and tracks inside."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from made.media_factory import make_clip, tone
from made.subtitled import subtitled

from pipeline.core.errors import ClipError
from pipeline.media.subtitles import (
    MAX_BYTES,
    Cue,
    embedded_cues,
    read_cues,
    read_text_file,
    sidecar,
    text_and_words,
)


def cues_of(tmp_path: Path, content: str, suffix: str = ".vtt") -> list[Cue]:
    path = tmp_path / f"talk{suffix}"
    path.write_text(content, encoding="utf-8")
    return read_cues(path)


def times(words: list[dict[str, object]] | None) -> list[tuple[object, ...]]:
    assert words is not None
    return [(word["text"], word["start_s"], word["end_s"]) for word in words]


# ------------------------------------------------------------------------------------------------------ times
def test_times_of_cues(tmp_path: Path) -> None:
    (one, two) = cues_of(
        tmp_path, "1\n01:00:01,5 --> 01:00:02,050\nfirst one\n\n2\n1:02:03.25 --> 1:02:04.000\nb\n", ".srt"
    )
    assert (one.start_s, one.end_s, one.text, one.words) == (3601.5, 3602.05, "first one", None)
    assert (two.start_s, two.end_s) == (3723.25, 3724.0)
    assert times(two.words) == [("b", 3723.25, 3724.0)]  # a cue of a single word is a word


@pytest.mark.parametrize("clock", ["00:01.5001.5.2", "1.2.3", "1:2:3:4:5", "0" * 5000, "1::2", "1."])
def test_a_tag_that_is_nearly_a_time_is_no_error(tmp_path: Path, clock: str) -> None:
    (cue,) = cues_of(tmp_path, f"WEBVTT\n\n00:01.000 --> 00:03.000\nOh <{clock}>really\n")
    assert cue.text == "Oh really"


def test_word_tags(tmp_path: Path) -> None:
    (cue,) = cues_of(
        tmp_path,
        "WEBVTT\n\n00:01.000 --> 00:03.000\nOh,<00:01.500><c> real</c><00:01.750>ly <00:02.000>&lt;3\n",
    )
    assert cue.text == "Oh, really <3"
    assert times(cue.words) == [("Oh,", 1.0, 1.5), ("really", 1.5, 2.0), ("<3", 2.0, 3.0)]
    (cue,) = cues_of(tmp_path, "WEBVTT\n\n00:01.000 --> 00:03.000\n你<00:01.500>好。<00:02.000>吗\n")
    assert times(cue.words) == [("你", 1.0, 1.5), ("好。", 1.5, 2.0), ("吗", 2.0, 3.0)]


@pytest.mark.parametrize("payload", ["two words<00:01.500> then", "back<00:02.500> in<00:01.500> time"])
def test_times_are_never_guessed(tmp_path: Path, payload: str) -> None:
    (cue,) = cues_of(tmp_path, f"WEBVTT\n\n00:01.000 --> 00:03.000\n{payload}\n")
    assert cue.words is None
    assert (
        text_and_words([cue, Cue(3, 4, "ok", [{"text": "ok", "start_s": 3, "end_s": 4, "score": None}])])[1]
        is None
    )


def test_rolling_captions_with_word_times(tmp_path: Path) -> None:
    """As YouTube writes them: each line is shown by three cues, and tagged in the first of them."""
    content = (
        "WEBVTT\nKind: captions\n\n"
        "00:00:00.000 --> 00:00:02.000\n \nso<00:00:00.500><c> I</c><00:00:01.000><c> said</c>\n\n"
        "00:00:02.000 --> 00:00:02.010 align:start\nso I said\n \n\n"
        "00:00:02.010 --> 00:00:04.000 align:start\nso I said\nno<00:00:03.000><c> way</c>\n\n"
        "00:00:04.000 --> 00:00:04.010 align:start\nno way\n \n\n"
        "00:00:04.010 --> 00:00:06.000 align:start\nno way\nno<00:00:05.000><c> way</c>\n"
    )
    text, words = text_and_words(cues_of(tmp_path, content))
    assert text == "so I said no way no way"
    assert times(words) == [
        ("so", 0.0, 0.5),
        ("I", 0.5, 1.0),
        ("said", 1.0, 2.0),
        ("no", 2.01, 3.0),
        ("way", 3.0, 4.0),
        ("no", 4.01, 5.0),
        ("way", 5.0, 6.0),
    ]
    assert read_text_file(tmp_path / "talk.vtt") == text


# ------------------------------------------------------------------------------------------- parts of a file
def test_a_part_has_what_lies_in_it() -> None:
    def word(text: str, start_s: float) -> dict[str, object]:
        return {"text": text, "start_s": start_s, "end_s": start_s + 1, "score": None}

    timed = [Cue(0, 3, "a b c", [word("a", 0), word("b", 1), word("c", 2)]), Cue(3, 4, "d", [word("d", 3)])]
    text, words = text_and_words(timed, 1.25, 3.4)
    assert text == "b c"  # the middle of b is at 1.5, that of d at 3.5
    assert times(words) == [("b", 0.0, 0.75), ("c", 0.75, 1.75)]
    plain = [Cue(0, 2, "one two", None), Cue(2, 4, "three four", None), Cue(4, 5, "", None)]
    assert text_and_words(plain, 1.5, None) == ("three four", None)
    assert text_and_words(plain) == ("one two three four", None)
    assert text_and_words(plain, 10.0, 12.0) == ("", None)


def test_parts_share_out_the_whole() -> None:
    rng = np.random.default_rng(0)
    edges = np.sort(rng.uniform(0, 60, 41))
    cues = [
        Cue(begin, end, f"w{i}", [{"text": f"w{i}", "start_s": begin, "end_s": end, "score": None}])
        for i, (begin, end) in enumerate(itertools.pairwise(edges))
    ]
    cuts = [None, 7.0, 31.5, 44.0, None]
    parts = [text_and_words(cues, begin, end)[0].split() for begin, end in itertools.pairwise(cuts)]
    assert [word for part in parts for word in part] == [f"w{i}" for i in range(40)]


# ------------------------------------------------------------------------------------------------------ files
def test_the_sidecar_of_a_media_file(tmp_path: Path) -> None:
    media = tmp_path / "talk.one.mp4"
    assert sidecar(media, "en") is None
    for name in ("talk.txt", "talk.one.txt.bak", "talk.one.mp4.srt", "talk.one.de.vtt"):
        (tmp_path / name).write_text("x")
    assert sidecar(media, "en") is None
    for name in ("talk.one.en.vtt", "talk.one.txt", "talk.one.SRT", "talk.one.vtt"):  # each before the last
        (tmp_path / name).write_text("x")
        assert sidecar(media, "en") == tmp_path / name
    assert sidecar(tmp_path / "gone" / "a.mp4", "en") is None


# ----------------------------------------------------------------------------------------------------- tracks
@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mkv", "srt"), (".mkv", "ass"), (".mkv", "webvtt"), (".mp4", "mov_text")]
)
def test_an_embedded_track(tmp_path: Path, suffix: str, codec: str) -> None:
    texts = ["Hello, {\\i1}my{\\i0} friends", "two\\Nlines, and", "cafe\u0301"]
    cues = embedded_cues(subtitled(tmp_path / f"a{suffix}", {"eng": (codec, texts)}), "en")
    assert [cue.text for cue in cues] == ["Hello, my friends", "two lines, and", "caf\u00e9"]
    np.testing.assert_allclose(
        [(cue.start_s, cue.end_s) for cue in cues], [(0, 1.5), (2, 3.5), (4, 5.5)], atol=0.03
    )
    assert cues[0].words is None
    assert cues[2].words is not None


def test_the_track_in_the_clips_language_is_taken(tmp_path: Path) -> None:
    path = subtitled(tmp_path / "a.mkv", {"deu": ("srt", ["Hallo"]), "eng": ("srt", ["Hello"])})
    for language, text in (("en", "Hello"), ("de", "Hallo"), ("zh", "Hallo"), (None, "Hallo")):
        assert [cue.text for cue in embedded_cues(path, language)] == [text]


def test_media_without_a_track_or_without_sense(tmp_path: Path) -> None:
    assert (
        embedded_cues(
            make_clip(tmp_path / "a.wav", sound=tone(220, 0.2, 16_000), audio_codec="pcm_s16le"), "en"
        )
        == []
    )
    (tmp_path / "b.mp4").write_bytes(b"no media at all")
    with pytest.raises(ClipError, match="not a media file"):
        embedded_cues(tmp_path / "b.mp4", "en")


def test_a_track_is_not_read_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = subtitled(tmp_path / "a.mkv", {"eng": ("srt", ["twelve chars"] * 3)})
    monkeypatch.setattr("pipeline.media.subtitles.MAX_BYTES", 24)
    with pytest.raises(ClipError, match="more than 24 characters"):
        embedded_cues(path, "en")
    monkeypatch.setattr("pipeline.media.subtitles.MAX_BYTES", MAX_BYTES)
    assert len(embedded_cues(path, "en")) == 3
