"""Sequences on the disk against arrays in memory: order, blocks and statistics; memory of an assembly."""

from __future__ import annotations

import gc
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made.stored import stored
from test_assemble import clips_of, noise, store, transcripts_of

from pipeline.datasets.assembly import gathered
from pipeline.datasets.assembly.assemble import assemble
from pipeline.datasets.assembly.gathered import GatheredSequences
from pipeline.datasets.assembly.sequences import fit
from pipeline.params.assemble import AssembleParams


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=20),
    dim=st.sampled_from([1, 2, 63, 64, 65, 130, 200]),
    block=st.integers(1, 100),
    seed=st.integers(0, 99),
)
def test_statistics_are_those_of_the_whole(
    lengths: list[int], dim: int, block: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """To the last bit those of arrays that hold everything, which are cut every `block` steps."""
    random = np.random.default_rng(seed)
    clips = {f"c{i}": random.normal(3, 2, (n, dim)).astype(np.float32) for i, n in enumerate(lengths)}
    real = {name: random.random(len(values)) > 0.2 for name, values in clips.items()}
    sequences = GatheredSequences(tmp_path_factory.getbasetemp(), np.dtype(np.float32), dim)
    for name in random.permutation(list(clips)).tolist():
        sequences.add(name, clips[name], real[name])
    names = [*clips, "unknown"]
    values, found, offsets = sequences.read(names)
    flat, mask = np.concatenate(list(clips.values())), np.concatenate(list(real.values()))
    np.testing.assert_array_equal(values, flat)
    np.testing.assert_array_equal(found, mask)
    assert np.diff(offsets).tolist() == [*lengths, 0]
    assert sequences.has_real(names) == mask.any()
    if not mask.any():
        return
    pieces = [flat[at : at + block][mask[at : at + block]] for at in range(0, len(flat), block)]
    mean = sum(piece.sum(axis=0, dtype=np.float64) for piece in pieces) / mask.sum()
    spread = sum(np.square(piece - mean).sum(axis=0) for piece in pieces) / mask.sum()
    columns = [f"c{i}" for i in range(dim)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gathered, "BLOCK", block)
        got = fit(partial(sequences.blocks, names), {"columns": columns, "normalized": columns})
    assert got == (mean.tolist(), np.sqrt(spread).tolist())


def peak_bytes(folder: Path, clips: int) -> int:
    """Most memory of NumPy and Arrow in the assembly of a set of features and sound."""
    ids = [f"v{i:04d}$_$1" for i in range(clips)]
    names = [f"a_{i}" for i in range(40)]
    audio = stored(store("audio", names, {name: noise(100, 40) for name in ids}), folder / "audio")
    sound = store("audio", ["sample"], {name: np.full((8_000, 1), i) for i, name in enumerate(ids)})
    sound.meta |= {"dtype": "int16", "frame_rate": 16_000.0}
    params = {"dataset": "toy", "audio": "toy/audio", "waveform": "toy/sound", "max_steps": {"audio": 90}}
    inputs = clips_of([(name, "train", 1.0) for name in ids]), transcripts_of(dict.fromkeys(ids))
    chosen = AssembleParams.model_validate(params)
    waveform = stored(sound, folder / "sound")
    gc.collect()
    before, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        assemble(*inputs, {"audio": audio}, chosen, folder / "set", "toy", waveform)
        return tracemalloc.get_traced_memory()[1] + pool.max_memory()
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)
        assert pq.read_metadata(folder / "set/train.waveform.parquet").num_rows == clips


def test_memory_does_not_grow_with_the_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.store.shard.ROW_GROUP_BYTES", 1 << 18)
    monkeypatch.setattr("pipeline.datasets.assembly.files.ROW_GROUP", 16)
    monkeypatch.setattr("pipeline.datasets.assembly.files.ROW_GROUP_SAMPLES", 1 << 17)
    monkeypatch.setattr(gathered, "BLOCK", 1_000)
    few, many = (peak_bytes(tmp_path / str(clips), clips) for clips in (150, 600))
    assert many < 1.5 * few
    assert many < 600 * (90 * 40 * 4 + 8_000 * 2) / 2  # of what the files hold
