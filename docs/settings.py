"""Writes the tables of settings in methods.md and baselines.md from params.yaml: python docs/settings.py."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent
PAGES = ("methods.md", "baselines.md")
PLACE = re.compile(r"(<!-- settings of (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
SECTION = re.compile(r"^## (.*)\n(?:(?!## ).*\n)*", re.MULTILINE)
LINE = re.compile(r"( +)([\w]+):(?: +(.*?))?(?: *# (.*))?")  # indent, key, value, comment
SOURCE = re.compile(r"\[([PCRD])\] ?;? ?")


def table(params: str, method: str) -> str:
    """Markdown: a row a setting, with its value, source and meaning."""
    section = re.search(rf"^  {method}:.*?\n    base:\n(.*?)^    corpora:", params, re.MULTILINE | re.DOTALL)
    if section is None:
        raise SystemExit(f"params.yaml has no models.{method}.base; take its section out of docs/")
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


def tables_of(page: str) -> list[str]:
    """The methods whose tables the page has a place for."""
    return [name for _, name, _ in PLACE.findall(page)]


def with_places(page: str, methods: set[str]) -> str:
    """The page with a place at the end of the section of each method: `mag_bert` is that of `## MAG-BERT`."""

    def completed(section: re.Match[str]) -> str:
        name = re.sub(r"\W", "_", section[1].lower())
        if name not in methods or name in tables_of(page):
            return section[0]
        place = f"<!-- settings of {name} -->\n<!-- end -->"
        return f"{section[0].rstrip()}\n\n<details><summary>Settings</summary>\n\n{place}\n\n</details>\n\n"

    return SECTION.sub(completed, page).rstrip() + "\n"


def filled(page: str, params: str) -> str:
    """The page with its tables written anew."""
    return PLACE.sub(lambda place: f"{place[1]}\n{table(params, place[2])}\n\n{place[3]}", page)


if __name__ == "__main__":
    params = (DOCS.parent / "params.yaml").read_text("utf-8")
    methods, baselines = (DOCS / name for name in PAGES)
    entries = re.search(r"^models:\n(.*?)^\w", params, re.MULTILINE | re.DOTALL)
    assert entries is not None
    named = set(re.findall(r"^  (\w+):", entries[1], re.MULTILINE))
    page = methods.read_text("utf-8")
    methods.write_text(filled(page, params), "utf-8")
    own = with_places(baselines.read_text("utf-8"), named - set(tables_of(page)))
    baselines.write_text(filled(own, params), "utf-8")
