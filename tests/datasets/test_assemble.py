"""The joined training set against NumPy and PyTorch references, and what may and may not change it."""

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

from pipeline.core.errors import FormatError, MsaError, ParamsError
from pipeline.core.vocabulary import ASSEMBLED_FORMAT, SPLITS
from pipeline.corpora.clips import METADATA_KEY, ClipFacts, clip_table
from pipeline.datasets import training_set
from pipeline.datasets.assembly.sequences import prepare
from pipeline.params.assemble import AssembleParams
from pipeline.store.shard import FeatureRow, Features

RNG = np.random.default_rng(7)
FACE = ["confidence", "success", "AU01", "AU12", "x_0", "X_0", "pose_Rx"]
SOUND = ["f0", "mfcc_0", "mfcc_1"]


def store(modality: str, columns: list[str], blocks: dict[str, np.ndarray | str]) -> Features:
    """Features of clips by id; a string is the status of a clip without."""
    meta = {
        "modality": modality,
        "encoder": f"{modality}-made-up",
        "dim": len(columns),
        "dtype": "float16" if modality == "text" else "float32",
        "column_names": columns,
        "fingerprint": f"fingerprint of {modality}",
        "frame_rate": None,
        "params": {"kind": "made-up"},
    }
    rows = {
        clip_id: FeatureRow(clip_id, "0", "ok", "", block)
        if isinstance(block, np.ndarray)
        else FeatureRow(clip_id, "0", block, f"why {block}")
        for clip_id, block in blocks.items()
    }
    return Features(meta, rows)


def clips_of(rows: list[tuple[str, str, float | None]]) -> pa.Table:
    """(clip id, split, label) rows as a clip table with its facts."""
    table = clip_table(
        {
            "clip_id": clip_id,
            "video_id": clip_id.partition("$_$")[0],
            "split": split,
            "label": label,
            "label_text": 1.0 if split == "valid" else None,
            "text": "of the label file",
            "language": "en",
            "status": "ok",
        }
        for clip_id, split, label in rows
    )
    return table.replace_schema_metadata({METADATA_KEY: ClipFacts("toy", "en", (-3.0, 3.0)).to_json()})


def transcripts_of(texts: dict[str, str | None]) -> pa.Table:
    return pa.table({"clip_id": list(texts), "text": pa.array(list(texts.values()), pa.string())})


def noise(n: int, dim: int) -> np.ndarray:
    return RNG.normal(5.0, 3.0, (n, dim)).astype(np.float32)


def face(n: int, success: list[int] | None = None) -> np.ndarray:
    """Face features whose frames without success hold garbage."""
    block = noise(n, len(FACE))
    good = np.ones(n) if success is None else np.array(success, float)
    block[:, 0] = block[:, 1] = good
    block[good == 0, 2:] = 1e4
    return block


@pytest.fixture
def toy() -> dict[str, Any]:
    """Seven clips: one has no label, one lacks text and audio, one visual; one loses the face on the way."""
    clips = clips_of(
        [
            ("v1$_$1", "train", 1.0),
            ("v1$_$2", "train", -2.0),
            ("v2$_$1", "train", 0.0),
            ("v3$_$1", "valid", 0.5),
            ("v3$_$2", "valid", None),
            ("v4$_$1", "test", 3.0),
            ("v5$_$1", "unlabeled", None),
        ]
    )
    ids = clips["clip_id"].to_pylist()
    text: dict[str, Any] = {clip_id: noise(3 + i, 4).astype(np.float16) for i, clip_id in enumerate(ids)}
    audio: dict[str, Any] = {clip_id: noise(20 + i, 3) for i, clip_id in enumerate(ids)}
    visual: dict[str, Any] = {clip_id: face(9 + i) for i, clip_id in enumerate(ids)}
    text["v4$_$1"], audio["v4$_$1"] = "absent", "failed"
    del visual["v1$_$2"]
    visual["v2$_$1"] = face(16, [1] * 6 + [0] * 10)
    text["gone$_$1"] = noise(3, 4)
    return {
        "clips": clips,
        "transcripts": transcripts_of(
            {clip_id: f"words of {clip_id}" for clip_id in ids if clip_id != "v4$_$1"}
        ),
        "features": {
            "text": store("text", [f"h_{i}" for i in range(4)], text),
            "audio": store("audio", SOUND, audio),
            "visual": store("visual", FACE, visual),
        },
        "params": AssembleParams.model_validate(
            {
                "dataset": "toy",
                "text": "toy/text",
                "audio": "toy/audio",
                "visual": "toy/visual",
                "max_steps": {"text": 5, "audio": 6, "visual": 8},
            }
        ),
        "dataset": "toy",
    }


