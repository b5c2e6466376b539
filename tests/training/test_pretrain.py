"""Pretraining: on whose labels, once for all seeds, kept until something that decides it changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from made.tiny_khar import PRETRAINING, TINY
from made.tiny_set import write_tiny_set
from safetensors.torch import load_file

from pipeline.core.errors import FormatError, ParamsError
from pipeline.params.params import TrainParams
from pipeline.params.run import RunConfig
from pipeline.training.loop.pretrain import FILE, pretrain, pretraining_due
from pipeline.training.loop.train import train


def settings(adapters: str = "pretrained", **other: Any) -> dict[str, Any]:
    epochs = {"text": 2, "audio": 3, "visual": 2}
    shape = {**PRETRAINING, "adapters": adapters, "lr": 1e-3, "epochs": epochs}
    return {**TINY, "pretraining": shape, "training": {"epochs": 2, "batch_size": 16}, **other}


def khar(
    folder: Path, out: Path, params: dict[str, Any] | None = None, source: Path | None = None
) -> RunConfig:
    return RunConfig(
        method_name="khar",
        dataset="tiny",
        seed=1,
        method_params=params or settings(),
        train_params=TrainParams(),
        assembled=folder,
        pretrained=out,
        source=source,
        out=out.parent / "khar-tiny-1",
    )


def learn(folder: Path, out: Path, params: dict[str, Any] | None = None, source: Path | None = None) -> bool:
    run = khar(folder, out, params, source)
    due = pretraining_due(run, "cpu")
    there = out.exists()
    learnt = pretrain(run, device="cpu", state_root=out.parent / ".state")
    assert due == (learnt or there != out.exists())  # what says so beforehand is right
    assert not pretraining_due(run, "cpu")
    return learnt


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set in which every clip has a label for the audio alone: the joint one turned round."""
    out = write_tiny_set(tmp_path_factory.mktemp("sets") / "tiny")
    for split in ("train", "valid"):
        table = pq.read_table(out / f"{split}.parquet")
        turned = pa.array([-value for value in table["label"].to_pylist()], pa.float32())
        table = table.set_column(table.column_names.index("label_audio"), "label_audio", turned)
        pq.write_table(table, out / f"{split}.parquet")
    return out


@pytest.fixture(scope="module")
def pretrained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pretrained") / "khar-tiny"
    assert learn(folder, out)
    return out


def test_each_modality_learns_its_own_label_where_there_is_one(pretrained: Path) -> None:
    report = json.loads((pretrained / FILE).read_text())
    labels = {name: entry["labels"] for name, entry in report["modalities"].items()}
    assert labels == {"text": "joint", "audio": "own", "visual": "joint"}
    assert {path.name for path in pretrained.iterdir()} == {
        FILE,
        *(f"{name}.safetensors" for name in labels),
    }


def test_own_labels_are_what_is_learnt(folder: Path, tmp_path: Path) -> None:
    """With forty epochs the audio's own, turned labels are predicted; the joint ones cannot be."""
    params = settings()
    epochs = {"text": 1, "audio": 40, "visual": 1}
    params["pretraining"] = {**params["pretraining"], "lr": 5e-3, "epochs": epochs}
    learn(folder, tmp_path / "khar-tiny", params)
    report = json.loads((tmp_path / "khar-tiny" / FILE).read_text())
    assert report["modalities"]["audio"]["valid_loss"] < 1.0  # of labels turned round it would be over 2


def test_kept_until_something_that_decides_it_changes(folder: Path, pretrained: Path, tmp_path: Path) -> None:
    def contents() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in pretrained.iterdir()}

    before = contents()
    assert not learn(folder, pretrained)
    assert not learn(folder, pretrained, settings(weights={"contrastive": 0.3}, refined_width=7))
    assert contents() == before
    assert learn(folder, tmp_path / "again")  # elsewhere, from nothing: the same bytes
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == before
    changed = settings()
    changed["pretraining"] = {**changed["pretraining"], "lr": 2e-3}
    assert learn(folder, tmp_path / "again", changed)
    assert (tmp_path / "again" / "audio.safetensors").read_bytes() != before["audio.safetensors"]


@pytest.mark.parametrize("adapters", ["scratch", "none"])
def test_nothing_where_adapters_are_not_pretrained(adapters: str, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "khar-tiny"
    learn(folder, out)
    assert not learn(folder, out, settings(adapters))
    assert not out.exists()  # the weights of before are gone


def test_training_takes_the_adapters_and_leaves_them(folder: Path, pretrained: Path, tmp_path: Path) -> None:
    run = khar(folder, pretrained).model_copy(update={"out": tmp_path / "khar-tiny-1"})
    train(run, device="cpu", state_root=tmp_path / ".state", logs=tmp_path / "logs")
    after = load_file(run.out / "model.safetensors")
    stage_one = load_file(pretrained / "audio.safetensors")
    adapters = [name for name in after if ".audio.adapters." in name]
    assert adapters
    for name in adapters:
        assert torch.equal(after[name], stage_one[name])
    trained = [name for name in after if "encoder.audio" in name and name in stage_one]
    assert any(not torch.equal(after[name], stage_one[name]) for name in trained)


def test_another_corpus_may_teach(folder: Path, tmp_path: Path) -> None:
    other = write_tiny_set(tmp_path / "other", feature_set="e" * 64)
    assert learn(folder, tmp_path / "khar-tiny", source=other)
    report = json.loads((tmp_path / "khar-tiny" / FILE).read_text())
    assert {entry["labels"] for entry in report["modalities"].values()} == {"joint"}


def test_classes_cannot_teach_scores(tmp_path: Path) -> None:
    folder = write_tiny_set(tmp_path / "classes", classes=("no", "yes"))
    params = settings(kappa=None)
    with pytest.raises(FormatError, match="has classes; name a corpus of scores under `pretrain_on`"):
        learn(folder, tmp_path / "out", params)
    assert not learn(folder, tmp_path / "out", settings("scratch", kappa=None))


def test_an_unknown_method(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="method 'bert' is not known"):
        pretrain(khar(tmp_path, tmp_path / "out").model_copy(update={"method_name": "bert"}))


def test_a_method_without_pretraining_has_no_such_folder(folder: Path, tmp_path: Path) -> None:
    run = khar(folder, tmp_path / "pretrained").model_copy(
        update={"method_name": "misr", "method_params": {}}
    )
    assert not pretrain(run, device="cpu") and not run.pretrained.exists()


def test_weights_that_are_gone_are_learnt_again(folder: Path, pretrained: Path, tmp_path: Path) -> None:
    shutil.copytree(pretrained, tmp_path / "khar-tiny")
    (tmp_path / "khar-tiny" / "audio.safetensors").unlink()
    assert learn(folder, tmp_path / "khar-tiny")
    before = (pretrained / "audio.safetensors").read_bytes()
    assert (tmp_path / "khar-tiny" / "audio.safetensors").read_bytes() == before


def test_a_modality_that_no_validation_clip_has(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "set")
    table = pq.read_table(tmp_path / "set" / "valid.parquet")
    empty = pa.nulls(table.num_rows, table["visual"].type)
    table = table.set_column(table.column_names.index("visual"), "visual", empty)
    pq.write_table(table, tmp_path / "set" / "valid.parquet")
    with pytest.raises(FormatError, match=r"no clip of valid has visual.*pretrain_on"):
        learn(tmp_path / "set", tmp_path / "khar-tiny")
