"""`msa-cli export`: other projects' readers find our clips with equal values."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made.made_set import LABELS, SPLITS, TEXTS, make_set

import pipeline as msa
from pipeline.api.sets import LoadedSet
from pipeline.formats.source import Source
from pipeline.imports.convert import convert
from pipeline.imports.registry import sniff
from pipeline.params.params import ImportParams
from pipeline.store.store import FeatureStore

Cli = Callable[..., tuple[int, str]]
STREAMS = ("text", "audio", "visual")
MMSA = ("train", "valid", "test")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> LoadedSet:
    return msa.load_set(make_set(tmp_path_factory.mktemp("set") / "made"))


def exported(cli: Cli, found: LoadedSet, format: str, out: Path) -> str:
    code, printed = cli("export", found.folder, "--as", format, "--out", out)
    assert code == 0, printed
    return printed


# ------------------------------------------------------------------------------------------------------ MMSA
class MmsaClips:
    """As MMSA's loader goes about its documented layout: a dataset of one split, all arrays float32."""

    def __init__(self, file: Path, mode: str, use_bert: bool, aligned: bool = False):
        with file.open("rb") as opened:
            data = pickle.load(opened)[mode]  # our own file
        self.text = data["text_bert" if use_bert else "text"].astype(np.float32)
        self.audio = data["audio"].astype(np.float32)
        self.vision = data["vision"].astype(np.float32)
        self.ids, self.raw_text = data["id"], data["raw_text"]
        self.labels = {"M": data["regression_labels"].astype(np.float32)}
        self.audio_lengths = None if aligned else data["audio_lengths"]
        self.vision_lengths = None if aligned else data["vision_lengths"]
        self.audio[self.audio == -np.inf] = 0

    def __len__(self) -> int:
        return len(self.labels["M"])

    def seq_lens(self) -> tuple[int, int, int]:
        """(L, T of audio, T of vision); a `text_bert` is (n, 3, L)."""
        text = self.text.shape[2] if self.text.shape[1] == 3 and self.text.ndim == 3 else self.text.shape[1]
        return text, self.audio.shape[1], self.vision.shape[1]


@pytest.mark.parametrize("mode", ["train", "valid", "test"])
def test_mmsa_reads_the_pickle(found: LoadedSet, tmp_path: Path, cli: Cli, mode: str) -> None:
    printed = exported(cli, found, "mmsa", tmp_path / "out")
    assert "omitted: 1 clips of unlabeled" in printed and "leave need_normalized false" in printed
    clips = found[mode]
    bert, states = (MmsaClips(tmp_path / "out/unaligned.pkl", mode, use_bert) for use_bert in (True, False))
    assert bert.ids.tolist() == list(clips) and bert.raw_text.tolist() == [TEXTS[clip] for clip in clips]
    np.testing.assert_array_equal(bert.labels["M"], np.array([LABELS[clip] for clip in clips], np.float32))
    every = [frames for split in MMSA for frames in found[split].values()]
    assert bert.seq_lens() == tuple(max(len(frames[name]) for frames in every) for name in STREAMS)
    assert bert.audio_lengths is not None and bert.vision_lengths is not None and len(bert) == len(clips)
    for row, frames in enumerate(clips.values()):
        text, audio, visual = (frames[name].values for name in STREAMS)
        np.testing.assert_array_equal(states.text[row, : len(text)], text)
        np.testing.assert_array_equal(bert.audio[row, : len(audio)], audio)
        np.testing.assert_array_equal(bert.vision[row, : len(visual)], visual)
        assert not states.text[row, len(text) :].any() and not bert.audio[row, len(audio) :].any()
        assert not bert.vision[row, len(visual) :].any()
        assert bert.audio_lengths[row] == max(1, len(audio)) and bert.vision_lengths[row] == len(visual)
        ids, mask, segments = bert.text[row]
        assert mask.sum() == len(text) and mask[: len(text)].all() and not segments.any()
        assert (ids[0], ids[len(text) - 1]) == (101, 102) and not ids[len(text) :].any()  # [CLS], [SEP]


