"""Revisions compared: what differs between two commits of a small repository, and the pages that say so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made.small_repository import (
    CLIPS,
    SEEDS,
    commit,
    compared,
    git,
    make_repository,
    said,
    save_runs,
    write_lock,
)

from pipeline.core.errors import MsaError
from pipeline.reports import comparison as pages
from pipeline.reports.blocks import as_html, as_markdown, rendered


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    monkeypatch.chdir(make_repository(tmp_path))
    return tmp_path


def test_params_and_the_runs_that_they_change(repository: Path) -> None:
    changes = {change.key: change for change in compared("before", "HEAD", test=False).params}
    assert set(changes) == {"models.misr.base.weights.invariance", "models.misr.base.width"}
    weight = changes["models.misr.base.weights.invariance"]
    assert (weight.old, weight.new, weight.reaches) == (1.0, 0.5, ["misr on mosi"])
    assert changes["models.misr.base.width"].reaches == []  # mosi has its own


def test_a_small_section_that_one_side_lacks_is_shown_key_by_key(repository: Path) -> None:
    text = (repository / "params.yaml").read_text()
    large = "".join(f"  s{i}: {{a: 1}}\n" for i in range(9))
    (repository / "params.yaml").write_text(
        text.replace("mosi: {width: 32}", "mosi: {width: 32, weights: {prior: 0.3}}") + f"tune:\n{large}"
    )
    found = {change.key: change for change in compared("HEAD", test=False).params}
    assert list(found) == ["models.misr.corpora.mosi.weights.prior", "tune"]
    prior = found["models.misr.corpora.mosi.weights.prior"]
    assert (prior.given, prior.new, prior.reaches) == ((False, True), 0.3, ["misr on mosi"])
    assert "a section of 9 key(s)" in as_markdown(pages.comparison_blocks(compared("HEAD", test=False)))


@pytest.mark.parametrize(
    ("models", "key", "new"),
    [
        ("{misr: 3}", "models.misr", 3),
        ("[misr]", "models", ["misr"]),
        ("{misr: {base: 3, corpora: {mosi: 4}}}", "models.misr.base", 3),
        ("{misr: {base: {}, corpora: [mosi]}}", "models.misr.corpora", ["mosi"]),
    ],
)
def test_params_that_are_being_written_are_compared(
    repository: Path, models: str, key: str, new: object
) -> None:
    (repository / "params.yaml").write_text(f"models: {models}\n")
    found = {change.key: change for change in compared("HEAD", test=False).params}
    assert found[key].new == new and found[key].reaches == ["misr on mosi"]


def change_result(path: Path, **changes: Any) -> None:
    """Of the first seed."""
    first, *others = json.loads((path / "metrics.json").read_text())["runs"]
    (path / "metrics.json").write_text(json.dumps({"runs": [{**first, **changes}, *others]}))


def change_columns(path: Path, **columns: list[Any] | None) -> None:
    """Of the predictions; None = the column is not there."""
    table = {**pq.read_table(path).to_pydict(), **columns}
    pq.write_table(pa.table({name: values for name, values in table.items() if values is not None}), path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda path: change_result(path, test={"mae": float("nan")}),
            "0.test.mae: Input should be a finite",
        ),
        (lambda path: change_result(path, format=3), "result of format 3, but this version reads 2"),
        (
            lambda path: (path / "metrics.json").write_text("[" * 100_000),
            "misr/metrics.json of workspace: not JSON",
        ),
        (
            lambda path: (path / "metrics.json").write_text('{"mae": {"mean": 1}}'),
            "not a result written by evaluate (runs: Field required)",
        ),
        (lambda path: change_result(path, seed=9), "column 'prediction_9' is missing"),
        (
            lambda path: pq.write_table(
                pa.table({"split": ["test"], "clip_id": ["a"], "label": ["x"], "prediction_1": [1.0]}),
                path / "predictions.parquet",
            ),
            "column 'label' is string, expected numbers",
        ),
        (
            lambda path: change_columns(path / "predictions.parquet", video_id=[3] * CLIPS),
            "column 'video_id' is int64, expected text",
        ),
    ],
)
def test_damaged_results_are_named(repository: Path, damage: Any, message: str) -> None:
    damage(repository / "results" / "mosi" / "misr")
    with pytest.raises(MsaError, match=re.escape(message)):
        compared("HEAD", test=False)


def test_code_and_the_methods_that_it_computes(repository: Path) -> None:
    shared = {"models/core": "2", "pipeline/training/loop": "1"}
    write_lock(repository, misr={**shared, "models/misr": "3"}, cmir=shared, slad=shared)
    found = {change.path: (change.state, change.methods) for change in compared("before", test=False).code}
    assert found == {  # of slad one side has no results
        "models/misr": ("changed", ["misr"]),
        "models/core": ("changed", ["cmir", "misr"]),
        "pipeline/training/loop": ("added", ["cmir", "misr"]),
    }


def test_metrics_are_those_recorded_and_the_statistics_agree(repository: Path) -> None:
    found = compared("before", "HEAD")
    entry = next(entry for entry in found.entries if entry.title == "misr on mosi")
    rows = {row.metric: row for row in entry.rows}
    old = json.loads(git(repository, "show", "before:results/mosi/misr/metrics.json"))
    values = [result["test"]["mae"] for result in old["runs"]]
    mae = rows["mae"]
    assert mae.a is not None and mae.test is not None
    assert (mae.a.mean, mae.a.sd) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    for row in entry.rows:
        if row.test is not None:
            assert row.test.difference == pytest.approx(row.difference, abs=2e-6)
    assert rows["valid_mae"].test is None and rows["valid_mae"].difference == pytest.approx(-1.2)
    assert mae.test.shown == "better" and mae.test.shown_for_other_runs
    assert (entry.clips, entry.paired, entry.remarks) == (CLIPS, True, [])
    assert found.family == 9  # of misr alone: cmir is the same, slad has no other side


def test_what_is_the_same_and_what_one_side_lacks(repository: Path) -> None:
    (repository / "results" / "mosi" / "summary.json").write_text("{}")
    found = compared("before", None, test=False)
    assert [entry.title for entry in found.entries if entry.same] == ["cmir on mosi"]
    assert (found.only_a, found.only_b) == ([], ["slad-mosi/1"])
    assert found.not_compared == ["results/mosi/summary.json"]
    slad = next(entry for entry in found.entries if entry.title == "slad on mosi")
    assert slad.seeds_a == [] and all(row.a is None and row.difference is None for row in slad.rows)


def test_results_of_the_layout_before_this_one_are_said_to_be_that(repository: Path) -> None:
    """They are neither read nor taken for nothing."""
    git(repository, "rm", "-rq", "results")
    (repository / "results" / "mosi").mkdir(parents=True)
    (repository / "results" / "mosi" / "misr-1.json").write_text('{"method": "misr", "test": {}}')
    commit(repository, "Old")
    older = r"^results/mosi/misr-1\.json of HEAD: .* the version of its own commit reads it"
    with pytest.raises(MsaError, match=older) as error:
        compared("HEAD", "before", test=False)
    assert "\n" not in str(error.value)
    save_runs(repository, "cmir", SEEDS, 1.0)  # beside results of today they are left out, and that is said
    assert compared("before", test=False).not_compared == ["results/mosi/misr-1.json"]


def test_results_that_were_not_made_anew(repository: Path) -> None:
    params = repository / "params.yaml"
    params.write_text(params.read_text().replace("fp32", "bf16"))
    cmir = next(entry for entry in compared("HEAD", test=False).entries if entry.title == "cmir on mosi")
    assert cmir.same
    assert "train.precision" in cmir.remarks[0] and "dvc repro" in cmir.remarks[0]


def test_other_features_are_said(repository: Path) -> None:
    save_runs(repository, "misr", SEEDS, 0.3, features={"text": "bert"}, feature_set="e" * 64)
    save_runs(repository, "cmir", SEEDS, 1.2, feature_set="e" * 64)
    remarks = {entry.title: entry.remarks for entry in compared("before").entries}
    assert "text minilm (ffffffffff) and text bert (eeeeeeeeee)" in remarks["misr on mosi"][0]
    assert "not due to the method alone" in remarks["misr on mosi"][0]
    assert "text minilm, made differently" in remarks["cmir on mosi"][0]


def test_clips_that_one_side_lacks_are_left_out_and_counted(repository: Path) -> None:
    save_runs(repository, "misr", SEEDS, 0.3, clips=CLIPS - 3)
    misr = next(entry for entry in compared("before").entries if entry.title == "misr on mosi")
    assert (misr.clips, misr.left_out) == (CLIPS - 3, 3)
    assert "3 clip(s) are not in all runs" in misr.remarks[0]


def test_few_videos_are_remarked(repository: Path) -> None:
    for clips, few in (
        (38, ["19 videos: too few to trust intervals and p values, which need at least 20"]),
        (40, []),
    ):
        save_runs(repository, "misr", SEEDS, 0.3, clips=clips)
        misr = next(entry for entry in compared("before").entries if entry.title == "misr on mosi")
        assert misr.clips == clips
        assert [remark for remark in misr.remarks if "not in all runs" not in remark] == few


def test_seeds_that_differ_are_not_paired(repository: Path) -> None:
    save_runs(repository, "misr", (*SEEDS, 4), 0.3)
    misr = next(entry for entry in compared("before").entries if entry.title == "misr on mosi")
    assert misr.paired is False and misr.seeds_b == [1, 2, 3, 4]
    assert "each run of A against each of B" in as_markdown(pages.entry_blocks(misr))


def test_only_the_test_split_is_compared(repository: Path) -> None:
    path = repository / "results" / "mosi" / "misr" / "predictions.parquet"
    table = pq.read_table(path)
    more = table.set_column(1, "clip_id", pa.array([f"ood{i}" for i in range(CLIPS)]))
    pq.write_table(in_splits(table, more), path)
    misr = next(entry for entry in compared("before").entries if entry.title == "misr on mosi")
    assert (misr.clips, misr.left_out) == (CLIPS, 0)


def in_splits(test: pa.Table, ood: pa.Table) -> pa.Table:
    """Both as one table, as evaluate writes it."""
    return pa.concat_tables([test, ood.set_column(0, "split", pa.array(["test_ood"] * len(ood)))])


def test_a_second_test_split_is_tested_as_the_first_would_be(repository: Path) -> None:
    """Its clips are those of the first by other names, and misr's errors there those of khar here."""
    for tag, noise in (("one", 1.5), ("two", 0.3)):
        khar = save_runs(repository, "khar", SEEDS, noise, clips=CLIPS - 10)
        ood = pq.read_table(khar / "predictions.parquet")
        runs = json.loads((khar / "metrics.json").read_text())["runs"]
        recorded = {run["seed"]: {"test_ood": run["test"]} for run in runs}
        misr = save_runs(repository, "misr", SEEDS, 1.0, one=recorded) / "predictions.parquet"
        pq.write_table(in_splits(pq.read_table(misr), ood), misr)
        commit(repository, tag)
        git(repository, "tag", tag)
    found = {entry.title: entry for entry in compared("one", "two", resamples=2000).entries}
    rows = {row.metric: row for row in found["misr on mosi"].rows}
    for row in found["khar on mosi"].rows[:-1]:
        test, alone = rows[f"test_ood_{row.metric}"].test, row.test
        assert test is not None and alone is not None
        assert (test.difference, test.low, test.high, test.p) == (
            alone.difference,
            alone.low,
            alone.high,
            alone.p,
        )
        assert test.shown == alone.shown
    assert rows["test_ood_mae"].test.shown == "better" and rows["mae"].test.difference == 0
    assert found["misr on mosi"].remarks == ["metrics of test_ood cover 50 clips of 25 videos"]


