"""experiments/mosi: CMU-MOSI's labels, transcripts, split and audio vectors by the general importer."""

from __future__ import annotations

import csv
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from models import METHODS
from pipeline.core.errors import FormatError, LabelFileError
from pipeline.core.paths import clip_table, feature_folder, transcript_table
from pipeline.corpora.clips import facts_of, read_clips
from pipeline.imports.convert import convert
from pipeline.params.params import ImportParams, load_params
from pipeline.store.store import FeatureStore
from pipeline.transcripts.table import read_transcripts

COUNTS = {"train": 1284, "valid": 229, "test": 686}


@pytest.fixture
def study(project: Path) -> Path:
    return project / "experiments" / "mosi"


def entry(study: Path, root: Path) -> ImportParams:
    """The import of the study's params.yaml, with its files elsewhere."""
    return load_params(study / "params.yaml").imports["mosi"].model_copy(update={"root": str(root)})


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Four clips in the structure of the real files; the last has no vector."""
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "label.csv").write_text(
        "video_id,clip_id,text,label,annotation,mode,label_by\n"
        "-3g5yACwYnA,10,ANYHOW IT WAS GOOD,1.6666666,Positive,train,0\n"
        '-3g5yACwYnA,2,"WELL, NO",-2.2,Negative,train,0\n'
        "03bSnISJMiM,1,OK,0,Neutral,valid,0\n"
        "zhpQhgha_KU,3,THE END,3,Positive,test,0\n"
    )
    ids = np.array(["03bSnISJMiM$_$1", "-3g5yACwYnA$_$2", "-3g5yACwYnA$_$10"])
    audio = np.arange(3 * 73, dtype=np.float32).reshape(3, 73) + 1
    np.savez_compressed(folder / "bclstm_utterance.npz", id=ids, audio=audio, visual=audio[:, :5])
    return folder


def test_clips_vectors_and_texts(study: Path, small: Path, tmp_path: Path) -> None:
    convert("mosi", entry(study, small), 4, tmp_path)
    clips = read_clips(tmp_path / clip_table("mosi"))
    rows = {row["clip_id"]: row for row in clips.to_pylist()}
    assert rows["-3g5yACwYnA$_$10"]["label"] == 1.6666666
    assert [rows[f"-3g5yACwYnA$_${i}"]["position"] for i in (2, 10)] == [0, 1]
    assert {row["split"] for row in rows.values()} == set(COUNTS)
    assert facts_of(clips).label_range == (-3, 3)
    texts = read_transcripts(tmp_path / transcript_table("mosi")).to_pylist()
    assert [row["text"] for row in texts] == ["ANYHOW IT WAS GOOD", "WELL, NO", "OK", "THE END"]
    features = FeatureStore(tmp_path / feature_folder("mosi", "audio", "imported")).read()
    assert features is not None
    assert features.rows["zhpQhgha_KU$_$3"].status == "absent"
    found = features.rows["-3g5yACwYnA$_$2"].features
    assert found is not None and found.dtype == np.float32
    np.testing.assert_array_equal(found, np.arange(73, 146, dtype=np.float32)[None] + 1)
    for modality in ("text", "visual"):
        assert FeatureStore(tmp_path / feature_folder("mosi", modality, "imported")).read() is None


def test_mistakes_are_named(study: Path, small: Path, tmp_path: Path) -> None:
    (small / "bclstm_utterance.npz").write_bytes(b"PK no archive")
    with pytest.raises(FormatError, match=r"bclstm_utterance\.npz"):
        convert("mosi", entry(study, small), 4, tmp_path)
    (small / "label.csv").write_text("video_id,clip_id,text,label,mode\na,1,x,four,train\n")
    with pytest.raises(LabelFileError, match="four"):
        convert("mosi", entry(study, small), 4, tmp_path)


def test_the_real_files(study: Path, shared: Path, tmp_path: Path) -> None:
    root = shared / "datasets" / "mosi"
    found = convert("mosi", entry(study, root), 4, tmp_path).survey
    assert found.splits == COUNTS
    with (root / "label.csv").open(encoding="utf-8-sig", newline="") as file:
        truth = {f"{row['video_id']}$_${row['clip_id']}": row for row in csv.DictReader(file)}
    rows = read_clips(tmp_path / clip_table("mosi")).to_pylist()
    assert {row["clip_id"]: (row["split"], row["label"]) for row in rows} == {
        clip_id: (row["mode"], float(row["label"])) for clip_id, row in truth.items()
    }
    features = FeatureStore(tmp_path / feature_folder("mosi", "audio", "imported")).read()
    assert features is not None
    with np.load(root / "bclstm_utterance.npz") as archive:
        for clip_id, vector in zip(archive["id"].tolist(), archive["audio"], strict=True):
            np.testing.assert_array_equal(features.rows[clip_id].features, vector[None])


# ------------------------------------------------------------------------------------------- its params.yaml
def test_params_of_the_study_are_valid(project: Path) -> None:
    params = load_params(project / "experiments" / "mosi" / "params.yaml")
    assert params.models_run == ["text_only", "misr", "cmir", "slad", "mird", "khar"]
    assert params.seeds == [1111, 1112, 1113]
    chosen = params.assemble["mosi"]
    assert (chosen.text, chosen.audio, chosen.visual) == ("none", "mosi/audio-imported", "none")
    for name in params.models_run:
        method = getattr(importlib.import_module(METHODS[name].module), METHODS[name].class_name)
        config = method.Config.model_validate(params.model(name, "mosi"))
        assert (config.text, config.text_backbone, config.training.batch_size) == (
            "finetune",
            "minilm",
            32,
        ), name


# ----------------------------------------------------------------------------------------------- its stages
@pytest.mark.parametrize("stage", ["import", "assemble", "train", "evaluate", "report"])
def test_stages_are_those_of_the_project(stage: str, project: Path) -> None:
    """The same commands with the same code and params: links lead to the code."""
    ours, theirs = (
        YAML(typ="safe").load(folder / "dvc.yaml")["stages"]
        for folder in (project / "experiments" / "mosi", project)
    )
    found, wanted = ours[stage], theirs[stage].get("do", theirs[stage])
    if "do" in theirs[stage]:  # for each dataset there, of which there is one here
        text = json.dumps(wanted).replace("${key}", "mosi").replace("${item.dataset}", "mosi")
        wanted = YAML(typ="safe").load(text)
    assert found["cmd"].removesuffix(" mosi") == wanted["cmd"]
    assert found.get("params") == wanted.get("params")
    assert found.get("matrix") == wanted.get("matrix")
    assert found.get("outs") == wanted.get("outs")
    ours = ("constraints.txt", "models", "pipeline")
    code = [place for place in wanted["deps"] if place.startswith(ours)]
    assert [place for place in found["deps"] if place.startswith(ours)] == code


def test_the_study_is_a_project_of_its_own(project: Path) -> None:
    """The project's own commands read nothing of it, and its links lead to the code."""
    study = project / "experiments" / "mosi"
    for folder in (project, study):
        stages = Repo(str(folder)).index.stages
        assert {Path(stage.path) for stage in stages} == {folder / "dvc.yaml"}
    for name in ("models", "pipeline", "constraints.txt", ".dvcignore"):
        assert (study / name).resolve() == project / name
