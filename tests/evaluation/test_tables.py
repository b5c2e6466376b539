"""Tables of the papers: their rows are settings of our methods, and what is printed of them."""

from __future__ import annotations

import importlib
import itertools
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from models import METHODS
from pipeline.core.errors import ParamsError
from pipeline.evaluation.metrics import METRIC_SETS, cls
from pipeline.evaluation.tables import TABLES
from pipeline.evaluation.tables.comparison import ANCHORS, OURS
from pipeline.evaluation.tables.rows import PaperTable
from pipeline.evaluation.tables.run import (
    RowOutcome,
    experiment_name,
    find_table,
    for_dataset,
    parse_seeds,
    settings,
)
from pipeline.params.edit import as_yaml
from pipeline.params.params import Params, check_params, load_params
from pipeline.params.search import leaves
from pipeline.reports.paper_tables import METRICS, METRICS_OF, markdown, show_settings

ROWS = {
    ("misr", "main"): 24,
    ("cmir", "main"): 20,
    ("slad", "main"): 20,
    ("slad", "5"): 15,
    ("mird", "main"): 20,
    ("khar", "main"): 23,
    ("misr", "4"): 5,
    ("misr", "8"): 5,
    ("cmir", "constraints"): 4,
    ("cmir", "sensitivity"): 15,
    ("slad", "3"): 15,
    ("slad", "tau-k"): 24,
    ("slad", "labels"): 2,
    ("mird", "4"): 5,
    ("mird", "5"): 2,
    ("mird", "6"): 4,
    ("mird", "ratio"): 6,
    ("mird", "alpha"): 5,
    ("khar", "3"): 12,
    ("khar", "adapters"): 6,
}
ALL = [pytest.param(table, id=f"{table.method}-{table.name}") for table in TABLES.values()]


CHOSEN = {"text": "d/a", "audio": "d/b", "visual": "d/c", "waveform": "none"}


def small_params(metrics: str = "mmsa", **dataset: object) -> Params:
    """One corpus, and every method with nothing of its own for it."""
    tree = {
        "datasets": {"d": {"root": "x", **dataset}},
        "assemble": {"d": {"dataset": "d", "metrics": metrics, **CHOSEN}},
        "models": {method: {"corpora": {"d": {}}} for method in METHODS},
    }
    return check_params(tree, "test")


def nested(dotted: dict[str, object]) -> dict[str, object]:
    tree: dict[str, object] = {}
    for key, value in dotted.items():
        section = tree
        *path, last = key.split(".")
        for part in path:
            section = section.setdefault(part, {})  # type: ignore[assignment]
        section[last] = value
    return tree


def laid_over(base: dict[str, object], over: dict[str, object]) -> dict[str, object]:
    return check_params({"models": {"m": {"base": base, "corpora": {"d": over}}}}, "test").model("m", "d")


# ------------------------------------------------------------------------------------------------- the rows
def test_the_tables_are_those_that_were_asked_for() -> None:
    assert {name: len(table.rows) for name, table in TABLES.items()} == ROWS
    assert {method for method, _ in TABLES} == {"misr", "cmir", "slad", "mird", "khar"}


@pytest.mark.parametrize("table", ALL)
@pytest.mark.parametrize("base", ["defaults", "params.yaml"])
def test_every_row_is_a_valid_model_of_its_own(table: PaperTable, base: str, project: Path) -> None:
    entry = METHODS[table.method]
    config = getattr(importlib.import_module(entry.module), entry.class_name).Config
    known = load_params(project / "params.yaml").model(table.method, "sample") if base != "defaults" else {}
    seen: list[tuple[object, ...]] = [(config.model_validate(known), (), "")]
    full = 0
    for row in table.rows:
        if row.blocked or row.method != "":
            continue
        found = (
            config.model_validate(laid_over(known, nested(dict(row.overrides)))),
            row.without,
            row.pretrain_on,
        )
        full += found == seen[0]
        assert found not in seen[1:], f"{row.label} is another row over again"
        seen.append(found)
        assert row.overrides or row.without or row.pretrain_on or found == seen[0]
    assert full <= 1, "one row at most is the model as it is"


