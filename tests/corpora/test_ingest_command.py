"""`msa-cli ingest`: a folder of clips is entered and passes `validate`; mistakes leave no trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from made.made_corpora import clip, made

from pipeline.params.params import load_params

PARAMS = Path("params.yaml")


@pytest.fixture
def here(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of params.yaml alone; the current folder."""
    (tmp_path / PARAMS).write_bytes((project / PARAMS).read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def corpus(here: Path) -> Path:
    """Nine clips of three speakers with a CSV table, outside of data/raw."""
    folder = here / "clips"
    lines = ["file,label,text,speaker,split"]
    for number in range(9):
        clip(folder / f"{number}.mp4", number=number)
        split = ("train", "valid", "test")[number % 3]
        lines.append(f"{number}.mp4,{number / 4 - 1},words {number},s{number % 3},{split}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_a_folder_of_clips_is_entered_and_valid(corpus: Path, cli: Callable[..., Any]) -> None:
    code, shown = cli("ingest", "folder", corpus, "--name", "mine", "--visual-encoder", "none")
    assert code == 0, shown
    assert "mine: 3 train, 3 valid, 3 test" in shown and "next: msa-cli validate mine; dvc repro" in shown
    for key in ("datasets.mine", "jobs.text.mine-minilm", "jobs.audio.mine-librosa33", "assemble.mine"):
        assert f"params.yaml: {key}" in shown
    params = load_params()
    assert "texts of its clips are kept out of results/ and reports/" in shown
    assert "mine" not in params.reports.transcripts
    dataset = params.dataset("mine")
    assert (dataset.kind, dataset.root, dataset.label_range) == ("folder", "data/raw/mine", (-3, 3))
    assert Path("data/raw/mine").resolve() == corpus.resolve()
    assert params.training_set("mine").visual == "none" and "mine-facemesh" not in params.jobs.visual

    code, shown = cli("validate", "mine", "--json")
    assert code == 0, shown
    assert '"error"' not in shown
    (corpus / "9.mp4").write_bytes((corpus / "0.mp4").read_bytes())
    code, shown = cli("stage", "ingest", "mine")
    assert code == 0 and "info: 1 videos are unlabeled: not in the table" in shown
    clips = pq.read_table("data/clips/mine.parquet").to_pydict()
    (corpus / "9.mp4").unlink()
    assert sorted(label for label in clips["label"] if label is not None) == [
        number / 4 - 1 for number in range(9)
    ]
    assert set(clips["status"]) == {"ok"} and all(clips["has_audio"])


def test_options_reach_the_entry(corpus: Path, cli: Callable[..., Any]) -> None:
    words = ("--range", "-2", "2", "--language", "de", "--metrics", "sims", "--folds", "3", "--by", "speaker")
    code, shown = cli("ingest", "folder", corpus, "--name", "mine", *words)
    assert code == 0, shown
    params = load_params()
    assert params.dataset("mine").label_range == (-2, 2) and params.dataset("mine").language == "de"
    folds = [params.training_set(f"mine-f{fold}").protocol.folds for fold in range(3)]
    assert [fold and (fold.fold, fold.by) for fold in folds] == [(i, "speaker") for i in range(3)]
    assert params.datasets_run == ["sample", "mine-f0", "mine-f1", "mine-f2"]


@pytest.mark.parametrize("kind", ["mosi", "sims", "cherma", "urfunny", "mustard", "simsv2", "ravdess"])
def test_published_corpora_bring_their_labels(kind: str, here: Path, cli: Callable[..., Any]) -> None:
    made[kind](here / "corpus")
    code, shown = cli("ingest", kind, here / "corpus", "--name", "mine", "--no-run")
    assert code == 0, shown
    params = load_params()
    dataset, chosen = params.dataset("mine"), params.training_set("mine")
    assert dataset.kind == kind and (chosen.metrics == "cls") == (dataset.task == "classification")
    assert cli("stage", "ingest", "mine")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["folder", "--name", "sample"], "datasets.sample already exists"),
        (["folders", "--name", "mine"], "kind of dataset 'folders' is not known, did you mean 'folder'"),
        (["folder", "--name", "mine", "--text-encoder", "bart"], "text encoder 'bart' is not known"),
        (["folder", "--name", "mine", "--range", "0", "1"], "expected"),
        (["folder", "--name", "mine", "--setting", "no=1"], "no"),
        (["mosi", "--name", "mine"], "label.csv"),
        (
            ["folder", "--name", "mine", "--task", "regression", "--classes", "a,b"],
            "a regression has no classes",
        ),
        (["folder", "--name", "mine", "--range", "0", "1", "--classes", "a,b"], "which have no range"),
        (["mustard", "--name", "mine", "--range", "0", "1"], "which have no range"),
    ],
)
def test_mistakes_are_named_and_leave_no_trace(
    words: list[str], message: str, corpus: Path, here: Path, cli: Callable[..., Any]
) -> None:
    before = PARAMS.read_bytes()
    kind, *options = words
    code, shown = cli("ingest", kind, corpus, *options)
    assert code == 2 and message in shown, shown
    assert "Traceback" not in shown
    assert PARAMS.read_bytes() == before and not (here / "data").exists()


def test_a_corpus_without_labels_gets_no_training_set(here: Path, cli: Callable[..., Any]) -> None:
    clip(here / "clips" / "a.mp4")
    code, shown = cli("ingest", "folder", here / "clips", "--name", "mine")
    assert code == 0 and "no labelled training clip" in shown
    params = load_params()
    assert "mine" in params.datasets and "mine-librosa33" in params.jobs.audio
    assert "mine" not in params.assemble and params.datasets_run == ["sample"]
