"""A page as blocks (headings, lines, lists, tables, pictures), and its renderings.

Text for a terminal, Markdown for a pull request, and a page of HTML say the same, because they are made of
the same blocks; JSON is for programs and carries the numbers unrounded. No colour carries meaning. A page of
HTML needs no other file and no network, and reads well without its script, which only sorts tables; its
templates (Jinja) are in `html`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.core.console import say, show
from pipeline.core.errors import MsaError
from pipeline.core.files import write_text
from pipeline.reports.names import typeset

if TYPE_CHECKING:
    from rich.console import RenderableType

WIDTH = 100  # characters, where there is no terminal
TEMPLATES = Path(__file__).with_name("html")

Form = Literal["text", "markdown", "json", "html"]


@dataclass(frozen=True)
class Heading:
    """A title; level 1 is the page's. `anchor`: what links of a page of HTML point to."""

    text: str
    level: int = 2
    anchor: str = ""


@dataclass(frozen=True)
class Lines:
    """Paragraphs, or a list where there are bullets; `marked`: Markdown, not to be escaped there."""

    lines: list[str]
    bullets: bool = False
    marked: bool = False


@dataclass(frozen=True)
class Cell:
    """A cell, or a column's heading, of which more than its text is known; pages of HTML show it.

    Attributes
    ----------
    title : explains it
    link : address that it leads to
    value : what it is sorted by, a number or words; empty = last
    strong, mark : it stands out, with a sign behind it
    spread, paper : the standard deviation, and the paper's figure
    words : it is prose, which wraps
    """

    text: str
    value: str = ""
    title: str = ""
    strong: bool = False
    mark: str = ""
    spread: str = ""
    paper: str = ""
    words: bool = False
    link: str = ""


@dataclass(frozen=True)
class Table:
    """Cells; the columns `words` are words, the others numbers. `strong` rows stand out.

    `marked`: the cells are Markdown; `sortable`: a page of HTML sorts by the heading that is clicked.
    """

    head: Sequence[str | Cell]
    rows: Sequence[Sequence[str | Cell]]
    words: Collection[int] = (0,)
    strong: frozenset[int] = frozenset()
    marked: bool = False
    sortable: bool = False

    @property
    def cells(self) -> list[list[Cell]]:
        """The headings, and the rows below them, as objects."""
        rows = [self.head, *self.rows]
        return [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]


@dataclass(frozen=True)
class Callout:
    """A remark that stands out, with rows that are listed below it.

    Attributes
    ----------
    level : of a finding: info, warning or error
    count : of the rows that there are, some of which may not be listed
    open : they are seen from the start
    """

    text: str
    title: str = ""
    level: str = ""
    rows: Sequence[str] = ()
    count: int = 0
    open: bool = False


@dataclass(frozen=True)
class Picture:
    """An image.

    Attributes
    ----------
    alt : what it shows, in words
    svg : the image itself, an element that stands in the page
    width, height : CSS pixels
    name : of its file, where a reader saves it
    """

    title: str
    alt: str
    svg: str
    width: int
    height: int
    name: str = "figure"


@dataclass(frozen=True)
class Figures:
    """Pictures beside each other, as many as the screen has room for; fewer where they are `large`, and one
    where it is `wide`.

    One that is as tall as two takes the room of two; one of an `overview` keeps its own width.
    """

    pictures: Sequence[Picture]
    large: bool = False
    wide: bool = False
    overview: bool = False


@dataclass(frozen=True)
class Beside:
    """Groups of blocks that stand beside each other where the screen is wide, below each other elsewhere."""

    groups: Sequence[Sequence[Block | PageBlock]]


@dataclass(frozen=True)
class Word:
    """A word of a text; `shade` in [-1, 1] colours and underlines it, None = it is as it is."""

    text: str
    shade: float | None = None
    title: str = ""


@dataclass(frozen=True)
class Passage:
    """A text whose words are coloured: blue and underlined above 0, orange and dotted below."""

    words: Sequence[Word]


@dataclass(frozen=True)
class Details:
    """Blocks behind a line that opens them."""

    summary: str
    blocks: Sequence[Block | PageBlock]
    anchor: str
    open: bool = False