@pytest.mark.parametrize("table", ALL)
def test_an_override_that_is_no_setting_would_be_found(table: PaperTable) -> None:
    entry = METHODS[table.method]
    config = getattr(importlib.import_module(entry.module), entry.class_name).Config
    for key in {key for row in table.rows for key in row.overrides}:
        with pytest.raises(ValidationError):
            config.model_validate(nested({f"{key}_": 0}))


def test_every_row_can_be_run() -> None:
    rows = [row for table in TABLES.values() for row in table.rows]
    assert not [row.label for row in rows if row.blocked]
    assert {row.method for row in rows if row.method} <= set(METHODS)


def test_comparisons_have_every_method_that_is_printed_and_the_anchors() -> None:
    """All names that papers print and that we have are rows of ours; the rest is printed alone."""
    papers = {method: TABLES[method, "main"] for method in ("misr", "cmir", "slad", "mird", "khar")}
    for method, table in papers.items():
        own = [row for row in table.rows if row.method == ""]
        assert {row.label.strip("¹²").lower() for row in own} == {method}
        assert list(ANCHORS.values()) == [row.method for row in table.rows[-len(ANCHORS) :]]
        for row in table.rows[: -len(ANCHORS)]:
            assert row.paper or method == "cmir"
            assert row.method in ("", OURS.get(row.label)), row.label
            assert not row.overrides or row in own
        alone = [row.label for row in table.rows if row.method is None]
        assert not alone or table.remarks[0].endswith(": " + ", ".join(alone))
    assert {row.label for row in papers["cmir"].rows} >= set(OURS)
    # rows of the papers' tables, counted on their pages
    assert [sum("MOSI" in row.paper for row in table.rows) for table in papers.values()] == [12, 0, 9, 13, 13]
    assert sum("CH-SIMS" in row.paper for row in papers["khar"].rows) == 11
    assert sum("CHERMA" in row.paper for row in papers["misr"].rows) == 8


def test_rows_of_cmirs_sensitivity_lie_around_the_default() -> None:
    """One setting a row, below and above what the model has."""
    known = dict(leaves(METHODS["cmir"].load().Config().model_dump()))
    found: dict[str, list[object]] = {}
    for row in TABLES["cmir", "sensitivity"].rows[1:]:
        ((key, value),) = row.overrides.items()
        found.setdefault(key, []).append(value)
    numbers = {key: values for key, values in found.items() if not isinstance(known[key], str)}
    assert set(found) - set(numbers) == {"env_mode", "predict_views"}
    for key, values in numbers.items():
        assert min(values) < known[key] < max(values), key  # type: ignore[type-var, operator]


def test_slad_has_every_subset_but_label_awareness_alone() -> None:
    rows = TABLES["slad", "3"].rows
    names = {"label_aware", "weights.contrastive", "weights.repulsion", "weights.multilabel"}
    kept = {frozenset(names - set(row.overrides)) for row in rows}
    subsets = {frozenset(s) for n in range(5) for s in itertools.combinations(sorted(names), n)}
    assert subsets - kept == {frozenset({"label_aware"})}
    assert all(row.overrides[key] in (0, False) for row in rows for key in row.overrides)


def test_rows_of_mird_table_4_take_out_more_and_more() -> None:
    first, *rest = TABLES["mird", "4"].rows
    assert first.overrides == {"mi_pairs": "nine", "unlabeled_ratio": 3}
    assert all(row.overrides["unlabeled_ratio"] == 0 for row in rest)
    assert rest[-1].overrides["private"] is False


@pytest.mark.parametrize("table", ALL)
def test_printed_numbers_have_our_names_and_their_units(table: PaperTable) -> None:
    for row in table.rows:
        for corpus, numbers in row.paper.items():
            known = METRICS_OF[{"CH-": "sims", "CHE": "cls"}.get(corpus[:3], "mmsa")] | {"acc2", "f1"}
            assert set(numbers) <= known
            for name, value in numbers.items():
                assert 0 < value < (2 if name == "mae" else 1 if name == "corr" else 100)
                assert name in ("mae", "corr") or value > 15, "a share in percent"


