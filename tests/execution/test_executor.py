"""Worker processes: results of all items, whatever happens to a worker."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pipeline.core.errors import MissingModelError, MsaError
from pipeline.execution import local
from pipeline.execution.local import TaskFailure

KILL, HANG = 3, 5


def squares() -> Callable[[int], int]:
    return lambda x: x * x


def fragile() -> Callable[[int], int]:
    def work(x: int) -> int:
        if x == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if x == HANG:
            time.sleep(60)
        return x * x

    return work


def threads() -> Callable[[int], str]:
    return lambda _: os.environ["OMP_NUM_THREADS"]


def without_weights() -> Callable[[int], int]:
    raise MissingModelError("model.safetensors is not in this folder")


def broken_later() -> Callable[[int], int]:
    def work(x: int) -> int:
        raise MissingModelError(f"cannot go on at {x}")

    return work


def dead_on_arrival() -> Callable[[int], int]:
    os._exit(7)


@pytest.mark.parametrize("workers", [1, 3])
def test_every_item_gives_its_result(workers: int) -> None:
    results = dict(local.run(squares, list(range(20)), workers=workers, timeout_s=60))
    assert results == {x: x * x for x in range(20)}


def test_nothing_to_do_starts_nothing() -> None:
    assert list(local.run(dead_on_arrival, [], workers=2, timeout_s=60)) == []


def test_a_killed_and_a_hanging_worker_cost_their_items_only() -> None:
    results = dict(local.run(fragile, list(range(8)), workers=2, timeout_s=1.5))
    assert {x: r for x, r in results.items() if not isinstance(r, TaskFailure)} == {
        x: x * x for x in (0, 1, 2, 4, 6, 7)
    }
    assert "SIGKILL" in results[KILL].reason and "out of memory?" in results[KILL].reason
    assert results[HANG].reason == "took longer than 1.5 s"


def test_workers_have_one_thread_each() -> None:
    assert dict(local.run(threads, [0], workers=1, timeout_s=60)) == {0: "1"}


@pytest.mark.parametrize("make", [without_weights, broken_later])
def test_what_makes_the_encoder_useless_ends_the_run(make: Callable[[], Callable[[int], int]]) -> None:
    with pytest.raises(MissingModelError):
        list(local.run(make, [1, 2], workers=2, timeout_s=60))


def test_a_death_while_loading_is_said() -> None:
    with pytest.raises(MsaError, match="exit code 7 while loading"):
        list(local.run(dead_on_arrival, [1], workers=1, timeout_s=60))


def dies_when_started_again(marker: str) -> Callable[[int], int]:
    """The first worker kills itself at an item; the second dies while it loads; then all is well."""
    started = len(os.listdir(marker))
    open(os.path.join(marker, str(started)), "w").close()
    if started == 1:
        os._exit(9)

    def work(x: int) -> int:
        if x == 1 and started == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return x * x

    return work


def test_a_replacement_that_dies_while_loading_is_replaced(tmp_path: Path) -> None:
    make = partial(dies_when_started_again, str(tmp_path))
    assert dict(local.run(make, [0, 1, 2], workers=1, timeout_s=60)) == {0: 0, 1: 1, 2: 4}


def halves(x: int, result: object) -> list[int]:
    return [x // 2] if x > 1 else []


def test_what_follows_from_a_result_is_computed_too() -> None:
    found = [x for x, _ in local.run(squares, [8, 5], workers=2, timeout_s=60, then=halves)]
    assert sorted(found) == [1, 1, 2, 2, 4, 5, 8]


def test_each_worker_has_its_variables() -> None:
    variables = [{"WHERE": "a"}, {"WHERE": "b"}]
    found = local.run(where, list(range(6)), workers=2, timeout_s=60, environments=variables)
    assert {place for _, place in found} == {"a", "b"} and "WHERE" not in os.environ


def where() -> Callable[[int], str]:
    def work(x: int) -> str:
        time.sleep(0.3)  # the other one is ready meanwhile
        return os.environ["WHERE"]

    return work


def tells_its_number(folder: str) -> Callable[[int], None]:
    def work(x: int) -> None:
        Path(folder, "number").write_text(str(os.getpid()))
        time.sleep(300)

    return work


def test_workers_end_with_their_parent_however_that_ends(tmp_path: Path) -> None:
    def parent() -> None:
        list(local.run(partial(tells_its_number, str(tmp_path)), [1], workers=1, timeout_s=600))

    process = multiprocessing.get_context("fork").Process(target=parent)
    process.start()
    deadline = time.monotonic() + 60
    while not (number := read(tmp_path / "number")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.join()
    while alive(int(number)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(int(number))


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def alive(number: int) -> bool:
    """Whether a process runs; one that has ended may wait for somebody to ask after it."""
    stat = Path(f"/proc/{number}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
