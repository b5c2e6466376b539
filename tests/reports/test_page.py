"""The results page: the results' numbers, whole and small; a browser shows it without complaint."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made.html_page import Page
from made.made_results import (
    MOODS,
    chosen,
    make_params,
    runs_of,
    views,
    write_moods,
    write_one,
)
from PIL import Image

from pipeline.core.errors import FormatError, MsaError
from pipeline.evaluation.imported import import_predictions
from pipeline.evaluation.saved import read_runs, write_views
from pipeline.params.params import Params
from pipeline.reports import page as report_page
from pipeline.reports.facts import facts
from pipeline.reports.figures import confusion
from pipeline.reports.report import report
from pipeline.reports.run_figures import classes_of, draw_terms, error_by_range
from pipeline.reports.tables import paper_figures, results_table, summarize

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SEEDS = [1, 2]


def make_params_of(**changes: Any) -> Params:
    moods = {"root": "moods", "task": "classification", "classes": MOODS}
    names = ("mosi", "moods")
    tree: dict[str, Any] = {
        "datasets": {"mosi": {"root": "mosi"}, "moods": moods},
        "datasets_run": ["mosi", "moods"],
        "assemble": {name: chosen(name, "cls" if name == "moods" else "mmsa") for name in names},
        "models": {name: {"corpora": {dataset: {} for dataset in names}} for name in ("misr", "other")},
        "seeds": SEEDS,
    }
    return make_params(**{**tree, **changes})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with results of a regression and of classes, views of some, and the page of them all."""
    here = tmp_path_factory.mktemp("page")
    for seed in SEEDS:
        write_one(here, "misr", seed, 0.2)
        write_one(here, "other", seed, 1.5)
        for method in ("misr", "other"):
            write_moods(here, method, seed)
    write_views({1: views()}, here / "results" / "mosi" / "misr" / "views.json")
    write_views({1: views(classes=True)}, here / "results" / "moods" / "misr" / "views.json")
    report(make_params_of(), here / "results", here / "reports")
    return here


