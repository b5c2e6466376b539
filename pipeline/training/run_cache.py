"""Finished runs by their identity, so that a setting that comes back is not trained once more.

DVC has no run cache for outputs that stay in their place. Here a run lies under the fingerprint of its
identity, as hard links to the files of its folder where the disk has them. The folder may be removed at any
time, and be shared by projects.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from pipeline.core.console import note
from pipeline.core.files import one_writer, replaced_folder
from pipeline.training.loop.checkpoint import fingerprint
from pipeline.training.runs import why_not_kept


class RunCache:
    """The finished runs below `root`."""

    def __init__(self, root: Path):
        self.root = root

    def keep(self, run: Path, identity: dict[str, Any]) -> None:
        """Have what lies in a run folder, whose identity this is."""
        _copy(run, self._entry(identity))

    def restore(self, identity: dict[str, Any], out: Path) -> bool:
        """Put the run of this identity into `out`; False where there is none. A damaged one is removed."""
        entry = self._entry(identity)
        if not entry.exists():
            return False
        with one_writer(entry):
            if reason := why_not_kept(entry, identity):
                note(f"{entry}: {reason}; removed", stdout=True)
                shutil.rmtree(entry)
                return False
        _copy(entry, out)
        return True

    def _entry(self, identity: dict[str, Any]) -> Path:
        return self.root / fingerprint(identity)


def _copy(source: Path, target: Path) -> None:
    with one_writer(target), replaced_folder(target) as folder:
        for file in source.iterdir():
            if not file.name.startswith("."):
                try:
                    os.link(file, folder / file.name)
                except OSError:  # another disk, or one without links
                    shutil.copy2(file, folder / file.name)
