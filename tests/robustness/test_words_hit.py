"""The word as the unit of text: all pieces of a word are hit together, the same words for every tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from made.robust_project import robust_project
from made.tiny_batch import random_batch
from made.tiny_models import save_tiny_bert, save_tiny_roberta
from made.tiny_set import write_tiny_set

from models.core.backbones import load_tokenizer
from models.core.batch import Reading
from pipeline.core.errors import MsaError
from pipeline.core.paths import assembled_folder, run_folder
from pipeline.datasets.training_set import TrainingSet, read_stats
from pipeline.media.words import spans
from pipeline.robustness.conditions import UNTOUCHED, Condition
from pipeline.robustness.corruptions import Draws, Spoiler
from pipeline.robustness.sweep import sweep
from pipeline.robustness.words import NO_WORD, in_order, numbered_split, word_numbers, word_of
from pipeline.store.shard import FeatureRow, write_rows
from pipeline.training.loop.missing import Blanks

TEXT = "don't say unbelievable, 你好。"
COUNTS = {"train": 1, "valid": 1, "test": 6, "unlabeled": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set whose first test clip says more than the others."""
    folder = write_tiny_set(tmp_path_factory.mktemp("words") / "set", COUNTS)
    table = pq.read_table(folder / "test.parquet")
    said = [TEXT, *table["transcript"].to_pylist()[1:]]
    place = table.column_names.index("transcript")
    pq.write_table(table.set_column(place, "transcript", pa.array(said)), folder / "test.parquet")
    return folder


