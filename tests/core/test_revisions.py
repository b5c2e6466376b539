"""States of the project by name: commits, tags, branches, experiments, the working folder, wrong names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from made.small_repository import commit, compared, git, make_repository, said, save_runs, write_lock

from pipeline.core.errors import MsaError
from pipeline.core.git import WORKSPACE, open_revision


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    monkeypatch.chdir(make_repository(tmp_path))
    return tmp_path


def test_revisions_by_every_name(repository: Path) -> None:
    first = git(repository, "rev-parse", "before")
    git(repository, "branch", "feature/old", first)
    for name in ("before", "HEAD~1", first, first[:8], "feature/old"):
        found = open_revision(name)
        assert (found.commit, found.subject) == (first, "First")
    assert (open_revision(None).name, open_revision(None).commit) == (WORKSPACE, "")


def test_experiments_of_dvc_by_name(repository: Path) -> None:
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}

    def dvc(*command: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "dvc", *command], env=environment, check=True, capture_output=True
        )

    dvc("init", "-q")
    commit(repository, "With DVC")
    git(repository, "config", "user.name", "a")
    git(repository, "config", "user.email", "a@b")
    save_runs(repository, "misr", (1, 2, 3), 0.9)
    dvc("exp", "save", "-n", "light-one")
    git(repository, "checkout", "-q", ".")
    found = compared("HEAD", "light-one")
    assert [entry.title for entry in found.entries if not entry.same] == ["misr on mosi"]
    assert found.b.commit != git(repository, "rev-parse", "HEAD")
    with pytest.raises(MsaError, match="did you mean 'light-one'"):
        open_revision("light-on")


def test_an_experiment_of_two_baselines_is_that_of_head(repository: Path) -> None:
    old, head = (git(repository, "rev-parse", name) for name in ("HEAD~1", "HEAD"))
    for baseline, kept in ((old, head), (head, old)):
        git(repository, "update-ref", f"refs/exps/{baseline[:2]}/{baseline[2:]}/twice", kept)
        git(repository, "update-ref", f"refs/exps/{baseline[:2]}/{baseline[2:]}/x-{kept[:4]}", kept)
    assert open_revision("twice").commit == old
    git(repository, "commit", "-q", "--allow-empty", "-m", "Later")
    with pytest.raises(MsaError, match=f"2 experiments have this name.*{old[:10]}"):
        open_revision("twice")


def test_a_study_in_a_folder_of_its_own(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = repository / "experiments" / "study"
    save_runs(study, "misr", [1], 0.5)
    write_lock(study, misr={"../../models/misr": "1"})
    commit(repository, "A study")
    save_runs(study, "misr", [1], 0.4)
    write_lock(study, misr={"../../models/misr": "2"})
    monkeypatch.chdir(study)
    found = compared("HEAD")
    assert [entry.title for entry in found.entries] == ["misr on mosi"]
    assert [change.path for change in found.code] == ["../../models/misr"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["befor"], "revision 'befor' is not known here, did you mean 'before'"),
        (["--", "--output=x"], "revision '--output=x' is not known"),
        (["before", ""], "revision '' is not known"),
        (["before", "HEAD", "--md", "--json"], "--md and --json were given"),
    ],
)
def test_mistakes_are_one_line(
    repository: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    code, out, errors = said(capsys, monkeypatch, "compare", *words)
    assert (code, out) == (2, "")
    assert message in errors and errors.count("\n") == 1


def test_no_repository_and_no_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(MsaError, match="not the working folder of a git repository"):
        open_revision("HEAD")
    git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("")
    commit(tmp_path, "Nothing")
    with pytest.raises(MsaError, match="HEAD has no results/<set>"):
        compared("HEAD")
    git(tmp_path, "init", "-q", "--bare", "bare")
    with pytest.raises(MsaError, match="not the working folder of a git repository"):
        open_revision("HEAD", tmp_path / "bare")
    (tmp_path / ".git" / "config").write_text("[")
    with pytest.raises(MsaError, match="not the working folder of a git repository"):
        open_revision("HEAD")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "not JSON"),
        (b"[]", "not a result"),
        (b'{"runs": []}', "at least 1 item"),
        (b'{"runs": [{"format": 2, "method": "misr"}]}', "runs.0.dataset: Field required"),
        (
            b'{"runs": [{"format": 7, "method": "m", "dataset": "d", "seed": 1, "test": {}}]}',
            "format 7",
        ),
    ],
)
def test_damaged_results(repository: Path, content: bytes, words: str) -> None:
    (repository / "results" / "mosi" / "misr" / "metrics.json").write_bytes(content)
    with pytest.raises(MsaError, match=words):
        compared("before")