def test_equal_predictions_are_not_tested(repository: Path) -> None:
    save_runs(repository, "misr", SEEDS, 0.3, remarks={"test": ["said"]})
    found = compared("HEAD")
    misr = next(entry for entry in found.entries if entry.title == "misr on mosi")
    assert not misr.same and all(row.test is None and row.difference == 0 for row in misr.rows)
    assert "every prediction is the same" in misr.remarks[0] and found.family == 0


def test_labels_that_differ_are_an_error_that_names_a_clip(repository: Path) -> None:
    path = repository / "results" / "mosi" / "misr" / "predictions.parquet"
    table = pq.read_table(path).to_pydict()
    table["label"][7] += 0.5
    pq.write_table(pa.table(table), path)
    with pytest.raises(MsaError, match=re.escape("e.g. 'v03$_$07'")):
        compared("before")
    assert compared("before", test=False).family == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metric_set": "sims"}, "the metric sets differ"),
        ({"class_names": ["a", "b"]}, "the classes differ"),
        ({"test": {"mae": 9.0, "corr": 0.1}}, "recorded mae, corr, "),
    ],
)
def test_numbers_that_mean_something_else(repository: Path, changes: dict[str, Any], words: str) -> None:
    save_runs(repository, "misr", SEEDS, 0.3, one={1: changes})
    misr = next(entry for entry in compared("before").entries if entry.title == "misr on mosi")
    assert any(words in remark for remark in misr.remarks)


