"""Help pages: `-h` and `--help`, groups of commands, types as people name them; `--version`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import pytest
from typer.main import get_command

from pipeline.cli.app import app
from pipeline.cli.plain_help import plain

Cli = Callable[..., tuple[int, str]]
GROUPS = ("Data", "Train", "Look", "Share", "Machine")
LEAKED = re.compile(r"<\w+(\[\w+\]|,| range)?.*?>|list\[|\d{10}|Path\b")


def pages(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of each command."""
    yield words
    for name, inner in getattr(command, "commands", {}).items():
        yield from pages(inner, (*words, name))


@pytest.mark.parametrize("words", list(pages(get_command(app))), ids=" ".join)
def test_no_type_of_python_is_shown(
    words: tuple[str, ...], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    code, page = cli(*words, "-h")
    assert code == 0 and f"Usage: {' '.join(('msa-cli', *words))}" in page
    assert not LEAKED.findall(page)
    assert cli(*words, "--help") == (0, page)


def test_every_command_is_in_a_group(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    _, page = cli("--help")
    titles = re.findall(r"^╭─ (\w+) ", page, re.MULTILINE)
    assert titles == ["Options", *GROUPS]  # none in a panel `Commands`
    assert re.search(r"^│ stage ", page, re.MULTILINE)


def test_the_version_is_that_of_the_package(cli: Cli) -> None:
    assert cli("--version") == (0, f"msa-cli {version('msa-pipeline')}\n")


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("<list[Path]>", "PATH"),
        ("<int range>", "N"),
        ("<bool>", ""),
        ("<local|ray>", "local|ray"),
        ("<float,float>", "NUMBER, NUMBER"),
        ("<list[local|ray]>", "local|ray"),
        (None, ""),
    ],
)
def test_names_of_types(typed: str | None, shown: str) -> None:
    assert plain(typed) == shown
