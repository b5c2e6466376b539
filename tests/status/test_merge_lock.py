"""dvc.lock of two branches, merged by git with our driver in a real project."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from made.code_changes import edited
from made.tiny_project import commit, run
from ruamel.yaml import YAML

from pipeline.status.why import why

LOCK = "dvc.lock"
DRIVER = "msa-cli merge-lock %O %A %B"


@pytest.fixture(scope="module")
def branches(once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Branches `one` and `two`, each with another width of its own method, run; `main` is before both."""
    folder = shutil.copytree(once, tmp_path_factory.mktemp("merge") / "project", symlinks=True)
    (folder / ".gitattributes").write_text(f"{LOCK} merge=dvc-lock\n")
    commit(folder, "Attributes")
    for branch in ("one", "two"):
        run(folder, "git", "switch", "-q", "-c", branch, "main")
        run(folder, "dvc", "checkout", "-q")
        edited(folder / "params.yaml", f"{branch}: {{base: {{width: 8", f"{branch}: {{base: {{width: 16")
        run(folder, "dvc", "repro", "-q")
        commit(folder, f"Wider {branch}")
    run(folder, "git", "switch", "-q", "one")
    run(folder, "dvc", "checkout", "-q")
    return folder


@pytest.fixture
def folder(branches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = shutil.copytree(branches, tmp_path / "project", symlinks=True)
    run(copy, "git", "config", "merge.dvc-lock.driver", DRIVER)
    monkeypatch.chdir(copy)
    return copy


def entries(folder: Path) -> dict[str, object]:
    return dict(YAML(typ="safe").load(folder / LOCK)["stages"])


def test_each_stage_comes_from_the_side_that_changed_it(folder: Path) -> None:
    ours = entries(folder)
    said = run(folder, "git", "merge", "two", "-m", "Both")
    assert "dvc.lock: both sides changed report; `dvc repro` decides" in said
    merged = entries(folder)
    theirs = YAML(typ="safe").load(run(folder, "git", "show", f"two:{LOCK}"))["stages"]
    assert merged == {
        "ingest@sample": ours["ingest@sample"],
        "train@one-sample": ours["train@one-sample"],
        "train@two-sample": theirs["train@two-sample"],
    }
    run(folder, "dvc", "checkout", "-q", "--allow-missing")
    assert why().stale == ["report"]
    said = run(folder, "dvc", "repro")
    assert "Running stage 'report'" in said and said.count("Running stage") == 1
    assert why().stale == []


def test_changes_that_do_not_go_together_are_stale(folder: Path) -> None:
    """One side trained with other code, the other side with other settings: neither entry is of both."""
    run(folder, "git", "switch", "-q", "-c", "code", "main")
    edited(folder / "models/one/model.py", "x * WIDTH", "x + WIDTH")
    run(folder, "dvc", "repro", "-q", "train@one-sample")
    commit(folder, "Plus")
    run(folder, "git", "switch", "-q", "one")
    said = run(folder, "git", "merge", "code", "-m", "Both")
    assert "both sides changed train@one-sample" in said
    assert "train@one-sample" in why().stale
    run(folder, "dvc", "repro", "-q")
    assert why().stale == []


def test_lines_alone_would_mix_an_entry(folder: Path) -> None:
    """What the driver is for: git's own merge makes an entry of `report` that no stage ever wrote."""
    run(folder, "git", "config", "--unset", "merge.dvc-lock.driver")
    sides = [entries(folder)["report"]]
    run(folder, "git", "merge", "two", "-m", "Both")
    sides.append(YAML(typ="safe").load(run(folder, "git", "show", f"two:{LOCK}"))["stages"]["report"])
    assert entries(folder)["report"] not in sides


def merged(tmp_path: Path, cli: Callable[..., tuple[int, str]], *sides: str) -> tuple[int, str, str]:
    """Exit code, what was said, and the file."""
    paths = [tmp_path / name for name in ("base", "ours", "theirs")]
    for path, text in zip(paths, sides, strict=True):
        path.write_text(text)
    return *cli("merge-lock", *paths), paths[1].read_text()


def test_one_side_alone_is_kept_byte_for_byte(
    project: Path, tmp_path: Path, cli: Callable[..., tuple[int, str]]
) -> None:
    new = (project / LOCK).read_text()
    cut = new.index("\n  train@")
    old = new[:cut].replace("md5: cd", "md5: dc") + "\n"
    assert merged(tmp_path, cli, old, new, old) == (0, "", new)
    assert merged(tmp_path, cli, old, old, new) == (0, "", new)


def test_both_sides_alike(tmp_path: Path, cli: Callable[..., tuple[int, str]]) -> None:
    same = "schema: '2.0'\nstages:\n  a:\n    cmd: b\n"
    assert merged(tmp_path, cli, "", same, same) == (0, "", same)


def test_entries_that_come_and_go(tmp_path: Path, cli: Callable[..., tuple[int, str]]) -> None:
    def lock(**stages: int) -> str:
        return "schema: '2.0'\nstages:\n" + "".join(f"  {k}:\n    cmd: '{v}'\n" for k, v in stages.items())

    old = lock(kept=1, left=1, left_and_changed=1, both=1)
    ours = lock(kept=1, left_and_changed=2, both=2, new=1)
    theirs = lock(kept=1, left=1, both=3, newer=1)
    code, said, text = merged(tmp_path, cli, old, ours, theirs)
    assert (code, text) == (0, lock(kept=1, new=1, newer=1))
    assert said == "dvc.lock: both sides changed left_and_changed, both; `dvc repro` decides\n"


@pytest.mark.parametrize(
    "broken", ["<<<<<<< HEAD\nschema: '2.0'\n", "- a\n", "stages: 1\n", "schema: '3.0'\nstages: {}\n"]
)
def test_what_is_no_lock_file_is_left_to_git(
    tmp_path: Path, cli: Callable[..., tuple[int, str]], broken: str
) -> None:
    ours = "schema: '2.0'\nstages: {}\n"
    code, said, text = merged(tmp_path, cli, "", ours, broken)
    assert (code, text) == (2, ours)
    assert len(said.splitlines()) == 1 and "by hand" in said
