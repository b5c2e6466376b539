"""RAVDESS: 24 actors who speak, and sing, two sentences in eight emotions.

    Actor_12/03-01-06-01-02-01-12.wav    sound alone
    Actor_12/01-01-06-01-02-01-12.mp4    pictures and sound
    Actor_12/02-01-06-01-02-01-12.mp4    pictures alone

The folders may have any names. The numbers of a name are: modality; vocal channel (01 speech, 02 song);
emotion (01 neutral, calm, happy, sad, angry, fearful, disgust, 08 surprised; songs have the first six);
intensity (01 normal, 02 strong; neutral has the first alone); statement; repetition; actor (odd: men, even:
women; 18 has no songs). `settings` say what is taken. A clip is a recording of its own, called by the last
five numbers: `06-01-02-01-12$_$0`, of a song `song-06-01-02-01-12$_$0`.

The corpus has no split. `protocol: {folds: {by: published, fold: 0}}` of a training set takes one of
PUBLISHED_FOLDS; without, the actors of the first of them test, those of the second validate.
Source: https://zenodo.org/records/1188976 (Livingstone and Russo, PLoS ONE 13(5), 2018).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from pipeline.core.section import Section
from pipeline.core.vocabulary import TEST, TRAIN, VALID
from pipeline.corpora.survey import CorpusClip, CorpusSurvey, Labelling, reject_task
from pipeline.corpora.tables.media_files import SOUND_SUFFIXES, find_media
from pipeline.media.decode import VIDEO_SUFFIXES
from pipeline.params.params import DatasetParams, class_key

LAYOUT = "<root>/.../Actor_12/03-01-06-01-02-01-12.wav (02-... and 01-... are .mp4)"
EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")  # 01 to 08
LABELLING = Labelling("classification", classes=EMOTIONS, metrics="cls")
STATEMENTS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
HELD = {"audio_visual": "01", "visual": "02", "audio": "03"}  # by a file
VOCALS = {"speech": "01", "song": "02"}
NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)")
ACTOR = re.compile(r"Actor_(\d\d)")
ACTORS = tuple(f"{number:02}" for number in range(1, 25))
PUBLISHED_FOLDS = (
    ("02", "05", "14", "15", "16"),
    ("03", "06", "07", "13", "18"),
    ("10", "11", "12", "19", "20"),
    ("08", "17", "21", "23", "24"),
    ("01", "04", "09", "22"),
)
"""Actors of the five folds of Luna-Jiménez et al., Applied Sciences 12(1):327, 2022"""


class RavdessSettings(Section):
    """Which of the recordings."""

    modality: Literal["audio_visual", "visual", "audio"] = "audio_visual"
    """which of the three files that a recording has: video with sound, video without, sound"""
    vocal: Literal["speech", "song", "both"] = "speech"


SETTINGS = RavdessSettings


class Recording(NamedTuple):
    """The numbers of a file's name."""

    modality: str
    vocal: str
    emotion: str
    intensity: str
    statement: str
    repetition: str
    actor: str

    @property
    def name(self) -> str:
        """Of its clip's video."""
        song = "song-" if self.vocal == VOCALS["song"] else ""
        return song + "-".join(self[2:])


def survey(name: str, dataset: DatasetParams, settings: RavdessSettings) -> CorpusSurvey:
    """Every recording that the settings take."""
    root = Path(dataset.root)
    found = CorpusSurvey(str(root))
    reject_task(found, name, dataset, LABELLING)
    classes = _indices(found, name, dataset)
    files = find_media(root, suffixes=VIDEO_SUFFIXES | SOUND_SUFFIXES)
    vocals = [VOCALS[settings.vocal]] if settings.vocal != "both" else [*VOCALS.values()]
    recordings = {file: one for file in files if (one := _recording(found, file)) is not None}
    taken: dict[Recording, list[str]] = {}
    for file, one in recordings.items():
        if one.modality == HELD[settings.modality] and one.vocal in vocals:
            taken.setdefault(one, []).append(file)
    if not taken and not found.problems:
        found.reject("file", _nothing(name, dataset, settings, [*recordings.values()]))
    for one, same in sorted(taken.items()):
        if len(same) > 1:
            found.reject("duplicate ids", f"{', '.join(same)}: one recording, several files; keep one")
        found.clips.append(
            CorpusClip(
                one.name,
                "0",
                _split(one.actor),
                STATEMENTS[one.statement],
                {"class_label": classes.get(EMOTIONS[int(one.emotion) - 1])},
                same[0],
                speaker=one.actor,
            )
        )
    found.files = [file for same in taken.values() for file in same]
    if taken:
        _note(found, vocals, set(taken))
    return found


