"""Files of the project as a git revision has them, or as they lie in the working folder.

A revision is what git resolves to a commit (branch, tag, hash, `HEAD~1`), or the name of a DVC experiment:
those are commits under `refs/exps/<start of the baseline>/<rest>/<name>`. Paths are relative to the folder,
which may lie below the repository's top. Nothing is checked out, and nothing is written.
"""

from __future__ import annotations

import difflib
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from pipeline.core.errors import MsaError

EXPERIMENTS = "refs/exps/"
NO_EXPERIMENTS = ("exec", "celery", "stash")  # DVC's own notes, second part of their names
MOST_BYTES = 64 << 20  # of a file; results and params are far smaller
SHORT = 10  # characters of a hash, as shown
WORKSPACE = "workspace"


class Revision(Protocol):
    """One state of the project.

    Attributes
    ----------
    name : as it was asked for
    commit, subject : hash (hex) and first line of the message; empty for the working folder
    """

    @property
    def name(self) -> str: ...
    @property
    def commit(self) -> str: ...
    @property
    def subject(self) -> str: ...

    def read(self, path: str) -> bytes | None:
        """Content of a file; None if there is none."""

    def files(self, folder: str) -> list[str]:
        """Sorted paths of all files below a folder; empty if there is none."""


@dataclass(frozen=True)
class Workspace:
    """The working folder, committed or not."""

    folder: Path
    name: str = WORKSPACE
    commit: str = ""
    subject: str = ""

    def read(self, path: str) -> bytes | None:
        """Content of a file; None if there is none."""
        file = self.folder / path
        if not file.is_file():
            return None
        _check_size(file.stat().st_size, path, self.name)
        return file.read_bytes()

    def files(self, folder: str) -> list[str]:
        """Sorted paths of all files below a folder."""
        found = (self.folder / folder).rglob("*")
        return sorted(path.relative_to(self.folder).as_posix() for path in found if path.is_file())


@dataclass(frozen=True)
class Commit:
    """A commit of the repository that the folder belongs to."""

    folder: Path
    name: str
    commit: str

    @cached_property
    def subject(self) -> str:
        """First line of the message."""
        return (
            _git(self.folder, "show", "--no-patch", "--format=%s", self.commit)
            .decode(errors="replace")
            .strip()
        )

    def read(self, path: str) -> bytes | None:
        """Content of a file; None if there is none."""
        blob = f"{self.commit}:./{path}"
        size = _run(self.folder, "cat-file", "-s", blob)
        if size.returncode:
            return None
        _check_size(int(size.stdout), path, self.name)
        return _git(self.folder, "cat-file", "blob", blob)

    def files(self, folder: str) -> list[str]:
        """Sorted paths of all files below a folder."""
        found = _git(self.folder, "ls-tree", "-r", "-z", "--name-only", self.commit, "--", f"{folder}/")
        return sorted(path for path in found.decode(errors="surrogateescape").split("\0") if path)


def open_revision(name: str | None, folder: Path = Path()) -> Revision:
    """The revision of that name; None is the working folder.

    Raises
    ------
    MsaError : the folder belongs to no git repository, no such revision, or several experiments of that name
    """
    if name is None:
        return Workspace(folder)
    _check_repository(folder)
    if name.startswith("-"):  # no name in git does; it would be read as an option
        raise MsaError(f"revision {name!r}: no name of a commit, branch or tag begins with a hyphen")
    found = _run(folder, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if not found.returncode:
        return Commit(folder, name, found.stdout.decode().strip())
    references = _experiments(folder)
    commits = {commit for reference, commit in references.items() if reference.rpartition("/")[2] == name}
    if len(commits) > 1:
        commits = _of_head(folder, name, references) or commits
    if len(commits) > 1:
        hashes = ", ".join(sorted(commit[:SHORT] for commit in commits))
        raise MsaError(
            f"revision {name!r}: {len(commits)} experiments have this name, each of another commit; give the "
            f"hash of one: {hashes}"
        )
    if not commits:
        raise MsaError(_not_found(folder, name, references))
    return Commit(folder, name, commits.pop())


def _of_head(folder: Path, name: str, references: dict[str, str]) -> set[str]:
    """The experiment of that name that starts from the present commit, as DVC prefers it."""
    head = _run(folder, "rev-parse", "--verify", "--quiet", "HEAD").stdout.decode().strip()
    reference = f"{EXPERIMENTS}{head[:2]}/{head[2:]}/{name}"
    return {references[reference]} if reference in references else set()


def _experiments(folder: Path) -> dict[str, str]:
    """Reference -> commit of all DVC experiments."""
    lines = (
        _git(folder, "for-each-ref", "--format=%(refname) %(objectname)", EXPERIMENTS).decode().splitlines()
    )
    found = dict(line.rsplit(" ", 1) for line in lines)
    return {name: commit for name, commit in found.items() if name.split("/")[2] not in NO_EXPERIMENTS}


def _not_found(folder: Path, name: str, references: dict[str, str]) -> str:
    listed = _git(
        folder, "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags", "refs/remotes"
    )
    names = [*listed.decode().splitlines(), *(reference.rpartition("/")[2] for reference in references)]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f", did you mean {near[0]!r}" if near else ""
    return (
        f"revision {name!r} is not known here{hint}; `git branch -a`, `git tag` and `dvc exp list -A` show "
        "those that are, `git fetch --tags` and `dvc exp pull` bring others"
    )


def _check_repository(folder: Path) -> None:
    found = _run(folder, "rev-parse", "--is-inside-work-tree")
    if found.returncode or found.stdout.strip() != b"true":
        said = found.stderr.decode(errors="replace").strip().splitlines()
        why = f" ({said[0].removeprefix('fatal: ')})" if said else ""
        raise MsaError(
            f"{folder.absolute()} is not the working folder of a git repository{why}; run this in the "
            "project's folder"
        )


def _check_size(size: int, path: str, name: str) -> None:
    if size > MOST_BYTES:
        raise MsaError(
            f"{path} of {name} has {size >> 20} MB; results and params have at most {MOST_BYTES >> 20} MB"
        )


def _git(folder: Path, *command: str) -> bytes:
    done = _run(folder, *command)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise MsaError(f"git {command[0]} failed: {said[-1] if said else f'exit status {done.returncode}'}")
    return done.stdout


def _run(folder: Path, *command: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", *command], cwd=folder, capture_output=True)
    except FileNotFoundError as error:
        raise MsaError("git is not installed; revisions of the project are read with it") from error
