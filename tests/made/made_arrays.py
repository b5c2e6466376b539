"""Arrays in npz, npy, HDF5 and pickle files, made up: five clips by settings, and layouts with their truth.

A layout's function writes the files and returns what an import must find in them.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

IDS = ["a$_$1", "a$_$2", "b$_$1", "c$_$1", "d$_$1"]
SPLITS = ["train", "train", "train", "dev", "test"]
SCORES = [0.5, -1.0, 2.0, 0.0, -3.0]
LENGTHS = [4, 2, 3, 1, 4]
SETTINGS: dict[str, Any] = {
    "ids": "clips.npz:id",
    "splits": "clips.npz:split",
    "labels": {"label": "clips.npz:score", "text": "clips.npz:said"},
    "text": {"array": "text.npy"},
    "audio": {"array": "clips.npz:audio", "lengths": "clips.npz:length", "columns": ["f0", "energy"]},
    "visual": {"array": "faces.h5:of/clips"},
}


def audio() -> np.ndarray:
    """(5, 4, 2), zeros after the length."""
    values = np.random.default_rng(1).normal(size=(5, 4, 2))
    for row, length in zip(values, LENGTHS, strict=True):
        row[length:] = 0
    return values


def text() -> np.ndarray:
    """(5, 6), one vector a clip."""
    return np.random.default_rng(2).normal(size=(5, 6)).astype(np.float32)


def visual(i: int) -> np.ndarray:
    """(T, 3)"""
    return np.random.default_rng(3 + i).normal(size=(1 + i, 3))


def make(folder: Path) -> Path:
    """Write the files that SETTINGS names; the fourth clip has no visual."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / "clips.npz",
        id=np.array(IDS),
        split=np.array(SPLITS),
        score=np.array(SCORES)[:, None],
        said=np.array([f"text {i}" for i in range(5)]),
        audio=audio(),
        length=np.array(LENGTHS),
    )
    np.save(folder / "text.npy", text())
    with h5py.File(folder / "faces.h5", "w") as file:
        for i in (0, 1, 2, 4):
            file[f"of/clips/{IDS[i]}"] = visual(i)
    return folder


# ---------------------------------------------------------------------------------------------------- layouts
WIDTHS = {"text": 6, "audio": 4, "visual": 3}
COUNTS = {"train": 7, "valid": 4, "test": 5}
STEPS = 6


@dataclass
class Truth:
    """What was written.

    Attributes
    ----------
    rows : clip id -> columns of the clip table that the files fill
    blocks : modality -> clip id -> (T, D)
    """

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    blocks: dict[str, dict[str, np.ndarray]] = field(default_factory=lambda: {name: {} for name in WIDTHS})

    def add(self, clip: str, seed: int, **row: Any) -> None:
        """A clip with sequences of lengths of their own, all shorter than STEPS."""
        rng = np.random.default_rng(seed)
        self.rows[clip] = row
        for modality, width in WIDTHS.items():
            steps = int(rng.integers(1, STEPS))
            self.blocks[modality][clip] = rng.normal(size=(steps, width)).astype(np.float32)

    def padded(self, modality: str, clips: list[str], side: str = "back") -> np.ndarray:
        """(n, STEPS, D)"""
        values = np.zeros((len(clips), STEPS, WIDTHS[modality]), np.float32)
        for row, clip in zip(values, clips, strict=True):
            block = self.blocks[modality][clip]
            row[STEPS - len(block) if side == "front" else 0 :][: len(block)] = block
        return values


def filled(names: dict[str, list[str]], labels: bool = True) -> Truth:
    """Clips by split, `video$_$clip`, with scores."""
    truth = Truth()
    for seed, (clip, split) in enumerate((clip, split) for split, clips in names.items() for clip in clips):
        truth.add(clip, seed, split=split, **({"label": round(seed / 4 - 2, 2)} if labels else {}))
    return truth


def files_by_split(folder: Path, dev: str = "valid", side: str = "front") -> Truth:
    """As MFN's loader reads them: a file a split and modality, one dataset each; nothing names the clips."""
    names = {name: [f"{name}_{row:06d}$_$0" for row in range(count)] for name, count in COUNTS.items()}
    truth = filled(names)
    for split, clips in names.items():
        word = dev if split == "valid" else split
        blocks = {name: truth.padded(name, clips, side) for name in WIDTHS}
        contents = {f"audio_{word}": blocks["audio"], f"video_{word}": blocks["visual"]}
        contents[f"text_{word}_emb"] = blocks["text"]
        contents[f"text_{word}"] = np.arange(len(clips) * STEPS).reshape(
            len(clips), STEPS
        )  # numbers of words
        contents[f"y_{word}"] = np.array([[truth.rows[clip]["label"]] for clip in clips])
        for name, values in contents.items():
            with h5py.File(folder / f"{name}.h5", "w") as file:
                file["data"] = values
    return truth


