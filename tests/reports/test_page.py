"""The results page: the results' numbers, whole and small; a browser shows it without complaint."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made.html_page import Page
from made.made_results import MOODS, PAGE_SEEDS, page_params, runs_of

from pipeline.core.errors import FormatError, MsaError
from pipeline.evaluation.imported import import_predictions
from pipeline.evaluation.saved import read_runs
from pipeline.params.params import Params
from pipeline.reports import page as report_page
from pipeline.reports.blocks import Heading, Lines
from pipeline.reports.facts import facts
from pipeline.reports.page import index_page, set_page
from pipeline.reports.report import report
from pipeline.reports.sections import SetResults
from pipeline.reports.tables import paper_figures, results_table, summarize


def written(params: Params, results: Path, name: str = "") -> str:
    """The page of a set, or that of all."""
    grouped = read_runs(params, results)
    sets = {of: SetResults(of, runs, summarize(runs), params, results) for of, runs in grouped.items()}
    return set_page(sets[name]) if name else index_page([*sets.values()], params)


def saved(place: Path, method: str, dataset: str, seed: int) -> dict[str, Any]:
    return next(run for run in runs_of(place / "results" / dataset / method) if run["seed"] == seed)


# ------------------------------------------------------------------------------------------------- numbers
def test_numbers_are_those_of_the_results(place: Path, page: Page) -> None:
    head, misr, other, floor = page.tables[0]
    assert [cell[0] for cell in head] == ["method", "MAE\xa0↓", "Corr\xa0↑", "Acc-7\xa0↑", "Valid MAE\xa0↓"]
    for row, method in ((misr, "MISR"), (other, "other")):
        assert row[0][0] == method
        for cell, metric in zip(row[1:4], ("mae", "corr", "acc7"), strict=True):
            values = [saved(place, method.lower(), "mosi", seed)["test"][metric] for seed in PAGE_SEEDS]
            text = f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
            assert re.sub(r"[†\s]+", " ", cell[0]).startswith(text)
            assert float(cell[1]) == pytest.approx(np.mean(values), abs=1e-4)
    assert [cell[0] for cell in floor] == ["train median", "1.250", "–", "–", "1.500"]
    assert "text minilm" in page.words and "abcdef012345" in page.words


def test_the_papers_figures_stand_beside(page: Page) -> None:
    misr = page.tables[0][1]
    # MISR's table 4, the full model on MOSI: acc7 49.85, MAE 0.671, corr 0.819
    assert [re.findall(r"paper ([\d.]+)", cell[0]) for cell in misr[1:4]] == [["0.671"], ["0.819"], ["0.498"]]
    assert not any("paper" in cell[0] for cell in page.tables[0][2])


def test_paper_figures_are_of_the_corpus_of_this_name() -> None:
    assert paper_figures("misr", "CMU-MOSI")["acc2_non0"] == pytest.approx(0.8811)
    assert paper_figures("slad", "sims")["mae"] == 0.390
    assert paper_figures("misr", "sample") == {} == paper_figures("unknown", "mosi")


def test_bold_is_what_is_significantly_better(page: Page) -> None:
    _, misr, other, _ = page.tables[0]
    assert [cell[2] for cell in misr] == [False, True, True, True, False]  # noise 0.2 against 1.5, 60 clips
    assert not any(cell[2] for cell in other)
    moods = next(table for table in page.tables if table[0][1][0] == "Accuracy\xa0↑")
    assert not any(cell[2] for row in moods for cell in row)  # the same predictions: no best


def test_clusters_are_said(page: Page) -> None:
    assert "30 test (30 videos)." in page.words
    assert "30 test (3 videos, too few to test differences on)." in page.words
    assert "those of a speaker or video together" in page.words
    assert any("95 % interval over 30 videos" in caption for caption in page.captions)
    assert any("over 3 videos (too few)" in caption for caption in page.captions)


def test_nothing_stands_out_where_few_people_speak(place: Path, tmp_path: Path) -> None:
    """Four speakers can be swapped in 16 ways alone, so that p is at least 2/16."""
    shutil.copytree(place / "results", tmp_path / "results")
    params = page_params(datasets_run=["mosi"])

    def strong() -> tuple[int, list[str], str]:
        runs = read_runs(params, tmp_path / "results")["mosi"]
        table = results_table(summarize(runs), runs, "mosi")
        cells = [cell for row in table.rows.values() for cell in row.values()]
        return sum(cell.strong for cell in cells), table.remarks, facts([*runs["misr"], *runs["other"]])

    number, said_before, _ = strong()
    assert number == 3
    for method in ("misr", "other"):
        path = tmp_path / "results" / "mosi" / method / "predictions.parquet"
        found = pq.read_table(path).drop_columns("speaker")
        pq.write_table(found.append_column("speaker", pa.array([f"s{i % 4}" for i in range(60)])), path)
    number, remarks, said = strong()
    assert number == 0 and "30 test (4 speakers, too few to test differences on)" in said
    assert {remark.partition(", which")[0] for remark in set(remarks) - set(said_before)} == {
        "statistics: 4 speakers: too few to trust intervals and p values"
    }


def test_methods_seeds_and_worst_clips(mosi: Page, moods: Page) -> None:
    for found in (mosi, moods):
        assert {"methods", "misr", "other", "misr-seeds", "misr-worst", "reading"} <= set(found.ids)
        assert "other-worst" not in found.ids
        assert len(found.ids) == len(set(found.ids))
        seeds = [table for table in found.tables if table[0][0][0] == "seed"]
        assert [[row[0][0] for row in table[1:]] for table in seeds] == [["1", "2"]] * 2
    worst = [table for found in (mosi, moods) for table in found.tables if table[0][0][0] == "clip"]
    assert len(worst) == 2
    first = ["video$_$1", "2.000", "0.000", "2.500", "<b>Not & so</b> 'good'"]
    assert [cell[0] for cell in worst[0][1]] == first
    assert [cell[0] for cell in worst[1][1]][:4] == ["video$_$1", MOODS[2], MOODS[0], "2.500"]
    assert "nothing of <that>" in mosi.words and "Look here: a < b." in mosi.words
    assert "MISR, seed 1, test: a < b" in mosi.words
    assert mosi.words.count("There are no views") == 1  # of other
    assert "dvc repro evaluate@other-mosi" in mosi.words


def test_sections_stand_between_the_table_and_the_methods(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_set(found: SetResults) -> list[Any]:
        seeds = [run.result.seed for run in found.runs]
        return [Heading(f"Told of {found.name}", 3, "told"), Lines([f"seeds {seeds}"])]

    monkeypatch.setattr("pipeline.reports.sections.SECTIONS", (of_set, lambda found: []))
    text = written(page_params(datasets_run=["mosi"]), place / "results", "mosi")
    places = [text.index(words) for words in ("<table", "Told of mosi", "seeds [1, 2, 1, 2]", 'id="methods"')]
    assert places == sorted(places)


# ---------------------------------------------------------------------------------------------- the page
def test_they_are_whole_and_small(place: Path, page: Page, mosi: Page) -> None:
    for found in (page, mosi):
        assert len(found.text.encode()) < 400_000
        others = [address for address in found.addresses if not address.startswith(("data:,", "#"))]
        assert not re.search(
            r"(?<!xmlns=\")https?:|@import|url\((?!#)|<img|<link rel=.stylesheet", found.text
        )
        assert '<meta name="viewport"' in found.text
        assert "prefers-color-scheme:dark" in found.text and "currentColor" in found.text
        assert str(place) not in found.text
        anchors = [address[1:] for address in found.addresses if address.startswith("#")]
        assert set(anchors) <= set(found.ids)
        for address in others:  # pages that are there, and places in them
            file, _, anchor = address.partition("#")
            target = (place / "reports" / ("sets" if found is mosi else "") / file).resolve()
            assert target.is_file(), address
            assert not anchor or f'id="{anchor}"' in target.read_text(encoding="utf-8")
    assert "sets/mosi.html#misr" in page.addresses and "../index.html" in mosi.addresses


def test_no_raw_key_is_shown(page: Page, mosi: Page, moods: Page) -> None:
    """Neither in words nor in pictures; what is code or a clip's id may have an underscore."""
    for found in (page, mosi, moods):
        known = re.sub(r"dvc repro \S+|msa-cli \S+|video\S*|no_mood", "", found.words + found.drawn)
        assert not re.findall(r"\w+_\w+|\w+\^\w+|\b(?:mae|corr|acc7|total)\b", known)


