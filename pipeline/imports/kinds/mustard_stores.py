"""MUStARD's visual features (HDF5) and BERT states (JSON lines), read a clip at a time.

HDF5 files have a dataset an id: (T, D) of ResNet-152 (pool5, 2048), C3D (fc7, 4096) or I3D (avg_pool, 1024).
Those in a folder (or of a name) with `context` are of the whole context of an id, before its utterance.

The lines are those of BERT's extract_features.py, in the order of sarcasm_data.json:

    {"linex_index": 0, "features": [{"token": "[CLS]", "layers": [{"index": -1, "values": [768 numbers]}]}]}

One token is one step; the layers are averaged, as MUStARD's own program does. `features` may also be vectors
themselves, one of the sentence or one a step, as bert-as-service gives them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.columns import numbered
from pipeline.core.errors import FormatError, ParamsError
from pipeline.core.vocabulary import SEPARATOR
from pipeline.formats.source import HDF5, Source
from pipeline.imports.checks import matrix
from pipeline.imports.contract import FeatureSequences

BERT = ("bert-output.jsonl", "bert-output-context.jsonl")
LONGEST_LINE = 64 << 20  # bytes; a sentence of 128 tokens and four layers has 8 MB
_INDEX = re.compile(rb'"linex_index":\s*(\d+)')
_INDEX_BYTES = 100  # at the beginning of a line


# ----------------------------------------------------------------------------------------------------- visual
def visual(
    source: Source, name: str | None, utterances: Sequence[str], contexts: Sequence[str]
) -> FeatureSequences | None:
    """Visual features of utterances, and of contexts with the last sentence of each; None without files.

    Parameters
    ----------
    name : of the file, where there are files of several names
    utterances, contexts : clip ids in the order of sarcasm_data.json
    """
    paths = source.with_suffix(*HDF5)
    names = sorted({path.name for path in paths if "context" not in path.name.lower()})
    if name is None and len(names) > 1:
        raise ParamsError(f"{source}: features of {', '.join(names)}; set settings.visual to one of them")
    if name is not None and name not in names:
        there = ", ".join(names) or "no HDF5 file"
        raise ParamsError(f"settings.visual is {name!r}; {source} has {there}")
    if not names:
        return None
    chosen = name or names[0]
    of_context = [path for path in paths if _is_context(source, path) and chosen in path.name]
    of_utterance = [path for path in paths if not _is_context(source, path) and path.name == chosen]
    places = dict.fromkeys(utterances, of_utterance)
    last = {clip.partition(SEPARATOR)[0]: clip for clip in contexts}
    places |= dict.fromkeys(last.values(), of_context)
    return _datasets(source, {clip: paths[0] for clip, paths in places.items() if paths}, chosen)


def _is_context(source: Source, path: Path) -> bool:
    return "context" in path.relative_to(source.root).as_posix().lower()


def _datasets(source: Source, places: dict[str, Path], name: str) -> FeatureSequences:
    """Datasets by the id of each clip's scene."""
    from pipeline.formats.hdf5 import open_hdf5

    stack = ExitStack()  # files stay open as long as the sequences are there
    files = {path: stack.enter_context(open_hdf5(path)) for path in sorted(set(places.values()))}

    def dataset_of(clip: str) -> Any:
        return files[places[clip]].get(clip.partition(SEPARATOR)[0])

    shapes = (getattr(dataset_of(clip), "shape", None) for clip in places)
    shape = next((shape for shape in shapes if shape is not None), None)
    if shape is None or len(shape) != 2:
        raise FormatError(
            f"{source}: {name}: shape {shape} under the ids of sarcasm_data.json; expected (T, D), as in "
            "resnet_pool5.hdf5"
        )

    def rows_of(clip: str, stack: ExitStack = stack) -> np.ndarray | None:
        dataset = dataset_of(clip)
        return None if dataset is None else matrix(dataset[()], shape[1], f"{places[clip]}: clip {clip}")

    prefix = re.sub(r"\W", "_", Path(name).stem).lower()
    return FeatureSequences(numbered(prefix, shape[1]), rows_of, list(places), padded=False)


# ------------------------------------------------------------------------------------------------------- text
def bert_files(source: Source) -> tuple[Path | None, Path | None]:
    """The lines of the utterances, and those of the contexts."""
    return source.named(BERT[0]), source.named(BERT[1])


def bert(
    source: Source, layers: Sequence[int] | None, utterances: Sequence[str], contexts: Sequence[str]
) -> FeatureSequences | None:
    """BERT states of utterances and, where there, of the sentences of contexts; None without files."""
    places: dict[str, tuple[Path, int]] = {}
    for path, clips in zip(bert_files(source), (utterances, contexts), strict=True):
        if path is not None:
            starts = _starts(path)
            if len(starts) != len(clips):
                raise FormatError(
                    f"{path}: {len(starts)} lines, but sarcasm_data.json has {len(clips)} sentences; are "
                    "the two from the same version?"
                )
            places |= {clip: (path, start) for clip, start in zip(clips, starts, strict=True)}
    if not places:
        return None
    first_path, first_start = next(iter(places.values()))
    width = _states(first_path, first_start, layers).shape[1]

    def rows_of(clip: str) -> np.ndarray:
        path, start = places[clip]
        return matrix(_states(path, start, layers), width, f"{path}: clip {clip}")

    return FeatureSequences(numbered("bert", width), rows_of, list(places), padded=False)


def _starts(path: Path) -> list[int]:
    """Where each line begins, in the order of `linex_index`; lines without one stand in the file's order."""
    starts: dict[int, int] = {}
    at = 0
    with open(path, "rb") as file:
        while line := file.readline(LONGEST_LINE + 1):
            if len(line) > LONGEST_LINE:
                raise FormatError(f"{path}: a line of over {LONGEST_LINE} bytes; expected one per sentence")
            if line.strip():
                named = _INDEX.search(line[:_INDEX_BYTES])
                index = int(named[1]) if named else len(starts)
                if index in starts:
                    raise FormatError(f"{path}: line {index} (linex_index) occurs twice")
                starts[index] = at
            at += len(line)
    if lacking := sorted(set(range(len(starts))) - starts.keys()):
        raise FormatError(f"{path}: no line {lacking[0]} (linex_index) among {len(starts)} lines")
    return [starts[index] for index in range(len(starts))]


def _states(path: Path, start: int, layers: Sequence[int] | None) -> np.ndarray:
    """(T, D) float32 of one line."""
    with open(path, "rb") as file:
        file.seek(start)
        line = file.readline(LONGEST_LINE)
    try:
        features = json.loads(line)["features"]
        if isinstance(features[0], dict):
            features = [_mean(token["layers"], layers) for token in features]
        return matrix(np.asarray(features, np.float32), None, str(path))
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        wanted = "" if layers is None else f" and the layers {', '.join(map(str, layers))}"
        raise FormatError(
            f"{path}: the line at byte {start} is not from extract_features.py ({error!r:.80}); expected "
            f"`features` with tokens{wanted}"
        ) from error


def _mean(given: Sequence[Any], layers: Sequence[int] | None) -> np.ndarray:
    by_index = {layer["index"]: layer["values"] for layer in given}
    chosen = list(by_index) if layers is None else layers
    return np.mean([by_index[index] for index in chosen], axis=0)
