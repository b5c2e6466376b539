"""MUStARD: 690 utterances of television shows, half of them sarcastic, each with the sentences before it.

    sarcasm_data.json              {id: utterance, speaker, context [n], context_speakers [n], show, sarcasm}
    split_indices.p                five pairs (train, test) of places in that file, pickled by Python 2
    utterances_final/<id>.mp4      the utterance
    context_final/<id>_c.mp4       all sentences before it, in one video

The first two lie in the corpus' folder or in `data` below it, the videos in folders of any name. The
utterance of `1_60` becomes the clip `1_60$_$utterance`, the sentences before it `1_60$_$c0`, `1_60$_$c1`, ...
with split `context`. Nobody says when each of these sentences begins in their video: it stands with the last
of them alone (the nearest to the utterance, which every method that looks back sees), the others are text.

Splits: `settings: {split: speaker_dependent, fold: 0}` takes that pair of split_indices.p, `{split:
speaker_independent}` tests on FRIENDS. Neither has validation clips: of the training clips of each class the
share `valid` (0.1) is taken, those whose SHA-256 of the id is smallest, so that it does not move.
Source: https://github.com/soujanyaporia/MUStARD (README, data_loader.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from pipeline.core.errors import FormatError
from pipeline.core.names import bad_id
from pipeline.core.section import Section
from pipeline.core.vocabulary import CONTEXT, TEST, TRAIN, VALID
from pipeline.corpora.survey import CorpusClip, CorpusSurvey, Labelling, read_tree, reject_task
from pipeline.corpora.tables.media_files import WantedMedia, find_media, with_media
from pipeline.params.params import DatasetParams

ENTRIES, FOLDS = "sarcasm_data.json", "split_indices.p"
LAYOUT = f"<root>/{ENTRIES}, {FOLDS}, utterances_final/<id>.mp4 and context_final/<id>_c.mp4"
LABELLING = Labelling("classification", classes=("not_sarcastic", "sarcastic"), metrics="cls")
TEST_SHOW = "FRIENDS"
UTTERANCE = "utterance"


class MustardSettings(Section):
    """Which split."""

    split: Literal["speaker_dependent", "speaker_independent"] = "speaker_dependent"
    """a fold of the authors, or a test on FRIENDS"""
    fold: int = Field(0, ge=0, le=4)
    """of speaker_dependent: which pair of split_indices.p"""
    valid: float = Field(0.1, ge=0, lt=1)
    """share of the training clips that validate"""


SETTINGS = MustardSettings


def survey(name: str, dataset: DatasetParams, settings: MustardSettings) -> CorpusSurvey:
    """Utterances and the sentences before them."""
    root = Path(dataset.root)
    path = next((path for path in (root / ENTRIES, root / "data" / ENTRIES) if path.is_file()), None)
    found = CorpusSurvey(str(path or root))
    reject_task(found, name, dataset, LABELLING)
    if path is None:
        where = f"datasets.{name}.root is {str(root)!r}"
        found.reject("file", f"{where}: no {ENTRIES} there or in `data` below; expected {LAYOUT}")
        return found
    entries = read_tree(found, path)
    if not isinstance(entries, dict):
        if entries is not None:
            found.reject("json", f"holds a {type(entries).__name__}, expected an object with an entry per id")
        return found
    before = len(found.problems)
    for key, entry in entries.items():
        wrong = wrong_with(entry)
        if isinstance(entry, dict) and not isinstance(sarcasm := entry.get("sarcasm"), bool):
            wrong.append(("class", f"sarcasm is {sarcasm!r}, expected true or false"))
        if reason := bad_id(key):
            wrong.append(("ids", reason))
        for check, reason in wrong:
            found.reject(check, f"{key}: {reason}")
    if len(found.problems) > before:  # places count all entries
        return found
    splits = _splits(found, path.with_name(FOLDS), entries, settings, f"datasets.{name}.settings")
    found.clips = [clip for key, entry in entries.items() for clip in clips_of(key, entry, splits.get(key))]
    found.files = find_media(root)
    wanted = _wanted(found)
    matched = with_media([found.clips[index] for index in wanted], [*wanted.values()], {"": found.files})
    for index, clip in zip(wanted, matched, strict=True):
        found.clips[index] = clip
    return found


def wrong_with(entry: Any) -> list[tuple[str, str]]:
    """Why an entry of sarcasm_data.json is not as described, its label aside: (check, reason) of each."""
    if not isinstance(entry, dict) or not isinstance(entry.get("utterance"), str):
        return [("entry", "no utterance; expected utterance, speaker, context, show, sarcasm")]
    context, speakers = entry.get("context") or [], entry.get("context_speakers") or []
    if not isinstance(context, list) or not isinstance(speakers, list):
        return [("entry", "context and context_speakers: expected lists of sentences and names")]
    wrong = []
    if not all(isinstance(text, str) for text in context):
        wrong.append(("entry", "context has items that are not sentences"))
    if not all(isinstance(name, str | None) for name in (*speakers, entry.get("speaker"))):
        wrong.append(("entry", "speaker or context_speakers has items that are not names"))
    if speakers and len(speakers) != len(context):
        wrong.append(
            ("entry", f"{len(context)} sentences in context, but {len(speakers)} in context_speakers")
        )
    return wrong


def clips_of(key: str, entry: Mapping[str, Any], split: str | None) -> list[CorpusClip]:
    """The sentences before an utterance in their order, then the utterance; without media."""
    context, speakers = entry.get("context") or [], entry.get("context_speakers") or []
    clips = [
        CorpusClip(key, f"c{index}", CONTEXT, text, speaker=speaker, position=index)
        for index, (text, speaker) in enumerate(zip(context, speakers or [None] * len(context), strict=True))
    ]
    sarcasm = entry.get("sarcasm")
    labels: dict[str, float | None] = {"class_label": None if sarcasm is None else int(sarcasm)}
    speaker, position = entry.get("speaker"), len(context)
    said = CorpusClip(key, UTTERANCE, split, entry["utterance"], labels, speaker=speaker, position=position)
    return [*clips, said]


def _wanted(found: CorpusSurvey) -> dict[int, WantedMedia]:
    """By index of the clip: the utterance's video is its own, the context's that of its last sentence."""
    wanted = {}
    for index, clip in enumerate(found.clips):
        if clip.clip_id == UTTERANCE:
            name = clip.video_id
            wanted[index] = WantedMedia("", name, f"utterances_final/{name}.mp4")
            if clip.position:
                wanted[index - 1] = WantedMedia("", f"{name}_c", f"context_final/{name}_c.mp4")
    return wanted


# ----------------------------------------------------------------------------------------------------- splits
def _splits(
    found: CorpusSurvey, path: Path, entries: Mapping[str, Any], settings: MustardSettings, setting: str
) -> dict[str, str]:
    """The split of each id."""
    if settings.split == "speaker_independent":
        if unknown := [key for key, entry in entries.items() if not entry.get("show")]:
            message = (
                f"{len(unknown)} entries have no show (e.g. {unknown[0]}), which {setting}.split: "
                "speaker_independent needs; use the newer sarcasm_data.json"
            )
            found.reject("show", message)
        test = {key for key, entry in entries.items() if entry.get("show") == TEST_SHOW}
        rule = f"speaker independent: test = {TEST_SHOW}"
    else:
        test = _test_of_fold(found, path, list(entries), settings.fold, setting)
        rule = f"speaker dependent: fold {settings.fold} of {FOLDS}"
    splits = {key: TEST if key in test else TRAIN for key in entries}
    splits |= dict.fromkeys(held_out(entries, splits, settings.valid), VALID)
    share = f"of the rest, the {settings.valid:g} of each class with the smallest SHA-256 of the id validate"
    found.note("split", f"{rule}; {share}")
    return splits


def held_out(entries: Mapping[str, Any], splits: Mapping[str, str], share: float) -> list[str]:
    """The training ids that validate: of each class that share, those with the smallest SHA-256 of the id.

    Parameters
    ----------
    entries : of sarcasm_data.json, by id
    splits : id -> split, without validation clips
    """
    chosen = []
    for label in (False, True):
        members = [key for key, entry in entries.items() if entry.get("sarcasm") == label]
        members = [key for key in members if splits[key] == TRAIN]
        members.sort(key=lambda key: hashlib.sha256(key.encode()).hexdigest())
        chosen += members[: round(share * len(members))]
    return chosen


def _test_of_fold(found: CorpusSurvey, path: Path, keys: Sequence[str], fold: int, setting: str) -> set[str]:
    """The test ids of a fold; empty and a problem where the file does not give them."""
    from pipeline.formats.pickle import load

    if not path.is_file():
        message = f"no {FOLDS} beside {ENTRIES}; fetch it, or write {setting}.split: speaker_independent"
        found.reject("file", message)
        return set()
    try:
        train, test = places_of(load(path), fold)
    except FormatError as error:
        found.reject("pickle", str(error))
        return set()
    if sorted([*train, *test]) != list(range(len(keys))):
        message = (
            f"{FOLDS}: fold {fold} has {len(train)} and {len(test)} indices, which do not cover the "
            f"{len(keys)} entries of {ENTRIES} once each; are both files of one release?"
        )
        found.reject("pickle", message)
        return set()
    return {keys[place] for place in test}


def places_of(folds: Any, fold: int) -> tuple[list[int], list[int]]:
    """Places of training and test utterances in what split_indices.p holds; FormatError without the fold."""
    try:
        train, test = (np.asarray(places, np.int64).reshape(-1).tolist() for places in folds[fold])
    except (TypeError, ValueError, IndexError, KeyError) as error:
        message = f"{FOLDS}: no fold {fold}; expected a list of pairs (train, test) of indices"
        raise FormatError(message) from error
    return train, test
