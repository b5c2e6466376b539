"""All seeds of a method in one results folder: added, removed, in any order, as DVC and git see them."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from made.small_repository import commit, git
from made.tiny_set import write_tiny_set

from pipeline.core.errors import MsaError
from pipeline.core.git import open_revision
from pipeline.evaluation.compare import compare
from pipeline.evaluation.evaluate import evaluate
from pipeline.evaluation.saved import read_results
from pipeline.params.params import TrainParams
from pipeline.params.run import RunConfig
from pipeline.training.loop.train import train

pytestmark = pytest.mark.usefixtures("tiny_method")

FILES = {"metrics.json", "predictions.parquet", "curves.tsv", "views.json"}
COUNTS = {"train": 40, "valid": 12, "test": 14, "unlabeled": 0, "test_ood": 11}
SHOWN = ("acc2_non0", "corr", "f1_non0", "mae")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sets of scores and of classes, and runs on them."""
    here = tmp_path_factory.mktemp("seeds")
    for name, classes in (("scores", ()), ("classes", ("sad", "calm", "glad"))):
        write_tiny_set(here / name / "set", COUNTS, classes=classes)
        for seed in (3, 4, 5):
            trained(here / name, seed)
    return here


def trained(here: Path, seed: int, folder: str = "runs", **settings: Any) -> Path:
    run = RunConfig(
        method_name="tiny",
        dataset="tiny",
        seed=seed,
        method_params={"training": {"epochs": 2}, **settings},
        train_params=TrainParams(),
        assembled=here / "set",
        pretrained=here / "pretrained",
        out=here / folder / str(seed),
    )
    train(run, device="cpu", state_root=here / "state", logs=here / "logs")
    return run.out


def evaluated(here: Path, out: Path, seeds: Sequence[int], metrics: str = "mmsa") -> dict[str, Any]:
    return evaluate([here / "runs" / str(seed) for seed in seeds], here / "set", out, metrics, device="cpu")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ----------------------------------------------------------------------------------------------- the files
def test_the_same_bytes_twice_and_in_any_order(place: Path, tmp_path: Path) -> None:
    for name, seeds in (("a", (3, 4, 5)), ("b", (3, 4, 5)), ("c", (5, 3, 4))):
        evaluated(place / "scores", tmp_path / name, seeds)
    assert content(tmp_path / "a").keys() == FILES
    assert content(tmp_path / "a") == content(tmp_path / "b") == content(tmp_path / "c")


@pytest.mark.parametrize(("kind", "metrics"), [("scores", "mmsa"), ("classes", "cls")])
def test_an_added_seed_changes_nothing_of_the_others_and_a_removed_one_leaves_nothing(
    place: Path, tmp_path: Path, kind: str, metrics: str
) -> None:
    (alone,) = evaluated(place / kind, tmp_path, (3,), metrics)["runs"]
    before, table = content(tmp_path), pq.read_table(tmp_path / "predictions.parquet")
    curves = (tmp_path / "curves.tsv").read_text().splitlines()
    views = json.loads((tmp_path / "views.json").read_text())["seeds"]

    both = evaluated(place / kind, tmp_path, (3, 4), metrics)["runs"]
    assert both[0] == alone and [run["seed"] for run in both] == [3, 4]
    more = pq.read_table(tmp_path / "predictions.parquet")
    assert more.select(table.column_names).equals(table)
    named = {name for name in more.column_names if name.endswith("_4")}
    assert set(more.column_names) - set(table.column_names) == named
    assert named == {"prediction_4", *(["probability_4"] if kind == "classes" else [])}
    assert (tmp_path / "curves.tsv").read_text().splitlines()[: len(curves)] == curves
    assert json.loads((tmp_path / "views.json").read_text())["seeds"]["3"] == views["3"]

    evaluated(place / kind, tmp_path, (3,), metrics)
    assert content(tmp_path) == before