def read(folder: Path, split: str, modality: str) -> dict[str, np.ndarray | None]:
    """Sequences by clip id, through Python lists: slow, and nothing like batches.py."""
    table = pq.read_table(folder / f"{split}.parquet")
    return {
        clip_id: None if rows is None else np.array(rows, np.float32)
        for clip_id, rows in zip(table["clip_id"].to_pylist(), table[modality].to_pylist(), strict=True)
    }


# -------------------------------------------------------------------------------------------- joined content
def test_sequences_statistics_and_scaling(toy: dict[str, Any], tmp_path: Path) -> None:
    """Every number of a modality, recomputed with loops."""
    assemble(**toy, out=tmp_path / "set")
    stats = json.loads((tmp_path / "set/stats.json").read_text())
    rows = toy["features"]["audio"].rows
    short = {
        clip_id: torch.nn.functional.adaptive_avg_pool1d(torch.from_numpy(row.features.T.copy()), 6).numpy().T
        for clip_id, row in rows.items()
        if row.status == "ok"
    }
    train = np.concatenate([short[c] for c in ("v1$_$1", "v1$_$2", "v2$_$1")]).astype(np.float64)
    np.testing.assert_allclose(stats["modalities"]["audio"]["mean"], train.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(stats["modalities"]["audio"]["sd"], train.std(axis=0), rtol=1e-5)
    expected = np.clip((short["v3$_$1"] - train.mean(axis=0)) / train.std(axis=0), -10, 10)
    np.testing.assert_allclose(
        read(tmp_path / "set", "valid", "audio")["v3$_$1"], expected, rtol=1e-4, atol=1e-5
    )
    # text is not in `normalize`: the first steps as they were
    text = read(tmp_path / "set", "unlabeled", "text")["v5$_$1"]
    np.testing.assert_array_equal(
        text, toy["features"]["text"].rows["v5$_$1"].features[:5].astype(np.float32)
    )


def test_frames_without_a_face(toy: dict[str, Any], tmp_path: Path) -> None:
    """They enter no average and no statistic, and are zero with success 0."""
    assemble(**toy, out=tmp_path / "set")
    half = read(tmp_path / "set", "train", "visual")["v2$_$1"]
    assert half is not None
    success = FACE.index("success")
    np.testing.assert_array_equal(half[:, success], [1, 1, 1, 0, 0, 0, 0, 0])  # 16 frames, 8 bins of 2
    assert (half[3:] == 0).all()
    stats = json.loads((tmp_path / "set/stats.json").read_text())["modalities"]["visual"]
    assert stats["normalized"] == [name for name in FACE if name not in ("success", "confidence")]
    assert max(stats["mean"]) < 20  # the garbage was 1e4
    assert stats["mean"][success] == 0
    assert stats["sd"][success] == 1
    real = [s for s in read(tmp_path / "set", "train", "visual").values() if s is not None]
    steps = np.concatenate([s[s[:, success] == 1] for s in real])[:, 2:]
    np.testing.assert_allclose(steps.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(steps.std(axis=0), 1, rtol=1e-5)


def test_success_counts_also_where_it_is_not_chosen(toy: dict[str, Any], tmp_path: Path) -> None:
    toy["params"] = toy["params"].model_copy(update={"columns": {"visual": ["AU*"]}})
    assemble(**toy, out=tmp_path / "set")
    half = read(tmp_path / "set", "train", "visual")["v2$_$1"]
    assert half is not None
    assert half.shape == (8, 2)
    assert (half[:3] != 0).all()
    assert (half[3:] == 0).all()


def test_constant_column_is_zero_and_outliers_are_clipped(toy: dict[str, Any], tmp_path: Path) -> None:
    for row in toy["features"]["audio"].rows.values():
        if row.features is not None:
            row.features[:, 0] = 1234.1
    toy["features"]["audio"].rows["v3$_$1"].features[:, :2] = 1e6
    assemble(**toy, out=tmp_path / "set")
    assert json.loads((tmp_path / "set/stats.json").read_text())["modalities"]["audio"]["sd"][0] == 0
    valid = read(tmp_path / "set", "valid", "audio")["v3$_$1"]
    assert valid is not None
    assert (valid[:, 0] == 0).all()
    assert (valid[:, 1] == 10).all()


def test_statistics_see_the_train_split_only(toy: dict[str, Any], tmp_path: Path) -> None:
    assemble(**toy, out=tmp_path / "one")
    for modality, clip_id in (("visual", "v4$_$1"), ("audio", "v3$_$1"), ("audio", "v5$_$1")):
        toy["features"][modality].rows[clip_id].features[:, 2:] += 100
    assemble(**toy, out=tmp_path / "two")
    assert (tmp_path / "one/stats.json").read_bytes() == (tmp_path / "two/stats.json").read_bytes()
    assert (tmp_path / "one/train.parquet").read_bytes() == (tmp_path / "two/train.parquet").read_bytes()
    assert (tmp_path / "one/valid.parquet").read_bytes() != (tmp_path / "two/valid.parquet").read_bytes()


def test_prepare_gives_one_clip_the_same_numbers(toy: dict[str, Any], tmp_path: Path) -> None:
    """What predict does for a new clip is what assemble did."""
    toy["params"] = toy["params"].model_copy(update={"columns": {"visual": ["success", "AU*", "X_*"]}})
    assemble(**toy, out=tmp_path / "set")
    stats = json.loads((tmp_path / "set/stats.json").read_text())
    for modality, split, clip_id in (
        ("text", "train", "v1$_$1"),
        ("audio", "valid", "v3$_$1"),
        ("visual", "train", "v2$_$1"),
    ):
        features = toy["features"][modality]
        alone = prepare(
            features.rows[clip_id].features, features.meta["column_names"], stats["modalities"][modality]
        )
        np.testing.assert_array_equal(alone, read(tmp_path / "set", split, modality)[clip_id])


# --------------------------------------------------------------------------------------- rows, counts, files
def test_every_clip_is_in_its_split_or_has_a_reason(toy: dict[str, Any], tmp_path: Path) -> None:
    toy["features"]["visual"].rows["v4$_$1"] = FeatureRow("v4$_$1", "0", "absent", "no track")
    report = assemble(**toy, out=tmp_path / "set")
    assert report.left_out == {
        "v3$_$2": "no label",
        "v4$_$1": "no modality: text absent: why absent; audio failed: why failed; visual absent: no track",
    }
    assert report.counts["train"] == {"clips": 3, "text": 3, "audio": 3, "visual": 2}
    assert report.counts["test"] == {"clips": 0, "text": 0, "audio": 0, "visual": 0}
    assert report.counts["unlabeled"]["clips"] == 1
    assert report.counts["left_out"] == {"no label": 1, "no modality": 1}
    assert report.counts["without"]["visual"] == {"not extracted": 1}
    assert report.counts["ignored"] == {"text": 1, "audio": 0, "visual": 0}
    stats = json.loads((tmp_path / "set/stats.json").read_text())
    assert stats["format"] == ASSEMBLED_FORMAT == training_set.ASSEMBLED_FORMAT
    assert (stats["counts"], stats["left_out"]) == (report.counts, report.left_out)
    assert (stats["task"], stats["class_names"], stats["label_range"]) == ("regression", [], [-3, 3])
    assert "v3$_$2: no label" in str(report)


def test_a_classification_misses_a_label_where_it_has_no_class(toy: dict[str, Any], tmp_path: Path) -> None:
    """Scores, which other corpora have, are nothing to it."""
    facts = ClipFacts("toy", "en", (-3.0, 3.0), "classification", ("sad", "glad"))
    classes = pa.array([1, 0, 0, None, 1, 0, None], pa.int32())
    where = toy["clips"].column_names.index("class_label")
    clips = toy["clips"].set_column(where, "class_label", classes)
    toy["clips"] = clips.replace_schema_metadata({METADATA_KEY: facts.to_json()})
    report = assemble(**toy, out=tmp_path / "set")
    assert report.left_out == {"v3$_$1": "no label"}  # it has a score; v3$_$2 has a class and none
    assert pq.read_table(tmp_path / "set/valid.parquet")["class_label"].to_pylist() == [1]
    stats = json.loads((tmp_path / "set/stats.json").read_text())
    assert (stats["task"], stats["class_names"]) == ("classification", ["sad", "glad"])


def test_columns_of_the_files(toy: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "deep" / "set"
    assemble(**toy, out=out)
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*(f"{s}.parquet" for s in SPLITS), "stats.json"]
    )
    assert [path.name for path in out.parent.iterdir()] == ["set"]
    table = pq.read_table(out / "test.parquet")
    assert table["clip_id"].to_pylist() == ["v4$_$1"]
    assert table["transcript"].to_pylist() == [None]
    assert table["text_present"].to_pylist() == [False]
    assert table["text"].to_pylist() == [None]
    assert table["visual_present"].to_pylist() == [True]
    assert table["label"].to_pylist() == [3.0]
    for split in SPLITS:
        schema = pq.read_schema(out / f"{split}.parquet")
        assert schema.field("audio").type == pa.list_(pa.list_(pa.float32(), 3))
    group = pq.ParquetFile(out / "train.parquet").metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert "BYTE_STREAM_SPLIT" in columns["audio.list.element.list.element"].encodings


def test_equal_input_gives_equal_bytes(toy: dict[str, Any], tmp_path: Path) -> None:
    """Also when the order of the inputs differs, and over what was there before."""
    (tmp_path / "two").mkdir()
    (tmp_path / "two/old.txt").write_text("replaced")
    one = assemble(**toy, out=tmp_path / "one")
    toy["clips"] = toy["clips"].take(list(range(6, -1, -1)))
    for features in toy["features"].values():
        features.rows = dict(reversed(features.rows.items()))
    two = assemble(**toy, out=tmp_path / "two")
    assert one == two
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "two").iterdir())
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_shards_and_row_groups_do_not_matter(
    toy: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assemble(**toy, out=tmp_path / "one", shards=1)
    monkeypatch.setattr("pipeline.store.shard.ROW_GROUP_BYTES", 100)
    monkeypatch.setattr("pipeline.store.shard.STREAMED_ROWS", 1)
    assemble(**toy, out=tmp_path / "many", shards=7)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "many" / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    "change",
    [
        {"normalize": ["audio"]},
        {"columns": {"visual": ["AU*"]}},
        {"max_steps": {"text": 4, "audio": 6, "visual": 8}},
        {"shorten": {"audio": "cut"}},
        {"text": "none"},
    ],
)
def test_feature_set_names_what_the_features_are(
    toy: dict[str, Any], tmp_path: Path, change: dict[str, Any]
) -> None:
    before = assemble(**toy, out=tmp_path / "set").feature_set
    toy["params"] = AssembleParams.model_validate(toy["params"].model_dump() | change)
    assert assemble(**toy, out=tmp_path / "set").feature_set != before


