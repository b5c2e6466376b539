"""A page as blocks (headings, lines, lists, tables), and its renderings.

Text for a terminal, Markdown for a pull request, and a page of HTML say the same, because they are made of
the same blocks; JSON is for programs and carries the numbers unrounded. No colour carries meaning.
"""

from __future__ import annotations

import html
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.core.errors import MsaError

if TYPE_CHECKING:
    from rich.console import RenderableType

WIDTH = 100  # characters, where there is no terminal
STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#111}
table{border-collapse:collapse;margin:.8em 0;font-size:14px}th,td{padding:.25em .8em;text-align:right}
th{border-bottom:2px solid #333}td{border-bottom:1px solid #ccc;font-variant-numeric:tabular-nums}
th.l,td.l{text-align:left}h2{margin-top:2em}.strong td{font-weight:700}"""

Form = Literal["text", "markdown", "json", "html"]


@dataclass(frozen=True)
class Heading:
    """A title; level 1 is the page's."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Lines:
    """A paragraph, or a list where there are bullets."""

    lines: list[str]
    bullets: bool = False


@dataclass(frozen=True)
class Table:
    """Cells as text; the first `left` columns are words, the others numbers. `strong` rows stand out."""

    head: list[str]
    rows: list[list[str]]
    left: int = 1
    strong: frozenset[int] = frozenset()


Block = Heading | Lines | Table


def chosen_form(markdown: bool, as_json: bool, as_html: bool) -> Form:
    """The form that the options --md, --json and --html ask for.

    Raises
    ------
    MsaError : more than one of them
    """
    asked: dict[str, Form] = {"--md": "markdown", "--json": "json", "--html": "html"}
    given = [name for name, on in zip(asked, (markdown, as_json, as_html), strict=True) if on]
    if len(given) > 1:
        raise MsaError(f"{' and '.join(given)} were given; give one of them")
    return asked[given[0]] if given else "text"


def publish(blocks: Sequence[Block], facts: dict[str, Any], form: Form, out: Path | None) -> None:
    """Print a page, or write it into a file.

    Parameters
    ----------
    facts : what is printed as JSON
    """
    if form == "text" and out is None:
        from rich.console import Console

        known = sys.stdout.isatty() or "COLUMNS" in os.environ
        Console(width=None if known else WIDTH, highlight=False).print(*as_renderables(blocks))
        return
    text = rendered(blocks, facts, form)
    if out is None:
        print(text, end="")
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")


def rendered(blocks: Sequence[Block], facts: dict[str, Any], form: Form) -> str:
    """A page as one text; the same bytes for the same page."""
    if form == "markdown":
        return as_markdown(blocks)
    if form == "html":
        return as_html(blocks)
    if form == "json":
        return json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False, default=str) + "\n"
    from io import StringIO

    from rich.console import Console

    console = Console(file=StringIO(), width=WIDTH, highlight=False)
    with console.capture() as caught:
        console.print(*as_renderables(blocks))
    return caught.get()


def as_renderables(blocks: Sequence[Block]) -> list[RenderableType]:
    """For rich's console; in boxes of plain lines, the last column of words may wrap."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    shown: list[RenderableType] = []
    for block in blocks:
        if isinstance(block, Heading):
            shown.append(Text(f"\n{block.text}", style="bold underline" if block.level == 1 else "bold"))
        elif isinstance(block, Lines):
            mark = "- " if block.bullets else ""
            for line in block.lines:
                grid = RichTable.grid(padding=0)
                grid.add_row(Text(mark), Text(line))
                shown.append(grid)
        else:
            table = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
            for place, head in enumerate(block.head):
                words = place < block.left
                names = block.left == 1 and words  # of numbers: they are not torn apart
                side: Literal["left", "right"] = "left" if words else "right"
                table.add_column(Text(head), justify=side, no_wrap=names or not words, overflow="fold")
            for place, row in enumerate(block.rows):
                table.add_row(*map(Text, row), style="bold" if place in block.strong else "")
            shown.append(table)
    return shown


def as_markdown(blocks: Sequence[Block]) -> str:
    """GitHub's Markdown; rows that stand out are bold."""
    parts = []
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"{'#' * (block.level + 1)} {_markdown(block.text)}")
        elif isinstance(block, Lines):
            mark = "- " if block.bullets else ""
            parts.append(
                ("\n" if block.bullets else "\n\n").join(mark + _markdown(line) for line in block.lines)
            )
        else:
            rules = ["---" if place < block.left else "---:" for place in range(len(block.head))]
            rows = [
                [
                    f"**{_markdown(cell)}**" if place in block.strong and cell else _markdown(cell)
                    for cell in row
                ]
                for place, row in enumerate(block.rows)
            ]
            parts.append("\n".join(f"| {' | '.join(row)} |" for row in (block.head, rules, *rows)))
    return "\n\n".join(parts) + "\n"


def _markdown(text: str) -> str:
    """Signs that would begin something are taken literally."""
    return re.sub(r"([\\`*|<\[\]])", r"\\\1", text).replace("\n", " ")


def as_html(blocks: Sequence[Block]) -> str:
    """One page that needs no other file."""
    title = next((block.text for block in blocks if isinstance(block, Heading)), "Comparison")
    body = "\n".join(map(_html, blocks))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        f"<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
    if isinstance(block, Lines):
        tag, around = ("li", "ul") if block.bullets else ("p", "div")
        inner = "".join(f"<{tag}>{html.escape(line)}</{tag}>" for line in block.lines)
        return f"<{around}>{inner}</{around}>"

    def cells(row: list[str], tag: str) -> str:
        classes = [' class="l"' if place < block.left else "" for place in range(len(row))]
        return "".join(f"<{tag}{c}>{html.escape(cell)}</{tag}>" for c, cell in zip(classes, row, strict=True))

    rows = [
        f'<tr class="strong">{cells(row, "td")}</tr>'
        if place in block.strong
        else f"<tr>{cells(row, 'td')}</tr>"
        for place, row in enumerate(block.rows)
    ]
    head = f"<thead><tr>{cells(block.head, 'th')}</tr></thead>"
    return "\n".join([f"<table>{head}<tbody>", *rows, "</tbody></table>"])
