"""Raw corpora of a few clips, each in exactly the layout in which it was published; `made[kind](folder)`."""

from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from made.media_factory import make_clip, tone

from pipeline.corpora.ingest import reader
from pipeline.params.params import DatasetParams

HEADER = "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode"
# a real video of each of MOSI's standard folds
MOSI = (("03bSnISJMiM", "train"), ("WKA5OygbEKI", "valid"), ("tmZoasNr4rU", "test"))
CHERMA_WORDS = ("愤怒", "厌恶", "恐惧", "高兴", "平静", "悲伤", "惊奇")


def clip(path: Path, seconds: float = 0.6, number: int = 0) -> Path:
    """A tiny clip with a picture and a tone; `number` makes its bytes its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times = [frame / 10 for frame in range(round(seconds * 10))]
    coded = path.suffix in (".mp4", ".MP4", ".mov")
    return make_clip(
        path,
        times=times,
        video_codec="mpeg4" if coded else "ffv1",
        audio_codec="aac" if coded else "flac",
        sound=tone(200 + 10 * number, seconds, 16_000),
    )


def voice(path: Path) -> Path:
    """Sound alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = "pcm_s16le" if path.suffix == ".wav" else "aac"
    return make_clip(path, sound=tone(220, 0.6, 16_000), audio_codec=codec)


def label_csv(
    folder: Path, rows: Sequence[Sequence[object]], name: str = "label.csv", header: str = HEADER
) -> None:
    """MMSA's label file."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / name, "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([header.split(","), *rows])


def mosi(folder: Path) -> None:
    """Three videos, ids 1 and 2, no unimodal labels."""
    rows = []
    for number, (video, mode) in enumerate(MOSI):
        for part in (1, 2):
            rows.append([video, part, f"Well, {mode} {part}", number - part / 5, "", "", "", "Neutral", mode])
            clip(folder / "Raw" / video / f"{part}.mp4", number=number * 2 + part)
    label_csv(folder, rows)


def mosei(folder: Path) -> None:
    """A clip with broken sound, and ids that look like numbers or begin with a minus."""
    ids = (
        ("3aIQUQgawaI", "12", "train"),
        ("-3g5yACwYnA", "10", "train"),
        ("100178", "3", "valid"),
        ("1e5", "0", "test"),
    )
    rows = [
        [video, part, "it was good", "0.6666666865", "", "", "", "Positive", mode]
        for video, part, mode in ids
    ]
    label_csv(folder, rows)
    for number, (video, part, _) in enumerate(ids):
        clip(folder / "Raw" / video / f"{part}.mp4", number=number)


def sims(folder: Path, name: str = "label.csv") -> None:
    """Ids 1, 2 with files 0001.mp4, 0002.mp4; a label for each modality."""
    rows = []
    for number, mode in enumerate(("train", "valid", "test")):
        for part in (1, 2):
            rows.append([f"video_000{number}", part, "我很喜欢，真的", 0.4, 0.2, -0.6, 1.0, "Positive", mode])
            clip(folder / "Raw" / f"video_000{number}" / f"000{part}.mp4", number=number * 2 + part)
    label_csv(folder, rows, name)


def simsv2(folder: Path) -> None:
    """meta.csv, and an unlabelled part whose ids are partly those of labelled clips."""
    sims(folder, "meta.csv")
    label_csv(
        folder / "u",
        [["video_0000", "0001", "没有标签"], ["x", "7", ""]],
        "meta.csv",
        "video_id,clip_id,text",
    )
    clip(folder / "u" / "Raw" / "video_0000" / "0001.mp4", number=7)
    clip(folder / "u" / "Raw" / "x" / "0007.mp4", number=8)


def cherma(folder: Path) -> None:
    """Three lists; videos in folders of splits, of one utterance only the sound."""
    for number, split in enumerate(("train", "valid", "test")):
        entries = []
        for part in range(2):
            name = f"{split}_{part}"
            words = [CHERMA_WORDS[(number * 2 + part + shift) % 7] for shift in range(4)]
            keys = ("video_label", "txt_label", "audio_label", "visual_label")
            entry = {
                "audio_file": f"{name}.wav",
                "video_file": f"{name}.mp4",
                **dict(zip(keys, words, strict=True)),
            }
            entries.append(entry)
            if (split, part) == ("test", 1):
                voice(folder / "audio" / split / f"{name}.wav")
            else:
                clip(folder / "visual" / split / f"{name}.mp4", number=number * 2 + part)
        (folder / f"{split}.json").write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")


def urfunny(folder: Path) -> None:
    """Three ids with two, one and no sentence before the punchline."""
    language: dict[Any, dict[str, Any]] = {}
    for number, before in ((7, 2), (8, 1), (9, 0)):
        spans = [
            [[0.1 + 0.2 * at, 0.15 + 0.2 * at], [0.2 + 0.2 * at, 0.25 + 0.2 * at]] for at in range(before + 1)
        ]
        language[number] = {
            "punchline_sentence": f"laugh at {number}",
            "context_sentences": [f"before {at}" for at in range(before)],
            "punchline_intervals": np.array(spans[-1]),
            "context_intervals": spans[:-1],
            "punchline_embedding_indexes": [1, 2],
            "context_embedding_indexes": [[1, 2]] * before,
        }
        clip(folder / "urfunny2_videos" / f"{number}.mp4", 1.0, number)
    folds = {"train": [7], "dev": [8], "test": [9]}
    for name, tree in (
        ("data_folds", folds),
        ("language_sdk", language),
        ("humor_label_sdk", {7: 1, 8: 0, 9: 1}),
    ):
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(tree))


def mustard(folder: Path) -> None:
    """Twenty utterances, ten of them of FRIENDS; folds in the protocol of Python 2."""
    entries = {}
    for number in range(20):
        key = f"{1 + number % 2}_{number}"
        entries[key] = {
            "utterance": f"- Now?! - No, said {number}",
            "speaker": "SHELDON" if number % 2 else "CHANDLER",
            "context": [f"first {number}", f"then {number}"],
            "context_speakers": ["PENNY", "PERSON1"],
            "show": "BBT" if number % 2 else "FRIENDS",
            "sarcasm": number % 4 < 2,
        }
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "sarcasm_data.json").write_text(json.dumps(entries), encoding="utf-8")
    places = np.arange(20)
    folds = [(places[places % 5 != fold], places[places % 5 == fold]) for fold in range(5)]
    (folder / "data" / "split_indices.p").write_bytes(pickle.dumps(folds, protocol=2))
    for number, key in enumerate(list(entries)[:3]):
        clip(folder / "utterances_final" / f"{key}.mp4", number=number)
        clip(folder / "context_final" / f"{key}_c.mp4", number=10 + number)


def voxceleb(folder: Path) -> None:
    """Version 2's folders, with pictures and sound apart, and a clip of version 1."""
    first = folder / "dev" / "mp4" / "id00012" / "21Uxsk56VDQ" / "00001.mp4"
    clip(first)
    first.with_suffix(".txt").write_text("what a day", encoding="utf-8")
    voice(folder / "dev" / "aac" / "id00012" / "21Uxsk56VDQ" / "00001.m4a")
    voice(folder / "wav" / "id10001" / "1zcIwhmdeo4" / "00001.wav")
    second = clip(folder / "dev" / "mp4" / "id00012" / "21Uxsk56VDQ" / "00002.mp4", number=1)
    second.with_suffix(".txt").write_text("Identity  : \tid00012\nReference : \t21Uxsk56VDQ\nFRAME X Y W H\n")


