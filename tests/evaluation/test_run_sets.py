"""`msa-cli significance`: two sets of runs by every name they have, and names that will not do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from made.small_repository import compared, git, make_repository, said, save_runs

from pipeline.evaluation.comparison import compare_runs, correct
from pipeline.evaluation.saved import find_runs


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    monkeypatch.chdir(make_repository(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ["misr-mosi", "--against", "cmir-mosi"],
        [
            "misr-mosi/1",
            "misr-mosi/2",
            "misr-mosi/3",
            "--against",
            "cmir-mosi/1",
            "runs/cmir-mosi/2/",
            "cmir-mosi/3",
        ],
        [
            "--against",
            "results/mosi/cmir",
            "--seed",
            "0",
            "results/mosi/misr/metrics.json",
        ],
    ],
)
def test_two_sets_of_runs_by_every_name(
    repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    code, out, errors = said(capsys, monkeypatch, "significance", *words, "--resamples", "300")
    assert (code, errors) == (0, "")
    assert "cmir (A) and misr (B) on mosi" in out
    assert "runs paired by seed" in out and "300 resamples" in out
    assert re.search(r"mae ↓ .* better", out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["misr-mosi/9", "--against", "cmir-mosi"],
            "run 'misr-mosi/9' is not known, did you mean 'misr-mosi/",
        ),
        (["misr-mosi", "cmir-mosi", "--against", "slad-mosi"], "seed 1 occurs twice on one side"),
        (["misr-mosi", "--against", "misr-sims"], "runs of mosi and sims; only"),
        (["misr-mosi", "--against", "misr-mosi"], "both sides are the same runs"),
        (["results/mosi/none/metrics.json", "--against", "misr-mosi"], "no such result"),
        (["results/mosi/misr-1.json", "--against", "misr-mosi"], "version of its own commit reads it"),
    ],
)
def test_sets_that_cannot_be_compared(
    repository: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    save_runs(repository, "misr", [1], 1.0, dataset="sims")
    code, out, errors = said(capsys, monkeypatch, "significance", *words)
    assert (code, out) == (2, "")
    assert message in errors and "Traceback" not in errors


def test_both_commands_agree(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Runs of two revisions, and the same files in two folders."""
    entry = next(entry for entry in compared("before", "HEAD").entries if entry.title == "misr on mosi")
    old = tmp_path_factory.mktemp("old")
    git(repository, "worktree", "add", "-q", str(old / "tree"), "before")
    names = ["results/mosi/misr"]
    a, b = find_runs(names, old / "tree"), find_runs(names, repository)
    again, _ = correct([compare_runs(entry.title, a, b, 300, 0)])
    assert again[0].rows == entry.rows
