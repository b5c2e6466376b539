"""Pages of results that nobody trained, made once for the tests of this room."""

from __future__ import annotations

from pathlib import Path

import pytest
from made.html_page import Page
from made.made_results import PAGE_SEEDS, page_params, views, write_moods, write_one

from pipeline.evaluation.saved import write_views
from pipeline.reports.report import report


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with results of a regression and of classes, views of some, and the page of them all."""
    here = tmp_path_factory.mktemp("page")
    for seed in PAGE_SEEDS:
        write_one(here, "misr", seed, 0.2)
        write_one(here, "other", seed, 1.5)
        for method in ("misr", "other"):
            write_moods(here, method, seed)
    write_views({1: views()}, here / "results" / "mosi" / "misr" / "views.json")
    write_views({1: views(classes=True)}, here / "results" / "moods" / "misr" / "views.json")
    report(page_params(), here / "results", here / "reports")
    return here


@pytest.fixture(scope="session")
def page(place: Path) -> Page:
    """All sets side by side."""
    return Page((place / "reports" / "index.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def mosi(place: Path) -> Page:
    """One set's page, of scores."""
    return Page((place / "reports" / "sets" / "mosi.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def moods(place: Path) -> Page:
    """One of classes."""
    return Page((place / "reports" / "sets" / "moods.html").read_text(encoding="utf-8"))