def test_no_column_of_a_table_is_empty(page: Page, mosi: Page, moods: Page) -> None:
    for table in (table for found in (page, mosi, moods) for table in found.tables):
        for column in zip(*table[1:], strict=True):
            assert any(cell[0] not in ("", "–") for cell in column)


def test_pictures_have_words_and_letters_that_can_be_read(page: Page, mosi: Page, moods: Page) -> None:
    # losses, scatter, matrix, ranges; no scatter of classes. With views two panels and a map twice, without
    # them what is no known term as a measurement
    assert [len(found.images) for found in (page, mosi, moods)] == [4, 2 + 8 + 5, 2 + 7 + 4]
    for found in (page, mosi, moods):
        assert len(found.captions) == len(found.images)
        for image in found.images:
            assert len(image["aria-label"] or "") > 20
        for size in re.findall(r'font-size="([\d.]+)"', found.text):
            assert float(size) * 96 / 72 * 0.9 >= 9  # CSS pixels, where a picture is a tenth smaller
    for marker in ("Spread", "none"):
        assert "ω" in mosi.drawn, marker


def test_losses_below_zero_are_explained(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "results", tmp_path / "results")
    curves = tmp_path / "results" / "mosi" / "misr" / "curves.tsv"
    rows = [line.split("\t") for line in curves.read_text().splitlines()]
    negative = ["\t".join([seed, epoch, "-1", "-2", *rest]) for seed, epoch, _, _, *rest in rows[1:]]
    curves.write_text("\n".join(["\t".join(rows[0]), *negative]) + "\n")
    params = page_params(datasets_run=["mosi"])
    text = written(params, tmp_path / "results", "mosi")
    assert "below 0, which is not an error. Prior: distance of" in text
    assert "not an error" not in (place / "reports" / "sets" / "mosi.html").read_text(encoding="utf-8")


