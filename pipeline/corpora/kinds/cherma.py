"""CHERMA's videos: Mandarin utterances with seven classes of emotion, for all modalities and for each alone.

    train.json, test.json, valid.json (or val, dev)
                    lists of {audio_file: x.wav, video_file: x.mp4, txt_label, audio_label, visual_label,
                    video_label}, and perhaps text
    x.mp4, x.wav    in folders of any name below the corpus

`video_label` is that of all modalities. Labels are Chinese words; English ones are understood, too, and so
are `classes` of params.yaml in another order or in Chinese. An utterance is a video of its own: `x` becomes
the clip `x$_$0`. Where only the sound is there, the clip is its .wav.
Source: https://github.com/sunjunaimer/LFMIM (data_prepare.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.core.names import bad_id
from pipeline.core.section import Section
from pipeline.core.vocabulary import CLASSES, TEST, TRAIN, VALID
from pipeline.corpora.survey import (
    CorpusClip,
    CorpusSurvey,
    Labelling,
    read_tree,
    reject_repeated,
    reject_task,
)
from pipeline.corpora.tables.media_files import SOUND_SUFFIXES, WantedMedia, find_media, with_media
from pipeline.params.params import DatasetParams, class_key

LAYOUT = "<root>/train.json, valid.json, test.json, and x.mp4 (or x.wav) in folders below"
CHINESE = ("愤怒", "厌恶", "恐惧", "高兴", "平静", "悲伤", "惊奇")
ENGLISH = ("anger", "disgust", "fear", "happy", "neutral", "sad", "surprise")
LABELLING = Labelling("classification", classes=ENGLISH, language="zh", metrics="cls")
PUBLISHED = {TRAIN: 17230, VALID: 5743, TEST: 5744}
FILES = {"train.json": TRAIN, "valid.json": VALID, "val.json": VALID, "dev.json": VALID, "test.json": TEST}
LABEL_KEYS = dict(zip(("video_label", "txt_label", "audio_label", "visual_label"), CLASSES, strict=True))
TEXTS = ("text", "txt", "transcript")  # keys; the released lists have none of them
MISSPELT = {"suprise": "surprise"}  # in LFMIM's own list


def survey(name: str, dataset: DatasetParams, settings: Section) -> CorpusSurvey:
    """The utterances of all lists with their media."""
    root = Path(dataset.root)
    found = CorpusSurvey(str(root))
    reject_task(found, name, dataset, LABELLING)
    words = _indices(found, name, dataset)
    lists = [root / file for file in FILES if (root / file).is_file()]
    if not lists:
        where = f"datasets.{name}.root is {str(root)!r}"
        found.reject("file", f"{where}: no train.json, valid.json or test.json there; expected {LAYOUT}")
        return found
    entries = [entry for path in lists for entry in _entries(found, path, words)]
    videos, sounds = find_media(root), find_media(root, suffixes=SOUND_SUFFIXES)
    wanted = [WantedMedia("", clip.video_id, f"{clip.video_id}.mp4") for clip in entries]
    by_video, by_sound = (with_media(entries, wanted, {"": files}) for files in (videos, sounds))
    found.clips = [
        sound if video.path is None and sound.path is not None else video
        for video, sound in zip(by_video, by_sound, strict=True)
    ]
    sound_files = set(sounds)
    if only_sound := [clip.id for clip in found.clips if clip.path in sound_files]:
        found.note("only sound", f"{len(only_sound)} clips have sound but no video", only_sound)
    used = {clip.path for clip in found.clips}
    found.files = sorted([*videos, *(sound for sound in sounds if sound in used)])
    reject_repeated(found)
    return found


def _indices(found: CorpusSurvey, name: str, dataset: DatasetParams) -> dict[str, int]:
    """Word -> index in the dataset's own classes."""
    mine = [class_key(label) for label in dataset.classes]
    words: dict[str, int] = {}
    for pair in zip(ENGLISH, CHINESE, strict=True):
        place = next((mine.index(word) for word in pair if word in mine), None)
        if place is not None:
            words |= dict.fromkeys(pair, place)
        elif len(mine) == len(ENGLISH):
            expected = f"expected {', '.join(ENGLISH)}, or the same in Chinese, in any order"
            found.reject("class setting", f"datasets.{name}.classes has no {pair[0]} ({pair[1]}); {expected}")
    return words


def _entries(found: CorpusSurvey, path: Path, words: Mapping[str, int]) -> list[CorpusClip]:
    """The clips of one list, without media; wrong entries become problems."""
    content = read_tree(found, path)
    if not isinstance(content, list):
        if content is not None:
            kind = type(content).__name__
            found.reject("json", f"{path.name}: holds a {kind}, expected a list of utterances")
        return []
    clips = []
    for number, entry in enumerate(content):
        where = f"{path.name}: entry {number}"
        file = entry.get("video_file") or entry.get("audio_file") if isinstance(entry, dict) else None
        if not isinstance(file, str):
            message = f"{where}: no video_file or audio_file; expected {', '.join(LABEL_KEYS)} too"
            found.reject("entry", message)
            continue
        video = PurePosixPath(file).stem
        reason = "must not lead outside the corpus" if ".." in PurePosixPath(file).parts else bad_id(video)
        if reason:
            found.reject("ids", f"{where}: file {file!r}: {reason}")
            continue
        text = next((str(entry[key]) for key in TEXTS if isinstance(entry.get(key), str)), None)
        labels = _labels(found, where, entry, words)
        clips.append(CorpusClip(video, "0", FILES[path.name], text, labels))
    return clips


def _labels(
    found: CorpusSurvey, where: str, entry: Mapping[str, Any], words: Mapping[str, int]
) -> dict[str, float | None]:
    labels: dict[str, float | None] = {}
    for key, column in LABEL_KEYS.items():
        word = class_key(str(entry.get(key) or ""))
        labels[column] = words.get(MISSPELT.get(word, word))
        if labels[column] is None and words and (word or key == "video_label"):
            expected = f"expected one of {', '.join(CHINESE)} or {', '.join(ENGLISH)}"
            found.reject("class", f"{where}: {key} is {entry.get(key)!r}, {expected}")
    return labels
