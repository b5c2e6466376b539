"""Reading ahead: a thread makes the next items while the caller works on the last."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import Full, Queue
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class _End:
    """What comes after the last item."""

    error: BaseException | None = None


def read_ahead(source: Iterator[Item], size: int, wait_s: float | None = None) -> Generator[Item, None, None]:
    """The same items in the same order, made in a thread at most `size` items ahead.

    Parameters
    ----------
    wait_s : seconds that closing waits for an item that is being made; None = until it is there

    Raises
    ------
    what `source` raises, at the item in whose place it did
    """
    waiting: Queue[Item | _End] = Queue(size)
    stopped = threading.Event()

    def put(item: Item | _End) -> None:
        while not stopped.is_set():
            with suppress(Full):
                return waiting.put(item, timeout=0.1)

    def read() -> None:
        try:
            for item in source:
                put(item)
                if stopped.is_set():
                    return
            put(_End())
        except BaseException as error:  # raised again where the items are read
            put(_End(error))

    thread = threading.Thread(target=read, name="read-ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(item := waiting.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        thread.join(wait_s)