def test_a_pickle_comes_back_by_our_importer(found: LoadedSet, tmp_path: Path, cli: Cli) -> None:
    exported(cli, found, "mmsa", tmp_path / "out")
    file = tmp_path / "out/unaligned.pkl"
    assert sniff(Source(file)) == "mmsa_pickle"
    params = ImportParams(kind="mmsa_pickle", root=str(file))
    convert("back", params, shards=2, project=tmp_path)
    table = pd.read_parquet(tmp_path / "data/clips/back.parquet").set_index("clip_id")
    texts = pd.read_parquet(tmp_path / "data/transcripts/back.parquet").set_index("clip_id")
    kept = [clip for clip in TEXTS if SPLITS[clip] != "unlabeled"]
    assert sorted(table.index) == sorted(kept)
    assert table["split"].to_dict() == {clip: SPLITS[clip] for clip in kept}
    assert table["label"].to_dict() == {clip: LABELS[clip] for clip in kept}
    assert set(table["label_audio"]) == {0.25} and table["label_text"].isna().all()
    assert texts["text"].to_dict() == {clip: TEXTS[clip] for clip in kept}
    for name in STREAMS:
        back = FeatureStore(tmp_path / f"data/features/back/{name}-imported").read()
        assert back is not None
        for clip in kept:
            sent, row = found[SPLITS[clip]][clip][name], back.rows[clip]
            assert row.status == sent.status, clip
            if row.features is not None:
                np.testing.assert_array_equal(row.features, sent.values)


def test_other_tokens_and_classes(tmp_path: Path, cli: Cli) -> None:
    other = msa.load_set(make_set(tmp_path / "other", tokens=False))
    printed = exported(cli, other, "mmsa", tmp_path / "out")
    assert (
        "without text_bert, so train with use_bert false: clip v1$_$1 has 6 BERT tokens and 7 rows" in printed
    )
    with (tmp_path / "out/unaligned.pkl").open("rb") as file:
        assert not any("text_bert" in split for split in pickle.load(file).values())
    classes = make_set(tmp_path / "classes", classes=True)
    code, printed = cli("export", classes, "--as", "mmsa", "--out", tmp_path / "none")
    assert code == 2 and "has the classes bad, good, but MMSA's pickle has scores" in printed
    assert list((tmp_path / "none").iterdir()) == []


