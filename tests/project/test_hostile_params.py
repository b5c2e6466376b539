"""A foreign params.yaml: `dvc repro` executes nothing of it, and neither writes nor removes elsewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made.workspace import Workspace, make_workspace
from ruamel.yaml import YAML

pytestmark = pytest.mark.slow

NAMES = [
    *("x; touch PWNED #", "x' ; touch PWNED ; '", '"; touch PWNED #', "$(touch PWNED)", "`touch PWNED`"),
    *("x\ntouch PWNED", "--help", "my data"),
    *("../../keep", "../../../outside", "../../../../outside", "x/../../../keep", "../.."),
]
SECTIONS = ("datasets", "imports", "jobs", "assemble", "models_run", "datasets_run", "seeds")


@pytest.fixture(scope="module")
def finished(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project that git knows, with a folder inside and one beside it that nothing may touch."""
    around = tmp_path_factory.mktemp("around") / "deeper"
    for kept in (around.parent / "outside", around / "outside", around / "project" / "keep"):
        kept.mkdir(parents=True)
        (kept / "kept.txt").write_text("kept")
    workspace = make_workspace(around / "project", project)
    workspace.run("git", "add", "-A")
    workspace.run("git", "commit", "-qm", "first")
    return workspace


@pytest.fixture
def workspace(finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """Its `msa-cli` refuses everything, and writes down with what it was called."""
    (tmp_path / "msa-cli").write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\nexit 2\n')
    (tmp_path / "msa-cli").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{finished.environment()['PATH']}"
    monkeypatch.setattr(finished, "environment", lambda: {**Workspace.environment(finished), "PATH": path})
    yield finished
    finished.run("git", "checkout", "-q", ".")


def with_names(tree: dict[str, Any], section: str, names: list[str]) -> list[str]:
    """Put entries, or values, of these names into the params; the DVC stages that have them."""
    if section == "jobs":
        encoders = {"text": "minilm", "audio": "librosa33", "visual": "facemesh"}
        for modality, encoder in encoders.items():
            job = tree["jobs"][modality][f"sample-{encoder}"]
            tree["jobs"][modality] = {name: job | {"dataset": name, "encoder": name} for name in names}
            tree[modality] = dict.fromkeys(names, tree[modality][encoder])
        return [f"{modality}@{name}" for name in names for modality in encoders]
    if section in ("datasets", "imports", "assemble"):
        entry = {"kind": "csd", "root": "data/sample"} if section == "imports" else tree[section]["sample"]
        tree[section] = dict.fromkeys(names, entry)
        stages = {"datasets": ("ingest", "transcribe"), "imports": ("import",)}.get(section, (section,))
        return [f"{stage}@{name}" for name in names for stage in stages]
    tree[section] = names
    for name in names if section == "models_run" else []:
        tree["models"][name] = tree["models"]["misr"]
    for name in names if section == "datasets_run" else []:
        tree["models"]["misr"]["corpora"][name] = {}
    tree |= {key: [value] for key, value in RUN.items() if key != section}
    runs = dict.fromkeys("{models_run}-{datasets_run}".format(**RUN | {section: name}) for name in names)
    return [f"evaluate@{run}" for run in runs]  # of all seeds


RUN = {"models_run": "misr", "datasets_run": "sample", "seeds": 1}


def check_untouched(workspace: Workspace, output: str, calls: Path) -> None:
    around = workspace.folder.parent
    assert not [*around.parent.rglob("PWNED*")]
    assert {path.name for path in around.iterdir()} == {"outside", "project"}
    kept = (around.parent / "outside", around / "outside", workspace.folder / "keep")
    assert all((folder / "kept.txt").read_text() == "kept" for folder in kept)
    assert workspace.run("git", "status", "--short", "--", ".", ":!params.yaml") == "", output
    called = calls.read_text().splitlines() if calls.exists() else []
    assert all(re.fullmatch(r"stage \w+", line) for line in called), called
    assert "Traceback" not in output


@pytest.mark.parametrize("section", SECTIONS)
def test_names_are_no_commands_and_lead_nowhere(workspace: Workspace, section: str, tmp_path: Path) -> None:
    file = workspace.folder / "params.yaml"
    tree = YAML(typ="safe").load(file)
    stages = with_names(tree, section, NAMES)
    YAML().dump(tree, file)
    output = workspace.run("dvc", "repro", "--single-item", "--force", "--keep-going", *stages, ok=False)
    assert output.count("Running stage") > min(len(NAMES), len(stages)) / 2
    check_untouched(workspace, output, tmp_path / "calls")


@pytest.mark.parametrize("section", ["models_run", "datasets_run", "seeds"])
def test_folders_of_runs_are_removed_of_checked_names_alone(
    workspace: Workspace, section: str, tmp_path: Path
) -> None:
    file = workspace.folder / "params.yaml"
    tree = YAML(typ="safe").load(file)
    stages = with_names(tree, section, ["../../keep", "../../../outside"])
    YAML().dump(tree, file)
    runs = [stage.replace("evaluate", "train") for stage in stages]
    output = workspace.run("dvc", "repro", "--keep-going", *runs, ok=False)
    check_untouched(workspace, output, tmp_path / "calls")
