"""Waveforms beside a training set: the right samples by the right clips, one file a split, one pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from made.stored import assemble
from test_assemble import toy  # noqa: F401

from models.core.batch import Reading
from pipeline.cli.info import describe
from pipeline.core.errors import FormatError, MsaError, ParamsError
from pipeline.core.vocabulary import SPLITS
from pipeline.core.waveform import SAMPLE_RATE
from pipeline.datasets.training_set import TrainingSet
from pipeline.store.shard import FeatureRow, write_rows
from pipeline.store.store import FeatureStore, shard_name

META = {
    "modality": "audio",
    "encoder": "waveform16k",
    "dim": 1,
    "dtype": "int16",
    "column_names": ["sample"],
    "fingerprint": "fingerprint of the sound",
    "frame_rate": 16_000.0,
    "params": {"kind": "waveform16k"},
}
SILENT = ("v1$_$2", "v4$_$1")  # one has no sound, one was not extracted


def samples_of(clip_id: str) -> np.ndarray:
    random = np.random.default_rng(sum(map(ord, clip_id)))
    return random.integers(-32_768, 32_768, (int(random.integers(1, 5_000)), 1)).astype(np.int16)


def write_sound(
    folder: Path, clip_ids: list[str], shards: int = 3, meta: dict[str, Any] = META
) -> FeatureStore:
    """A store of the clips' sound, the silent ones absent or missing, and of a clip that no table knows."""
    rows = [FeatureRow(clip_id, "s", "ok", "", samples_of(clip_id)) for clip_id in ["gone$_$1", *clip_ids]]
    rows = [row for row in rows if row.clip_id not in SILENT] + [
        FeatureRow(SILENT[0], "s", "absent", "no track")
    ]
    for i in range(shards):
        write_rows(folder / shard_name(i), rows[i::shards], meta)
    return FeatureStore(folder)


@pytest.fixture
def silent(toy: dict[str, Any]) -> dict[str, Any]:  # noqa: F811
    """The toy set, without a waveform."""
    return toy


