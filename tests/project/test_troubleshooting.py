"""docs/troubleshooting.md: the messages that it explains are those of the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

OTHERS = "## Of DVC and other programs"


def said(tree: ast.AST) -> Iterator[str]:
    """Texts of a module; within one, what is filled in is `{}`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_messages_are_those_of_the_code(project: Path) -> None:
    files = [path for room in ("pipeline", "models") for path in sorted((project / room).rglob("*.py"))]
    texts = [text for path in files for text in said(ast.parse(path.read_text(encoding="utf-8")))]
    texts.append((project / "Makefile").read_text(encoding="utf-8"))
    page = (project / "docs/troubleshooting.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`[^|]*`) \|", page[: page.index(OTHERS)], re.MULTILINE)
    messages = [message for cell in cells for message in re.findall(r"`([^`]+)`", cell)]
    assert len(messages) > 30
    pieces = [piece for message in messages for piece in message.split("...")]
    assert not [piece for piece in pieces if not any(piece.strip() in text for text in texts)]
