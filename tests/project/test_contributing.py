"""The examples of CONTRIBUTING.md, run for real on tiny data in a copy of the project."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from made.tiny_set import write_tiny_set
from made.workspace import Workspace, make_workspace
from ruamel.yaml import YAML

from pipeline.store.store import FeatureStore

pytestmark = pytest.mark.slow

BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CLIPS = ("train/anna/1_+1.5", "train/anna/2_-3", "valid/ben/1_0.4", "test/cem/1_-0.2")


@pytest.fixture
def workspace(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A copy of the project whose code is what `msa-cli` runs."""
    made = make_workspace(tmp_path / "project", project)
    monkeypatch.setenv("PYTHONPATH", str(made.folder))
    return made


def follow(project: Path, heading: str, workspace: Workspace) -> None:
    """Do in the workspace what the section of CONTRIBUTING.md says; `~` is the folder that it lies in."""
    text = (project / "CONTRIBUTING.md").read_text("utf-8")
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None
    for language, path, content in BLOCK.findall(section[1]):
        file = workspace.folder / path
        if language == "sh":
            for line in content.splitlines():
                workspace.run(*line.replace("~", str(workspace.folder.parent)).split())
        elif path == "params.yaml":
            yaml = YAML()
            params = yaml.load(file)
            lay_over(params, yaml.load(content))
            yaml.dump(params, file)
        elif language == "diff":
            patch(file, content)
        else:
            file.parent.mkdir(exist_ok=True)
            file.write_text(content, "utf-8")


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


def test_examples_are_formatted_as_the_project_is(project: Path) -> None:
    text = (project / "CONTRIBUTING.md").read_text("utf-8")
    files = [(path, content) for language, path, content in BLOCK.findall(text) if language == "python"]
    assert len(files) == 4
    for path, content in files:
        for rule in (["check"], ["format", "--check"]):
            command = [sys.executable, "-m", "ruff", *rule, "--stdin-filename", path, "-"]
            done = subprocess.run(
                command, cwd=project, input=content, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr


def test_a_corpus(workspace: Workspace, project: Path) -> None:
    media = sorted((workspace.folder / "data/sample/Raw").glob("*/*.mp4"))
    talks = workspace.folder.parent / "talks"
    for clip, file in zip(CLIPS, media, strict=False):
        (talks / clip).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, talks / f"{clip}.mp4")
    follow(project, "Add a corpus", workspace)
    rows = pq.read_table(workspace.folder / "data/clips/mine.parquet").to_pylist()
    assert {(row["clip_id"], row["split"], row["speaker"], round(row["label"], 3)) for row in rows} == {
        ("anna$_$1", "train", "anna", 1.5),
        ("anna$_$2", "train", "anna", -3.0),
        ("ben$_$1", "valid", "ben", 0.4),
        ("cem$_$1", "test", "cem", -0.2),
    }
    (talks / "train/anna/no-score.mp4").symlink_to(media[0])
    told = workspace.run("msa-cli", "stage", "ingest", "mine", ok=False)
    assert "no-score.mp4" in told and "<score>" in told and "Traceback" not in told


def test_an_encoder(workspace: Workspace, project: Path) -> None:
    follow(project, "Add an encoder", workspace)
    rows = list(FeatureStore(workspace.folder / "data/features/sample/audio-loudness").stream())
    assert len(rows) == len(list(workspace.folder.glob("data/sample/Raw/*/*.mp4")))
    for row in rows:
        assert row.status == "ok" and row.features is not None
        assert -100.1 < row.features.min() <= row.features.max() <= 0
        assert row.times is not None and row.features.shape == (len(row.times), 1)


def test_a_method(workspace: Workspace, project: Path) -> None:
    write_tiny_set(workspace.folder / "data/assembled/sample")
    follow(project, "Add a method", workspace)
    report = (workspace.folder / "reports/report.md").read_text("utf-8")
    first = dict(re.findall(r"^\| ([\w ]+?) *\| *([\d.]+)", report, re.MULTILINE))  # of its columns: the MAE
    assert float(first["means"]) < float(first["train median"])