@pytest.mark.parametrize(("kind", "metrics"), [("scores", "mmsa"), ("classes", "cls")])
def test_means_and_deviations_are_numpys_of_what_is_predicted(
    place: Path, tmp_path: Path, kind: str, metrics: str
) -> None:
    found = evaluated(place / kind, tmp_path, (3, 4, 5), metrics)
    table = pq.read_table(tmp_path / "predictions.parquet").to_pandas()
    for split, prefix in (("test", ""), ("test_ood", "test_ood_")):
        part = table[table["split"] == split]
        assert len(part) == COUNTS[split]
        columns = [part[f"prediction_{seed}"] for seed in (3, 4, 5)]
        if kind == "scores":
            name, values = "mae", [(column - part["label"]).abs().mean() for column in columns]
        else:
            name, values = "accuracy", [(column == part["label"]).mean() for column in columns]
        assert found[prefix + name]["mean"] == pytest.approx(np.mean(values), abs=2e-6)
        assert found[prefix + name]["sd"] == pytest.approx(np.std(values, ddof=1), abs=2e-6)
    if kind == "classes":
        assert found.keys() == {
            *("accuracy", "f1_weighted", "test_ood_accuracy", "test_ood_f1_weighted"),
            *("valid_accuracy", "runs"),
        }
        shares = np.stack(table["probability_4"].to_list())
        np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
        np.testing.assert_array_equal(shares.argmax(axis=1), table["prediction_4"])


def test_a_clip_stands_with_its_video_and_speaker(place: Path, tmp_path: Path) -> None:
    evaluated(place / "scores", tmp_path, (3,))
    table = pq.read_table(tmp_path / "predictions.parquet").select(
        ["split", "clip_id", "video_id", "speaker"]
    )
    for split in ("test", "test_ood"):
        truth = pq.read_table(place / "scores" / "set" / f"{split}.parquet")
        rows = [row for row in table.to_pylist() if row.pop("split") == split]
        assert rows == truth.select(["clip_id", "video_id", "speaker"]).sort_by("clip_id").to_pylist()


def test_runs_that_are_no_seeds_of_one_training(place: Path, tmp_path: Path) -> None:
    here = place / "scores"
    other = trained(here, 6, "others", dropout=0.2)
    with pytest.raises(MsaError, match=r"6 and .*3 differ in params and are not seeds of one training"):
        evaluate([here / "runs/3", other], here / "set", tmp_path / "out", "mmsa", device="cpu")
    again = trained(here, 3, "others")
    with pytest.raises(MsaError, match="seed 3 occurs in 2 of the runs"):
        evaluate([here / "runs/3", again], here / "set", tmp_path / "out", "mmsa", device="cpu")
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------------ in a clone
def test_dvc_shows_means_alone_and_git_has_the_seeds(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dvc(*command: str) -> str:
        environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
        command = (sys.executable, "-m", "dvc", *command)
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    git(tmp_path, "init", "-q", "-b", "main")
    dvc("init", "-q")
    path = "results/tiny/tiny/metrics.json"
    (tmp_path / "dvc.yaml").write_text(f"metrics: [{path}]\n")
    evaluated(place / "scores", tmp_path / "results/tiny/tiny", (3,))
    commit(tmp_path, "One seed")
    evaluated(place / "scores", tmp_path / "results/tiny/tiny", (3, 4, 5))

    shown = json.loads(dvc("metrics", "show", "--json"))[""]["data"][path]["data"]
    leaves = {f"{metric}.{name}" for metric, of in shown.items() if metric != "runs" for name in of}
    names = (*SHOWN, *(f"test_ood_{name}" for name in SHOWN), "valid_mae")
    assert leaves == {f"{name}.{kind}" for name in names for kind in ("mean", "sd")}
    head = next(csv.reader(io.StringIO(dvc("exp", "show", "--csv"))))
    metrics = {column.removeprefix(f"{path}:") for column in head}
    assert {column for column in metrics if column.endswith((".mean", ".sd"))} == leaves
    assert not [column for column in metrics if "runs" in column or "format" in column or "floor" in column]
    table = dvc("metrics", "show")
    assert f"{shown['mae']['mean']:.5g}"[:5] in table and "feature_set" not in table

    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("{}")
    found = compare(open_revision("HEAD"), open_revision(None), resamples=100)
    (entry,) = found.entries
    assert (entry.seeds_a, entry.seeds_b, entry.same) == ([3], [3, 4, 5], False)
    assert found.only_b == ["tiny-tiny/4", "tiny-tiny/5"] and found.only_a == []
    saved = read_results(open_revision("HEAD"), "results/tiny/tiny")
    mae = next(row for row in entry.rows if row.metric == "mae")
    assert mae.a is not None and mae.a.mean == saved[0].result.test["mae"]