@pytest.fixture
def loud(silent: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """The toy set with one."""
    params = silent["params"].model_copy(update={"waveform": "toy/sound"})
    sound = write_sound(tmp_path / "sound", silent["clips"]["clip_id"].to_pylist())
    return silent | {"params": params, "waveform": sound}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ------------------------------------------------------------------------------------------------ the content
def test_each_split_has_its_sound_in_its_order(loud: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "set"
    assemble(**loud, out=out)
    for split in SPLITS:
        sound = pq.read_table(out / f"{split}.waveform.parquet")
        assert sound.schema.field("waveform").type == pa.list_(pa.int16())
        clip_ids = pq.read_table(out / f"{split}.parquet")["clip_id"].to_pylist()
        assert sound["clip_id"].to_pylist() == clip_ids
        for clip_id, samples in zip(clip_ids, sound["waveform"].to_pylist(), strict=True):
            assert samples == (None if clip_id in SILENT else samples_of(clip_id)[:, 0].tolist())
    assert pq.read_table(out / "train.waveform.parquet")["waveform"].null_count == 1
    group = pq.ParquetFile(out / "train.waveform.parquet").metadata.row_group(0)
    assert group.column(1).path_in_schema == "waveform.list.element"
    assert "BYTE_STREAM_SPLIT" in group.column(1).encodings


def test_stats_say_what_the_sound_is(loud: dict[str, Any], tmp_path: Path) -> None:
    report = assemble(**loud, out=tmp_path / "set")
    stats = json.loads((tmp_path / "set/stats.json").read_text())
    entry = stats["waveform"]
    assert (entry["encoder"], entry["fingerprint"]) == ("waveform16k", META["fingerprint"])
    assert entry["sample_rate"] == 16_000 == SAMPLE_RATE
    assert "waveform" not in stats["modalities"]
    assert stats["counts"]["train"] == {"clips": 3, "text": 3, "audio": 3, "visual": 2, "waveform": 2}
    assert stats["counts"]["test"]["waveform"] == 0
    assert stats["counts"]["without"]["waveform"] == {"absent": 1, "not extracted": 1}
    assert stats["counts"]["ignored"]["waveform"] == 1
    assert "2 with waveform" in str(report)
    shown = describe(tmp_path / "set/train.waveform.parquet")
    assert shown["provenance"]["msa.waveform"] == entry
    assert shown["columns"]["waveform"]["null"] == 1


def test_without_a_waveform_nothing_of_it_is_there(
    loud: dict[str, Any], silent: dict[str, Any], tmp_path: Path
) -> None:
    """And with one, the files of the splits are the same bytes."""
    plain, with_sound = tmp_path / "plain", tmp_path / "with"
    assemble(**silent, out=plain)
    assemble(**loud, out=with_sound)
    assert sorted(contents(plain)) == sorted([*(f"{split}.parquet" for split in SPLITS), "stats.json"])
    assert "waveform" not in (plain / "stats.json").read_text()
    for split in SPLITS:
        name = f"{split}.parquet"
        assert contents(plain)[name] == contents(with_sound)[name]


def test_feature_set_covers_the_sound(loud: dict[str, Any], silent: dict[str, Any], tmp_path: Path) -> None:
    found = {assemble(**inputs, out=tmp_path / "set").feature_set for inputs in (silent, loud)}
    clip_ids = loud["clips"]["clip_id"].to_pylist()
    loud["waveform"] = write_sound(tmp_path / "other", clip_ids, meta=META | {"fingerprint": "another"})
    found.add(assemble(**loud, out=tmp_path / "set").feature_set)
    assert len(found) == 3


def test_bytes_depend_on_no_shard_and_no_order(
    loud: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assemble(**loud, out=tmp_path / "one")
    clip_ids = loud["clips"]["clip_id"].to_pylist()
    loud["clips"] = loud["clips"].take(list(range(6, -1, -1)))
    loud["waveform"] = write_sound(tmp_path / "again", clip_ids[::-1], shards=1)
    assemble(**loud, out=tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    monkeypatch.setattr("pipeline.datasets.assembly.files.ROW_GROUP_SAMPLES", 100)
    assemble(**loud, out=tmp_path / "three")
    assert pq.ParquetFile(tmp_path / "three/train.waveform.parquet").num_row_groups == 2
    for split in SPLITS:
        name = f"{split}.waveform.parquet"
        assert pq.read_table(tmp_path / "three" / name).equals(pq.read_table(tmp_path / "one" / name))


def test_training_reads_it_and_opens_no_other_split(loud: dict[str, Any], tmp_path: Path) -> None:
    """What batches give is what was stored, from the start and in [-1, 1]."""
    assemble(**loud, out=tmp_path / "set")
    for name in ("test.parquet", "test.waveform.parquet"):
        (tmp_path / "set" / name).write_bytes(b"not to be opened")
    training = TrainingSet.load(tmp_path / "set", Reading(waveform=1_000), only=("train", "valid"))
    for split in training.splits.values():
        batch = split.batch(torch.arange(len(split)))
        assert batch.waveform is not None
        for i, clip_id in enumerate(batch.clip_ids):
            expected = np.zeros(0) if clip_id in SILENT else samples_of(clip_id)[:1_000, 0] / 32_768
            assert batch.waveform.present[i].item() == (clip_id not in SILENT)
            np.testing.assert_array_equal(batch.waveform.values[i][batch.waveform.mask[i]].numpy(), expected)


# -------------------------------------------------------------------------------------------------- refusals
def test_a_clip_with_nothing_but_sound_is_left_out(loud: dict[str, Any], tmp_path: Path) -> None:
    for features in loud["features"].values():
        features.rows.pop("v3$_$1", None)
    report = assemble(**loud, out=tmp_path / "set")
    assert report.left_out["v3$_$1"].startswith("no modality")


def test_features_in_the_place_of_sound_and_the_other_way_round(loud: dict[str, Any], tmp_path: Path) -> None:
    clip_ids = loud["clips"]["clip_id"].to_pylist()
    for i, change in enumerate([{"frame_rate": 22_050.0}, {"dtype": "float32"}]):
        sound = write_sound(tmp_path / f"{i}", clip_ids, meta=META | change)
        with pytest.raises(ParamsError, match=r"assemble\.toy\.waveform is 'toy/sound'.*waveform16k"):
            assemble(**(loud | {"waveform": sound}), out=tmp_path / "set")
    loud["features"]["audio"].meta |= {"dtype": "int16", "frame_rate": 16_000.0}
    with pytest.raises(ParamsError, match=r"toy\.audio is .* name it under assemble\.toy\.waveform"):
        assemble(**loud, out=tmp_path / "set")


def test_sound_that_is_not_there(loud: dict[str, Any], tmp_path: Path) -> None:
    missing = FeatureStore(tmp_path / "nothing")
    with pytest.raises(FormatError, match=r"toy\.waveform is 'toy/sound', but there are no features"):
        assemble(**(loud | {"waveform": missing}), out=tmp_path / "set")
    elsewhere = write_sound(tmp_path / "elsewhere", [])
    with pytest.raises(MsaError, match=r"toy\.waveform: none of 3 train clips has sound"):
        assemble(**(loud | {"waveform": elsewhere}), out=tmp_path / "set")
    assert not (tmp_path / "set").exists()
