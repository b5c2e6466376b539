"""The examples of CONTRIBUTING.md, run for real on tiny data in a copy of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from made.tiny_set import write_tiny_set
from ruamel.yaml import YAML

from pipeline.store.store import FeatureStore

PROJECT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CLIPS = ("train/anna/1_+1.5", "train/anna/2_-3", "valid/ben/1_0.4", "test/cem/1_-0.2")


def example(heading: str) -> list[tuple[str, str, str]]:
    """Language, path and content of the blocks below a heading."""
    text = (PROJECT / "CONTRIBUTING.md").read_text("utf-8")
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None
    return BLOCK.findall(section[1])


class Copy:
    """The project's code and params in a folder of their own."""

    def __init__(self, folder: Path):
        self.folder, self.home = folder, folder / "home"
        self.home.mkdir(parents=True)
        for name in ("pipeline", "models"):
            shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("params.yaml", "dvc.yaml"):
            shutil.copy(PROJECT / name, folder)
        (folder / "data").mkdir()
        (folder / "data/sample").symlink_to(PROJECT / "data/sample")

    def follow(self, heading: str) -> str:
        """Do what an example says; what its commands printed."""
        printed = ""
        for language, path, content in example(heading):
            if language == "sh":
                printed += "".join(self.run(*line.split()) for line in content.splitlines())
            elif path == "params.yaml":
                self.edit(YAML().load(content))
            elif language == "diff":
                patch(self.folder / path, content)
            else:
                (self.folder / path).parent.mkdir(exist_ok=True)
                (self.folder / path).write_text(content, "utf-8")
        return printed

    def edit(self, changes: dict[str, Any]) -> None:
        yaml = YAML()
        params = yaml.load(self.folder / "params.yaml")
        lay_over(params, changes)
        yaml.dump(params, self.folder / "params.yaml")

    def run(self, *words: str, code: int = 0) -> str:
        words = tuple(word.replace("~", str(self.home)) for word in words)
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == code, f"{' '.join(words)} -> {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return os.environ | {"PATH": path, "PYTHONPATH": str(self.folder), "MSA_WORKERS": "1"}


def lay_over(section: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(section.get(key), dict):
            lay_over(section[key], value)
        else:
            section[key] = value


def patch(file: Path, diff: str) -> None:
    """Apply the hunks of a diff without line numbers; each must fit in one place."""
    text = file.read_text("utf-8")
    for hunk in diff.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] != "+")
        assert text.count(old) == 1, f"{file} has {text.count(old)} places for\n{hunk}"
        text = text.replace(old, "".join(line[1:] for line in lines if line[0] != "-"))
    file.write_text(text, "utf-8")


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path / "project")


@pytest.mark.slow
def test_a_corpus(copy: Copy) -> None:
    media = sorted((PROJECT / "data/sample/Raw").glob("*/*.mp4"))
    for clip, file in zip(CLIPS, media, strict=False):
        place = copy.home / "talks" / f"{clip}.mp4"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    copy.follow("Add a corpus")
    rows = pq.read_table(copy.folder / "data/clips/mine.parquet").to_pylist()
    assert {(row["clip_id"], row["split"], row["speaker"], round(row["label"], 3)) for row in rows} == {
        ("anna$_$1", "train", "anna", 1.5),
        ("anna$_$2", "train", "anna", -3.0),
        ("ben$_$1", "valid", "ben", 0.4),
        ("cem$_$1", "test", "cem", -0.2),
    }
    (copy.home / "talks/train/anna/no-score.mp4").symlink_to(media[0])
    told = copy.run("msa-cli", "stage", "ingest", "mine", code=2)
    assert "no-score.mp4" in told and "<score>" in told and "Traceback" not in told


@pytest.mark.slow
def test_an_encoder(copy: Copy) -> None:
    copy.follow("Add an encoder")
    store = FeatureStore(copy.folder / "data/features/sample/audio-loudness")
    rows = list(store.rows())
    assert len(rows) == 96 and {row.status for row in rows} == {"ok"}
    assert all(-100 <= row.features.min() <= row.features.max() <= 0 for row in rows)


@pytest.mark.slow
def test_a_method(copy: Copy) -> None:
    write_tiny_set(copy.folder / "data/assembled/sample")
    copy.follow("Add a method")
    assert "means" in (copy.folder / "reports/report.md").read_text("utf-8")
