"""A model hub on this machine that has the tiny BERT as org/tiny (or what a test gives it), and a cache of it
made by hand."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from made.tiny_models import save_tiny_bert

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture
def copy(bert: Path, tmp_path: Path) -> Path:
    """A copy of the tiny BERT that a test may spoil."""
    return Path(shutil.copytree(bert, tmp_path / "copy"))


def cache_of(model: Path, cache: Path, *, links: bool) -> Path:
    """The cache folder of huggingface_hub with org/tiny in it, as its documentation draws it."""
    root = cache / "models--org--tiny"
    snapshot, blobs = root / "snapshots" / COMMIT, root / "blobs"
    for folder in (snapshot, blobs, root / "refs"):
        folder.mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    for path in model.iterdir():
        blob = hashlib.sha256(path.read_bytes()).hexdigest()
        if links:
            shutil.copy(path, blobs / blob)
            (snapshot / path.name).symlink_to(f"../../blobs/{blob}")
        else:  # carried on a file system without links
            shutil.copy(path, snapshot / path.name)
    return cache


class Hub(BaseHTTPRequestHandler):
    """The few answers of a model hub that a download needs; weights are LFS files, as on the real one."""

    folder: Path
    asked: list[str]
    repository, commit = "org/tiny", COMMIT
    damaged: str = ""  # name of a file of which other bytes are sent than are listed

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
        known = f"/api/models/{self.repository}"
        if re.fullmatch(rf"{re.escape(known)}(/revision/(main|{self.commit}))?", self.path):
            siblings = [{"rfilename": name} for name in files]
            described = {"id": self.repository, "sha": self.commit, "siblings": siblings}
            self._answer(json.dumps(described).encode())
        elif self.path.startswith(f"{known}/tree/"):
            self._answer(
                json.dumps([self._entry(name) for name in files]).encode(), Content_Type="application/json"
            )
        elif self.path.startswith(f"/{self.repository}/resolve/"):
            name = self.path.rpartition("/")[2]
            body = (self.folder / name).read_bytes()
            if name == self.damaged:
                body = body[:-1] + bytes([body[-1] ^ 1])
            self._answer(body, ETag=f'"{name}"', X_Repo_Commit=self.commit)
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def _entry(self, name: str) -> dict[str, object]:
        body = (self.folder / name).read_bytes()
        blob = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()  # as git names it
        entry: dict[str, object] = {"type": "file", "path": name, "size": len(body), "oid": blob}
        if name.endswith(".safetensors"):
            sha256 = hashlib.sha256(body).hexdigest()
            entry["lfs"] = {"oid": sha256, "size": len(body), "pointerSize": 134}
        return entry

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
