"""What lies in the files of kind `arrays`: one entry a reference that settings may name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import ClipError, FormatError
from pipeline.core.names import escaped
from pipeline.corpora.tables.values import SPLIT_NAMES
from pipeline.formats.source import PICKLES
from pipeline.formats.text import text_of
from pipeline.imports.kinds.arrays.files import EACH, SUFFIXES, ArrayFiles, ArrayFolder, inside, shape_of

MOST_LETTERS = 100  # of a reference, in messages
LOOKED_AT = 20  # clips of a group, which stand for all of them; so many modalities has no file
WORD = re.compile(r"[A-Za-z]+[0-9]*")
# what the names of arrays say of them
WORDS = {
    "text": "text glove bert roberta deberta language linguistic words sentence transcript lexical",
    "audio": "audio acoustic covarep speech voice sound wav hubert opensmile mfcc librosa egemaps",
    "visual": "visual vision video facet face facial openface image frame resnet vit videomae manet senet",
    "ids": "id ids name names key keys clip clips segment segments utterance file",
    "splits": "split splits mode fold set partition",
    "lengths": "length lengths len lens",
    "label": "label labels y score scores sentiment valence val regression",
    "class_label": "class classes emo emotion emotions category classification",
    "said": "text texts raw transcript sentence said words",
    "speaker": "speaker speakers who spk",
}


@dataclass(frozen=True)
class Entry:
    """An array or list of all clips, or a group with one of each clip.

    Attributes
    ----------
    by_clip : whether it is such a group
    count : clips
    shape : of one clip, () of a single value; (most steps, D) where steps differ
    dtype : of the values: `float32`, `text`; or why they cannot be read
    padded : an array (n, T, D), which has as many steps of each clip
    """

    reference: str
    by_clip: bool = False
    count: int = 0
    shape: tuple[int, ...] = ()
    dtype: str = ""
    padded: bool = False

    @property
    def sequence(self) -> bool:
        """Whether that may be a modality."""
        return self.dtype != "text" and len(self.shape) in (1, 2) and self.shape[-1] > 1

    @property
    def value(self) -> bool:
        """Whether it is one value a clip."""
        return self.count > 0 and all(axis == 1 for axis in self.shape)

    def __str__(self) -> str:
        name = escaped(self.reference)
        name = name if len(name) <= MOST_LETTERS else f"{name[:MOST_LETTERS]}…"
        if not self.count:
            return f"{name} (cannot be read: {escaped(self.dtype)})"
        if self.by_clip:
            return f"{name} ({self.count} clips, {self.shape or 'one'} {self.dtype} each)"
        return f"{name} {(self.count, *self.shape)} {self.dtype}"


def words_of(name: str) -> list[str]:
    """The words of a name in lower case, without digits at their ends, and without an s before with it."""
    words = [word.rstrip("0123456789").lower() for word in WORD.findall(name)]
    return [form for word in words for form in (word.removesuffix("s"), word)]


def entries(files: ArrayFiles) -> Iterator[Entry]:
    """Entries of all files; one that cannot be read is an entry, too."""
    folders: dict[Path, bool] = {}
    for path in files.source.with_suffix(*SUFFIXES, *PICKLES, ".csv"):
        name = path.relative_to(files.source.folder).as_posix()
        try:
            if path.suffix.lower() == ".npy":
                folder = ArrayFolder(path.parent)
                known = folders.get(path.parent)
                if known is None:
                    known = folders[path.parent] = _by_clip(folder)
                    if known:
                        yield from _entries(Path(name).parent.as_posix(), "", folder)
                if known:
                    continue
            yield from _entries(name, "", files.opened(path))
        except (FormatError, ClipError) as error:
            yield Entry(name, dtype=str(error).removeprefix(f"{path}: "))


def _entries(file: str, inner: str, found: Any) -> Iterator[Entry]:
    """What lies below a place in a file."""
    reference = f"{file}:{inner}" if inner else file
    if isinstance(found, Mapping):
        if _by_clip(found):
            archive = not inner and file.endswith(".npz")
            clips = [inside(found, name) for name in islice(found, LOOKED_AT)]
            yield from _of_clips(file, EACH if archive else inner, clips, len(found), True)
            return
        for name in found:
            below = f"{inner}/{name}" if inner else str(name)
            try:
                yield from _entries(file, below, inside(found, name))
            except (FormatError, ClipError) as error:
                yield Entry(f"{file}:{below}", dtype=str(error))
    elif isinstance(found, list | tuple):
        yield from _of_clips(file, inner, found[:LOOKED_AT], len(found), False)
    elif getattr(found, "shape", ()):
        yield Entry(
            reference, False, found.shape[0], tuple(found.shape[1:]), _dtype(found), len(found.shape) == 3
        )


def _of_clips(file: str, inner: str, clips: Sequence[Any], count: int, by_clip: bool) -> Iterator[Entry]:
    """A list or group by some of its clips: one entry, or one for each key that the clips have."""
    if clips and all(isinstance(clip, Mapping) for clip in clips):
        star = inner if inner == EACH else f"{inner}/{EACH}".removeprefix("/")
        for key in dict.fromkeys(key for clip in clips for key in clip):
            having = [inside(clip, key) for clip in clips if key in clip]
            yield from _of_clips(file, f"{star}/{key}", having, count, by_clip)
        return
    reference = f"{file}:{inner}" if inner else file
    if (shape := _one_shape(clips)) is not None:
        yield Entry(reference, by_clip, count, shape, _dtype(clips[0]))
    elif not by_clip and EACH not in inner:
        for place, entry in enumerate(clips):
            yield from _entries(file, f"{inner}/{place}".removeprefix("/"), entry)


def _by_clip(group: Mapping[Any, Any]) -> bool:
    """Whether the names of a group are those of clips: numbered, and with things of one kind behind them."""
    names = [*map(text_of, islice(group, LOOKED_AT))]
    if len(group) < 2 or not all(re.search(r"\d", name) for name in names):
        return False
    known = {*SPLIT_NAMES, *" ".join(WORDS.values()).split()} - {"clip", "file", "segment", "utterance"}
    if len(group) <= LOOKED_AT and any(known.intersection(words_of(name)) for name in names):
        return False
    try:
        held = [inside(group, name) for name in islice(group, LOOKED_AT)]
    except (FormatError, ClipError):
        return False
    if all(isinstance(one, Mapping) for one in held):
        return max(map(len, held)) <= len(group)
    shape = _one_shape(held)
    return shape is not None and len(shape) < 3 and (not shape or _dtype(held[0]) != "text")


def _one_shape(clips: Sequence[Any]) -> tuple[int, ...] | None:
    """The shape of all, but for their steps, of which it has the most; None where there is none."""
    try:
        shapes = [shape_of(clip) for clip in clips if not isinstance(clip, Mapping)]
    except ValueError:
        return None
    if not shapes or len(shapes) < len(clips) or len({shape[-1:] for shape in shapes}) > 1:
        return None
    return max(shapes, key=lambda shape: (len(shape), shape))


def _dtype(value: Any) -> str:
    kind = getattr(value, "dtype", None)
    if kind is None:
        kind = np.asarray(value).dtype
    return str(kind) if kind.kind in "biufc" else "text"
