"""The Ray executor gives what the local one gives, whatever happens to a worker. Skips without Ray."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import test_executor
from made.feature_rows import META, make_row
from test_executor import (
    HANG,
    KILL,
    broken_later,
    dead_on_arrival,
    fragile,
    squares,
    threads,
    without_weights,
)

from pipeline.core.errors import MissingModelError, MsaError
from pipeline.execution import local
from pipeline.execution import ray as ray_executor
from pipeline.execution.local import TaskFailure
from pipeline.store.store import FeatureStore, bucket_of

ray = pytest.importorskip("ray", reason="the extra ray is not installed")


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(test_executor)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    ray.shutdown()


def rows() -> Callable[[str], np.ndarray]:
    """What an encoder gives of a clip, by the clip's id alone."""

    def work(clip_id: str) -> np.ndarray:
        return np.random.default_rng(sum(map(ord, clip_id))).normal(size=(7, 5)).astype(np.float32)

    return work


def test_every_item_gives_its_result() -> None:
    found = ray_executor.run(squares, list(range(20)), workers=2, timeout_s=60, group=lambda x: x // 3)
    assert dict(found) == {x: x * x for x in range(20)}
    assert dict(ray_executor.run(threads, [0], workers=1, timeout_s=60)) == {0: "1"}


def test_nothing_to_do_starts_nothing() -> None:
    assert list(ray_executor.run(dead_on_arrival, [], workers=2, timeout_s=60)) == []


def test_a_killed_and_a_hanging_worker_cost_their_items_only() -> None:
    found = dict(ray_executor.run(fragile, list(range(8)), workers=2, timeout_s=2, group=lambda x: x // 4))
    assert {x: r for x, r in found.items() if not isinstance(r, TaskFailure)} == {
        x: x * x for x in (0, 1, 2, 4, 6, 7)
    }
    assert "its worker was lost" in found[KILL].reason
    assert found[HANG].reason == "took longer than 2 s"


@pytest.mark.parametrize("make", [without_weights, broken_later])
def test_what_makes_the_encoder_useless_ends_the_run(make: Callable[[], Callable[[int], int]]) -> None:
    with pytest.raises(MissingModelError):
        list(ray_executor.run(make, [1, 2], workers=1, timeout_s=60))


def test_a_worker_that_dies_while_loading_is_a_message() -> None:
    with pytest.raises(MsaError, match="lost while loading"):
        list(ray_executor.run(dead_on_arrival, [1], workers=1, timeout_s=60))


def test_shards_are_equal_byte_for_byte(tmp_path: Path) -> None:
    wanted = {f"video$_${i}": "s" for i in range(30)}
    contents = {}
    for name, run in (("local", local.run), ("ray", ray_executor.run)):
        grouped = {"group": lambda clip_id: bucket_of(clip_id, 4)} if name == "ray" else {}

        def compute(clip_ids: list[str], run: Callable = run, grouped: dict = grouped) -> Iterator:
            for clip_id, features in run(rows, clip_ids, workers=2, timeout_s=60, **grouped):
                row = make_row(clip_id)
                row.features, row.times = features, np.arange(len(features)) / 10
                yield row

        FeatureStore(tmp_path / name).update(wanted, META, 4, compute)
        contents[name] = {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
    assert contents["ray"] == contents["local"]
    assert len(contents["ray"]) == 4
