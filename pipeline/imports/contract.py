"""What an importer finds in foreign files: clips with labels, and sequences that are read when asked for.

An importer is a module of `kinds` with

    KIND_OF_FILES                    one line for people: which files, from which project
    matches(source) -> str           empty where the files are of this kind, else why they are not (one line)
    read(source, params) -> Imported

It says where things lie and checks that shapes fit each other; it cleans and unpads nothing, which convert.py
does for all of them alike. `read` raises FormatError where files are not as described, ParamsError where
settings do not fit them, LabelFileError where a label file beside them cannot be used.

Symbols: T steps of a clip as the file has it (padding included), D columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from pipeline.corpora.survey import Labelling

Side = Literal["front", "back"]


@dataclass
class FeatureSequences:
    """One modality of all clips of a file.

    Attributes
    ----------
    columns : names of the D columns
    read : clip id -> (T, D) numbers of any dtype as in the file; None where the file has none of this clip;
        raises ClipError where a file of this clip alone cannot be read: then it is a failed row
    clips : the ids that `read` may be asked for
    lengths : clip id -> real steps, where the file says them (a length that does not fit the padding is
        reported, and the padding believed); empty = recovered from the padding
    padded : False where each sequence has its own length in the file: then no step is taken away
    side : where the padding is, if the kind of file fixes it; None = found out from all clips
    side_key : the setting that says it, without which clips must not disagree; empty = most of them decide
    token_ids : clip id -> (T,) ids of the tokens that the T rows of a text stand for, where the file has them
    times : clip id -> (T,) seconds from the clip's start, where the file has them
    remark : clip id -> what a reader of this clip's row should know; empty = nothing
    """

    columns: list[str]
    read: Callable[[str], np.ndarray | None]
    clips: list[str]
    lengths: Mapping[str, int] = field(default_factory=dict)
    padded: bool = True
    side: Side | None = None
    side_key: str = ""
    token_ids: Callable[[str], np.ndarray | None] | None = None
    times: Callable[[str], np.ndarray | None] | None = None
    remark: Callable[[str], str] | None = None


@dataclass
class Imported:
    """A foreign file (or folder, or set of files) understood.

    Attributes
    ----------
    rows : columns of the clip table by name, one mapping a clip, in the file's order; at least clip_id
        (`video_id$_$clip_id`), video_id and split; labels where known; `position` where the file has an
        order of its own. `language` and `status` are filled in by convert.py
    modalities : by `text`, `audio`, `visual`; those that the file has
    labelling : what the labels look like; params.yaml may say otherwise
    words : clip id -> words with text, start_s, end_s (seconds from the clip's start) and score (0 to 1)
    aligned : the T steps of all modalities are the same words: then a clip has one length for all
    notes : what a reader must be told: rows left out and why, conflicts, known corpora, ...
    """

    rows: list[dict[str, Any]]
    modalities: dict[str, FeatureSequences]
    labelling: Labelling
    words: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    aligned: bool = False
    notes: list[str] = field(default_factory=list)
