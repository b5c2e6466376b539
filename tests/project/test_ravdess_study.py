"""experiments/ravdess: its params and stages are valid; on the real files, the published figures come out."""

from __future__ import annotations

import csv
import json
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from pipeline.core.git import open_revision
from pipeline.corpora.ingest import survey
from pipeline.corpora.kinds.ravdess import EMOTIONS, PUBLISHED_FOLDS
from pipeline.evaluation.imported import import_predictions
from pipeline.evaluation.pooled import pooled
from pipeline.evaluation.saved import SavedRun, read_results
from pipeline.formats.source import Source
from pipeline.imports.registry import read
from pipeline.params.params import Params, load_params

FOLDS = [f"fold{fold}" for fold in range(5)]
PUBLISHED = {  # system -> accuracy: mean of the folds (as its authors print it), and of all clips pooled
    "wav2vec": (0.8182, 0.8194),
    "au_mlp": (0.6022, 0.6042),
    "au_bilstm": (0.6213, 0.6236),
    "fusion": (0.8670, 0.8674),
}


@pytest.fixture(scope="module")
def study(project: Path) -> Path:
    return project / "experiments" / "ravdess"


@pytest.fixture(scope="module")
def params(study: Path) -> Params:
    return load_params(study / "params.yaml")


def test_the_sets_are_the_published_folds(params: Params) -> None:
    assert params.datasets_run == FOLDS
    for number, name in enumerate(FOLDS):
        folds = params.training_set(name).protocol.folds
        assert folds is not None and (folds.by, folds.fold, folds.number) == ("published", number, 5)


@pytest.mark.parametrize(
    "name", ["ingest", "transcribe", "import", "text", "audio", "assemble", "train", "evaluate", "report"]
)
def test_stages_are_those_of_the_project(name: str, study: Path, project: Path) -> None:
    """Alike but for inputs that no set of the study has: a waveform, and another set to pretrain on."""
    ours, theirs = (YAML(typ="safe").load(place / "dvc.yaml")["stages"][name] for place in (study, project))
    stages = [stage.get("do", stage) for stage in (ours, theirs)]
    lacking = ("data/features/${item.waveform}", "data/assembled/${pretrain_on}")
    stages[1]["deps"] = [place for place in stages[1]["deps"] if place not in lacking]
    assert stages[0] == stages[1]


# --------------------------------------------------------------------------------------------- the real files
@pytest.fixture(scope="module")
def corpus(shared: Path) -> Path:
    return shared / "datasets" / "ravdess"


@pytest.mark.shared
def test_the_imported_action_units_are_of_the_corpus_clips(corpus: Path, params: Params) -> None:
    """Of all but eleven, with their values in the file."""
    entry = params.imports["ravdess_au"].model_copy(update={"root": str(corpus)})
    found = read("arrays", Source(corpus), entry)
    raw = survey("ravdess", params.datasets["ravdess"].model_copy(update={"root": str(corpus)}))
    labels = {clip.id: clip.labels["class_label"] for clip in raw.clips}
    assert {row["clip_id"]: row["class_label"] for row in found.rows} == labels
    visual = found.modalities["visual"]
    assert len(visual.columns) == 35 and len(labels) - len(visual.clips) == 11
    with open(corpus / "openface_au_mean.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            read_back = visual.read(f"{row.pop('clip')}$_$0")
            assert read_back is not None and read_back[0].tolist() == [float(cell) for cell in row.values()]


@pytest.fixture(scope="module")
def published(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[SavedRun]]]:
    """Training set -> system -> its run; sets as assemble would write them, without features."""
    here = tmp_path_factory.mktemp("published")
    with open(corpus / "label.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    for fold, actors in zip(FOLDS, PUBLISHED_FOLDS, strict=True):
        assembled = here / fold
        assembled.mkdir()
        for split in ("train", "test"):
            rows = [row for row in table if (row["speaker"] in actors) == (split == "test")]
            columns = {
                "clip_id": [f"{row['clip']}$_$0" for row in rows],
                "video_id": [row["clip"] for row in rows],
                "speaker": [row["speaker"] for row in rows],
                "path": [row["file"] for row in rows],
                "class_label": [EMOTIONS.index(row["emotion"]) for row in rows],
            }
            pq.write_table(pa.table(columns), assembled / f"{split}.parquet")
        stats = {"format": 1, "task": "classification", "class_names": EMOTIONS, "feature_set": ""}
        (assembled / "stats.json").write_text(json.dumps({**stats, "modalities": {}}))
        for system in PUBLISHED:
            scores, out = corpus / "published" / f"{system}.csv", here / "results" / fold / system
            done = import_predictions(scores, system, fold, assembled, out, "cls")
            assert (done.scored, done.passed_over) == (60 * len(actors), 1440 - 60 * len(actors))
    saved = open_revision(None, here)
    return {f: {s: read_results(saved, f"results/{f}/{s}") for s in PUBLISHED} for f in FOLDS}


@pytest.mark.shared
@pytest.mark.parametrize("system", PUBLISHED)
def test_published_predictions_have_their_published_accuracy(
    system: str, published: dict[str, dict[str, list[SavedRun]]]
) -> None:
    folds = {fold: runs[system] for fold, runs in published.items()}
    mean = np.mean([runs[0].result.test["accuracy"] for runs in folds.values()])
    (whole,) = pooled(folds, "ravdess")
    assert (mean, whole.result.test["accuracy"]) == pytest.approx(PUBLISHED[system], abs=6e-5)


@pytest.mark.shared
def test_the_summary_says_them(study: Path, published: dict[str, dict[str, list[SavedRun]]]) -> None:
    tables: Callable[..., list[str]] = runpy.run_path(str(study / "summary.py"))["tables"]
    accuracies, difference = tables(published, ("wav2vec", "not_run"))
    row = next(line for line in accuracies.splitlines() if line.startswith("| wav2vec (published) |"))
    assert "| 0.8182 ± " in row and "| 0.8194 |" in row
    assert "1440 clips of 24 speakers" in difference
    rows = (line.split(" | ") for line in difference.splitlines() if line.startswith("| "))
    gained = {row[0]: row[1] for row in rows}
    assert (gained["| fusion"], gained["| au_mlp"]) == ("+0.048", "-0.215")  # .8674 - .8194, .6042 - .8194
