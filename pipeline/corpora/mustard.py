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
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from pipeline.core.errors import FormatError
from pipeline.core.section import Section
from pipeline.corpora.clips import CONTEXT, TEST, TRAIN, VALID
from pipeline.corpora.labelling import Labelling
from pipeline.corpora.survey import CorpusClip, CorpusSurvey, read_json, reject_task
from pipeline.corpora.tables.media_files import WantedMedia, find_media, match_media
from pipeline.corpora.tables.values import bad_id
from pipeline.params.explain import settings_of
from pipeline.params.params import DatasetParams

ENTRIES, SPLITS = "sarcasm_data.json", "split_indices.p"
LAYOUT = f"<root>/{ENTRIES}, {SPLITS}, utterances_final/<id>.mp4 and context_final/<id>_c.mp4"
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


def survey(name: str, dataset: DatasetParams) -> CorpusSurvey:
    """Utterances and the sentences before them."""
    settings = settings_of(MustardSettings, dataset.settings, f"datasets.{name}.settings")
    root = Path(dataset.root)
    path = next((path for path in (root / ENTRIES, root / "data" / ENTRIES) if path.is_file()), None)
    found = CorpusSurvey(str(path or root))
    reject_task(found, name, dataset, LABELLING)
    if path is None:
        where = f"datasets.{name}.root is {str(root)!r}"
        found.reject("file", f"{where}: no {ENTRIES} there or in `data` below; expected {LAYOUT}")
        return found
    entries = read_json(found, path)
    if entries is None:
        return found
    if not isinstance(entries, dict):
        found.reject("json", f"holds a {type(entries).__name__}, expected an object with an entry an id")
        return found
    good = {key: entry for key, entry in entries.items() if _is_sound(found, key, entry)}
    if len(good) == len(entries):  # places count all of them
        splits = _splits(found, path.with_name(SPLITS), good, settings, f"datasets.{name}.settings")
        found.clips = [clip for key, entry in good.items() for clip in _clips(key, entry, splits.get(key))]
        found.files = find_media(root)
        _add_media(found)
    return found


def _is_sound(found: CorpusSurvey, key: str, entry: Any) -> bool:
    """Whether an entry is as described; else problems say what is wrong with it."""
    if not isinstance(entry, dict) or not isinstance(entry.get("utterance"), str):
        found.reject("entry", f"{key}: no utterance; expected utterance, speaker, context, show, sarcasm")
        return False
    context, speakers = entry.get("context") or [], entry.get("context_speakers") or []
    wrong = []
    if reason := bad_id(key):
        wrong.append(("ids", reason))
    if not isinstance(entry.get("sarcasm"), bool):
        wrong.append(("class", f"sarcasm is {entry.get('sarcasm')!r}, expected true or false"))
    if not isinstance(context, list) or not isinstance(speakers, list):
        found.reject("entry", f"{key}: context and context_speakers: expected lists of sentences and names")
        return False
    if not all(isinstance(text, str) for text in context):
        wrong.append(("entry", "context holds more than sentences"))
    if speakers and len(speakers) != len(context):
        wrong.append(("entry", f"{len(context)} sentences of context, {len(speakers)} speakers of them"))
    for check, reason in wrong:
        found.reject(check, f"{key}: {reason}")
    return not wrong


def _clips(key: str, entry: Mapping[str, Any], split: str | None) -> list[CorpusClip]:
    """The sentences before an utterance in their order, then the utterance."""
    context, speakers = entry.get("context") or [], entry.get("context_speakers") or []
    before = [
        CorpusClip(
            key, f"c{index}", CONTEXT, text, speaker=speakers[index] if speakers else None, position=index
        )
        for index, text in enumerate(context)
    ]
    label: dict[str, float | None] = {"class_label": int(entry["sarcasm"])}
    said = CorpusClip(
        key, UTTERANCE, split, entry["utterance"], label, speaker=entry.get("speaker"), position=len(context)
    )
    return [*before, said]


def _add_media(found: CorpusSurvey) -> None:
    """The utterance's video with it, the context's with its last sentence."""
    with_media = [
        index
        for index, clip in enumerate(found.clips)
        if clip.clip_id == UTTERANCE or found.clips[index + 1].clip_id == UTTERANCE
    ]
    wanted = []
    for index in with_media:
        clip = found.clips[index]
        said = clip.clip_id == UTTERANCE
        stem = clip.video_id if said else f"{clip.video_id}_c"
        wanted.append(WantedMedia("", stem, f"{'utterances' if said else 'context'}_final/{stem}.mp4"))
    matched = match_media(wanted, {"": found.files})
    for index, (path, unmatched) in zip(with_media, matched, strict=True):
        found.clips[index] = replace(found.clips[index], path=path, unmatched=unmatched)


# ----------------------------------------------------------------------------------------------------- splits
def _splits(
    found: CorpusSurvey, path: Path, entries: Mapping[str, Any], settings: MustardSettings, setting: str
) -> dict[str, str]:
    """The split of each id."""
    if settings.split == "speaker_independent":
        unknown = [key for key, entry in entries.items() if not entry.get("show")]
        if unknown:
            found.reject(
                "show",
                f"{len(unknown)} entries have no show (e.g. {unknown[0]}), which {setting}.split: "
                "speaker_independent needs; take the newer sarcasm_data.json",
            )
        test = {key for key, entry in entries.items() if entry.get("show") == TEST_SHOW}
        rule = f"speaker independent: test = {TEST_SHOW}"
    else:
        test = _fold(found, path, list(entries), settings.fold, setting)
        rule = f"speaker dependent: fold {settings.fold} of {SPLITS}"
    splits = {key: TEST if key in test else TRAIN for key in entries}
    splits |= dict.fromkeys(held_out(entries, splits, settings.valid), VALID)
    share = f"of the rest the {settings.valid:g} of each class with the smallest SHA-256 of the id are valid"
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


def _fold(found: CorpusSurvey, path: Path, keys: Sequence[str], fold: int, setting: str) -> set[str]:
    """The test ids of a fold; empty and a problem where the file does not give them."""
    from pipeline.formats.pickle import load

    if not path.is_file():
        found.reject(
            "file", f"no {SPLITS} beside {ENTRIES}; fetch it, or write {setting}.split: speaker_independent"
        )
        return set()
    try:
        train, test = (np.asarray(places, np.int64).reshape(-1) for places in load(path)[fold])
    except FormatError as error:
        found.reject("pickle", str(error))
        return set()
    except (TypeError, ValueError, IndexError, KeyError):
        found.reject("pickle", f"{SPLITS}: no fold {fold}; expected a list of pairs (train, test) of places")
        return set()
    if sorted([*train.tolist(), *test.tolist()]) != list(range(len(keys))):
        found.reject(
            "pickle",
            f"{SPLITS}: fold {fold} has {len(train)} and {len(test)} places, which are not the {len(keys)} "
            f"entries of {ENTRIES}, each once; are they of one release?",
        )
        return set()
    return {keys[place] for place in test.tolist()}