@pytest.fixture(scope="module", params=[save_tiny_bert, save_tiny_roberta])
def reading(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Reading:
    model = request.param(tmp_path_factory.mktemp("model") / "encoder")
    return Reading(load_tokenizer(str(model)), max_tokens=128, context=2)


def test_pieces_have_the_number_of_their_word(folder: Path, reading: Reading) -> None:
    """As the tokenizer says them one by one; in what was said before a clip they go on."""
    split = numbered_split(folder, reading, None)
    tokens = TrainingSet.load(folder, reading, only=("test",)).splits["test"].batch(torch.arange(6))
    found = word_numbers(split, torch.arange(6))
    assert tokens.tokens is not None and tokens.context is not None and tokens.context.tokens is not None
    assert reading.tokenizer is not None
    own, ids = found["text"][0], tokens.tokens.ids[0]
    for number, (first, last) in enumerate(spans(TEXT)):
        space = " " * TEXT[:first].endswith(" ")
        pieces = reading.tokenizer.encode([space + TEXT[first:last]], 128)
        assert ids[torch.from_numpy(own == number)].tolist() == pieces[0][1:-1].tolist()
    assert own.max() == len(spans(TEXT)) - 1 == 4
    assert (found["text"] != NO_WORD).sum() == tokens.tokens.mask.sum() - 2 * 6
    before = found["context text"]
    assert before.shape == tokens.context.tokens.ids.shape and (before[0] == NO_WORD).all()
    assert before[2].max() == 5 + 1 + 5 - 1  # five words, a separator, five words
    assert (np.diff(before[2][before[2] != NO_WORD]) >= 0).all()


def test_words_are_hit_as_a_whole_and_alike_for_all_tokenizers(folder: Path, reading: Reading) -> None:
    split = TrainingSet.load(folder, reading, only=("test",)).splits["test"]
    rows = torch.arange(6)
    batch, words = split.batch(rows), word_numbers(numbered_split(folder, reading, None), rows)
    assert batch.tokens is not None
    special = torch.from_numpy(reading.tokenizer.encode([""], 9)[0])  # type: ignore[union-attr]
    fill = {"tokens": torch.tensor(0)}
    spoiler = Spoiler(Blanks(fill, fill, {"tokens": special}, special), {})
    draws = Draws("set", "test", batch.clip_ids, 0, words)
    for kind, case in (("erase", "text"), ("blocks", "text random")):
        before = np.zeros(words["text"].shape, bool)
        for level in (0.3, 0.7):
            hit = spoiler.hits("tokens", batch.tokens, Condition(kind, case, level, 0), draws, "text").numpy()
            assert not (before & ~hit).any() and not hit[words["text"] == NO_WORD].any()
            before = hit
            for row, number in np.ndindex(6, 5):
                assert len(set(hit[row][words["text"][row] == number])) == 1
            if kind == "erase":
                drawn = draws.uniforms("frames", "text", words["text"].max(axis=1) + 1)[:, :5] < level
                found = [[hit[row][words["text"][row] == n][0] for n in range(5)] for row in range(6)]
                assert np.array_equal(drawn, found)


def test_words_of_frozen_states(folder: Path, tmp_path: Path) -> None:
    """Rows of tokens by their characters; rows of words one by one; without either it is said."""
    table = pq.read_table(folder / "test.parquet", columns=["clip_id", "transcript", "text"])
    stored = []
    for at, row in enumerate(table.to_pylist()):
        n = len(row["text"])
        ends = (
            np.linspace(1, len(row["transcript"]), n - 1).astype(np.int32) if n > 1 else np.ones(0, np.int32)
        )
        start = np.concatenate([[-1], np.maximum(ends - 1, 0)]).astype(np.int32)  # a special token first
        end = np.concatenate([[-1], ends]).astype(np.int32)
        features = np.zeros((n, 6), np.float32)
        places = {"token_ids": start, "char_start": start, "char_end": end}
        stored.append(FeatureRow(row["clip_id"], str(at), "ok", features=features, **places))
    meta: dict[str, Any] = {
        "encoder": "e",
        "fingerprint": "f",
        "modality": "text",
        "dim": 6,
        "dtype": "float32",
    }
    meta |= {"dtype": "float32", "column_names": list("abcdef"), "frame_rate": None}
    write_rows(tmp_path / "shard-000.parquet", stored, meta)
    reading = Reading(context=1)
    changed = with_entry(folder, tmp_path / "cut", {"shorten": "cut"})
    found = word_numbers(numbered_split(changed, reading, tmp_path), torch.arange(6))
    for row, text in enumerate(table["transcript"].to_pylist()):
        expected = in_order(word_of(text, stored[row].char_start, stored[row].char_end)[None])[0]
        assert found["text"][row][: len(expected)].tolist() == expected.tolist() and expected[0] == NO_WORD
    aligned = with_entry(folder, tmp_path / "aligned", {"align": "words"})
    of_words = word_numbers(numbered_split(aligned, reading, None), torch.arange(6))
    lengths = [len(row) for row in table["text"].to_pylist()]
    assert [row.max() + 1 for row in of_words["text"]] == lengths
    assert [row.max() + 1 for row in of_words["context text"]] == [
        0,
        *lengths[:4],
        0,
    ]  # clip 5: another video
    with pytest.raises(MsaError, match=r"the words of the text features of .* --text-unit piece"):
        numbered_split(changed, reading, None)


def with_entry(folder: Path, copy: Path, entry: dict[str, Any]) -> Path:
    """The set with more in the entry of its text."""
    import json
    import shutil

    shutil.copytree(folder, copy)
    stats = read_stats(folder)
    stats["modalities"]["text"] |= entry
    (copy / "stats.json").write_text(json.dumps(stats))
    return copy


def test_frozen_states_of_no_word_are_spared_and_all_others_can_be_hit() -> None:
    batch = random_batch(3)
    assert batch.text is not None
    blanks = Blanks({}, {}, {}, framed=frozenset({"text"}))
    words = np.where(
        batch.text.mask.numpy(), np.arange(batch.text.mask.shape[1]) - 1, NO_WORD
    )  # the first: none
    draws = Draws("set", "test", batch.clip_ids, 0, {"text": words})
    hit = Spoiler(blanks, {}).hits("text", batch.text, Condition("erase", "text", 1.0, 0), draws, "text")
    assert np.array_equal(hit.numpy(), words >= 0)


@pytest.mark.usefixtures("tiny_method")
def test_a_run_under_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("made.tiny_set.Tiny.NEEDS", ("text",))
    backbone = save_tiny_bert(tmp_path / "bert", layers=1)
    training = {"epochs": 1, "lr_backbone": 1e-3}
    monkeypatch.chdir(
        robust_project(tmp_path, training=training, text="finetune", text_backbone=str(backbone))
    )
    wanted = [Condition("erase", "text", level, 0) for level in (0.3, 1.0)]
    runs = [
        sweep(
            run_folder("tiny", "tiny", 3), wanted, assembled_folder("tiny"), "cpu", text_unit=unit
        ).predictions
        for unit in ("piece", "word")
    ]
    some, everything = ([run[condition] for run in runs] for condition in wanted)
    assert np.array_equal(runs[0][UNTOUCHED], runs[1][UNTOUCHED])
    np.testing.assert_allclose(everything[0], everything[1], atol=1e-6)
    assert not np.allclose(some[0], some[1])