def test_a_modality_that_is_none_has_no_column(toy: dict[str, Any], tmp_path: Path) -> None:
    toy["params"] = toy["params"].model_copy(update={"visual": "none"})
    assemble(**toy, out=tmp_path / "set")
    names = pq.read_schema(tmp_path / "set/train.parquet").names
    assert "audio" in names
    assert "visual" not in names
    assert "visual_present" not in names
    assert list(json.loads((tmp_path / "set/stats.json").read_text())["modalities"]) == ["text", "audio"]


# -------------------------------------------------------------------------------------------------- refusals
def test_a_pattern_without_match_lists_near_names(toy: dict[str, Any], tmp_path: Path) -> None:
    toy["params"] = toy["params"].model_copy(update={"columns": {"visual": ["AU*", "pose_rx"]}})
    with pytest.raises(ParamsError, match=r"assemble\.toy\.columns\.visual: pattern 'pose_rx'.*pose_Rx"):
        assemble(**toy, out=tmp_path / "set")


def test_no_modality_is_an_error(toy: dict[str, Any], tmp_path: Path) -> None:
    toy["params"] = AssembleParams(dataset="toy")
    with pytest.raises(ParamsError, match="all `none`"):
        assemble(**toy, out=tmp_path / "set")


def test_chosen_features_must_be_there(toy: dict[str, Any], tmp_path: Path) -> None:
    del toy["features"]["audio"]
    with pytest.raises(FormatError, match=r"assemble\.toy\.audio is 'toy/audio', but there are no features"):
        assemble(**toy, out=tmp_path / "set")