Block = Heading | Lines | Table
PageBlock = Callout | Figures | Passage | Details | Beside  # of pages of HTML alone


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
    """Print a page, or write it into a file; as JSON its facts."""
    if out is not None:
        write_text(rendered(blocks, facts, form), out)
    elif form == "text":
        show(*as_renderables(blocks), width_of_file=WIDTH, highlight=False)
    else:
        say(rendered(blocks, facts, form), end="", in_json=form == "json")


def rendered(blocks: Sequence[Block], facts: dict[str, Any], form: Form) -> str:
    """A page as one text; the same bytes for the same page."""
    if form == "markdown":
        return as_markdown(blocks)
    if form == "html":
        return as_html(blocks)
    if form == "json":
        return json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False, default=str) + "\n"
    from rich.console import Console

    drawn = StringIO()
    Console(file=drawn, width=WIDTH, highlight=False).print(*as_renderables(blocks))
    return drawn.getvalue()


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
            for line in block.lines:
                grid = RichTable.grid(padding=0)
                grid.add_row(Text("- " if block.bullets else ""), Text(line))
                shown.append(grid)
        else:
            table = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
            heads, *rows = block.cells
            for place, head in enumerate(heads):
                words = place in block.words
                names = words and len(block.words) == 1  # of numbers: they are not torn apart
                side: Literal["left", "right"] = "left" if words else "right"
                table.add_column(Text(head.text), justify=side, no_wrap=names or not words, overflow="fold")
            for place, row in enumerate(rows):
                style = "bold" if place in block.strong else ""
                table.add_row(*(Text(cell.text) for cell in row), style=style)
            shown.append(table)
    return shown


def as_markdown(blocks: Sequence[Block], top: int = 2) -> str:
    """GitHub's Markdown; rows that stand out are bold, columns are padded, to be read as they are.

    A heading of level 1 has `top` number signs.
    """
    parts = []
    for block in blocks:
        if isinstance(block, Heading):
            parts.append(f"{'#' * (block.level + top - 1)} {_escaped(block.text)}")
        elif isinstance(block, Lines):
            mark = "- " if block.bullets else ""
            lines = [mark + (line if block.marked else _escaped(line)) for line in block.lines]
            parts.append(("\n" if block.bullets else "\n\n").join(lines))
        else:
            parts.append(_markdown_table(block))
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: Table) -> str:
    head, *rows = ([_escaped(cell.text, table.marked) for cell in row] for row in table.cells)
    for place in table.strong:
        rows[place] = [f"**{cell}**" if cell else cell for cell in rows[place]]
    rows = [head, *rows]
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    sides = [str.ljust if place in table.words else str.rjust for place in range(len(widths))]
    lines = [
        " | ".join(side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True))
        for row in rows
    ]
    rules = ["-" * w if place in table.words else "-" * (w - 1) + ":" for place, w in enumerate(widths)]
    return "\n".join(f"| {line} |" for line in (lines[0], " | ".join(rules), *lines[1:]))


def _escaped(text: str, marked: bool = False) -> str:
    """Signs that would begin something are taken literally; in what is Markdown already, only bars are."""
    return re.sub(r"(\|)" if marked else r"([\\`*|<\[\]])", r"\\\1", " ".join(text.splitlines()))


def as_html(blocks: Sequence[Block | PageBlock], contents: Sequence[Sequence[tuple[str, str]]] = ()) -> str:
    """One page that needs no other file; the first heading is its title.

    Parameters
    ----------
    contents : lines of names with their addresses (`#anchor`, or another page), shown below the second block
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["typeset"] = lambda text: Markup(typeset(text))
    environment.filters["whole"] = Markup  # SVG of our own
    title = next(block.text for block in blocks if isinstance(block, Heading))
    template = environment.get_template("base.html.j2")
    return template.render(title=title, blocks=blocks, contents=contents, scripted=_scripted(blocks))


def _scripted(blocks: Sequence[Block | PageBlock]) -> bool:
    """Whether there is something to sort or to enlarge."""
    inner = [
        part
        for block in blocks
        for group in (block.groups if isinstance(block, Beside) else [getattr(block, "blocks", [])])
        for part in group
    ]
    here = (isinstance(one, Figures) or (isinstance(one, Table) and one.sortable) for one in blocks)
    return any(here) or (bool(inner) and _scripted(inner))
