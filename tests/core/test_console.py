"""What is printed: names from outside neither command the terminal nor are taken for markup."""

from __future__ import annotations

import ast
import json
import logging
import sys
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from pipeline.cli.app import main
from pipeline.core.console import configure, printable, say, show

HOSTILE = ["\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "a\rb", "\x9b2J", "\u202egnp", "x\udcff"]
MARKUP = ["[red]x[/red]", "[/]", "[link=x]", ":smile:"]


def plain(text: str) -> bool:
    """Whether a terminal shows it, and does nothing else."""
    return all(char.isprintable() or char == "\n" for char in text)


@pytest.mark.parametrize("name", HOSTILE)
def test_what_would_command_a_terminal_is_escaped(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"{name}: no such file\n\tnext"
    assert not plain(text) and plain(printable(text).replace("\t", ""))
    assert printable(text).endswith(": no such file\n\tnext")
    table = Table("file", "other", title=name, caption=name)
    table.add_row(name, Text(name))
    tree = Tree(name)
    tree.add(Text(name))
    say(name)
    say(name, error=True)
    show(table, tree, name)
    monkeypatch.setenv("MSA_LOG", "info")
    log = logging.getLogger("msa")
    monkeypatch.setattr(log, "handlers", [])
    configure()
    log.info("%s", name)
    said = capsys.readouterr()
    assert plain(said.out) and plain(said.err) and len(said.err.splitlines()) == 2
    assert said.out.count(printable(name)) >= 6  # rich itself drops some of a Text


@pytest.mark.parametrize("name", MARKUP)
def test_brackets_and_colons_in_names_are_no_markup(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(name, title=name, caption=name)
    table.add_row(name)
    show(table, Tree(name), name)
    assert capsys.readouterr().out.count(name) == 6


@pytest.mark.parametrize("name", [*HOSTILE, "日本語", "\x7f\xad\U000e0001"])
def test_json_stays_json(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    tree = {name: [name]}
    say(json.dumps(tree, ensure_ascii=False, indent=1), in_json=True)
    said = capsys.readouterr().out
    assert plain(said) and json.loads(said) == tree
    assert ("日本語" in said) == (name == "日本語")


def test_what_is_printed_goes_through_the_console(project: Path) -> None:
    """The training loop says only names of ours; its code is in the hashes of runs."""
    found = [
        f"{file.relative_to(project)}:{node.lineno}"
        for file in sorted((project / "pipeline").rglob("*.py"))
        if file.parent.name != "loop" and file.name != "console.py"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("print", "sys.stdout.write", "sys.stderr.write", "typer.echo")
    ]
    assert found == []


@pytest.mark.parametrize(
    "command",
    [
        ["extract", "--video", "corpus", "--no-text"],
        ["extract", "--video", "corpus", "--json"],
        ["ingest", "folder", "corpus", "--name", "mine"],
        ["validate", "folder", "corpus"],
        ["info", f"corpus/{HOSTILE[0]}.mp4"],
        [HOSTILE[0]],
        ["info", f"--{HOSTILE[0]}"],
        ["extract", "--video", HOSTILE[5]],
        ["doctor", "--params", f"{HOSTILE[0]}.yaml"],
    ],
)
def test_commands_escape_the_names_of_files(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (*HOSTILE[:5], *MARKUP):
        file = tmp_path / "corpus" / f"{name}.mp4"
        file.parent.mkdir(exist_ok=True, parents=True)
        file.touch()
    (tmp_path / "params.yaml").write_text("datasets: {}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["msa-cli", *command])
    main()
    said = capsys.readouterr()
    assert said.out + said.err
    assert plain(said.out) and plain(said.err)
    assert "Traceback" not in said.err


def test_a_mistake_of_ours_is_a_traceback_that_can_be_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**options: object) -> None:
        raise RuntimeError(HOSTILE[0])

    monkeypatch.setattr("pipeline.cli.app.app", broken)
    assert main() == 1
    said = capsys.readouterr().err
    assert plain(said) and said.endswith(f"RuntimeError: {printable(HOSTILE[0])}\n")