# ---------------------------------------------------------------------------------------------------- pages
def test_all_forms_say_the_same_twice(repository: Path) -> None:
    found = [compared("before", "HEAD") for _ in range(2)]
    for form in ("text", "markdown", "json", "html"):
        once, twice = (rendered(pages.comparison_blocks(c), pages.comparison_facts(c), form) for c in found)  # type: ignore[arg-type]
        assert once == twice
        for word in ("invariance", "misr", "300", "Holm", "Obuchowski"):
            assert word in once, (form, word)


def test_text_fits_into_100_columns(repository: Path) -> None:
    found = compared("before", "HEAD")
    text = rendered(pages.comparison_blocks(found), {}, "text")
    assert max(map(len, text.splitlines())) <= 100
    assert re.search(r"mae ↓ .*−\d\.\d{3} to −\d\.\d{3} .* better", text)


def test_html_is_one_page_and_escaped(repository: Path) -> None:
    page = as_html(pages.comparison_blocks(compared("before", "HEAD")))
    assert "Half the invariance &lt;b&gt;|" in page and "<b>" not in page
    assert not re.search(r"(src|href)=\"(?!data:,)|@import|url\(", page)  # but for the empty icon


def test_markdown_tables_have_equal_rows(repository: Path) -> None:
    text = as_markdown(pages.comparison_blocks(compared("before", "HEAD"), everything=True))
    tables = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert len(tables) == 5  # params, code, three methods
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert "Half the invariance \\<b>\\|" in text


def test_json_has_the_numbers(
    repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = said(
        capsys, monkeypatch, "compare", "before", "--json", "--resamples", "200", "--seed", "3"
    )
    found = json.loads(out)
    assert code == 0
    assert (found["statistics"]["resamples"], found["statistics"]["seed"]) == (200, 3)
    misr = next(entry for entry in found["entries"] if entry["title"] == "misr on mosi")
    assert (misr["dataset"], misr["methods"], misr["seeds_a"]) == ("mosi", ["misr"], [1, 2, 3])
    mae = next(row for row in misr["rows"] if row["metric"] == "mae")
    assert mae["difference"] == pytest.approx(mae["b"]["mean"] - mae["a"]["mean"])
    assert mae["test"]["shown"] == "better"
    assert str(repository) not in out