def one_file_without_ids(folder: Path) -> Truth:
    """An npz whose clips have a split and no ids, the splits mixed; one modality is vectors."""
    order = ["train", "test", "train", "valid", "test", "train", "train"]
    rows = [f"{split}_{order[:place].count(split):06d}$_$0" for place, split in enumerate(order)]
    truth = filled({})
    for seed, (clip, split) in enumerate(zip(rows, order, strict=True)):
        truth.add(clip, seed, split=split, label=float(seed - 3))
        truth.blocks["visual"][clip] = truth.blocks["visual"][clip][:1]
    np.savez(
        folder / "everything.npz",
        language=truth.padded("text", rows),
        acoustic=truth.padded("audio", rows),
        facet=np.concatenate([truth.blocks["visual"][clip] for clip in rows]),
        sentiment=np.array([truth.rows[clip]["label"] for clip in rows]),
        fold=np.array([{"valid": "val"}.get(split, split) for split in order]),
        acoustic_lengths=np.array([len(truth.blocks["audio"][clip]) for clip in rows]),
    )
    return truth


def nested_dicts(folder: Path) -> Truth:
    """A pickle of dicts within dicts: arrays, lists of arrays, and names that no kind knows."""
    names = {split: [f"v{i // 2}{split}$_$clip{i}" for i in range(count)] for split, count in COUNTS.items()}
    truth = filled(names)
    tree: dict[str, Any] = {"about": {"made_by": "hand", "version": 2}, "folds": {}}
    for split, clips in names.items():
        tree["folds"]["dev" if split == "valid" else split] = {
            "inputs": {
                "linguistic": truth.padded("text", clips),
                "speech": [truth.blocks["audio"][clip] for clip in clips],
                "faces": {"vision": truth.padded("visual", clips)},
            },
            "meta": {"names": clips, "score": [truth.rows[clip]["label"] for clip in clips]},
        }
    (folder / "all.pkl").write_bytes(pickle.dumps(tree))
    return truth


def clips_in_dicts(folder: Path) -> Truth:
    """A pickle with a dict of each clip by its id, whose arrays have lengths of their own."""
    truth = filled({"train": [f"clip{i}$_$0" for i in range(6)]})
    for place, (clip, row) in enumerate(truth.rows.items()):
        row["split"] = ["train", "train", "train", "valid", "test", "test"][place]
        truth.blocks["audio"][clip] = np.random.default_rng(place).normal(size=(9000, 4)).astype(np.float32)
    tree = {
        clip.partition("$_$")[0]: {
            "split": row["split"],
            "sentiment": row["label"],
            **{f"{name}_features": truth.blocks[name][clip] for name in WIDTHS},
        }
        for clip, row in truth.rows.items()
    }
    (folder / "clips.pickle").write_bytes(pickle.dumps(tree))
    return truth


def clips_in_groups(folder: Path) -> Truth:
    """The same in HDF5: a group a clip, with single values in it; no splits."""
    truth = filled({"train": [f"clip{i}$_$0" for i in range(6)]})
    with h5py.File(folder / "clips.h5", "w") as file:
        for clip, row in truth.rows.items():
            group = file.create_group(f"data/{clip.partition('$_$')[0]}")
            row["text"] = f"said in {clip}"
            group["label"], group["raw_text"] = row["label"], row["text"]
            for name in WIDTHS:
                group[f"{name}_features"] = truth.blocks[name][clip]
    return truth


def object_arrays(folder: Path) -> Truth:
    """As MERTools' loader reads them: dicts {name: {emo, val}} in an npz of objects, and a .npy a clip."""
    truth = Truth()
    emotions = ["worried", "happy", "neutral"]
    names = {"train": range(4), "test": range(4, 7)}
    for split, places in names.items():
        for place in places:
            emotion, valence = emotions[place % 3], place / 2 - 1
            truth.add(f"sample_{place:08d}$_$0", place, split=split, label=valence, class_label=emotion)
    corpora = {
        f"{word}_corpus": {
            clip.partition("$_$")[0]: {"emo": row["class_label"], "val": row["label"]}
            for clip, row in truth.rows.items()
            if row["split"] == split
        }
        for word, split in {"train": "train", "test1": "test"}.items()
    }
    corpora["test2_corpus"] = {}
    np.savez_compressed(
        folder / "label.npz", **{name: np.array(one, object) for name, one in corpora.items()}
    )
    encoders = {"text": "roberta-large", "audio": "hubert-base", "visual": "resnet50face"}
    for modality, encoder in encoders.items():
        (folder / "features" / encoder).mkdir(parents=True)
        for clip, block in truth.blocks[modality].items():
            name = clip.partition("$_$")[0]
            if modality == "text":  # one vector a clip
                truth.blocks[modality][clip] = block[:1]
            np.save(folder / "features" / encoder / f"{name}.npy", block[0] if modality == "text" else block)
        np.save(folder / "features" / encoder / "sample_99999999.npy", block)  # of no labelled clip
    for row in truth.rows.values():
        row["class_label"] = sorted(emotions).index(row["class_label"])
    return truth


LAYOUTS = {
    function.__name__: function
    for function in (
        files_by_split,
        one_file_without_ids,
        nested_dicts,
        clips_in_dicts,
        clips_in_groups,
        object_arrays,
    )
}