@pytest.mark.parametrize(
    ("name", "label", "corpus", "expected"),
    [
        (("misr", "main"), "TFN", "MOSI", {"acc2_non0": 80.8, "f1_non0": 80.7, "acc7": 34.9, "mae": 0.901}),
        (("misr", "main"), "MISR", "MOSEI", {"acc2_has0": 85.28, "acc7": 55.05, "corr": 0.789}),
        (("misr", "main"), "MMIM", "CH-SIMS", {"acc2": 69.37, "f1": 58.00, "mae": 0.607}),
        (("misr", "main"), "LFMIM", "CHERMA", {"f1_weighted": 70.54}),
        (("slad", "main"), "FMFN", "CH-SIMS", {"acc5": 44.2, "mae": 0.416, "corr": 0.598}),
        (("slad", "5"), "MMML", "MOSEI", {"acc2_non0": 86.7, "mae": 0.517, "corr": 0.791}),
        (("mird", "main"), "WSA-BERT", "MOSI", {"acc2": 83.99, "mae": 0.766}),
        (("khar", "main"), "MulT", "MOSI", {"acc5": 42.68}),
        (("khar", "main"), "ALMT", "MOSEI", {"acc7": 53.62, "f1_has0": 81.05, "f1_non0": 86.05}),
        (("khar", "main"), "KHaR", "CH-SIMS v2", {"mae": 0.287, "acc5": 56.29}),
        (("misr", "4"), "w/o L_DR", "MOSI", {"acc7": 48.54, "f1_non0": 87.59, "mae": 0.685}),
        (("misr", "8"), "N5: H^u and audio, w/o L_IC", "MOSI", {"acc2_has0": 85.40, "corr": 0.801}),
        (("slad", "3"), "ω + L_rep + L_ml", "CH-SIMS", {"acc2": 75.5, "f1": 76.2, "mae": 0.400}),
        (("slad", "3"), "none of the four", "CH-SIMS", {"acc2": 77.4, "acc5": 43.3, "corr": 0.616}),
        (("slad", "tau-k"), "τ 0.2, K 3", "CH-SIMS", {"f1": 81.4, "mae": 0.390, "corr": 0.631}),
        (("mird", "4"), "3. - L_mim", "MOSI", {"acc2": 85.21, "f1": 85.09, "mae": 0.750}),
        (("mird", "5"), "OC", "MOSEI", {"acc2": 85.46, "mae": 0.577, "corr": 0.794}),
        (("mird", "alpha"), "α 10", "MOSEI", {"acc2": 58.08, "f1": 58.02}),
        (("khar", "3"), "V+A", "MOSI", {"mae": 1.366, "corr": 0.208, "acc7": 19.68}),
        (("khar", "3"), "MUL for MIB", "CH-SIMS", {"mae": 0.427, "corr": 0.567, "acc5": 42.23}),
    ],
)
def test_known_cells(name: tuple[str, str], label: str, corpus: str, expected: dict[str, float]) -> None:
    row = next(row for row in TABLES[name].rows if row.label == label)
    assert expected.items() <= row.paper[corpus].items()


@pytest.mark.parametrize("table", ALL)
def test_dvc_lays_the_overrides_where_the_stages_read_them(
    table: PaperTable, project: Path, tmp_path: Path
) -> None:
    from dvc.utils.hydra import apply_overrides

    row = max(table.rows, key=lambda row: len(row.overrides))
    file = tmp_path / "params.yaml"
    shutil.copy(project / "params.yaml", file)
    keys = settings(table, row, "sample")
    apply_overrides(str(file), [f"++{key}={as_yaml(value)}" for key, value in keys.items()])
    before = load_params(project / "params.yaml").model(table.method, "sample")
    after = load_params(file).model(table.method, "sample")
    assert after == laid_over(before, nested(dict(row.overrides)))


def test_names_of_experiments_differ_and_git_takes_them() -> None:
    names = [experiment_name(table, row, "sample") for table in TABLES.values() for row in table.rows]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", name) for name in names)
    assert experiment_name(TABLES["misr", "4"], TABLES["misr", "4"].rows[1], "d") == "misr-4-d-w-o-l-na"


