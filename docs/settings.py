"""Writes the tables of settings in methods.md from params.yaml: python docs/settings.py."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent
PLACE = re.compile(r"(<!-- settings of (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
LINE = re.compile(r"( +)([\w]+):(?: +(.*?))?(?: *# (.*))?")  # indent, key, value, comment
SOURCE = re.compile(r"\[([PRD])\] ?;? ?")


def table(params: str, method: str) -> str:
    """Markdown: a row a setting, with its value, source and meaning."""
    section = re.search(rf"^  {method}:.*?\n    base:\n(.*?)^    corpora:", params, re.MULTILINE | re.DOTALL)
    if section is None:
        raise SystemExit(f"params.yaml has no models.{method}.base; take its section out of methods.md")
    rows = ["| setting | value | source | note |", "|---|---|---|---|"]
    path: list[str] = []
    for line in section[1].splitlines():
        found = LINE.fullmatch(line)
        if found is None:
            raise SystemExit(f"models.{method}.base: expected `key: value  # note`, found {line!r}")
        indent, key, value, comment = found.groups(default="")
        path[len(indent) // 2 - 3 :] = [key]
        if value:
            source = SOURCE.match(comment)
            note = (comment[source.end() :] if source else comment).replace("|", "\\|")
            rows.append(f"| `{'.'.join(path)}` | `{value}` | {source[1] if source else ''} | {note} |")
    return "\n".join(rows)


def filled(page: str, params: str) -> str:
    """The page with its tables written anew."""
    return PLACE.sub(lambda place: f"{place[1]}\n{table(params, place[2])}\n\n{place[3]}", page)


if __name__ == "__main__":
    page, params = DOCS / "methods.md", DOCS.parent / "params.yaml"
    page.write_text(filled(page.read_text("utf-8"), params.read_text("utf-8")), "utf-8")
