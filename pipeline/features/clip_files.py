"""Where features of single clips lie: a folder a clip, or one folder with a file an encoder for all."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.core.errors import FormatError
from pipeline.core.names import id_of
from pipeline.core.paths import CLIP_SUFFIX
from pipeline.features.clip import Request, prepare
from pipeline.features.clip_extraction import ClipTask, KnownRow
from pipeline.features.encoder import Encoder
from pipeline.store.shard import FeatureRow, Features, read_meta, read_rows, write_rows

TOO_LONG = "the name of its output folder is too long; rename the file, or give it an --out of its own"
HEARD = ".transcripts.jsonl"  # what recognition gave, so that it is not asked again
FLUSH_SECONDS = 60.0  # a killed run loses at most this much work

Written = Mapping[str, tuple[FeatureRow, dict[str, Any]]]
"""rows by stream, each with the footer of its file"""


class ClipFolders:
    """A folder a clip, where each stream has a file of one row.

    Parameters
    ----------
    streams : the encoders, by the name of their files
    fresh : what is there counts for nothing
    """

    def __init__(self, streams: dict[str, Encoder], fresh: bool = False):
        self.streams, self._fresh = streams, fresh

    def tasks(self, requests: list[Request], texts: Mapping[Path, str]) -> list[ClipTask]:
        """What is to be done; makes the folders."""
        prepare(request.out for request in requests)
        return [self._task(request, texts.get(request.video)) for request in requests]

    def _task(self, request: Request, text: str | None) -> ClipTask:
        clip_id = id_of(request.video.stem)
        if not os.path.isdir(request.out):
            return ClipTask(request, clip_id, text, problem=TOO_LONG)
        known = {}
        for name, encoder in self.streams.items() if not self._fresh else ():
            found = _made_before(request.out / f"{name}.parquet", encoder)
            if found is not None and (row := found.rows.get(clip_id)) is not None and not row.transient:
                known[name] = KnownRow.of(row)
        return ClipTask(request, clip_id, text, known, None if self._fresh else request.out / HEARD)

    def write(self, task: ClipTask, rows: Written) -> None:
        for name, (row, footer) in rows.items():
            write_rows(task.request.out / f"{name}.parquet", [row], footer)

    def close(self) -> None:
        """Nothing is open."""


class OneFolder:
    """One folder, where each stream has a file with a row a clip; other clips that are there stay.

    A clip is called by its place below the folder that was given, without suffix.
    """

    def __init__(self, streams: dict[str, Encoder], folder: Path, fresh: bool = False):
        self.streams, self.folder = streams, folder
        self._rows: dict[str, dict[str, FeatureRow]] = {name: {} for name in streams}
        self._footers: dict[str, dict[str, Any]] = {}
        self._changed = False
        self._flushed = time.monotonic()
        self._fresh = fresh

    def tasks(self, requests: list[Request], texts: Mapping[Path, str]) -> list[ClipTask]:
        """What is to be done; makes the folder."""
        prepare([self.folder])
        for name, encoder in self.streams.items() if not self._fresh else ():
            if (found := _made_before(self.folder / f"{name}.parquet", encoder)) is not None:
                self._rows[name], self._footers[name] = found.rows, found.meta
        return [self._task(request, texts.get(request.video)) for request in requests]

    def _task(self, request: Request, text: str | None) -> ClipTask:
        clip_id = request.out.relative_to(self.folder).as_posix().removesuffix(CLIP_SUFFIX)
        rows = {name: found[clip_id] for name, found in self._rows.items() if clip_id in found}
        known = {name: KnownRow.of(row) for name, row in rows.items() if not row.transient}
        heard = None if self._fresh else self.folder / HEARD
        return ClipTask(Request(request.video, self.folder), clip_id, text, known, heard)

    def write(self, task: ClipTask, rows: Written) -> None:
        for name, (row, self._footers[name]) in rows.items():
            self._rows[name][task.clip_id] = row
            self._changed = True
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.close()

    def close(self) -> None:
        """Write what is new."""
        if self._changed:
            for name, footer in self._footers.items():
                write_rows(self.folder / f"{name}.parquet", self._rows[name].values(), footer)
        self._changed, self._flushed = False, time.monotonic()


def _made_before(path: Path, encoder: Encoder) -> Features | None:
    """A file that was made with the same settings; None where there is none, or it is damaged."""
    try:
        if not path.exists() or read_meta(path)["fingerprint"] != encoder.fingerprint:
            return None
        return read_rows(path)
    except FormatError:
        return None