# ------------------------------------------------------------------------------------------- what is printed
def test_metric_sets_have_the_columns() -> None:
    labels = np.array([-1.0, 0.0, 1.0])
    for name, metric_set in METRIC_SETS.items():
        assert METRICS_OF[name] == set(metric_set(labels, labels)) & set(METRICS)
    assert METRICS_OF["cls"] <= set(cls(np.array([0, 1]), np.array([0, 1]), ["a", "b"]))


def outcomes_of(table: PaperTable, dataset: str, params: Params) -> list[RowOutcome]:
    scores = [dict.fromkeys(METRICS, 0.5 + 0.01 * seed) for seed in (0, 2)]
    return [RowOutcome(row, tuple(scores)) for row in for_dataset(table, dataset, params)]


def test_our_numbers_stand_beside_the_paper() -> None:
    table, params = TABLES["slad", "3"], small_params(metrics="sims", label_range=[-1, 1])
    text = markdown(table, "d", [1, 2], outcomes_of(table, "d", params), params)
    assert "Paper: CH-SIMS" in text and "seeds 1, 2" in text
    assert "| row                      |           mae | mae (paper) |          corr |" in text
    line = next(line for line in text.splitlines() if line.startswith("| ω + L_con + L_ml "))
    assert line.startswith(
        "| ω + L_con + L_ml         | 0.510 ± 0.014 |       0.444 | 0.510 ± 0.014 |        0.604"
    )
    assert "| 51.00 ± 1.41 |         78.8 | " in line
    assert text == markdown(table, "d", [1, 2], outcomes_of(table, "d", params), params)


def test_metrics_of_another_set_stand_nearby() -> None:
    table, params = TABLES["slad", "3"], small_params()
    text = markdown(table, "d", [1, 2], outcomes_of(table, "d", params), params)
    heads = [head.strip() for head in text.splitlines()[6].strip("| ").split("|")]
    assert heads[5:8] == ["acc5", "acc5 (paper)", "acc2 (paper)"]
    assert heads[8:] == ["acc2_has0", "acc2_non0", "f1 (paper)", "f1_has0", "f1_non0"]


@pytest.mark.parametrize(
    ("dataset", "metrics", "expected"),
    [("mosei", "mmsa", "MOSEI"), ("CMU-MOSI", "mmsa", "MOSI"), ("mine", "magbert", "MOSI")],
)
def test_the_corpus_of_that_name_is_compared(dataset: str, metrics: str, expected: str) -> None:
    chosen = {"dataset": dataset, "metrics": metrics, **CHOSEN}
    tree = {"datasets": {dataset: {"root": "x"}}, "assemble": {dataset: chosen}}
    params = check_params(tree, "test")
    assert f"on {expected}." in show_settings(TABLES["mird", "5"], dataset, params)


def test_khar_compares_with_the_corpus_of_the_same_metrics() -> None:
    table = TABLES["khar", "3"]
    assert "on MOSI." in show_settings(table, "d", small_params())
    assert "on CH-SIMS." in show_settings(table, "d", small_params(metrics="sims", label_range=[-1, 1]))


def test_a_failed_row_and_one_seed() -> None:
    table, params = TABLES["cmir", "constraints"], small_params()
    rows = for_dataset(table, "d", params)
    outcomes = [RowOutcome(rows[0], ({"mae": 1.0, **dict.fromkeys(METRICS, 0.25)},))]
    outcomes += [RowOutcome(row, reason="failed: no such | thing") for row in rows[1:]]
    text = markdown(table, "d", [7], outcomes, params)
    assert "±" not in text and "the seed 7" in text and "Paper:" not in text
    assert "- w/o invariance: failed: no such | thing" in text
    assert [outcome.failed for outcome in outcomes] == [False, True, True, True]


def test_the_print_of_settings() -> None:
    text = show_settings(TABLES["khar", "3"], "d", small_params())
    assert "| V+A          | `text=frozen`, `assemble.d.text=none` | 1.366 " in text
    assert "| V+A+T: KHaR  | –  " in text and "`models.khar.corpora.d`" in text
    text = show_settings(TABLES["misr", "8"], "d", small_params())
    assert "| N2: H^u and text, with L_IC  | `predict_from=" in text
    assert "`label_aware=false`" in show_settings(TABLES["slad", "3"], "d", small_params())


