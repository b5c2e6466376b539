"""Blocks of sound as libav decodes them: where they lie on the file's clock, and their samples as mono."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

AUDIO_JUMP_S = 0.1  # smaller jumps of audio timestamps are jitter; libswresample has the same threshold
PLANES_MAX = 7  # PyAV reads planes up to a null pointer, which comes too late where there are more


def mono_blocks(blocks: Iterator[Any], origin: float) -> Iterator[tuple[int, int, np.ndarray]]:
    """Of each block: the source sample (from the file's start) where it begins, Hz, mono float32 samples."""
    after: int | None = None  # where the next block begins if nothing is missing
    for block in blocks:
        rate = block.sample_rate
        begin = after or 0
        if block.pts is not None:
            stamped = round((float(block.pts * block.time_base) - origin) * rate)
            if after is None or abs(stamped - after) >= AUDIO_JUMP_S * rate:
                begin = stamped
        samples = _mono(block)
        after = begin + len(samples)
        yield begin, rate, samples


def _mono(block: Any) -> np.ndarray:
    """Mean of the channels, shape (n_samples,), float32; full scale is 1."""
    from av import AudioResampler

    if block.format.name.startswith("s64") or (
        block.format.is_planar and block.layout.nb_channels > PLANES_MAX
    ):
        block = AudioResampler("dbl").resample(block)[0]
    samples = block.to_ndarray()  # (channels, n) if planar, else (1, n * channels)
    if not block.format.is_planar:
        samples = samples.reshape(-1, block.layout.nb_channels).T
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif samples.dtype.kind == "i":
        samples = samples / np.float32(-float(np.iinfo(samples.dtype).min))
    return samples.mean(axis=0, dtype=np.float32)
