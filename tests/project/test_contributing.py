"""The examples of CONTRIBUTING.md, run for real on tiny data in a copy of the project."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from made.tiny_set import write_tiny_set
from made.workspace import Workspace, make_workspace

from pipeline.cli.new import SECTIONS, What
from pipeline.cli.templates import BLOCK, Template
from pipeline.store.store import FeatureStore

pytestmark = pytest.mark.slow

OURS = 'lint.isort.known-first-party = ["models", "pipeline"]'  # what an example adds is not there yet
CLIPS = ("train/anna/1_+1.5", "train/anna/2_-3", "valid/ben/1_0.4", "test/cem/1_-0.2")


@pytest.fixture
def workspace(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A copy of the project whose code is what `msa-cli` runs."""
    made = make_workspace(tmp_path / "project", project)
    shutil.copy(project / "CONTRIBUTING.md", made.folder)
    (made.folder / "tests").mkdir()
    for name in ("conftest.py", "made"):
        (made.folder / "tests" / name).symlink_to(project / "tests" / name)
    monkeypatch.setenv("PYTHONPATH", str(made.folder))
    return made


def follow(workspace: Workspace, what: str, name: str) -> None:
    """`msa-cli new`, the commands of that section (`~`: where the project lies), the tests that it wrote."""
    said = workspace.run("msa-cli", "new", what, name)
    heading, example = SECTIONS[What(what)]
    page = (workspace.folder / "CONTRIBUTING.md").read_text("utf-8")
    template = Template.read(page, heading, {example: name})
    assert all((workspace.folder / path).exists() and f"  {path}\n" in said for path in template.files)
    for line in template.commands:
        workspace.run(*line.replace("~", str(workspace.folder.parent)).split())
    tests = [path for path in template.files if path.startswith("tests/")]
    assert f"python -m pytest {' '.join(tests)}\n" in said
    workspace.run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)


def test_examples_are_formatted_as_the_project_is(project: Path) -> None:
    text = (project / "CONTRIBUTING.md").read_text("utf-8")
    files = [(path, content) for language, path, content in BLOCK.findall(text) if language == "python"]
    assert len(files) == 7
    for path, content in files:
        for rule in (["check", "--config", OURS], ["format", "--check"]):
            command = [sys.executable, "-m", "ruff", *rule, "--stdin-filename", path, "-"]
            done = subprocess.run(
                command, cwd=project, input=content, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr


def test_a_corpus(workspace: Workspace, project: Path) -> None:
    media = sorted((workspace.folder / "data/sample/Raw").glob("*/*.mp4"))
    talks = workspace.folder.parent / "speeches"
    for clip, file in zip(CLIPS, media, strict=False):
        (talks / clip).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, talks / f"{clip}.mp4")
    follow(workspace, "corpus", "speeches")
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
    follow(workspace, "encoder", "level")
    rows = list(FeatureStore(workspace.folder / "data/features/sample/audio-level").stream())
    assert len(rows) == len(list(workspace.folder.glob("data/sample/Raw/*/*.mp4")))
    for row in rows:
        assert row.status == "ok" and row.features is not None
        assert -100.1 < row.features.min() <= row.features.max() <= 0
        assert row.times is not None and row.features.shape == (len(row.times), 1)


def test_a_method(workspace: Workspace, project: Path) -> None:
    write_tiny_set(workspace.folder / "data/assembled/sample")
    workspace.edit(models_run=[], seeds=[1111])
    follow(workspace, "method", "two_means")
    report = (workspace.folder / "reports/report.md").read_text("utf-8")
    first = dict(re.findall(r"^\| ([\w ]+?) *\| *([\d.]+)", report, re.MULTILINE))  # of its columns: the MAE
    assert float(first["TwoMeans"]) < float(first["train median"])