def test_features_of_another_dataset(toy: dict[str, Any], tmp_path: Path) -> None:
    toy["features"]["audio"] = store("audio", SOUND, {"other$_$1": noise(3, 3)})
    with pytest.raises(FormatError, match=r"audio.*none of its 1 clips.*'other\$_\$1'.*another dataset"):
        assemble(**toy, out=tmp_path / "set")


def test_no_train_clip_names_the_counts(toy: dict[str, Any], tmp_path: Path) -> None:
    toy["clips"] = clips_of([("v1$_$1", "test", 1.0), ("v1$_$2", "train", None), ("v2$_$1", "valid", 1.0)])
    with pytest.raises(MsaError, match=r"valid 1, test 1; left out: no label 1"):
        assemble(**toy, out=tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_a_modality_that_no_train_clip_has(toy: dict[str, Any], tmp_path: Path) -> None:
    for clip_id in ("v1$_$1", "v2$_$1"):
        toy["features"]["visual"].rows[clip_id].features = face(4, [0, 0, 0, 0])
    with pytest.raises(MsaError, match=r"assemble\.toy\.visual: none of 3 train clips"):
        assemble(**toy, out=tmp_path / "set")


def test_features_that_are_not_finite_name_the_clip(toy: dict[str, Any], tmp_path: Path) -> None:
    toy["features"]["audio"].rows["v3$_$1"].features[4, 1] = np.inf
    with pytest.raises(FormatError, match=r"audio: features of clip 'v3\$_\$1' are not finite"):
        assemble(**toy, out=tmp_path / "set")
