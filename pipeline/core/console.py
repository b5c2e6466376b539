"""What a person sees: log lines and progress on stderr, tables on stdout.

Log lines come as MSA_LOG asks: `MSA_LOG=debug` gives a line for every clip.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.core.names import escaped

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")
LEVELS = ("debug", "info", "warning", "error")
WIDTH_OF_A_FILE = 160  # characters, where the output is no screen
LINE_EVERY = 10  # epochs, where there is no terminal


def configure() -> None:
    """Set up the logger `msa`; for the command line and for each worker process."""
    level = os.environ.get("MSA_LOG", "").lower()
    logger = logging.getLogger("msa")
    if level in LEVELS and not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(level.upper())
        logger.propagate = False


def show(*what: Any) -> None:
    """Print tables; into a file or a pipe they get the width that a screen may not have."""
    from rich.console import Console

    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    Console(width=None if known else WIDTH_OF_A_FILE).print(*what)


def show_json(tree: Any) -> None:
    """Print an object as JSON; of a name that is not UTF-8 the bytes stand as JSON's own escapes."""
    text = json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False)
    print(text.encode("utf-8", "backslashreplace").decode())


def tell_passed_over(passed_over: dict[str, str]) -> None:
    """A line for each file and folder that was not looked into."""
    for path, reason in passed_over.items():
        print(escaped(f"{path}: passed over: {reason}"), file=sys.stderr)


def progress_bar() -> Progress:
    """A bar with counts, the time left and a task's field `note`; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
    )


def tracked(work: Iterable[T], what: str, total: int) -> Iterator[T]:
    """Items of some work as they come, with a bar where there are several and stderr is a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    hidden = total == 1 or not console.is_terminal
    yield from track(work, what, total, console=console, disable=hidden)


class TrainingProgress:
    """How a run is doing: a bar on a terminal, a line every few epochs elsewhere, or without Rich."""

    def __init__(self, title: str, done: int, total: int):
        self._title, self._done, self._total = title, done, total
        self._started = time.monotonic()
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            try:
                self._bar = progress_bar()
            except ImportError:
                return
            self._bar.add_task(title, total=total, completed=done, note="")
            self._bar.start()

    def show(self, row: dict[str, float], best_epoch: int, best_loss: float) -> None:
        """After an epoch; a row of curves.py."""
        epoch = int(row["epoch"])
        words = f"valid loss {row['valid_loss']:.4f} (best {best_loss:.4f} in epoch {best_epoch})"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=epoch, note=words)
        elif epoch % LINE_EVERY == 0 or epoch == self._total:
            seconds = (time.monotonic() - self._started) / (epoch - self._done)
            print(
                f"{self._title}: epoch {epoch}/{self._total}, loss {row['total']:.4f}, {words}, "
                f"{seconds:.2f} s an epoch",
                file=sys.stderr,
                flush=True,
            )

    def end(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.stop()
