"""Padding, masks and tokens against loops over single clips."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made.stored import assemble

from models.core.batch import Batch, Reading
from pipeline.core.errors import FormatError
from pipeline.corpora.clips import METADATA_KEY, ClipFacts, clip_table
from pipeline.datasets.splits import Ragged
from pipeline.datasets.training_set import TrainingSet
from pipeline.params.assemble import AssembleParams
from pipeline.store.shard import FeatureRow, Features

pytestmark = pytest.mark.usefixtures("storage")

DIMS = {"text": 6, "audio": 3, "visual": 2}
CLIPS = 23  # some without text, some without audio; the last only visual
TEXTS = {i: " ".join(["word"] * (1 + i % 7)) for i in range(CLIPS - 1) if i % 5 != 4}


class LetterTokenizer:
    """Two special tokens around one id a word; padded with 9."""

    pad_id = 9

    def encode(self, texts: list[str], max_length: int, keep: str = "first") -> list[np.ndarray]:
        return [np.array([1, *[5] * (min(len(text.split()) + 2, max_length) - 2), 2]) for text in texts]


def clip_id(i: int) -> str:
    return f"v{i:02d}$_$1"


@pytest.fixture(scope="module")
def source() -> dict[str, dict[str, np.ndarray]]:
    """Random sequences of each modality by clip id."""
    rng = np.random.default_rng(3)

    def some(dim: int, longest: int, without: int) -> dict[str, np.ndarray]:
        return {
            clip_id(i): rng.normal(size=(1 + int(rng.integers(longest)), dim)).astype(np.float32)
            for i in range(CLIPS)
            if without == 0 or (i % without != without - 1 and i != CLIPS - 1)
        }

    return {"text": some(6, 9, 5), "audio": some(3, 30, 4), "visual": some(2, 20, 0)}


@pytest.fixture(scope="module")
def folder(source: dict[str, dict[str, np.ndarray]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The assembled set of these sequences, unscaled."""
    clips = clip_table(
        {
            "clip_id": clip_id(i),
            "video_id": f"v{i:02d}",
            "split": ("train", "train", "train", "valid")[i % 4] if i < CLIPS - 1 else "unlabeled",
            "label": i / 10 if i < CLIPS - 1 else None,
            "label_text": i / 100 if i % 2 else None,
            "language": "en",
            "status": "ok",
        }
        for i in range(CLIPS)
    )
    clips = clips.replace_schema_metadata({METADATA_KEY: ClipFacts("toy", "en", (-3.0, 3.0)).to_json()})
    texts = [TEXTS.get(i, "" if i % 2 else None) for i in range(CLIPS)]
    transcripts = pa.table({"clip_id": [clip_id(i) for i in range(CLIPS)], "text": pa.array(texts)})
    features = {
        modality: Features(
            {
                "encoder": "x",
                "dim": DIMS[modality],
                "column_names": [f"c{i}" for i in range(DIMS[modality])],
                "fingerprint": modality,
                "dtype": "float32",
                "frame_rate": None,
            },
            {key: FeatureRow(key, "0", "ok", "", block) for key, block in blocks.items()},
        )
        for modality, blocks in source.items()
    }
    params = AssembleParams(
        dataset="toy", text="toy/text", audio="toy/audio", visual="toy/visual", normalize=[]
    )
    out = tmp_path_factory.mktemp("assembled") / "toy"
    assemble(clips, transcripts, features, params, out, "toy")
    return out


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """The set, to be spoiled."""
    return Path(shutil.copytree(folder, tmp_path / "toy"))


# ------------------------------------------------------------------------------------------------- padding
def check_against_loop(batch: Batch, source: dict[str, dict[str, np.ndarray]]) -> None:
    """Every modality of a batch, clip by clip, from the sequences it was made of."""
    for modality, blocks in source.items():
        sequences = getattr(batch, modality)
        assert sequences.values.dtype == torch.float32
        assert sequences.mask.dtype == sequences.present.dtype == torch.bool
        own = [blocks.get(name) for name in batch.clip_ids]
        lengths = [0 if block is None else len(block) for block in own]
        assert sequences.values.shape == (len(own), max(1, *lengths), DIMS[modality])
        expected = np.zeros(sequences.values.shape, np.float32)
        for i, block in enumerate(own):
            if block is not None:
                expected[i, : len(block)] = block
        np.testing.assert_array_equal(sequences.values.numpy(), expected)
        assert sequences.mask.sum(dim=1).tolist() == lengths
        assert (sequences.mask.int().diff(dim=1) <= 0).all()  # real steps come first
        assert sequences.present.tolist() == [block is not None for block in own]


