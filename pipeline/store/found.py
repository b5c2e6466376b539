"""Feature files wherever they lie: one file, a folder of shards, or what `msa-cli extract` wrote.

A *stream* is what one encoder gave. It is called by its modality, or where a modality has several encoders
`<modality>-<encoder>`, as `extract` calls its files.

A clip in a folder `deep/x.features`, which holds this clip alone, is called by the place of that folder,
`deep/x`: there may be an `x` elsewhere. Every other clip is called as its row says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import FormatError, MsaError
from pipeline.core.paths import CLIP_SUFFIX
from pipeline.core.vocabulary import MODALITIES
from pipeline.store.shard import META_KEY, FeatureRow, read_meta, stream_rows


@dataclass(frozen=True)
class FeatureFile:
    """A feature file; `clip` is what its only clip is called, None where its rows say it."""

    path: Path
    clip: str | None = None


@dataclass(frozen=True)
class FeatureStream:
    """All files of one encoder; `meta` is their footer."""

    name: str
    files: tuple[FeatureFile, ...]
    meta: dict[str, Any]

    def rows(self) -> Iterator[FeatureRow]:
        """All rows, file by file, few of them in memory at a time.

        FormatError: a file is damaged, or a clip is there twice.
        """
        seen: dict[str, Path] = {}
        for file in self.files:
            for row in stream_rows(file.path):
                named = row if file.clip is None else replace(row, clip_id=file.clip)
                if named.clip_id in seen:
                    other = seen[named.clip_id]
                    raise FormatError(
                        f"{file.path}: clip {named.clip_id} is in {other} too; load them one by one"
                    )
                seen[named.clip_id] = file.path
                yield named


def feature_streams(path: Path) -> dict[str, FeatureStream]:
    """The streams of a file or of all feature files below a folder, by name; empty where there are none.

    MsaError: nothing is there. FormatError: no feature file, or files of one encoder with other settings.
    """
    if not path.exists():
        raise MsaError(f"{path}: no such file or folder; give a feature file, or a folder of them")
    files = [path] if path.is_file() else [file for file in sorted(path.rglob("*.parquet")) if _ours(file)]
    found: dict[tuple[str, str], list[FeatureFile]] = defaultdict(list)
    metas: dict[tuple[str, str], dict[str, Any]] = {}
    for file in files:
        meta = read_meta(file)
        key = (meta["modality"], meta["encoder"])
        first = metas.setdefault(key, meta)
        if meta["fingerprint"] != first["fingerprint"]:
            raise FormatError(
                f"{file}: {' '.join(key)} has other settings here than in {found[key][0].path}; load them "
                "one by one, or extract one of them again"
            )
        found[key].append(FeatureFile(file, _clip(file, path)))
    modalities = [modality for modality, _ in found]
    streams = {}
    for (modality, encoder), own in sorted(found.items(), key=lambda item: _place(*item[0])):
        name = modality if modalities.count(modality) == 1 else f"{modality}-{encoder}"
        streams[name] = FeatureStream(name, tuple(own), metas[modality, encoder])
    return streams


def _place(modality: str, encoder: str) -> tuple[int, str]:
    return MODALITIES.index(modality), encoder


def _clip(file: Path, below: Path) -> str | None:
    """What the clip of a file is called that lies in a folder of its own below another."""
    folder = file.parent
    if pq.read_metadata(file).num_rows > 1:
        return None
    if folder.suffix != CLIP_SUFFIX or folder == below or below == file:
        return None
    return folder.relative_to(below).as_posix().removesuffix(CLIP_SUFFIX)


def _ours(file: Path) -> bool:
    try:
        return META_KEY in (pq.read_schema(file).metadata or {})
    except (OSError, pa.ArrowException):
        return False
