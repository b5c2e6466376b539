"""What a person sees: log lines and progress on stderr, tables on stdout.

Log lines come as MSA_LOG asks: `MSA_LOG=debug` gives a line for every clip.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pipeline.core.names import escaped

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.segment import Segment
    from rich.text import Text

T = TypeVar("T")
LEVELS = ("debug", "info", "warning", "error")
WIDTH_OF_A_FILE = 160  # characters, where the output is no screen
LINE_EVERY = 10  # epochs, where there is no terminal
TELL_EVERY_S = 0.5  # seconds between two words of a training to who follows it
QUIET = "MSA_QUIET"  # variable of `--quiet`, which workers and the stages that DVC runs inherit
BAR_WIDTH = 12  # characters; on a screen of 80 the counts, the time left and a note have room beside it
SPEED_OVER_S = 3600.0  # an epoch may take longer than the half minute over which rich would take the mean


def configure() -> None:
    """Set up the output and the logger `msa`; for the command line and for each worker process."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows no letters but ASCII
    level = os.environ.get("MSA_LOG", "").lower()
    logger = logging.getLogger("msa")
    if level in LEVELS and not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(_PrintableLines("%(levelname)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(level.upper())
        logger.propagate = False


def printable(text: str, *, in_json: bool = False) -> str:
    """Lines that move no cursor and colour nothing, whatever they quote: what cannot be shown is escaped.

    `in_json`: as JSON writes it, so that it stays JSON.
    """
    if in_json:
        return "".join(c if c in "\n\t" or escaped(c) == c else json.dumps(c)[1:-1] for c in text)
    return "".join(part if part in ("\n", "\t") else escaped(part) for part in re.split(r"([\n\t])", text))


class _PrintableLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def say(what: object, *, error: bool = False, end: str = "\n", in_json: bool = False) -> None:
    """Print lines of results, an `error` on stderr; the only print of the project."""
    stream = sys.stderr if error else sys.stdout
    print(printable(str(what), in_json=in_json), end=end, file=stream, flush=True)


def show(*what: Any, width_of_file: int = WIDTH_OF_A_FILE, highlight: bool = True) -> None:
    """Print tables; into a file or a pipe they get the width that a screen may not have.

    Square brackets in texts are no markup: styles are those of `rich.text.Text`.
    """
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    _console(width=None if known else width_of_file, highlight=highlight).print(*what)


def _console(**options: Any) -> Console:
    """Rich's console that escapes what a text holds, and knows no markup."""
    from rich.console import Console

    class Escaping(Console):
        def render_str(self, text: str, **options: Any) -> Text:  # before cells are measured
            return super().render_str(printable(text), **options)

        def render(self, *what: Any, **options: Any) -> Iterable[Segment]:  # also what a Text holds
            for part in super().render(*what, **options):
                yield part if part.control else part._replace(text=printable(part.text))

    return Escaping(markup=False, emoji=False, **options)


def set_quiet(quiet: bool) -> None:
    """Print only results and errors from now on, in worker processes too; or everything."""
    os.environ.pop(QUIET, None)
    if quiet:
        os.environ[QUIET] = "1"


def is_quiet() -> bool:
    """Whether only results and errors are printed."""
    return os.environ.get(QUIET, "0") not in ("", "0")


def note(what: object, *, stdout: bool = False) -> None:
    """Print lines that are neither results nor errors, on stderr by default; nothing with `--quiet`."""
    if not is_quiet():
        say(what, error=not stdout)


# ---------------------------------------------------------------------------------------------------- bars
_shown: list[Progress] = []  # bars that are on the screen now


def progress_bar() -> Progress:
    """A bar with counts, the time left and a task's field `note`, which is cut before the others are.

    Shows nothing where stderr is no terminal, or with `--quiet`. An error within it removes it.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    class Words(TextColumn):
        def render(self, task: Any) -> Text:
            text = super().render(task)
            text.no_wrap, text.overflow = True, "ellipsis"
            return text

    class Bar(Progress):
        def start(self) -> None:
            super().start()
            if not self.disable:
                _shown.append(self)

        def stop(self) -> None:
            if self in _shown:  # of others rich would print an empty line
                super().stop()
                _shown.remove(self)

        def __exit__(self, kind: Any, *error: Any) -> None:
            self.stop() if kind is None else erase(self)

    def shrinking() -> Column:  # the widest of these give way where the screen is narrow
        return Column(no_wrap=False)

    def whole() -> Column:
        return Column(no_wrap=True)

    console = _console(stderr=True)
    return Bar(
        Words("{task.description}", markup=False, table_column=shrinking()),
        BarColumn(BAR_WIDTH),
        MofNCompleteColumn(table_column=whole()),
        TimeRemainingColumn(table_column=whole(), elapsed_when_finished=True),
        Words("{task.fields[note]}", markup=False, table_column=shrinking()),
        console=console,
        speed_estimate_period=SPEED_OVER_S,
        disable=not console.is_terminal or is_quiet(),
    )


def erase(bar: Progress) -> None:
    """Remove a bar from the screen: nobody will finish it."""
    bar.live.transient = True
    bar.stop()


def erase_bars() -> None:
    """Remove all that an error has left on the screen, before its message is printed."""
    for bar in list(_shown):
        erase(bar)


def tracked(work: Iterable[T], what: str, total: int) -> Iterator[T]:
    """Items of some work as they come, with a bar where there are several and stderr is a terminal."""
    with ExitStack() as shown:
        if total > 1:
            bar = shown.enter_context(progress_bar())
            task = bar.add_task(what, total=total, note="")
        for item in work:
            yield item
            if total > 1:
                bar.advance(task)


class Epochs(NamedTuple):
    """How far a training is."""

    title: str
    done: int
    total: int
    words: str = ""


_follower: list[Callable[[Epochs], None]] = []  # who is told of epochs in place of the screen


def follow_epochs(tell: Callable[[Epochs], None] | None) -> None:
    """From now on `tell` has what trainings of this process would show; None = they show it themselves."""
    _follower[:] = [] if tell is None else [tell]


class TrainingProgress:
    """How a run is doing: a bar on a terminal, a line every few epochs elsewhere, or without Rich.

    Where several runs are followed (`follow_epochs`), it shows nothing of its own.
    """

    def __init__(self, title: str, done: int, total: int):
        self._title, self._done, self._total = title, done, total
        self._epoch, self._best_epoch = done, 0
        self._started = self._told = time.monotonic()
        self._bar: Progress | None = None
        if _follower:
            _follower[0](Epochs(title, done, total))
            return
        with suppress(ImportError):
            bar = progress_bar()
            if not bar.disable:
                self._bar = bar
                bar.add_task(title, total=total, completed=done, note="")
                bar.start()

    def show(self, row: dict[str, float], best_epoch: int, best_loss: float) -> None:
        """After an epoch; a row of curves.py."""
        self._epoch, self._best_epoch = int(row["epoch"]), best_epoch
        loss = f"{row['valid_loss']:.4f}"
        words = f"valid loss {loss} (best {best_loss:.4f} in epoch {best_epoch})"
        if _follower:
            if time.monotonic() - self._told > TELL_EVERY_S:
                self._told = time.monotonic()
                _follower[0](Epochs(self._title, self._epoch, self._total, words))
        elif self._bar is not None:
            short = f"valid {loss}, best {best_loss:.4f} at {best_epoch}"
            self._bar.update(self._bar.task_ids[0], completed=self._epoch, note=short)
        elif self._epoch % LINE_EVERY == 0 or self._epoch == self._total:
            seconds = (time.monotonic() - self._started) / (self._epoch - self._done)
            note(
                f"{self._title}: epoch {self._epoch}/{self._total}, loss {row['total']:.4f}, {words}, "
                f"{seconds:.2f} s an epoch"
            )

    def end(self) -> None:
        """Called in a `finally`: leave a full bar, which tells of an early stop; none after an error."""
        if self._bar is None:
            return
        if sys.exc_info()[0] is not None or not self._best_epoch:  # or no epoch was left to train
            erase(self._bar)
            return
        if self._epoch < self._total:
            words = f"stopped early, best epoch {self._best_epoch}"
            self._bar.update(self._bar.task_ids[0], total=self._epoch, note=words)
        self._bar.stop()


class RunsProgress:
    """Several trainings at once: how many are done, which are running, how long it will take.

    One bar on a terminal; elsewhere a line for each that ends.
    """

    def __init__(self, what: str, total: int):
        self.total, self._done = total, 0
        self._running: dict[str, Epochs] = {}
        self._began = time.monotonic()
        self._bar = progress_bar()
        self._task = self._bar.add_task(what, total=total, note="")

    def __enter__(self) -> RunsProgress:
        if self.total:
            self._bar.start()
        if not self._bar.disable:
            follow_epochs(self.epoch)  # of this very process
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if not self._bar.disable:
            follow_epochs(None)
        self._bar.stop() if kind is None else erase(self._bar)

    def epoch(self, epochs: Epochs) -> None:
        """A run has begun, or goes on."""
        self._running[epochs.title.partition(":")[0]] = epochs  # a pretraining has several titles
        self._show()

    def ended(self, title: str, words: str) -> None:
        """A run is done, well or not; `words` say what came of it."""
        self._running.pop(title, None)
        self._done += 1
        share = self._share()
        left = (time.monotonic() - self._began) * (1 / share - 1)
        if self._bar.disable:
            counts = f"{self._done} of {self.total} done" + (
                f", about {left:.0f} s left" if share < 1 else ""
            )
            note(f"{title}: {words} ({counts})")
        else:
            self._bar.console.print(f"{title}: {words}")
        self._show()

    def _share(self) -> float:
        """What is done of all, in (0, 1]; a run counts by its epochs."""
        parts = sum(one.done / one.total for one in self._running.values())
        return min((self._done + parts) / max(self.total, 1), 1.0)

    def _show(self) -> None:
        running = [f"{one.title} {one.done}/{one.total}" for one in self._running.values()]
        words = f"running: {', '.join(running)}" if running else ""
        self._bar.update(self._task, total=self.total, completed=self._share() * self.total, note=words)
