"""Feature files as Python objects: clips with NumPy arrays, as pandas frames, as torch tensors.

Symbols: C clips, T frames (steps) of a clip or of the longest one, D columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core.errors import FormatError, MsaError
from pipeline.core.vocabulary import OK
from pipeline.store.found import feature_streams
from pipeline.store.shard import FeatureRow

if TYPE_CHECKING:
    import pandas as pd
    import torch


@dataclass(frozen=True, eq=False)
class Frames:
    """What one encoder gave of one clip.

    Attributes
    ----------
    values : (T, D) in the type that is stored, not to be written to; (0, D) where the clip has nothing
    times : (T,) seconds from the clip's start, centres of the frames; None where frames have no times
    columns : names of the D columns
    status : ok, absent (not in the clip) or failed
    note : the reason of a status that is not ok, or what a reader should know of good frames
    token_ids, char_start, char_end : (T,) of text, which token a row is, and where it stands in the text
    """

    values: np.ndarray
    columns: tuple[str, ...]
    times: np.ndarray | None = None
    status: str = OK
    note: str = ""
    token_ids: np.ndarray | None = None
    char_start: np.ndarray | None = None
    char_end: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values)

    def frame(self) -> pd.DataFrame:
        """A row a frame: its number, its time where it has one, and the columns."""
        import pandas as pd

        found = pd.DataFrame(self.values, columns=list(self.columns))
        if self.times is not None:
            found.insert(0, "time", self.times)
        found.insert(0, "frame", np.arange(len(self.values)))
        return found

    def torch(self) -> torch.Tensor:
        """(T, D), a copy."""
        import torch

        return torch.tensor(self.values)


class LoadedClips(Mapping[str, Mapping[str, Frames]]):
    """Clips by id, and of each clip its `Frames` by stream (text, audio, visual ...): `clips[id]["audio"]`.

    Attributes
    ----------
    meta : of each stream how it was made: encoder, settings, weights, libraries, column_names ...
    facts : of each clip what else is known: label, split, transcript ...
    """

    def __init__(
        self,
        clips: Mapping[str, Mapping[str, Frames]],
        meta: Mapping[str, Mapping[str, Any]],
        facts: Mapping[str, Mapping[str, Any]] | None = None,
    ):
        self._clips = clips
        self.meta = meta
        self.facts = facts or {}

    def __getitem__(self, clip_id: str) -> Mapping[str, Frames]:
        return self._clips[clip_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._clips)

    def __len__(self) -> int:
        return len(self._clips)

    def __repr__(self) -> str:
        widths = [f"{name} ({len(self.columns(name))} columns)" for name in self.streams]
        return f"<{len(self)} clips: {', '.join(widths)}>"

    @property
    def streams(self) -> tuple[str, ...]:
        """What there is of the clips: text, audio, visual, or of several encoders `audio-hubert` ..."""
        return tuple(self.meta)

    def columns(self, stream: str | None = None) -> tuple[str, ...]:
        """Names of the columns of a stream."""
        return tuple(self.meta[self._stream(stream)]["column_names"])

    def frame(self, stream: str | None = None) -> pd.DataFrame:
        """A row a frame of all clips: `clip_id`, `frame`, `time` where frames have times, and the columns.

        `stream` may be left out where there is one alone.
        """
        import pandas as pd

        name = self._stream(stream)
        found = {clip_id: frames[name].frame() for clip_id, frames in self.items() if len(frames[name])}
        if not found:
            return pd.DataFrame(columns=["clip_id", "frame", *self.columns(name)])
        return pd.concat(found, names=["clip_id"]).reset_index(level="clip_id").reset_index(drop=True)

    def table(self) -> pd.DataFrame:
        """A row a clip: what is known of it, and of each stream its frames, status and note."""
        import pandas as pd

        rows = []
        for clip_id, frames in self.items():
            row = {"clip_id": clip_id, **self.facts.get(clip_id, {})}
            for name, own in frames.items():
                row |= {f"{name}_frames": len(own), f"{name}_status": own.status, f"{name}_note": own.note}
            rows.append(row)
        return pd.DataFrame(rows)

    def padded(self, stream: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(C, T, D) float32 with zeros behind each clip's frames, and (C,) how many frames each has."""
        name = self._stream(stream)
        blocks = [frames[name].values for frames in self.values()]
        lengths = np.array([len(block) for block in blocks], np.int64)
        values = np.zeros((len(blocks), max(lengths, default=0), len(self.columns(name))), np.float32)
        for place, block in zip(values, blocks, strict=True):
            place[: len(block)] = block
        return values, lengths

    def torch(self, stream: str | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """(C, T, D) float32 with zeros behind each clip's frames, and (C, T) bool, which frames are real."""
        import torch

        values, lengths = self.padded(stream)
        mask = np.arange(values.shape[1]) < lengths[:, None]
        return torch.from_numpy(values), torch.from_numpy(mask)

    def _stream(self, name: str | None) -> str:
        if name is None and len(self.streams) == 1:
            return self.streams[0]
        if name is None or name not in self.meta:
            given = "no stream was given" if name is None else f"{name!r} is not a stream"
            raise MsaError(f"{given}; these clips have {', '.join(self.streams)}: name one of them")
        return name


def load_features(path: str | Path) -> LoadedClips:
    """Features of a file, of a folder of shards, or of all that `extract` wrote into a folder; in memory.

    Raises
    ------
    MsaError : nothing is there
    FormatError : no feature files, damaged ones, or some of one encoder with other settings
    """
    path = Path(path)
    streams = feature_streams(path)
    if not streams:
        hint = "load_set reads it" if (path / "stats.json").exists() else "give what extract or a stage wrote"
        raise FormatError(f"{path}: no feature file in this folder; {hint}")
    clips: dict[str, dict[str, Frames]] = {}
    for name, stream in streams.items():
        for row in stream.rows():
            clips.setdefault(row.clip_id, {})[name] = _frames(row, stream.meta)
    for name, stream in streams.items():  # clips that only some encoders have seen
        nothing = np.zeros((0, int(stream.meta["dim"])), stream.meta["dtype"])
        for frames in clips.values():
            unseen = Frames(nothing, tuple(stream.meta["column_names"]), None, "absent", "not extracted")
            frames.setdefault(name, unseen)
    ordered = {clip_id: {name: frames[name] for name in streams} for clip_id, frames in sorted(clips.items())}
    return LoadedClips(ordered, {name: stream.meta for name, stream in streams.items()})


def _frames(row: FeatureRow, meta: Mapping[str, Any]) -> Frames:
    values = np.zeros((0, int(meta["dim"])), meta["dtype"]) if row.features is None else row.features
    return Frames(
        values,
        tuple(meta["column_names"]),
        row.times,
        row.status,
        row.error,
        row.token_ids,
        row.char_start,
        row.char_end,
    )
