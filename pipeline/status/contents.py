"""Files of a dependency or an output: as they are, and as they were when dvc.lock was written.

dvc.lock knows hashes alone. What they stand for is looked up in DVC's cache, where outputs are, and in git's
commits, where code is: a commit counts if the path has the very hash in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.git import SHORT, PastState, past_states

if TYPE_CHECKING:
    from dvc.output import Output

MD5 = "md5"  # DVC's name of its hash
FOLDER = ".dir"  # end of a folder's hash


@dataclass(frozen=True)
class Files:
    """A file or folder in one state.

    Attributes
    ----------
    hashes : path below it (empty for a file itself) -> MD5 (hex)
    open : its content by that path, or the file that has it; None where it is known nowhere
    source : where this state was found, empty for the present one
    """

    hashes: dict[str, str]
    open: Callable[[str], Path | bytes | None]
    source: str = ""

    def read(self, path: str) -> bytes | None:
        found = self.open(path)
        return found.read_bytes() if isinstance(found, Path) else found


def present(entry: Output) -> Files:
    """The files as they are; of a folder those that DVC does not ignore."""
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.tree import Tree

    _, _, found = build(entry.cache, entry.fs_path, entry.fs, MD5, dry_run=True, ignore=entry.dvcignore)
    place = Path(entry.fs_path)
    if not isinstance(found, Tree):
        return Files({"": str(found.hash_info.value)}, lambda path: place)
    return Files({"/".join(key): str(one.value) for key, _, one in found}, lambda path: place / path)


def recorded(entry: Output, folder: Path) -> Files | None:
    """The files as dvc.lock has them; None where neither the cache nor a commit knows them."""
    wanted = str(entry.hash_info.value)
    cache = Path(entry.cache.path)

    def cached(hash_: str) -> Path | None:
        place = cache / hash_[:2] / hash_[2:]
        return place if place.is_file() else None

    if (listed := cached(wanted)) is not None:
        hashes: dict[str, str] = {"": wanted}
        if wanted.endswith(FOLDER):
            hashes = {one["relpath"]: one["md5"] for one in json.loads(listed.read_bytes())}
        return Files(hashes, lambda path: cached(hashes[path]), "DVC's cache")
    states = _committed(Path(entry.fs_path), folder)
    return next((state for state in states if _hash(state.hashes) == wanted), None)


def committed(entry: Output, folder: Path) -> Files | None:
    """The files as the newest commit has them that has them at all."""
    return next(_committed(Path(entry.fs_path), folder), None)


def _committed(path: Path, folder: Path) -> Iterator[Files]:
    """All states that git knows, the newest first."""
    known: dict[str, str] = {}  # id of git -> MD5
    for state in past_states(path, folder):
        for blob in state.blobs.values():
            if blob not in known:
                known[blob] = hashlib.md5(state.read(blob), usedforsecurity=False).hexdigest()
        hashes = {name: known[blob] for name, blob in state.blobs.items()}
        yield Files(hashes, partial(_of_git, state), f"{state.commit[:SHORT]}, {state.subject}")


def _of_git(state: PastState, path: str) -> bytes:
    return state.read(state.blobs[path])


def _hash(hashes: dict[str, str]) -> Any:
    """DVC's own hash of a file or folder."""
    from dvc_data.hashfile.tree import Tree

    if "" in hashes:
        return hashes[""]
    tree = Tree.from_list([{"md5": one, "relpath": name} for name, one in hashes.items()], hash_name=MD5)
    tree.digest()
    return tree.hash_info.value
