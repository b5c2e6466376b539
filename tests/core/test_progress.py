"""Bars on a terminal of 80 columns: the time left is whole, and none stays unfinished."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator

import pytest
from rich.console import Console

from pipeline.cli import app
from pipeline.core import console
from pipeline.core.console import RunsProgress, TrainingProgress, progress_bar, tracked
from pipeline.core.errors import MsaError

ETA = re.compile(r"\d:\d\d:\d\d|-:--:--")
NAME = "self_mm-cherma_fold0-1111"


class Screen:
    """What a terminal shows of what was written, which moves the cursor and erases lines; nothing scrolls."""

    def __init__(self, written: str):
        self.lines, row, column = [""], 0, 0
        for part in re.findall(r"\x1b\[[\d;?]*[A-Za-z]|\n|\r|[^\x1b\n\r]+", written):
            if part == "\n":
                row += 1
                self.lines += [""] * (row + 1 - len(self.lines))
            elif part == "\r":
                column = 0
            elif part.endswith("A") and part.startswith("\x1b"):
                row -= int(part[2:-1] or 1)
            elif part == "\x1b[2K":
                self.lines[row] = ""
            elif not part.startswith("\x1b"):
                line = self.lines[row].ljust(column)
                self.lines[row] = line[:column] + part + line[column + len(part) :]
                column += len(part)

    @property
    def text(self) -> list[str]:
        return [line.rstrip() for line in self.lines if line.strip()]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What bars write to a terminal."""
    written = io.StringIO()
    monkeypatch.setattr(
        console,
        "_console",
        lambda **_: Console(file=written, width=80, force_terminal=True, color_system=None),
    )
    yield written
    assert console._shown == []


def row(epoch: int, loss: float) -> dict[str, float]:
    return {"epoch": epoch, "total": 2 * loss, "valid_loss": loss}


def test_the_time_left_is_whole_whatever_stands_beside_it(terminal: io.StringIO) -> None:
    with progress_bar() as bar:
        task = bar.add_task(NAME, total=100_000, note="note " * 40)
        bar.update(task, completed=99_999)
        bar.refresh()
        (line,) = Screen(terminal.getvalue()).text
        assert "99999/100000" in line and ETA.search(line) and line.endswith("…") and len(line) <= 80
        assert line.startswith(NAME[:12])
        bar.update(task, completed=100_000)


def test_the_bar_of_a_training_fits_with_all_that_it_says(terminal: io.StringIO) -> None:
    progress = TrainingProgress("misr-sample-1111", 0, 100)
    for epoch in range(1, 101):
        progress.show(row(epoch, 0.5), best_epoch=25, best_loss=0.4321)
    progress.end()
    (line,) = Screen(terminal.getvalue()).text
    assert "misr-sample-1111" in line and "100/100" in line and ETA.search(line)
    assert line.endswith("valid 0.5000, best 0.4321 at 25") and len(line) <= 80


def test_an_early_stop_is_told_by_a_full_bar(terminal: io.StringIO) -> None:
    progress = TrainingProgress("misr-sample-1111", 0, 100)
    for epoch in range(1, 38):
        progress.show(row(epoch, 0.5), best_epoch=min(epoch, 25), best_loss=0.4)
    progress.end()
    (line,) = Screen(terminal.getvalue()).text
    assert "37/37" in line and line.endswith("stopped early, best epoch 25")


@pytest.mark.parametrize("epochs", [0, 3])
def test_an_error_leaves_no_bar(terminal: io.StringIO, epochs: int) -> None:
    def fit() -> None:
        progress = TrainingProgress("misr-sample-1111", 0, 100)
        try:
            for epoch in range(1, epochs + 1):
                progress.show(row(epoch, 0.5), 1, 0.5)
            raise MsaError("the loss is not finite")
        finally:
            progress.end()

    with pytest.raises(MsaError):
        fit()
    assert Screen(terminal.getvalue()).text == []


def test_a_training_that_was_over_leaves_no_bar(terminal: io.StringIO) -> None:
    TrainingProgress("misr-sample-1111", 37, 100).end()
    assert Screen(terminal.getvalue()).text == []


@pytest.mark.parametrize("fails", ["the work", "who takes it"])
def test_no_bar_stays_above_the_message_of_a_command(
    terminal: io.StringIO, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> Iterator[int]:
        yield 1
        if fails == "the work":
            raise MsaError("no room")

    def command() -> None:
        for _ in tracked(work(), "extracting", 3):
            if fails != "the work":
                raise MsaError("no room")

    monkeypatch.setattr(app, "app", lambda **_: command())
    monkeypatch.setattr(sys, "stderr", terminal)
    assert app.main() == 2
    assert Screen(terminal.getvalue()).text == ["msa-cli: no room"]


def test_work_that_is_done_leaves_its_bar(terminal: io.StringIO) -> None:
    assert list(tracked([1, 2, 3], "predicting", 3)) == [1, 2, 3]
    (line,) = Screen(terminal.getvalue()).text
    assert line.startswith("predicting") and "3/3" in line
    assert list(tracked([1], "predicting", 1)) == [1]  # one item needs no bar
    assert len(Screen(terminal.getvalue()).text) == 1


def test_several_trainings_have_one_bar(terminal: io.StringIO) -> None:
    with RunsProgress("training", 2) as progress:
        for name in ("misr-mine-1", "misr-mine-2"):
            training = TrainingProgress(name, 0, 10)  # followed: no bar of its own
            training.show(row(4, 0.5), 3, 0.5)
            training.end()
            progress.ended(name, "stopped early, best epoch 3 of 4")
    *said, bar = Screen(terminal.getvalue()).text
    assert said == [f"misr-mine-{n}: stopped early, best epoch 3 of 4" for n in (1, 2)]
    assert bar.startswith("training") and "2/2" in bar and ETA.search(bar)


def test_nothing_to_train_has_no_bar(terminal: io.StringIO) -> None:
    with RunsProgress("training", 0):
        pass
    assert Screen(terminal.getvalue()).text == []