@settings(max_examples=40, deadline=None)
@given(picked=st.lists(st.integers(0, 16), min_size=1, max_size=12))
def test_a_batch_is_its_clips_padded_with_zeros(
    picked: list[int], folder: Path, source: dict[str, dict[str, np.ndarray]]
) -> None:
    """In the asked order, repeats included."""
    split = TrainingSet.load(folder).splits["train"]
    batch = split.batch(torch.tensor(picked))
    assert batch.clip_ids == [split.clip_ids[i] for i in picked]
    check_against_loop(batch, source)


def test_a_batch_equals_its_clips_alone(folder: Path) -> None:
    split = TrainingSet.load(folder).splits["train"]
    together = split.batch(torch.arange(len(split)))
    for i in range(len(split)):
        alone = split.batch(torch.tensor([i]))
        for modality in DIMS:
            one, many = getattr(alone, modality), getattr(together, modality)
            n = one.values.shape[1]
            assert torch.equal(one.values[0], many.values[i, :n])
            assert torch.equal(one.mask[0], many.mask[i, :n])
            assert not many.mask[i, n:].any()
            assert (many.values[i, n:] == 0).all()


def test_a_modality_that_no_clip_of_the_batch_has(folder: Path) -> None:
    """Shapes stay: one masked step."""
    only_visual = (
        TrainingSet.load(folder, Reading(LetterTokenizer())).splits["unlabeled"].batch(torch.tensor([0]))
    )
    assert only_visual.audio is not None
    assert only_visual.audio.values.shape == (1, 1, 3)
    assert only_visual.tokens is not None
    assert only_visual.tokens.ids.tolist() == [[9]]
    for part in (only_visual.audio, only_visual.tokens):
        assert not part.mask.any()
        assert not part.present.any()
    assert torch.isnan(only_visual.label).all()


def test_set_as_a_whole(folder: Path) -> None:
    data = TrainingSet.load(folder)
    assert data.dims == DIMS
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 17,
        "valid": 5,
        "test": 0,
        "unlabeled": 1,
    }
    assert data.stats["modalities"]["audio"]["dim"] == 3
    train = data.splits["train"]
    assert train.clip_ids == sorted(train.clip_ids)
    everything = train.batch(torch.arange(17))
    numbers = [int(name[1:3]) for name in train.clip_ids]
    np.testing.assert_allclose(everything.label, np.array(numbers) / 10, rtol=1e-6)
    expected = [number / 100 if number % 2 else np.nan for number in numbers]
    np.testing.assert_allclose(everything.label_text, expected, rtol=1e-6)
    assert torch.isnan(everything.label_audio).all()
    assert torch.isnan(everything.label_visual).all()
    assert everything.tokens is None
    sums = sum(getattr(everything, modality).mask.sum(dim=1) for modality in DIMS)
    assert torch.equal(train.lengths, sums)


def test_row_groups_do_not_matter(copy: Path, source: dict[str, dict[str, np.ndarray]], folder: Path) -> None:
    """A split that is read in several chunks is the same."""
    pq.write_table(pq.read_table(copy / "train.parquet"), copy / "train.parquet", row_group_size=3)
    split = TrainingSet.load(copy).splits["train"]
    check_against_loop(split.batch(torch.arange(len(split))), source)


def test_only_the_asked_splits_are_opened(copy: Path) -> None:
    """Training must not even read the test split."""
    (copy / "test.parquet").write_bytes(b"not Parquet")
    assert list(TrainingSet.load(copy, only=("valid", "train")).splits) == ["train", "valid"]


# -------------------------------------------------------------------------------------------------- tokens
def test_tokens_replace_text(folder: Path) -> None:
    data = TrainingSet.load(folder, Reading(LetterTokenizer(), max_tokens=6))
    assert data.dims == {"audio": 3, "visual": 2}
    split = data.splits["train"]
    batch = split.batch(torch.arange(len(split)))
    assert batch.text is None
    assert batch.tokens is not None
    assert batch.tokens.ids.dtype == torch.int64
    width = batch.tokens.ids.shape[1]
    for i, name in enumerate(batch.clip_ids):
        words = len(TEXTS.get(int(name[1:3]), "").split())
        ids = [1, *[5] * min(words, 4), 2] if words else []
        assert batch.tokens.ids[i].tolist() == ids + [9] * (width - len(ids))
        assert batch.tokens.mask[i].tolist() == [True] * len(ids) + [False] * (width - len(ids))
        assert batch.tokens.present[i].item() == (words > 0)


