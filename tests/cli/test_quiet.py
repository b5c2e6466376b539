"""`--quiet`, in front of a command's name and behind it: results and errors, and nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from made.media_factory import make_clip

from pipeline.core.console import QUIET, is_quiet, note, progress_bar, say

Cli = Callable[..., tuple[int, str]]
NEXT = "next: msa-cli validate mine; dvc repro"


@pytest.fixture
def corpus(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(project / "params.yaml", tmp_path)
    (tmp_path / "corpus").mkdir()
    for name in ("one", "two"):
        make_clip(tmp_path / f"corpus/{name}.mkv", times=[0.0, 0.1])
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("corpus")
@pytest.mark.parametrize("words", [(), ("-q", "ingest"), ("ingest", "--quiet")])
def test_notes_are_left_out(words: tuple[str, ...], cli: Cli) -> None:
    code, printed = cli(*(words or ("ingest",)), "folder", "corpus", "--name", "mine")
    assert code == 0 and printed.startswith("mine: 2 ")
    assert (NEXT in printed) == (not words)
    assert QUIET not in os.environ  # the next command of this process is as loud as before


@pytest.mark.usefixtures("corpus")
@pytest.mark.parametrize("words", [("-q", "stage", "text"), ("stage", "-q", "text"), ("stage", "text", "-q")])
def test_errors_are_said(words: tuple[str, ...], cli: Cli) -> None:
    code, printed = cli(*words, "sampel", "minilm")
    assert code == 2 and "did you mean 'sample'" in printed


@pytest.mark.parametrize(("value", "quiet"), [("1", True), ("", False), ("0", False)])
def test_workers_and_stages_inherit_it(
    value: str, quiet: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(QUIET, value)
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
    assert is_quiet() == quiet == progress_bar().disable
    note("a note")
    note("a note", stdout=True)
    say("a result")
    said = capsys.readouterr()
    assert said.err == ("" if quiet else "a note\n")
    assert said.out == ("a result\n" if quiet else "a note\na result\n")
