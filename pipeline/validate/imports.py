"""Checks of ready-made feature files: what they hold, their padding and number types, NaN, empty clips.

The files are read once, clip by clip; on the way each clip's features are hashed, so that one clip under two
ids is found although an import has no media to compare.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import FormatError, LabelFileError, MsaError
from pipeline.core.vocabulary import MODALITIES
from pipeline.corpora.clips import CLIP_SCHEMA
from pipeline.corpora.findings import Finding, counted
from pipeline.formats.source import Source
from pipeline.imports.convert import check_rows, clip_rows
from pipeline.imports.registry import read
from pipeline.imports.survey import ModalitySurvey, survey
from pipeline.params.params import ImportParams

HASHED = ("audio", "visual")  # short texts are alike without being one clip
ONE_TYPE = ("float32", "float64")  # what feature files usually hold, alone


def examine(
    name: str, params: ImportParams
) -> tuple[list[dict[str, Any]], list[Finding], Mapping[str, Hashable]]:
    """The rows of an import with all columns of the clip table, what is strange, and digests by clip id.

    Files that are not of their kind, labels out of range and the like are findings of level error.

    Parameters
    ----------
    name : key in `imports`, for messages
    """
    try:
        source = Source(Path(params.root))
        imported = read(params.kind, source, params)
    except LabelFileError as error:
        return [], [Finding("error", "labels", f"{params.root}: label file", tuple(error.problems))], {}
    except FormatError as error:
        return [], [Finding("error", "file", str(error))], {}
    findings = []
    try:
        check_rows(imported, name, params)
    except LabelFileError as error:
        message = f"{params.root}: {len(error.problems)} problem(s)"
        findings.append(Finding("error", "labels", message, tuple(error.problems)))
    except MsaError as error:
        findings.append(Finding("error", "task", str(error)))
    hashed: dict[str, dict[str, str]] = defaultdict(dict)
    for modality in HASHED:
        if modality in imported.modalities:
            sequences = imported.modalities[modality]
            watched = _watched(sequences.read, modality, hashed)
            imported.modalities[modality] = replace(sequences, read=watched)
    try:
        found = survey(imported, str(source))
        for modality in MODALITIES:
            findings += _remarks(modality, found.modalities.get(modality), len(imported.rows))
    except FormatError as error:
        findings.append(Finding("error", "shapes", str(error)))
    findings += [Finding("info", "note", note) for note in imported.notes]
    digests = {clip: tuple(sorted(found_in.items())) for clip, found_in in hashed.items()}
    empty = dict.fromkeys(name for name in CLIP_SCHEMA.names if name != "position")  # clip_table works it out
    return [{**empty, **row} for row in clip_rows(imported, params)], findings, digests


def _watched(
    read: Callable[[str], np.ndarray | None], modality: str, hashed: dict[str, dict[str, str]]
) -> Callable[[str], np.ndarray | None]:
    """`read` that also notes the hash of what it gives; of zeros and of nothing there is none."""

    def reading(clip_id: str) -> np.ndarray | None:
        block = read(clip_id)
        if block is not None:
            array = np.asarray(block)
            if array.dtype.kind in "biuf" and array.any():
                digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
                hashed[clip_id][modality] = digest.hexdigest()
        return block

    return reading


def _remarks(modality: str, found: ModalitySurvey | None, clips: int) -> list[Finding]:
    if found is None:
        return [Finding("info", modality, f"the files have no {modality}")]
    before, of_clips = f"{modality}: ", f"of {clips} clips"
    findings = [Finding("info", modality, f"{before}{found}")]
    if found.nan or found.infinite:
        message = f"{found.nan} NaN and {found.infinite} infinite numbers; import replaces them with 0"
        findings.append(Finding("warning", "not finite", before + message))
    if found.missing:
        message = f"the files have nothing for {found.missing} {of_clips}; they will be absent"
        findings.append(Finding("warning", "missing features", before + message))
    failed = [f"{clip}: {why}" for clip, why in sorted(found.failed.items())]
    what = f"{of_clips} cannot be read; they will be failed rows"
    findings += counted("warning", "unreadable features", failed, what, before)
    what = f"{of_clips} are all zeros; they will be absent"
    findings += counted("warning", "zeros", sorted(found.zero), what, before)
    if found.ignored_lengths:
        message = f"{found.ignored_lengths} lengths contradict the padding, which is used instead"
        findings.append(Finding("warning", "lengths", before + message))
    if len(found.dtypes) > 1 or not set(found.dtypes) <= set(ONE_TYPE):
        message = f"numbers are {', '.join(found.dtypes) or 'none'}; import makes them float32"
        findings.append(Finding("info", "number types", before + message))
    steps = {clip: real.stop - real.start for clip, real in found.real.items()}
    short = [clip for clip, length in steps.items() if length == 1 and clip not in found.zero]
    if short and max(steps.values()) > 1:
        what = f"{of_clips} have a single step"
        findings += counted("warning", "short sequences", short, what, before)
    return findings