def mosi_ood(folder: Path) -> None:
    """MOSI with lists in the three ways of writing ids."""
    mosi(folder)
    lists = {
        "train": ["03bSnISJMiM$_$1", "WKA5OygbEKI_1"],
        "dev": ["tmZoasNr4rU[0]"],
        "test_IID": ["03bSnISJMiM[1]"],
        "test_OOD": ["tmZoasNr4rU$_$2"],
    }
    (folder / "splits").mkdir()
    for name, ids in lists.items():
        (folder / "splits" / f"{name}.txt").write_text("\n".join(ids) + "\n", encoding="utf-8")


def ravdess(folder: Path) -> None:
    """Of five actors, one a published fold, a clip each; one sings, one has a file a modality."""
    for number, name in enumerate(("01-01-03-01-01-01-02", "01-01-01-01-02-01-03", "01-02-06-02-01-02-03")):
        clip(folder / f"Actor_{name[-2:]}" / f"{name}.mp4", number=number)
    for number, name in enumerate(
        ("01-01-08-02-01-02-10", "01-01-05-01-01-01-08", "01-01-05-01-01-01-01"), 3
    ):
        clip(folder / f"Actor_{name[-2:]}" / f"{name}.mp4", number=number)
    clip(folder / "Actor_10" / "02-01-08-02-01-02-10.mp4", number=9)
    voice(folder / "Actor_10" / "03-01-08-02-01-02-10.wav")


def folder_of_videos(folder: Path) -> None:
    """Nested folders, a table, a part of a file and a video without a label."""
    for number, name in enumerate(("talk/3.mp4", "talk/4.mp4", "other/deep/a.mov", "top.MP4", "spare.mp4")):
        clip(folder / name, number=number)
    with open(folder / "labels.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [
                ["file", "label", "text", "speaker", "start_s", "end_s", "label_T"],
                ["talk/3.mp4", "1.5", "hello", "ann", "", "", "2"],
                ["4", "-0.5", "", "ann", "0.1", "0.5", ""],
                ["a", "", "deep", "bob", "", "", ""],
                ["top.MP4", "0", "top", "bob", "", "", ""],
            ]
        )


made: dict[str, Callable[[Path], None]] = {
    "mmsa": mosi,
    "mosi": mosi,
    "mosei": mosei,
    "sims": sims,
    "simsv2": simsv2,
    "cherma": cherma,
    "urfunny": urfunny,
    "mustard": mustard,
    "voxceleb": voxceleb,
    "mosi_ood": mosi_ood,
    "ravdess": ravdess,
    "folder": folder_of_videos,
}


def dataset(kind: str, root: Path, **settings: Any) -> DatasetParams:
    """A made corpus' dataset as who knows the corpus would write it."""
    usual = reader(kind).LABELLING
    return DatasetParams.model_validate(
        {
            "kind": kind,
            "root": str(root),
            "task": usual.task,
            "label_range": usual.label_range,
            "classes": list(usual.classes),
            "language": usual.language,
            "settings": settings,
        }
    )