def test_tokens_of_a_real_tokenizer(folder: Path) -> None:
    """The bundled MiniLM's word pieces: [CLS] 101, `word` 2773, [SEP] 102, padding 0."""
    backbones = pytest.importorskip("models.core.backbones")
    tokenizer = backbones.load_tokenizer("minilm")
    split = TrainingSet.load(folder, Reading(tokenizer, max_tokens=5)).splits["train"]
    tokens = split.batch(torch.tensor([0, 1, split.clip_ids.index(clip_id(4))])).tokens
    assert tokens is not None
    assert tokens.ids.tolist() == [[101, 2773, 102, 0], [101, 2773, 2773, 102], [0, 0, 0, 0]]
    assert tokens.mask.sum(dim=1).tolist() == [3, 4, 0]


# ------------------------------------------------------------------------------------------------- refusals
def test_not_an_assembled_set(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"not an assembled set.*run its assemble stage"):
        TrainingSet.load(tmp_path)


def test_another_format_version(copy: Path) -> None:
    stats = json.loads((copy / "stats.json").read_text())
    (copy / "stats.json").write_text(json.dumps(stats | {"format": 2}))
    with pytest.raises(FormatError, match=r"format 2, this version reads 1"):
        TrainingSet.load(copy)


def test_a_missing_split(copy: Path) -> None:
    (copy / "valid.parquet").unlink()
    with pytest.raises(FormatError, match=r"valid\.parquet: cannot be read"):
        TrainingSet.load(copy)


def test_sequences_of_another_type(copy: Path) -> None:
    table = pq.read_table(copy / "train.parquet")
    at = table.column_names.index("audio")
    wrong = table["audio"].cast(pa.list_(pa.list_(pa.float64(), 3)))
    pq.write_table(table.set_column(at, "audio", wrong), copy / "train.parquet")
    with pytest.raises(FormatError, match=r"train\.parquet: audio is of type .*double.*expected list.*float"):
        TrainingSet.load(copy)


def test_a_clip_without_anything_is_named(copy: Path) -> None:
    """Can only happen when text features came without a transcript, or by hand."""
    table = pq.read_table(copy / "train.parquet")
    for modality in DIMS:
        keep = pa.array([name != clip_id(1) for name in table["clip_id"].to_pylist()])
        rows = table[modality].combine_chunks()
        emptied = pa.array(
            [row if good else None for row, good in zip(rows.to_pylist(), keep.to_pylist(), strict=True)],
            rows.type,
        )
        table = table.set_column(table.column_names.index(modality), modality, emptied)
    pq.write_table(table, copy / "train.parquet")
    with pytest.raises(FormatError, match=r"1 clip\(s\) without any of text, audio, visual: v01\$_\$1"):
        TrainingSet.load(copy)


@pytest.mark.gpu
def test_the_same_on_a_device(folder: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    here = TrainingSet.load(folder, Reading(LetterTokenizer())).splits["train"].batch(torch.arange(7))
    there = (
        TrainingSet.load(folder, Reading(LetterTokenizer()), device="cuda")
        .splits["train"]
        .batch(torch.arange(7))
    )
    assert there.audio is not None
    assert here.audio is not None
    assert there.audio.values.is_cuda
    assert there.label.is_cuda
    assert torch.equal(there.audio.values.cpu(), here.audio.values)
    assert torch.equal(there.tokens.ids.cpu(), here.tokens.ids)  # type: ignore[union-attr]


def test_padding_is_not_one_of_the_rows() -> None:
    """The padding row is its own, also where the last clip ends."""
    flat = np.array([[1.0], [2.0], [3.0], [0.0]], np.float32)
    ragged = Ragged.of(flat, np.array([2, 0, 1]), "cpu")
    rows = torch.tensor([2, 0, 1])
    values, mask, present = ragged.pad(rows, rows, 2)
    assert values[..., 0].tolist() == [[3, 0], [1, 2], [0, 0]]
    assert mask.tolist() == [[True, False], [True, True], [False, False]]
    assert present.tolist() == [True, True, False]
