"""The results page: the results' numbers, whole and small; a browser shows it without complaint."""

from __future__ import annotations

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

from models import METHODS
from pipeline.core.errors import FormatError, MsaError
from pipeline.evaluation.imported import import_predictions
from pipeline.evaluation.saved import read_runs, write_views
from pipeline.params.params import Params
from pipeline.reports import page as report_page
from pipeline.reports.blocks import Heading, Lines
from pipeline.reports.facts import facts
from pipeline.reports.figures import confusion, limits_of
from pipeline.reports.names import Name, method_name, metric_name, term_name, typeset
from pipeline.reports.page import index_page, set_page
from pipeline.reports.report import report
from pipeline.reports.run_figures import classes_of, draw_terms, error_by_range
from pipeline.reports.sections import SetResults
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


def written(params: Params, results: Path, name: str = "") -> str:
    """The page of a set, or that of all."""
    grouped = read_runs(params, results)
    sets = {of: SetResults(of, runs, summarize(runs), params, results) for of, runs in grouped.items()}
    return set_page(sets[name]) if name else index_page([*sets.values()], params)


@pytest.fixture(scope="module")
def page(place: Path) -> Page:
    """All sets side by side."""
    return Page((place / "reports" / "index.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def mosi(place: Path) -> Page:
    """One set's page, of scores."""
    return Page((place / "reports" / "sets" / "mosi.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def moods(place: Path) -> Page:
    """One of classes."""
    return Page((place / "reports" / "sets" / "moods.html").read_text(encoding="utf-8"))


def saved(place: Path, method: str, dataset: str, seed: int) -> dict[str, Any]:
    return next(run for run in runs_of(place / "results" / dataset / method) if run["seed"] == seed)


# ------------------------------------------------------------------------------------------------- numbers
def test_numbers_are_those_of_the_results(place: Path, page: Page) -> None:
    head, misr, other, floor = page.tables[0]
    assert [cell[0] for cell in head] == ["method", "MAE ↓", "Corr ↑", "Acc-7 ↑", "Valid MAE ↓"]
    for row, method in ((misr, "MISR"), (other, "other")):
        assert row[0][0] == method
        for cell, metric in zip(row[1:4], ("mae", "corr", "acc7"), strict=True):
            values = [saved(place, method.lower(), "mosi", seed)["test"][metric] for seed in SEEDS]
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
    moods = next(table for table in page.tables if table[0][1][0] == "Accuracy ↑")
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
    text = written(make_params_of(datasets_run=["mosi"]), place / "results", "mosi")
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


def test_symbols_are_set_and_explained() -> None:
    text = typeset("the constraint L_IC of (H^u, μ) and X'^t; `mi_norm: none`, a_b, f1 < 2")
    assert (
        '<abbr title="MISR: the loss that wants the risks of all environments alike"><i>L</i><sub>IC</sub>'
        in text
    )
    assert "<i>H</i><sup>u</sup></abbr>, μ" in text and "<i>X′</i><sup>t</sup></abbr>;" in text
    assert "<code>mi_norm: none</code>" in text and "f1 &lt; 2" in text
    assert term_name("gap_over_std/text", "cmir").text == "Gap ÷ spread, text"
    assert term_name("never_seen/of_it").text == "Never seen, of it"
    assert method_name("mag_bert").text == "MAG-BERT" and method_name("llm") == Name("llm")
    assert metric_name("f1_joy").text == "F1, joy" and metric_name("ood_acc2_has0").text == "Acc-2 (≥ 0)"


def test_every_method_has_names_for_all_its_terms() -> None:
    """Of the methods that are here: a loss term without a name would be shown as a key in words."""
    for method, entry in METHODS.items():
        assert all(term_name(term, method).why for term in entry.load().TERMS), method


def test_losses_below_zero_are_explained(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "results", tmp_path / "results")
    curves = tmp_path / "results" / "mosi" / "misr" / "curves.tsv"
    rows = [line.split("\t") for line in curves.read_text().splitlines()]
    negative = ["\t".join([seed, epoch, "-1", "-2", *rest]) for seed, epoch, _, _, *rest in rows[1:]]
    curves.write_text("\n".join(["\t".join(rows[0]), *negative]) + "\n")
    params = make_params_of(datasets_run=["mosi"])
    text = written(params, tmp_path / "results", "mosi")
    assert "below 0, which is no mistake. Prior: distance of" in text
    assert "no mistake" not in (place / "reports" / "sets" / "mosi.html").read_text(encoding="utf-8")


def test_same_results_same_bytes_whatever_is_not_seen(place: Path, tmp_path: Path) -> None:
    """The last decimals of results, which nobody sees, change no page."""
    params = make_params_of(datasets_run=["mosi"], models_run=["misr"], seeds=[1])
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
    params = make_params_of(datasets_run=["moods"])
    monkeypatch.setattr(report_page, "PICTURES", 40_000)
    text = written(params, place / "results", "moods")
    assert text.count("No pictures: the page would be too large") == 1
    assert len(Page(text).images) == 2 + 7 and "other-seeds" in Page(text).ids
    monkeypatch.setattr(report_page, "LIMIT", 1000)
    with pytest.raises(MsaError, match=r"the page sets/moods\.html has .* MB"):
        written(params, place / "results", "moods")


def test_pages_of_sets_that_are_no_longer_run_go(place: Path, tmp_path: Path) -> None:
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "mosi.html").write_text("old")
    report(make_params_of(datasets_run=["moods"], models_run=["other"]), place / "results", tmp_path)
    assert [file.name for file in (tmp_path / "sets").iterdir()] == ["moods.html"]


def test_what_is_missing_is_named(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "results", tmp_path / "results")
    folder = tmp_path / "results" / "mosi" / "misr"
    params = make_params_of(datasets_run=["mosi"], models_run=["misr"])
    for name in ("curves.tsv", "predictions.parquet", "metrics.json"):
        (folder / name).unlink()
        with pytest.raises(FormatError, match=re.escape(name)):
            written(params, tmp_path / "results")
    with pytest.raises(MsaError, match="nothing to report"):
        written(make_params_of(models_run=[]), tmp_path / "results")


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
    report(make_params_of(seeds=[1]), results, tmp_path / "reports")
    page = Page((tmp_path / "reports" / "index.html").read_text())
    sets = [Page((tmp_path / "reports" / "sets" / f"{name}.html").read_text()) for name in ("mosi", "moods")]
    for found in sets:
        assert "imported from llm.csv" in found.words and {"llm", "llm-seeds", "misr"} <= set(found.ids)
    rows = [row for table in page.tables for row in table if row[0][0] == "llm"]
    assert len(rows) == 2 and {float(row[1][1]) for row in rows} == {0, 1}  # MAE and accuracy
    said = (tmp_path / "reports" / "report.md").read_text()
    assert said.count("| llm ") == 2 and "nan" not in said
    curves, predictions = ((tmp_path / "reports" / n).read_text() for n in ("curves.tsv", "predictions.csv"))
    assert "llm" not in curves and "llm,mosi,0," in predictions
    path = results / "mosi" / "llm" / "predictions.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(
        MsaError, match=r"mosi/llm was imported for other test clips or labels than mosi/misr"
    ):
        report(make_params_of(seeds=[1]), results, tmp_path / "reports")


# ------------------------------------------------------------------------------------------- what is drawn
def test_the_curves_say_each_terms_share_of_the_loss() -> None:
    """Of the weighted terms at the chosen epoch; a term below zero counts by its size."""
    curves = [
        {"epoch": i, "total": 1.0, "prior": 0.5 + i, "pull": -2.0 * i, "valid_loss": 1.0, "lr": 0.1}
        for i in (1, 2)
    ]
    result = SimpleNamespace(epoch=1, class_names=(), method="new", dataset="mosi")
    runs: Any = [SimpleNamespace(curves=curves, result=result)]
    said = draw_terms(runs, {"prior": 1.0, "pull": 0.25, "off": 0.0}).alt
    assert "Prior 1.5 (75.0% of the loss), Pull -2 (25.0% of the loss), Weighted sum 1, Validation 1" in said
    assert "%" not in draw_terms(runs, {}).alt


def test_limits_leave_out_a_spike_and_keep_a_slope() -> None:
    slope = np.linspace(3, 0.5, 40)
    low, high = limits_of(slope.tolist())
    assert low < 0.5 and high > 3
    low, high = limits_of([*slope, 400.0])
    assert 3 < high < 5 and low < 0.5
    low, high = limits_of([1.0, 1.0 + 1e-9])
    assert high - low > 0.1


def test_errors_by_range_by_hand() -> None:
    label, prediction = np.array([-3, -2, 0.5, 3.0]), np.array([[-2, -2.5, 0.5, 1.0], [-2, -2.5, 0.5, 1.0]])
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
  const sizes = [...document.querySelectorAll("svg text")].map(text => {
    const svg = text.closest("svg");
    const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    return parseFloat(text.getAttribute("font-size")) * scale;
  });
  const smallest = Math.min(...sizes), drawn = document.querySelector(".drawn");
  drawn.click();
  const area = element => element.getBoundingClientRect().width * element.getBoundingClientRect().height;
  const enlarged = area(document.querySelector("dialog[open] svg")) > 1.2 * area(drawn);
  const saved = document.querySelector("dialog a").download;
  document.querySelector("dialog").click();
  const closed = !document.querySelector("dialog[open]");
  const wide = document.documentElement.scrollWidth, inner = window.innerWidth;
  const result = {told, seen, smallest, enlarged, saved, closed, wide, inner};
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
@pytest.mark.parametrize("width", [1920, 1280, 390])
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
    assert result["inner"] == width
    assert result["smallest"] >= (9 if width >= 1280 else 7.5)  # CSS pixels
    assert result["enlarged"] and result["closed"] and result["saved"] == "mosi-standing.svg"
    assert result["wide"] <= width  # wide tables scroll in themselves
    rising = [row[0][0] for row in sorted(page.tables[0][1:], key=lambda row: float(row[1][1]))]
    assert result["seen"] == [",".join(order) for order in (rising, rising[::-1], sorted(rising))]
