"""Two thousand clips through the audio stage: memory, and what one clip more costs (`make bench`)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.core.files import file_hash
from pipeline.execution import local
from pipeline.features.encoder import Clip
from pipeline.features.registry import build_encoder
from pipeline.features.rows import EncodingTask, encode_row, footer, media_hash, row_maker
from pipeline.params.encoders import Librosa33Params
from pipeline.params.params import MediaLimits
from pipeline.store.shard import FeatureRow
from pipeline.store.store import FeatureStore

pytestmark = pytest.mark.benchmark

CLIPS, SHARDS, RATE = 2_000, 16, 22_050
MOST_GROWTH_MB = 60  # of this process from the first quarter of the clips to the last
MOST_SECONDS = 1.0  # for one clip more, after imports and warm-up


def tasks(folder: Path, numbers: range) -> dict[str, EncodingTask]:
    """One second of a tone each, every clip with a pitch of its own."""
    found = {}
    for i in numbers:
        path = folder / f"{i:05}.wav"
        hertz = 80 + 300 * i / CLIPS
        soundfile.write(path, 0.5 * np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE), RATE)
        found[f"v$_${i:05}"] = EncodingTask(
            Clip(f"v$_${i:05}", path=path), media_hash(file_hash(path), None, None)
        )
    return found


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_two_thousand_clips_and_one_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build = partial(build_encoder, "audio", "librosa33", Librosa33Params(), MediaLimits(), "cpu")
    all_tasks = tasks(tmp_path, range(CLIPS + 1))
    last = f"v$_${CLIPS:05}"
    store, meta = FeatureStore(tmp_path / "store"), footer(build())
    resident: list[float] = []

    def in_workers(clip_ids: list[str]) -> Iterator[FeatureRow]:
        wanted = [all_tasks[clip_id] for clip_id in clip_ids]
        for _, row in local.run(partial(row_maker, build), wanted, workers=2, timeout_s=60):
            assert isinstance(row, FeatureRow)
            resident.append(resident_mb())
            yield row

    wanted = {clip_id: task.source_sha256 for clip_id, task in all_tasks.items()}
    begin = time.perf_counter()
    store.update(
        {clip_id: wanted[clip_id] for clip_id in wanted if clip_id != last}, meta, SHARDS, in_workers
    )
    all_s = time.perf_counter() - begin

    encoder = build()
    encoder.load()
    encode_row(encoder, all_tasks[last])  # warm-up
    begin = time.perf_counter()
    update = store.update(
        wanted, meta, SHARDS, lambda clip_ids: (encode_row(encoder, all_tasks[i]) for i in clip_ids)
    )
    one_s = time.perf_counter() - begin
    growth = max(resident) - max(resident[: CLIPS // 4])
    with capsys.disabled():
        print(
            f"\n{CLIPS} clips of 1 s, two workers: {all_s:.0f} s, {CLIPS / all_s:.0f} clips/s; this process "
            f"grew by {growth:.0f} MB after the first {CLIPS // 4}; one clip more: {one_s:.2f} s"
        )
    assert (update.kept, update.computed) == (CLIPS, 1)
    assert growth < MOST_GROWTH_MB
    assert one_s < MOST_SECONDS