# ---------------------------------------------------------------------------------------------- other formats
def test_hugging_face_loads_the_folder(
    found: LoadedSet, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported(cli, found, "hf", tmp_path / "out")
    program = (  # in a process of its own: a folder of these tests is called datasets, too
        "import importlib.util as u, json, sys\n"
        "if not u.find_spec('datasets') or not u.find_spec('datasets').origin: sys.exit(3)\n"
        "import datasets; out, cache = sys.argv[1:]\n"
        "loaded = datasets.load_dataset(out, cache_dir=cache)\n"
        "print(json.dumps({split: list(rows) for split, rows in loaded.items()}))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "out"), str(tmp_path / "cache")]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    if done.returncode == 3:
        pytest.skip("the package datasets is not installed (extra dev)")
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    names = {"valid": "validation"}
    assert set(loaded) == {names.get(split, split) for split, clips in found.items() if clips}
    for split, clips in found.items():
        for row in loaded[names.get(split, split)] if clips else ():
            clip = row["clip_id"]
            assert row["transcript"] == TEXTS[clip] and row["label"] == LABELS[clip]
            for name in STREAMS:
                sent = clips[clip][name]
                assert (row[name] is None) == (sent.status == "absent")
                if row[name] is not None:
                    np.testing.assert_array_equal(np.asarray(row[name], np.float32), sent.values)


def test_the_card_names_every_file(found: LoadedSet, tmp_path: Path, cli: Cli) -> None:
    from ruamel.yaml import YAML

    exported(cli, found, "hf", tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text("utf-8")
    _, head, body = card.split("---\n", 2)
    settings: dict[str, Any] = YAML(typ="safe").load(head)
    (config,) = settings["configs"]
    listed = {entry["split"]: entry["path"] for entry in config["data_files"]}
    assert listed == {name: f"{name}.parquet" for name in ("train", "validation", "test", "unlabeled")}
    assert {path.name for path in (tmp_path / "out").glob("*.parquet")} == set(listed.values())
    assert settings["language"] == ["en"] and "steps x 3, encoder audio-made: `audio_0`" in body
    stats = json.loads((tmp_path / "out/stats.json").read_text("utf-8"))
    assert stats["modalities"]["audio"]["columns"] == ["audio_0", "audio_1", "audio_2"]


def test_webdataset_has_a_sample_a_clip(found: LoadedSet, tmp_path: Path, cli: Cli) -> None:
    """Samples of a shard: files in order whose names are alike up to the first dot (WebDataset's rule)."""
    for out in ("first", "second"):
        exported(cli, found, "webdataset", tmp_path / out)
    for split, clips in found.items():
        if not clips:
            assert not list((tmp_path / "first").glob(f"{split}-*"))
            continue
        shard = tmp_path / "first" / f"{split}-000000.tar"
        assert shard.read_bytes() == (tmp_path / "second" / shard.name).read_bytes()
        samples: dict[str, dict[str, bytes]] = {}
        with tarfile.open(shard) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                assert not samples or key in (list(samples)[-1], f"{len(samples):06d}")
                opened = tar.extractfile(member)
                assert opened is not None
                samples.setdefault(key, {})[suffix] = opened.read()
        assert len(samples) == len(clips)
        for sample in samples.values():
            facts = json.loads(sample["json"])
            with np.load(io.BytesIO(sample["npz"]), allow_pickle=False) as arrays:
                sent = clips[facts["clip_id"]]
                assert set(arrays) == {name for name in STREAMS if sent[name].status == "ok"}
                for name in arrays:
                    np.testing.assert_array_equal(arrays[name], sent[name].values)
            assert facts["transcript"] == TEXTS[facts["clip_id"]]


def test_csv_files_give_the_same_numbers(found: LoadedSet, tmp_path: Path, cli: Cli) -> None:
    exported(cli, found, "csv", tmp_path / "out")
    with (tmp_path / "out/clips.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["clip_id"]: row for row in csv.DictReader(file)}
    assert {clip: row["transcript"].removeprefix("'") for clip, row in rows.items()} == TEXTS
    assert rows["v3$_$1"]["transcript"].startswith("'=")  # would be a formula
    assert {clip: row["split"] for clip, row in rows.items()} == SPLITS
    for name in STREAMS:
        steps = pd.read_csv(
            tmp_path / f"out/{name}.csv", dtype={"clip_id": str}, float_precision="round_trip"
        )
        for split, clips in found.items():
            for clip, frames in clips.items():
                mine = steps[steps["clip_id"] == clip]
                assert mine["step"].tolist() == list(range(len(frames[name])))
                values = mine[list(clips.columns(name))].to_numpy(np.float32)
                np.testing.assert_array_equal(values, frames[name].values)
                assert set(mine["split"]) <= {split}


def test_what_is_not_exported(
    found: LoadedSet, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/misr-made/1").mkdir(parents=True)
    (tmp_path / "runs/misr-made/1/config.json").write_text("{}")
    for format in ("torchscript", "onnx"):
        code, printed = cli("export", "misr-made/1", "--as", format, "--out", "out")
        assert code == 2 and f"not written as {format}" in printed and "pipeline.load_run" in printed
    code, printed = cli("export", "misr-made/1", "--as", "hf", "--out", "out")
    assert code == 2 and "is a run; give a training set" in printed
    code, printed = cli("export", "nothing", "--as", "hf", "--out", "out")
    assert code == 2 and "not a training set" in printed and not (tmp_path / "out").exists()
    code, printed = cli("export", found.folder, "--as", "hff", "--out", "out")
    assert code == 2 and "did you mean 'hf'" in printed
    (tmp_path / "full").mkdir()
    (tmp_path / "full/old.tar").touch()
    code, printed = cli("export", found.folder, "--as", "hf", "--out", "full")
    assert code == 2 and "is not an empty folder" in printed
