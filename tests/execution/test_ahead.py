"""Items made in a thread: the same ones in the same order, errors where they belong, no thread left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.execution.ahead import read_ahead


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "read-ahead"]


@given(st.lists(st.none() | st.integers()), st.integers(1, 4))
def test_the_same_items_in_the_same_order(items: list[int | None], size: int) -> None:
    assert list(read_ahead(iter(items), size)) == items
    assert not threads()


def test_no_more_than_size_items_ahead() -> None:
    made: list[int] = []

    def source() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    items = read_ahead(source(), 3)
    for number in range(10):
        assert next(items) == number
        time.sleep(0.02)
        assert len(made) <= number + 1 + 3 + 1  # taken, waiting, and one in the maker's hand
    items.close()
    assert not threads()


def test_an_error_comes_after_the_items_before_it() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise KeyError("two")

    items = read_ahead(source(), 8)
    assert next(items) == 1
    with pytest.raises(KeyError, match="two"):
        next(items)
    assert not threads()


def test_closing_waits_no_longer_than_it_may() -> None:
    free = threading.Event()

    def source() -> Iterator[int]:
        yield 1
        free.wait(30)

    items = read_ahead(source(), 1, wait_s=0.1)
    assert next(items) == 1
    began = time.monotonic()
    items.close()
    assert time.monotonic() - began < 5 and threads()
    free.set()
