"""Every dvc.lock belongs to a commit: the code that it names is the code that lay beside it.

A lock that is not committed yet is compared with the working tree, any other with the commit that brought it
in. So the tables of a study can be tied to the code that made them, whatever became of the code since.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from dvc_data.hashfile.tree import Tree
from ruamel.yaml import YAML

PROJECT = Path(__file__).parents[2]
LOCKS = [
    file.relative_to(PROJECT) for file in (PROJECT / "dvc.lock", *PROJECT.glob("experiments/*/dvc.lock"))
]


def git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=PROJECT, capture_output=True, check=True).stdout


def commit_of(lock: Path) -> str:
    """The commit that brought the lock in as it is; "" where it is not committed."""
    try:
        if git("status", "--porcelain", "--", str(lock)):
            return ""
        commit = git("log", "-1", "--format=%H", "--", str(lock)).decode().strip()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no repository of git here")
    if git("rev-parse", "--is-shallow-repository").strip() == b"true" and not git(
        "cat-file", "-t", f"{commit}^"
    ):
        pytest.skip("the history is cut off")
    return commit


def contents(commit: str, path: str) -> dict[str, str]:
    """MD5 of a file, or of each file below a folder, by its path below it."""
    listed = (
        git("ls-tree", "-r", "-z", "--name-only", commit, "--", path)
        if commit
        else git("ls-files", "-z", "--", path)
    )
    found = {}
    for name in listed.decode().split("\0")[:-1]:
        content = git("show", f"{commit}:{name}") if commit else (PROJECT / name).read_bytes()
        found["" if name == path else os.path.relpath(name, path)] = hashlib.md5(content).hexdigest()
    return found


def recorded(found: dict[str, str]) -> str:
    """As DVC writes it: of a folder the hash of its list."""
    if "" in found:
        return found[""]
    tree = Tree.from_list([{"md5": md5, "relpath": name} for name, md5 in found.items()], hash_name="md5")
    tree.digest()
    return tree.hash_info.value


@pytest.mark.parametrize("lock", LOCKS, ids=str)
def test_the_code_of_a_lock_is_that_of_its_commit(lock: Path) -> None:
    commit = commit_of(lock)
    stages = YAML(typ="safe").load(PROJECT / lock)["stages"]
    known: dict[str, str] = {}
    differing = set()
    for stage, entry in stages.items():
        for dep in entry.get("deps", []):
            # links of a study lead to the project's own folders
            place = os.path.relpath((PROJECT / lock.parent / dep["path"]).resolve(), PROJECT)
            if not place.startswith(("models", "pipeline", "experiments")) and place != "constraints.txt":
                continue
            if "/data/" in place or "/runs/" in place or place.endswith("results"):
                continue
            if place not in known:
                found = contents(commit, place)
                if not found and place.startswith("experiments"):  # a link to a corpus, never in git
                    continue
                known[place] = recorded(found)
            if dep["md5"] != known[place]:
                differing.add(f"{stage}: {place}")
    assert not differing, (
        f"{lock} ({commit or 'not committed'}) names other code; run dvc repro and commit both"
    )
    assert "models/core" in known
