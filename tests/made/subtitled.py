"""Clips with subtitle tracks inside."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.subtitles.subtitle import SubtitleSet
from made.media_factory import tone

ASS_HEADER = (
    b"[Script Info]\r\nScriptType: v4.00+\r\n[V4+ Styles]\r\nFormat: Name, Fontname, Fontsize\r\n"
    b"Style: Default,Arial,16\r\n[Events]\r\n"
    b"Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\r\n"
)


def subtitled(path: Path, tracks: dict[str, tuple[str, list[str]]]) -> Path:
    """A clip with subtitle tracks: language -> (codec, texts at 0 s, 2 s, 4 s ..., 1.5 s each)."""
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac" if path.suffix == ".mp4" else "flac", rate=16_000, layout="mono")
        streams = []
        for language, (codec, texts) in tracks.items():
            stream = container.add_stream(codec)
            stream.metadata["language"] = language
            stream.codec_context.subtitle_header = ASS_HEADER
            streams.append((stream, texts))
        sound = (tone(220, 5.0, 16_000) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16_000, 0, Fraction(1, 16_000)
        packets = [*audio.encode(frame), *audio.encode(None)]
        for stream, texts in streams:
            for i, text in enumerate(texts):
                event = SubtitleSet.create(f"{i},0,Default,,0,0,0,,{text}".encode(), 0, 1500, 2000 * i)
                packet = stream.codec_context.encode_subtitle(event)
                packet.stream, packet.time_base = stream, Fraction(1, 1000)
                packet.pts = packet.dts = 2000 * i
                packet.duration = 1500
                packets.append(packet)
        for packet in packets:
            container.mux(packet)
    return path