def test_same_results_same_bytes_whatever_is_not_seen(place: Path, tmp_path: Path) -> None:
    """The last decimals of results, which nobody sees, change no page."""
    params = page_params(datasets_run=["mosi"], models_run=["misr"], seeds=[1])
    shutil.copytree(place / "results", tmp_path / "results")
    path = tmp_path / "results" / "mosi" / "misr" / "metrics.json"
    tree = json.loads(path.read_text())
    for run in tree["runs"]:
        run["test"] = {name: value + 1e-9 for name, value in run["test"].items()}
    path.write_text(json.dumps(tree))
    folders = [place / "results", place / "results", tmp_path / "results"]
    for name in ("", "mosi"):
        assert len({written(params, of, name) for of in folders}) == 1


def test_many_methods_keep_numbers_and_lose_pictures(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = page_params(datasets_run=["moods"])
    monkeypatch.setattr(report_page, "PICTURES", 40_000)
    text = written(params, place / "results", "moods")
    assert text.count("No pictures: the page would be too large") == 1
    assert len(Page(text).images) == 2 + 7 and "other-seeds" in Page(text).ids
    monkeypatch.setattr(report_page, "LIMIT", 1000)
    with pytest.raises(MsaError, match=r"the page sets/moods\.html takes up .* MB"):
        written(params, place / "results", "moods")


def test_pages_of_sets_that_are_no_longer_run_go(place: Path, tmp_path: Path) -> None:
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "mosi.html").write_text("old")
    report(page_params(datasets_run=["moods"], models_run=["other"]), place / "results", tmp_path)
    assert [file.name for file in (tmp_path / "sets").iterdir()] == ["moods.html"]


def test_what_is_missing_is_named(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "results", tmp_path / "results")
    folder = tmp_path / "results" / "mosi" / "misr"
    params = page_params(datasets_run=["mosi"], models_run=["misr"])
    for name in ("curves.tsv", "predictions.parquet", "metrics.json"):
        (folder / name).unlink()
        with pytest.raises(FormatError, match=re.escape(name)):
            written(params, tmp_path / "results")
    with pytest.raises(MsaError, match="nothing to report"):
        written(page_params(models_run=[]), tmp_path / "results")


def test_imported_predictions_stand_beside_the_runs(place: Path, tmp_path: Path) -> None:
    """Without curves, views, weights or an entry in params.yaml; of both tasks."""
    results = tmp_path / "results"
    shutil.copytree(place / "results", results)
    for dataset, target in (("mosi", "label"), ("moods", "class_label")):
        clips = pq.read_table(results / dataset / "misr" / "predictions.parquet")
        table = clips.select(["clip_id", "video_id", "speaker"]).append_column(target, clips["label"])
        assembled = tmp_path / dataset
        assembled.mkdir()
        for split in ("train", "test"):
            pq.write_table(table, assembled / f"{split}.parquet")
        task, classes = ("regression", ()) if dataset == "mosi" else ("classification", MOODS)
        stats = {"format": 1, "task": task, "class_names": classes, "feature_set": "", "modalities": {}}
        (assembled / "stats.json").write_text(json.dumps(stats))
        file = tmp_path / "llm.csv"
        guesses = zip(clips["clip_id"].to_pylist(), clips["label"].to_pylist(), strict=True)
        file.write_text("\n".join(["id,pred", *(f"{clip},{label}" for clip, label in guesses)]))
        metric_set = "cls" if classes else "mmsa"
        import_predictions(file, "llm", dataset, assembled, results / dataset / "llm", metric_set)
    report(page_params(seeds=[1]), results, tmp_path / "reports")
    page = Page((tmp_path / "reports" / "index.html").read_text())
    sets = [Page((tmp_path / "reports" / "sets" / f"{name}.html").read_text()) for name in ("mosi", "moods")]
    for found in sets:
        assert "imported from llm.csv" in found.words and {"llm", "llm-seeds", "misr"} <= set(found.ids)
    rows = [row for table in page.tables for row in table if row[0][0] == "llm"]
    assert len(rows) == 2 and {float(row[1][1]) for row in rows} == {0, 1}  # MAE and accuracy
    said = (tmp_path / "reports" / "report.md").read_text()
    assert said.count("| llm ") == 3 and "nan" not in said
    curves, predictions = ((tmp_path / "reports" / n).read_text() for n in ("curves.tsv", "predictions.csv"))
    assert "llm" not in curves and "llm,mosi,0," in predictions
    path = results / "mosi" / "llm" / "predictions.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(
        MsaError, match=r"mosi/llm was imported for other test clips or labels than mosi/misr"
    ):
        report(page_params(seeds=[1]), results, tmp_path / "reports")
