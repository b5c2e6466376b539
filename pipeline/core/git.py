"""The project in git, by DVC's own layer over it: revisions, files that git does not know, DVC's experiments.

A revision is what git resolves to a commit (branch, tag, hash, `HEAD~1`), or the name of a DVC experiment, or
the working folder. Paths are relative to the folder, which may lie below the repository's top. Nothing is
checked out: the working folder and git's index stay as they are.
"""

from __future__ import annotations

import difflib
import os
import posixpath
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import MsaError

if TYPE_CHECKING:
    from scmrepo.git import Git

MOST_BYTES = 64 << 20  # of a file; results and params are far smaller
SHORT = 10  # characters of a hash, as shown
WORKSPACE = "workspace"
AUTHOR = ("msa-cli", "msa-cli@localhost")  # of an experiment where git knows none


@dataclass(frozen=True)
class Revision:
    """One state of the project."""

    name: str  # as it was asked for
    commit: str  # hash (hex); empty for the working folder, like the subject
    subject: str  # first line of the commit's message
    tree: Any  # the file system (fsspec) that it lies in
    top: str  # where there

    def read(self, path: str) -> bytes | None:
        """Content of a file; None if there is none."""
        place = posixpath.normpath(posixpath.join(self.top, path))
        if not self.tree.isfile(place):
            return None
        if (size := self.tree.info(place)["size"]) > MOST_BYTES:
            raise MsaError(
                f"{path} of {self.name} has {size >> 20} MB; results and params have at most "
                f"{MOST_BYTES >> 20} MB"
            )
        with self.tree.open(place, raw=True) as file:
            return bytes(file.read())

    def files(self, folder: str) -> list[str]:
        """Sorted paths of all files below a folder; empty if there is none."""
        found = self.tree.find(posixpath.normpath(posixpath.join(self.top, folder)))
        return sorted(posixpath.relpath(path, self.top) for path in found)


def open_revision(name: str | None, folder: Path = Path()) -> Revision:
    """The revision of that name; None is the working folder.

    Raises
    ------
    MsaError : the folder belongs to no git repository, no such revision, or several experiments of that name
    """
    if name is None:
        from fsspec.implementations.local import LocalFileSystem

        return Revision(WORKSPACE, "", "", LocalFileSystem(), folder.absolute().as_posix())
    git = _open(folder)
    found = _commit(git, name) or _commit(git, _experiment(git, name))
    subject = found.message.strip().partition("\n")[0]
    return Revision(name, found.hexsha, subject, git.get_fs(found.hexsha), _below_top(git, folder))


@dataclass(frozen=True)
class PastState:
    """A file or folder as a commit has it.

    Attributes
    ----------
    commit : hash (hex) of the newest commit that has it so
    blobs : path below it (empty for a file itself) -> id of the content in git
    """

    commit: str
    subject: str
    blobs: dict[str, str]
    repository: Any

    def read(self, blob: str) -> bytes:
        """Content of an id."""
        return bytes(self.repository[blob].data)


def past_states(path: Path, folder: Path = Path()) -> Iterator[PastState]:
    """The states that a file or folder had in the commits of all branches, the newest first, each once.

    None where the folder belongs to no git repository.
    """
    try:
        git = _open(folder)
    except MsaError:
        return
    repository, place = git.pygit2.repo, _below_top(git, path)
    walker = repository.walk(None, 0)
    for name in ("HEAD", *repository.references):
        if tip := _commit(git, name):
            walker.push(tip.hexsha)
    seen = set()
    for commit in walker:
        try:
            top = commit.tree[place] if place else commit.tree
        except KeyError:
            continue
        if top.id not in seen:
            seen.add(top.id)
            subject = commit.message.strip().partition("\n")[0]
            yield PastState(str(commit.id), subject, dict(_blobs(top)), repository)


