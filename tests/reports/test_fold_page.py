"""Folds of a cross-validation stand as one on the page of all results: their test clips together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from made.html_page import Page
from made.made_results import METHODS, SEEDS, chosen, make_params, write_result

from pipeline.evaluation.saved import read_runs
from pipeline.params.params import Params
from pipeline.reports.page import index_page
from pipeline.reports.sections import SetResults
from pipeline.reports.tables import summarize

NAMES = ["sample-f0", "sample-f1"]


@pytest.fixture
def folds(tmp_path: Path) -> tuple[Path, Params]:
    """Two folds with the same test clips; see `apart`."""
    for name in NAMES:
        for method in METHODS:
            for seed in SEEDS:
                write_result(tmp_path, method, name, seed)
    entries = {
        name: {**chosen("sample"), "protocol": {"folds": {"number": 2, "by": "video", "fold": fold}}}
        for fold, name in enumerate(NAMES)
    }
    models = {method: {"corpora": {name: {} for name in NAMES}} for method in METHODS}
    return tmp_path / "results", make_params(datasets_run=NAMES, assemble=entries, models=models)


def apart(results: Path) -> None:
    """Other clips and videos in the second fold."""
    for method in METHODS:
        path = results / NAMES[1] / method / "predictions.parquet"
        table = pq.read_table(path)
        for column in ("clip_id", "video_id"):
            renamed = pc.binary_join_element_wise(pa.scalar("other-"), table[column], "")
            table = table.set_column(table.schema.get_field_index(column), column, renamed)
        pq.write_table(table, path)


def page_of(results: Path, params: Params) -> Page:
    grouped = read_runs(params, results)
    return Page(
        index_page(
            [SetResults(of, runs, summarize(runs), params, results) for of, runs in grouped.items()], params
        )
    )


def test_folds_are_one_with_the_clips_of_all(folds: tuple[Path, Params]) -> None:
    results, params = folds
    apart(results)
    page = page_of(results, params)
    assert "sample-f0 to sample-f1, cross-validated" in page.words and "2 of 2 folds by video" in page.words
    standing = next(
        image["aria-label"] or "" for image in page.images if "95 %" in (image["aria-label"] or "")
    )
    assert "over 30 videos" in standing
    errors = []
    for name in NAMES:
        table = pq.read_table(results / name / "misr" / "predictions.parquet").to_pydict()
        errors += [np.abs(np.array(table[f"prediction_{seed}"]) - table["label"]) for seed in SEEDS]
    assert f"MISR {np.mean(errors):.3f} (" in standing
    assert {f"sets/{name}.html" for name in NAMES} <= set(page.addresses)
    assert [row[0][0] for row in page.tables[0]] == ["method", "MISR", "other"]
    assert len(page.images) == 2  # for both folds together


def test_folds_that_share_clips_have_numbers_and_no_interval(folds: tuple[Path, Params]) -> None:
    page = page_of(*folds)
    assert "MISR has no interval over all folds: 30 clips are tested in several of the folds" in page.words
    assert len(page.images) == 1 and page.tables[0][1][1][0].startswith("0.750")
