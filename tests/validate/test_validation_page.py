"""The page and the tables of a validation: complete, literal, the same bytes, readable on narrow screens."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from made.mmsa_corpus import corpus, tiny_clip
from rich.console import Console

from pipeline.corpora.findings import Finding
from pipeline.params.params import DatasetParams, MediaLimits, Params
from pipeline.reports.blocks import as_renderables
from pipeline.validate.features import StoreSummary
from pipeline.validate.page import MOST_ROWS, blocks, facts, write_page
from pipeline.validate.subjects import Subject
from pipeline.validate.validate import Validation, examine

NASTY = "<script>alert(1)</script>[red]&\"'"
VOID = {"meta", "link", "br"}
MOODS = {"task": "classification", "classes": ["悲伤", "calm <b>", "$glad$"]}


class Reader(HTMLParser):
    """Tags that are open, all images, and all text of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.drawn = ""
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "svg":
            self.images.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if "svg" in self.open:
            self.drawn += data


def scores(root: Path) -> Validation:
    """Four clips with labels of each modality and media."""
    lines = [
        "a,1,one,1,1,-1,0,,train",
        "b,1,two,-1,-1,-1,-1,,train",
        "c,1,three,0,0,1,0,,valid",
        "d,1,four,2,2,2,2,,test",
    ]
    described = corpus(root, *lines)
    for number, video in enumerate("abcd"):
        tiny_clip(root / "Raw" / video / "1.mp4", shade=number * 50)
    found = examine(Subject(f"s {NASTY}", described), Params())
    found.stores = [StoreSummary(f"s/visual-{NASTY}", "visual", 3, "mesh 1", ok=2, absent=1, failed=1)]
    rows = tuple(f"{NASTY}{number}" for number in range(MOST_ROWS + 7))
    found.findings.append(Finding("warning", NASTY, NASTY, rows))
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Validation:
    return scores(tmp_path_factory.mktemp("scores"))


@pytest.fixture(scope="module")
def text(made: Validation, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page as it was written."""
    return _written(made, tmp_path_factory.mktemp("pages") / "new")


def _written(made: Validation, folder: Path) -> str:
    write_page(made, folder / "page.html", MediaLimits())
    return (folder / "page.html").read_text(encoding="utf-8")


def test_page_is_whole_and_needs_nothing_else(text: str) -> None:
    found = Reader(text)
    assert not found.open
    assert text.count("<script") == 1 and not {"img", "iframe", "object", "foreignobject"} & found.tags
    assert all(address.startswith(("data:,", "#")) for address in found.addresses)
    assert not re.search(r"url\((?!#)|@import|srcset", text)
    assert 'name="viewport"' in text
    assert NASTY in found.text
    assert f"and {7} more" in found.text  # of the long list
    for image, drawn in zip(found.images, re.findall(r"<svg.*?</svg>", text, re.DOTALL), strict=True):
        assert image["aria-label"]
        ElementTree.fromstring(drawn)
    assert len(found.images) == 6  # labels, polarity, lengths, pairs, modalities, features


def test_pictures_are_told_in_words(text: str) -> None:
    alts = " ".join(image["aria-label"] or "" for image in Reader(text).images)
    assert "train: 1 negative, 0 neutral, 1 positive." in alts
    assert "audio: 2 negative, 0 neutral, 2 positive." in alts
    assert "text and audio 2 of 4; text and visual 1 of 4" in alts
    assert "Clips: train 0 0 1 0 1 0 0; valid 0 0 0 1 0 0 0; test 0 0 0 0 0 1 0." in alts
    assert "2 ok, 1 absent, 1 failed, 0 no row" in alts
    assert "train 1.0 to 1.0 s, median 1.0 s" in alts


def test_equal_validations_give_equal_bytes(made: Validation, text: str, tmp_path: Path) -> None:
    assert _written(made, tmp_path) == text
    assert not re.search(r"20\d\d-\d\d-\d\d|matplotlib", text)


def test_classes_are_drawn_by_name(tmp_path: Path) -> None:
    lines = ["a,1,x,0,,,,,train", "b,1,x,1,,,,,valid", "c,1,x,2,,,,,test"]
    made = examine(Subject("moods", corpus(tmp_path, *lines, **MOODS)), Params())
    letters = Reader(_written(made, tmp_path)).drawn
    for name in MOODS["classes"]:
        assert name in letters


@pytest.mark.parametrize("broken", ["", "no_such_folder"])
def test_a_corpus_that_cannot_be_read_has_a_page_too(tmp_path: Path, broken: str) -> None:
    made = examine(Subject("x", DatasetParams(root=str(tmp_path / broken))), Params())
    found = Reader(_written(made, tmp_path))
    assert not found.open and not found.images
    assert "fix the errors first" in found.text


@pytest.mark.parametrize("width", [80, 160])
def test_tables_fit_the_terminal(made: Validation, width: int) -> None:
    output = StringIO()
    Console(file=output, width=width, highlight=False).print(*as_renderables(blocks(made)))
    lines = output.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    flat = re.sub(r"\s+", " ", output.getvalue())
    assert "train 2 2 0.0 1 (50%) 0 (0%) 1 (50%)" in flat
    assert "2 of 4 clips (50%): labels of text, audio, visual are not all of one polarity" in flat
    assert "text 50% 25% 0%" in flat and "visual 25%" in flat
    assert "[red]&" in flat  # ids are no markup
    assert lines[-1].strip() == "0 error(s), 3 warning(s): usable"


def test_facts_are_plain_and_whole(made: Validation) -> None:
    told = json.loads(json.dumps(facts(made)))
    assert told["usable"] is True
    assert told["conflicts"]["pairs"]["text-audio"] == {"clips": 4, "apart": 2}
    assert told["splits"][0]["polarity"] == [1, 0, 1]
    assert told["features"][0]["failed"] == 1
    assert len(told["findings"][-1]["rows"]) == MOST_ROWS + 7