def test_a_comparison_shows_what_is_printed_of_the_corpus() -> None:
    text = show_settings(TABLES["misr", "main"], "d", small_params())
    assert "| TFN          | the method `tfn`" in text and "| ConKI        | printed alone" in text
    assert "LFMIM  " not in text  # printed of CHERMA alone
    params = small_params(metrics="sims", label_range=[-1, 1])
    table = TABLES["misr", "main"]
    text = markdown(table, "d", [1, 2], outcomes_of(table, "d", params), params)
    assert "| MulT " in text and "| TMBL " not in text


def test_what_the_corpus_lacks_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.chdir(tmp_path)
    params = small_params()
    folder = tmp_path / "data/assembled/d"
    folder.mkdir(parents=True)
    assert "no unlabeled clips" not in show_settings(TABLES["mird", "ratio"], "d", params)
    pq.write_table(pa.table({"label": pa.array([], pa.float64())}), folder / "unlabeled.parquet")
    pq.write_table(pa.table({"label_text": pa.array([None, None], pa.float64())}), folder / "train.parquet")
    assert "d has no unlabeled clips" in show_settings(TABLES["mird", "ratio"], "d", params)
    assert "d has no unlabeled clips" not in show_settings(TABLES["misr", "4"], "d", params)
    assert "no separate labels of text and audio" in show_settings(TABLES["slad", "labels"], "d", params)

    tree = params.model_dump(mode="json")
    tree["assemble"]["d"]["audio"] = "none"
    mute = check_params(tree, "test")
    blocked = {row.label: row.blocked for row in for_dataset(TABLES["khar", "3"], "d", mute) if row.blocked}
    assert blocked == {"V+T": "d is assembled without audio anyway"}
    assert "d is assembled without audio" in show_settings(TABLES["slad", "3"], "d", mute)


def test_a_row_that_pretrains_elsewhere_needs_that_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    table, tree = TABLES["khar", "adapters"], small_params().model_dump(mode="json")
    for name in ("sims", "mosei"):
        tree["datasets"][name] = tree["datasets"]["d"]
        tree["assemble"][name] = tree["assemble"]["d"] | {"dataset": name}
        tree["models"]["khar"]["corpora"][name] = {}
    params = check_params(tree, "test")
    built = tmp_path / "data/assembled/mosei/train.parquet"
    built.parent.mkdir(parents=True)
    built.touch()
    found = {row.pretrain_on: row.blocked for row in for_dataset(table, "d", params)}
    assert "was not built; run `dvc repro assemble@sims`" in found["sims"]
    assert "params.yaml has no training set simsv2" in found["simsv2"]
    assert found[""] == found["mosei"] == ""
    found = {row.pretrain_on: row.blocked for row in for_dataset(table, "mosei", params)}
    assert found["mosei"] == "mosei is the training set itself"
    row = next(row for row in table.rows if row.pretrain_on == "mosei")
    assert settings(table, row, "d") == {"pretrain_on": "mosei"}
    assert "| `pretrain_on=mosei` " in show_settings(table, "d", params)


# -------------------------------------------------------------------------------------------------- messages
@pytest.mark.parametrize(
    ("method", "name", "message"),
    [
        ("mlsr", "4", r"method 'mlsr' is not known, did you mean 'misr' \(there are: cmir, khar, "),
        ("slad", "4", r"table of slad '4' is not known \(there are: main, 5, 3, tau-k, labels\)"),
    ],
)
def test_an_unknown_table_lists_what_there_is(method: str, name: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        find_table(method, name)


@pytest.mark.parametrize("text", ["", "a", "1,", "1,1", "-1", f"{2**63}", "1.5"])
def test_wrong_seeds(text: str) -> None:
    with pytest.raises(ParamsError, match="--seeds"):
        parse_seeds(text)
    assert parse_seeds("1111, 7") == [1111, 7]