def _indices(found: CorpusSurvey, name: str, dataset: DatasetParams) -> Mapping[str, int]:
    """Emotion -> index in the dataset's own classes, whose order is free."""
    mine = [class_key(label) for label in dataset.classes]
    lacking = [emotion for emotion in EMOTIONS if emotion not in mine]
    if lacking and len(mine) == len(EMOTIONS):
        expected = f"expected {', '.join(EMOTIONS)}, in any order"
        found.reject("class setting", f"datasets.{name}.classes has no {', '.join(lacking)}; {expected}")
    return {emotion: mine.index(emotion) for emotion in EMOTIONS if emotion in mine}


def _recording(found: CorpusSurvey, file: str) -> Recording | None:
    """What a file's name says; None and a problem where it says nothing, or what cannot be."""
    path = PurePosixPath(file)
    matched = NAME.fullmatch(path.stem)
    if matched is None:
        found.reject("name", f"{file}: expected seven two-digit numbers, {LAYOUT}")
        return None
    one = Recording(*matched.groups())
    emotions = 8 if one.vocal == VOCALS["speech"] else 6
    wrong = [
        f"{part} is {given}, expected 01 to {last:02}"
        for part, given, last in (
            ("modality", one.modality, 3),
            ("vocal channel", one.vocal, 2),
            ("emotion", one.emotion, emotions),
            ("intensity", one.intensity, 1 if one.emotion == "01" else 2),
            ("statement", one.statement, 2),
            ("repetition", one.repetition, 2),
            ("actor", one.actor, len(ACTORS)),
        )
        if not 1 <= int(given) <= last
    ]
    folder = ACTOR.fullmatch(path.parent.name)
    if folder is not None and folder[1] != one.actor:
        wrong.append(f"actor is {one.actor}, but the file is in {folder[0]}")
    if wrong:
        found.reject("name", f"{file}: {'; '.join(wrong)}")
    return None if wrong else one


def _nothing(
    name: str, dataset: DatasetParams, settings: RavdessSettings, recordings: Sequence[Recording]
) -> str:
    """Why there is no clip."""
    where = f"datasets.{name}.root is {dataset.root!r}"
    if not recordings:
        return f"{where}: no recordings in it; expected {LAYOUT}"
    kinds = {
        f"modality: {modality}, vocal: {vocal}"
        for one in recordings
        for modality, vocal in product(HELD, VOCALS)
        if (HELD[modality], VOCALS[vocal]) == one[:2]
    }
    asked, there = f"modality: {settings.modality}, vocal: {settings.vocal}", " or ".join(sorted(kinds))
    return f"{where}: no file has {asked}; write {there} in datasets.{name}.settings"


def _split(actor: str) -> str:
    return TEST if actor in PUBLISHED_FOLDS[0] else VALID if actor in PUBLISHED_FOLDS[1] else TRAIN


def _note(found: CorpusSurvey, vocals: Sequence[str], taken: set[Recording]) -> None:
    """How clips are split, and which of the published ones have no file."""
    test, valid = map(", ".join, PUBLISHED_FOLDS[:2])
    message = (
        f"no split is published: actors {test} test and {valid} validate, unless a training set has "
        "`protocol: {folds: {by: published, fold: 0}}`"
    )
    found.note("split", message)
    whole = [
        Recording("", vocal, f"{emotion:02}", intensity, statement, repetition, actor)
        for vocal in vocals
        for emotion in range(1, 9 if vocal == VOCALS["speech"] else 7)
        for intensity in (("01",) if emotion == 1 else ("01", "02"))
        for statement, repetition, actor in product(STATEMENTS, ("01", "02"), ACTORS)
        if (vocal, actor) != (VOCALS["song"], "18")
    ]
    there = {one.name for one in taken}
    if lacking := sorted(name for one in whole if (name := one.name) not in there):
        message = f"{len(lacking)} of the {len(whole)} published clips have no file"
        found.note("clips missing", message, lacking, "warning")