def written(params: Params, results: Path, out: Path) -> str:
    """The page."""
    report(params, results, out)
    return (out / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(place: Path) -> Page:
    return Page((place / "reports" / "index.html").read_text(encoding="utf-8"))


def saved(place: Path, method: str, dataset: str, seed: int) -> dict[str, Any]:
    return next(run for run in runs_of(place / "results" / dataset / method) if run["seed"] == seed)


# ------------------------------------------------------------------------------------------------- numbers
def test_numbers_are_those_of_the_results(place: Path, page: Page) -> None:
    head, misr, other, floor = page.tables[0]
    assert [cell[0] for cell in head] == ["method", "mae ↓", "corr ↑", "acc7 ↑", "valid mae ↓"]
    for row, method in ((misr, "misr"), (other, "other")):
        assert row[0][0] == method
        for cell, metric in zip(row[1:4], ("mae", "corr", "acc7"), strict=True):
            values = [saved(place, method, "mosi", seed)["test"][metric] for seed in SEEDS]
            text = f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
            assert re.sub(r"[†\s]+", " ", cell[0]).startswith(text)
            assert float(cell[1]) == pytest.approx(np.mean(values), rel=1e-5)
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
    moods = next(table for table in page.tables if table[0][1][0] == "accuracy ↑")
    assert not any(cell[2] for row in moods for cell in row)  # the same predictions: no best


def test_clusters_are_said(page: Page) -> None:
    assert (
        "30 test (30 videos)." in page.words
        and "30 test (3 videos, too few to test differences on)." in page.words
    )
    assert "those of a speaker or video together" in page.words


def test_nothing_stands_out_where_few_people_speak(place: Path, tmp_path: Path) -> None:
    """Four speakers can be swapped in 16 ways alone, so that p is at least 2/16."""
    shutil.copytree(place / "results", tmp_path / "results")
    params = make_params_of(datasets_run=["mosi"])

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


def test_runs_and_worst_clips(page: Page) -> None:
    for name in ("mosi", "mosi-misr", "mosi-misr-1", "mosi-other-2", "moods-misr-1"):
        assert name in page.ids
    assert len(page.ids) == len(set(page.ids))
    worst = [table for table in page.tables if table[0][0][0] == "clip"]
    assert len(worst) == 2
    assert [cell[0] for cell in worst[0][1]] == [
        "video$_$1",
        "2.000",
        "0.000",
        "2.500",
        "<b>Not & so</b> 'good'",
    ]
    assert [cell[0] for cell in worst[1][1]][:4] == ["video$_$1", MOODS[2], MOODS[0], "2.500"]
    assert "nothing of <that>" in page.words and "Look here: a < b." in page.words
    assert "misr, seed 1, test: a < b" in page.words
    assert page.words.count("This run has no views") == 6
    assert "dvc repro evaluate@other-mosi" in page.words


# ---------------------------------------------------------------------------------------------- the page
def test_it_is_whole_and_small(place: Path, page: Page) -> None:
    assert (place / "reports" / "index.html").stat().st_size < 5_000_000
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert not re.search(r"https?:|@import|url\(", page.text)
    anchors = [address[1:] for address in page.addresses if address.startswith("#")]
    assert anchors and set(anchors) <= set(page.ids)
    assert '<meta name="viewport"' in page.text
    assert str(place) not in page.text


def test_pictures_have_words_and_are_pictures(page: Page) -> None:
    # losses, scatter, matrix, ranges; no scatter of classes. Of a first seed two panels and a map twice, or,
    # without views, what is no known term as a measurement
    with_views, without, second = (4 + 4) + (3 + 4), (4 + 1) + (3 + 1), 2 * (4 + 3)
    assert len(page.images) == with_views + without + second
    for image in page.images:
        assert len(image["alt"] or "") > 20
        with Image.open(io.BytesIO(base64.b64decode((image["src"] or "").partition(",")[2]))) as drawn:
            assert drawn.format == "PNG"
            ratio = int(image["width"] or 0) / int(image["height"] or 1)
            assert drawn.width / drawn.height == pytest.approx(ratio, rel=0.02)
            grey = np.asarray(drawn.convert("L"))
            assert grey.min() < 80 and grey.max() > 250  # dark ink on white


def test_same_results_same_bytes(place: Path, tmp_path: Path) -> None:
    params = make_params_of(datasets_run=["mosi"], models_run=["misr"], seeds=[1])
    pages = [written(params, place / "results", tmp_path / name) for name in "ab"]
    assert pages[0] == pages[1]


def test_many_runs_keep_numbers_and_lose_pictures(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = make_params_of(datasets_run=["moods"], models_run=["misr"])
    whole = Page(written(params, place / "results", tmp_path))
    size = sum(len((image["src"] or "").partition(",")[2]) for image in whole.images)
    monkeypatch.setattr(report_page, "PICTURES", size - 1)
    text = written(params, place / "results", tmp_path)
    assert text.count("No pictures: the page would be too large") == 1
    assert Page(text).images and "moods-misr-2" in Page(text).ids
    monkeypatch.setattr(report_page, "LIMIT", 1000)
    with pytest.raises(MsaError, match=r"the page of 2 runs has .* MB"):
        written(params, place / "results", tmp_path)


def test_what_is_missing_is_named(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "results", tmp_path / "results")
    folder = tmp_path / "results" / "mosi" / "misr"
    params = make_params_of(datasets_run=["mosi"], models_run=["misr"])
    for name in ("curves.tsv", "predictions.parquet", "metrics.json"):
        (folder / name).unlink()
        with pytest.raises(FormatError, match=re.escape(name)):
            written(params, tmp_path / "results", tmp_path / "reports")
    with pytest.raises(MsaError, match="nothing to report"):
        written(make_params_of(models_run=[]), tmp_path / "results", tmp_path / "reports")


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
    page = Page(written(make_params_of(), results, tmp_path / "reports"))
    assert "imported from llm.csv" in page.words
    assert {"mosi-llm-0", "moods-llm-0", "mosi-misr-1"} <= set(page.ids)
    rows = [row for table in page.tables for row in table if row[0][0] == "llm"]
    assert [row[1][0] for row in rows] == ["0.000", "1.000", "1.000"]  # MAE, polarity of scores, accuracy
    said = (tmp_path / "reports" / "report.md").read_text()
    assert said.count("| llm ") == 3 and "nan" not in said
    curves, predictions = ((tmp_path / "reports" / n).read_text() for n in ("curves.tsv", "predictions.csv"))
    assert "llm" not in curves and "llm,mosi,0," in predictions
    path = results / "mosi" / "llm" / "predictions.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(
        MsaError, match=r"mosi/llm was imported for other test clips or labels than mosi/misr"
    ):
        written(make_params_of(), results, tmp_path / "reports")


# ------------------------------------------------------------------------------------------- what is drawn
def test_the_curves_say_each_terms_share_of_the_loss() -> None:
    """Of the weighted terms at the chosen epoch; a term below zero counts by its size."""
    curves = [
        {"epoch": i, "total": 1.0, "error": 0.5 + i, "pull": -2.0 * i, "valid_loss": 1.0, "lr": 0.1}
        for i in (1, 2)
    ]
    run: Any = SimpleNamespace(curves=curves, result=SimpleNamespace(epoch=1, class_names=()))
    said = draw_terms(run, {"error": 1.0, "pull": 0.25, "off": 0.0}, 1).alt
    assert "error 1.5 (75.0% of the loss), pull -2 (25.0% of the loss), total 1, valid_loss 1" in said
    assert "%" not in draw_terms(run, {}, 1).alt


def test_errors_by_range_by_hand() -> None:
    label, prediction = np.array([-3, -2, 0.5, 3.0]), np.array([-2, -2.5, 0.5, 1.0])
    names, errors = error_by_range(label, prediction, (-3, 3))
    assert names[0] == "-3 to -2\nn = 1" and names[1] == "-2 to -1\nn = 1" and names[5] == "2 to 3\nn = 1"
    assert errors == [1.0, 0.5, None, 0.0, None, 2.0]


def test_classes_of_scores_are_the_metric_sets() -> None:
    label, found = np.array([-3.0, 0.5, 1.5, 0.1]), np.array([-9.0, 0.4, 2.4, -0.1])
    true, guessed, names = classes_of(label, found, "mmsa", [])
    assert [names[i] for i in true] == ["-3", "0", "2", "0"] and [names[i] for i in guessed] == [
        "-3",
        "0",
        "2",
        "0",
    ]
    true, guessed, names = classes_of(label / 3, found / 3, "sims", [])
    assert [names[i] for i in true] == ["≤ -0.7", "≤ 0.7", "≤ 0.7", "≤ 0.1"]
    counts = confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    np.testing.assert_array_equal(counts, [[1, 1], [0, 1]])


# ------------------------------------------------------------------------------------------------- browser
PROBE = """<script>
const told = [];
window.addEventListener("error", event => told.push(event.message), true);
console.error = (...words) => told.push(words.join(" "));
window.addEventListener("load", () => {
  const table = document.querySelector("table.sortable"), seen = [];
  const order = () => [...table.tBodies[0].rows].map(row => row.cells[0].textContent).join(",");
  for (const click of [1, 1, 0]) {
    table.tHead.rows[0].cells[click].querySelector("button").click();
    seen.push(order());
  }
  document.querySelectorAll("details").forEach(one => { one.open = true; });
  const narrow = [...document.images].every(image => image.complete && image.naturalWidth > 0);
  const result = {told, seen, narrow, wide: document.documentElement.scrollWidth, inner: window.innerWidth};
  const shown = document.createElement("pre");
  shown.id = "told";
  shown.textContent = JSON.stringify(result);
  document.body.append(shown);
  parent.postMessage(shown.textContent, "*");
});
</script>"""
FRAME = """<html><body><iframe src="probed.html" style="width:%dpx;height:900px;border:0"></iframe>
<pre id="told"></pre><script>window.addEventListener("message", event => {
document.getElementById("told").textContent = event.data; });</script></body></html>"""


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome in PATH")
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser(width: int, page: Page, tmp_path: Path) -> None:
    (tmp_path / "probed.html").write_text(page.text.replace("<head>", f"<head>{PROBE}", 1), encoding="utf-8")
    (tmp_path / "frame.html").write_text(FRAME % width)  # a window has a least width, a frame has none
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--dump-dom"]
    done = subprocess.run(
        [*command, (tmp_path / "frame.html").as_uri()], capture_output=True, text=True, timeout=120
    )
    told = re.search(r'<pre id="told">(\{.*?\})</pre>', done.stdout, re.DOTALL)
    assert told, done.stderr[-2000:]
    result = json.loads(told[1])
    assert result["told"] == []
    assert result["narrow"] and result["inner"] == width
    assert result["wide"] <= width  # wide tables scroll in themselves
    rising = [row[0][0] for row in sorted(page.tables[0][1:], key=lambda row: float(row[1][1]))]
    assert result["seen"] == [",".join(order) for order in (rising, rising[::-1], sorted(rising))]
