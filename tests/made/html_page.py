"""A page of HTML as a test looks at it: words, tables, pictures, addresses."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

ADDRESSES = ("src", "href", "action", "srcset")


@dataclass
class Page(HTMLParser):
    """What is looked at of a page: `images` are its drawings, `drawn` is what stands in them."""

    text: str
    images: list[dict[str, str | None]] = field(default_factory=list)
    drawn: str = ""
    captions: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    tables: list[list[list[tuple[str, str, bool]]]] = field(default_factory=list)  # text, data-v, bold
    ids: list[str] = field(default_factory=list)
    words: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self.inside = self.bold = self.silent = self.drawing = self.caption = False
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag != "use":  # what a drawing repeats of itself
            self.addresses += [value or "" for name, value in attrs if name in ADDRESSES]
        self.ids += [found["id"]] if found.get("id") else []
        if tag == "svg":
            self.images.append(found)
            self.drawing = True
        elif tag == "figcaption":
            self.captions.append("")
            self.caption = True
        elif tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append(("", found.get("data-v") or "", False))
            self.inside = True
        self.silent = self.silent or tag in ("style", "script")
        self.bold = self.bold or tag == "strong"

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "th")
        self.bold = self.bold and tag != "strong"
        self.drawing = self.drawing and tag != "svg"
        self.caption = self.caption and tag != "figcaption"
        self.silent = self.silent and tag not in ("style", "script")

    def handle_data(self, data: str) -> None:
        if self.drawing:
            self.drawn += data + "\n"
        elif not self.silent:
            self.words += data
        if self.caption:
            self.captions[-1] += data
        if self.inside:
            row = self.tables[-1][-1]
            row[-1] = (row[-1][0] + data, row[-1][1], row[-1][2] or self.bold)
