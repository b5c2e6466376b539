"""A set of twenty thousand clips, and one clip more in a store of a hundred thousand (`make bench`).

docs/scale.md has what was measured. Where the disk has not the room for that, three thousand clips are taken.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from timing import measure

from pipeline.store.shard import FeatureRow
from pipeline.store.store import FeatureStore, bucket_of, shard_name

pytestmark = pytest.mark.benchmark

FEW, MANY = 1_000, 20_000
MOST_MB = {"assemble": 1_500, "train": 3_000, "evaluate": 3_000}


def measured(folder: Path, clips: int) -> dict[str, Any]:
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, here / "scale.py", folder, str(clips)],
        env={**os.environ, "PYTHONPATH": f"{here.parent}{os.pathsep}{here.parents[1]}"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    print(done.stdout)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_memory_and_time_of_a_large_set(tmp_path: Path) -> None:
    room = shutil.disk_usage(tmp_path).free / 1e6  # MB; a clip takes about one
    few, many = (measured(tmp_path / "set", clips) for clips in (FEW, MANY if room > 1.5 * MANY else 3 * FEW))
    for step, limit in MOST_MB.items():
        assert many[step]["peak_mb"] < limit
    a_clip = [found["assemble"]["cpu_s"] / found["clips"] for found in (few, many)]
    print(f"assembly: {1e3 * a_clip[0]:.2f} and {1e3 * a_clip[1]:.2f} ms a clip")
    assert a_clip[1] < 1.3 * a_clip[0]


def test_one_clip_of_a_hundred_thousand_rewrites_one_shard(tmp_path: Path) -> None:
    meta = {"modality": "audio", "encoder": "toy", "dim": 4, "dtype": "float32", "fingerprint": "f"}
    meta |= {"column_names": list("abcd"), "frame_rate": 10.0}
    store, shards, frames = FeatureStore(tmp_path), 256, np.ones((5, 4), np.float32)
    wanted = {f"v{i // 10:05d}$_${i % 10}": "s" for i in range(100_000)}

    def update() -> None:
        store.update(
            wanted, meta, shards, lambda clips: (FeatureRow(name, "s", "ok", "", frames) for name in clips)
        )

    update()
    before = {path.name: path.stat().st_ino for path in store.files()}
    wanted["new$_$1"] = "s"
    elapsed, cpu = measure(update)
    changed = {path.name for path in store.files() if path.stat().st_ino != before[path.name]}
    print(f"one clip more in 100,000 of {shards} shards: {elapsed:.1f} s, {cpu:.1f} CPU s")
    assert changed == {shard_name(bucket_of("new$_$1", shards))}