def _blobs(entry: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if entry.type_str == "tree":
        for below in entry:
            yield from _blobs(below, posixpath.join(path, below.name))
    elif entry.type_str == "blob":  # no submodule
        yield path, str(entry.id)


def baseline(folder: Path = Path()) -> str:
    """Hash of the present commit, which experiments start from.

    Raises
    ------
    MsaError : the folder is no DVC project, or in no git repository with a commit
    """
    if not (folder / "dvc.yaml").exists():
        raise MsaError(f"{folder.absolute()} has no dvc.yaml; run this in the project's folder")
    found = _commit(_open(folder), "HEAD")
    if found is None:
        raise MsaError(
            f"{folder.absolute()} has no commit yet, and experiments start from one; "
            "`git init`, `git add .` and `git commit` make the first"
        )
    return str(found.hexsha)


def experiment(name: str, folder: Path = Path()) -> Revision | None:
    """DVC's experiment of that name that starts from the present commit; None if there is none."""
    reference = _reference(baseline(folder), name)
    return open_revision(reference, folder) if _commit(_open(folder), reference) else None


def untracked(paths: Collection[str], folder: Path = Path()) -> list[str]:
    """Sorted files at or below these paths that git neither knows nor was told to ignore."""
    git = _open(folder)
    _, _, found = git.status()
    files = sorted(posixpath.relpath(file, _below_top(git, folder)) for file in found)
    return [file for file in files if any(PurePosixPath(file).is_relative_to(path) for path in paths)]


def save_experiment(name: str, path: str, text: str, folder: Path = Path()) -> None:
    """A DVC experiment that nothing was run for; one of that name and the present commit is replaced.

    It is a commit on the present one of the tracked files as they are in the working folder, one of them with
    another text. `dvc exp apply NAME` brings it into the working folder.

    Raises
    ------
    MsaError : the folder is no project in git with a commit, or it cannot be written
    """
    import pygit2
    from pygit2.enums import FileMode, FileStatus
    from scmrepo.exceptions import SCMError

    head, git = baseline(folder), _open(folder)
    repository = git.pygit2.repo
    changed = FileStatus.WT_MODIFIED | FileStatus.WT_TYPECHANGE | FileStatus.WT_DELETED
    try:
        author = git.pygit2.author
    except (SCMError, NotImplementedError):  # git knows none, or its date is set from outside
        author = pygit2.Signature(*AUTHOR)
    try:
        index = repository.index  # in memory; it is not written
        for file, status in repository.status(untracked_files="no").items():
            if status & changed:
                place = Path(git.root_dir, file)
                index.add(file) if place.is_file() or place.is_symlink() else index.remove(file)
        blob = repository.create_blob(text.encode())
        index.add(pygit2.IndexEntry(posixpath.join(_below_top(git, folder), path), blob, FileMode.BLOB))
        tree = index.write_tree()
        commit = repository.create_commit(None, author, author, f"msa-cli: {name}", tree, [head])
        git.set_ref(_reference(head, name), str(commit))
    except (pygit2.GitError, OSError) as error:
        raise MsaError(f"the experiment {name} cannot be written into git: {error}") from error


def _reference(head: str, name: str) -> str:
    from dvc.repo.experiments.refs import ExpRefInfo

    return str(ExpRefInfo(head, name))


def _open(folder: Path) -> Git:
    import pygit2
    from scmrepo.exceptions import SCMError
    from scmrepo.git import Git

    try:
        git = Git(str(folder), backends=("pygit2", "dulwich"))  # the third one needs git itself
        if git.pygit2.repo.is_bare:
            raise SCMError("it is bare")
    except (SCMError, pygit2.GitError) as error:
        raise MsaError(
            f"{folder.absolute()} is not the working folder of a git repository ({error}); run this in the "
            "project's folder"
        ) from error
    return git


def _below_top(git: Git, folder: Path) -> str:
    """Path of the folder from the repository's top, empty for the top itself."""
    below = Path(os.path.relpath(folder.resolve(), Path(git.root_dir).resolve())).as_posix()
    return "" if below == "." else below


def _commit(git: Git, name: str) -> Any:
    """What git resolves the name to; None if that is no commit."""
    from scmrepo.exceptions import SCMError

    try:
        return git.resolve_commit(f"{name}^{{commit}}")
    except (SCMError, ValueError):  # no such name; one that cannot be a name
        return None


def _experiment(git: Git, name: str) -> str:
    """The commit of the experiment of that name; of several, of that which starts from the present commit."""
    from dvc.repo.experiments.utils import exp_refs_by_names

    found, head = exp_refs_by_names(git, {name})[name], _commit(git, "HEAD")
    of_head = [experiment for experiment in found if head and experiment.baseline_sha == head.hexsha]
    commits = sorted({git.get_ref(str(experiment)) for experiment in of_head or found})
    if len(commits) == 1:
        return commits[0]
    if commits:
        raise MsaError(
            f"revision {name!r}: {len(commits)} experiments have this name, each of another commit; give the "
            f"hash of one: {', '.join(commit[:SHORT] for commit in commits)}"
        )
    references = [reference.split("/") for reference in git.iter_refs()]
    names = ["/".join(parts[4 if parts[1] == "exps" else 2 :]) for parts in references]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f", did you mean {near[0]!r}" if near else ""
    raise MsaError(
        f"revision {name!r} is not known here{hint}; `git branch -a`, `git tag` and `dvc exp list -A` list "
        "the known ones, `git fetch --tags` and `dvc exp pull` fetch others"
    )
