"""Tracks in a codec that nothing here decodes: failed with the name that the bytes give it, never absent."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from made.media_factory import make_clip, tone
from made.subtitled import subtitled

from pipeline.core.errors import ClipError, UndecodableError
from pipeline.core.vocabulary import ABSENT, FAILED, OK
from pipeline.corpora.clips import measure
from pipeline.features.encoder import Clip, Encoded, Encoder
from pipeline.features.rows import EncodingTask, encode_row
from pipeline.media.decode import frames, probe, waveform
from pipeline.media.subtitles import embedded_cues
from pipeline.params.encoders import Waveform16kParams
from pipeline.params.params import MediaLimits
from pipeline.transcripts.stage import Transcript, read

LIMITS = MediaLimits()


class Unknown(NamedTuple):
    """A clip in which `known` bytes, which name a track's codec, are replaced by `unknown` ones."""

    name: str
    kind: str
    codecs: tuple[str | None, str | None]
    known: bytes
    unknown: bytes
    said: str


UNKNOWN = [
    Unknown("a.mp4", "video", ("libx264", "aac"), b"avc1", b"QQZZ", "QQZZ"),
    Unknown("a.mov", "video", ("libx264", "pcm_s16le"), b"avc1", b"QQZZ", "QQZZ"),
    Unknown("b.mov", "audio", ("libx264", "pcm_s16le"), b"sowt", b"qqzz", "qqzz"),
    Unknown("a.mkv", "video", ("libx264", "aac"), b"V_MPEG4/ISO/AVC", b"V_MPEG9/ISO/XYZ", "V_MPEG9/ISO/XYZ"),
    Unknown("b.mkv", "audio", ("ffv1", "flac"), b"A_FLAC", b"A_QQQQ", "A_QQQQ"),
    Unknown("c.mkv", "audio", (None, "flac"), b"A_FLAC", b"A_QQQQ", "A_QQQQ"),
    Unknown("a.webm", "video", ("libvpx", None), b"V_VP8", b"V_QQ8", "V_QQ8"),
    Unknown("a.avi", "video", ("mpeg4", "libmp3lame"), b"FMP4", b"QQZZ", "QQZZ"),
    Unknown(
        "a.wav", "audio", (None, "pcm_s16le"), b"fmt \x10\0\0\0\x01\0", b"fmt \x10\0\0\0\x79\x79", "yy[0][0]"
    ),
]


@pytest.fixture(params=UNKNOWN, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Unknown]:
    unknown: Unknown = request.param
    video, audio = unknown.codecs
    path = make_clip(
        tmp_path / unknown.name,
        times=None if video is None else [k / 25 for k in range(10)],
        video_codec=video or "",
        sound=None if audio is None else tone(300, 0.4, 16_000),
        audio_codec=audio or "",
    )
    content = path.read_bytes()
    assert unknown.known in content
    path.write_bytes(content.replace(unknown.known, unknown.unknown))
    return path, unknown


class Reader(Encoder):
    """Reads a track of the clip."""

    LIBRARIES = ()
    dim, column_names, frame_rate = 1, ("n",), 1.0  # type: ignore[assignment]

    def load(self) -> None: ...

    def encode(self, clip: Clip) -> Encoded:
        assert clip.path is not None
        if self.modality == "audio":
            count = len(waveform(clip.path, LIMITS, sample_rate=16_000))
        else:
            count = len(list(frames(clip.path, LIMITS)))
        return Encoded(np.full((1, 1), count, np.float32), np.zeros(1, np.float32))


def test_a_track_of_an_unknown_codec_is_a_failure_that_names_it(case: tuple[Path, Unknown]) -> None:
    path, unknown = case
    modalities = {"video": "visual", "audio": "audio"}
    for kind, modality, codec in zip(modalities, modalities.values(), unknown.codecs, strict=True):
        encoder = type(modality, (Reader,), {"modality": modality})("reader", Waveform16kParams(), LIMITS)
        row = encode_row(encoder, EncodingTask(Clip("c", path=path), "s"))
        if kind == unknown.kind:
            assert row.status == FAILED
            assert row.error.startswith(f"{path.name}: its {kind} track has the codec {unknown.said}, which")
        else:
            assert row.status == (ABSENT if codec is None else OK)


def test_the_facts_of_ingest_tell_of_it(case: tuple[Path, Unknown]) -> None:
    path, unknown = case
    facts, problem = measure(path, LIMITS)
    assert problem is not None and "; " not in problem
    assert problem.startswith(
        f"unreadable media: {path.name}: its {unknown.kind} track has the codec {unknown.said}"
    )
    if all(unknown.codecs):  # what the other track tells is known
        assert facts["has_audio"] is True
        assert facts["duration_s"] == pytest.approx(0.4, abs=0.15)
        assert (facts["width"] is None) == (unknown.kind == "video")
        assert (facts["sample_rate"] is None) == (unknown.kind == "audio")
        info = probe(path, LIMITS)
        assert (info.has_video, info.has_audio) == (True, True)
    else:
        assert set(facts) == {"sha256"}
        with pytest.raises(ClipError, match=re.escape(unknown.said)):
            probe(path, LIMITS)


def test_each_of_several_unknown_codecs_is_named(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", times=[0.0, 0.04], sound=tone(300, 0.1, 16_000))
    path.write_bytes(path.read_bytes().replace(b"V_FFV1", b"V_QQQQ").replace(b"A_FLAC", b"A_ZZZZ"))
    with pytest.raises(
        ClipError, match=r"video track has the codec V_QQQQ, .* audio track has the codec A_ZZZZ,"
    ):
        probe(path, LIMITS)


@pytest.mark.parametrize(("suffix", "codec", "known", "unknown", "said"), [
    (".mkv", "srt", b"S_TEXT/UTF8", b"S_TEXT/QQQQ", "S_TEXT/QQQQ"),
    (".mp4", "mov_text", b"tx3g", b"stpp", "ttml stpp"),
])  # fmt: skip
def test_subtitles_of_an_unknown_codec(
    tmp_path: Path, suffix: str, codec: str, known: bytes, unknown: bytes, said: str
) -> None:
    path = subtitled(tmp_path / f"a{suffix}", {"eng": (codec, ["Hello", "there"])})
    assert len(embedded_cues(path, "en")) == 2
    path.write_bytes(path.read_bytes().replace(known, unknown))
    with pytest.raises(UndecodableError, match=f"its subtitle track has the codec {said}"):
        embedded_cues(path, "en")
    spoken = read(Transcript("c", path, None, None, "en"), None)
    assert spoken.failed and said in (spoken.failure or "")
    assert len(waveform(path, LIMITS, sample_rate=16_000))  # the sound is there all the same
    labelled: Any = read(Transcript("c", path, None, None, "en"), "what the label says")
    assert not labelled.failed
