"""How large shards may be: one new clip rewrites one, and the advice on their number holds."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from made.feature_rows import DIM, META

from pipeline.store import shard
from pipeline.store.shard import FeatureRow
from pipeline.store.store import FeatureStore, bucket_of, shard_name

CLIPS = {f"clip{i:04d}": "s" for i in range(300)}


def make_row(clip_id: str) -> FeatureRow:
    """A row that no file stores in less than its size."""
    random = np.random.default_rng(list(clip_id.encode()))
    return FeatureRow(clip_id, "s", "ok", "", random.random((40, DIM), np.float32))


def written(store: FeatureStore) -> dict[str, int]:
    """A file that is written anew is another one."""
    return {path.name: path.stat().st_ino for path in store.files()}


def test_one_clip_more_rewrites_one_shard(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.update(CLIPS, META, 64, lambda clips: map(make_row, clips))
    before, asked = written(store), []
    more = {**CLIPS, "new": "s"}
    store.update(more, META, 64, lambda clips: map(make_row, asked.extend(clips) or clips))
    changed = {name for name, file in written(store).items() if file != before[name]}
    assert asked == ["new"] and changed == {shard_name(bucket_of("new", 64))}


@pytest.mark.parametrize("shards", [1, 3])
def test_the_advice_on_large_shards_is_followed_once(
    shards: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FeatureStore(tmp_path)
    store.update(CLIPS, META, shards, lambda clips: map(make_row, clips))
    assert capsys.readouterr().err == ""  # small ones are nobody's business
    monkeypatch.setattr(shard, "SHARD_BYTES", 50_000)
    assert store.update(CLIPS, META, shards, lambda _: []).computed == 0
    said = capsys.readouterr().err
    largest = max(store.files(), key=lambda path: path.stat().st_size)
    assert said.count("\n") == 1 and f"warning: {largest} has" in said
    found = re.search(r"set `shards: (\d+)` in params.yaml", said)
    assert found is not None and int(found[1]) % shards == 0  # then a file is read as often as it grows
    rows = store.read()
    assert store.update(CLIPS, META, int(found[1]), lambda _: []).computed == 0
    assert capsys.readouterr().err == ""
    assert max(path.stat().st_size for path in store.files()) <= 50_000
    after = store.read()
    assert rows is not None and after is not None
    assert all(np.array_equal(after.rows[name].features, rows.rows[name].features) for name in CLIPS)
