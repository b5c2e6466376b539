"""What stands where something is missing, and what of a batch it touches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made.tiny_batch import DIMS, random_batch
from made.tiny_models import save_tiny_bert, save_tiny_roberta
from made.tiny_set import Tiny, TinySettings, write_tiny_set
from made.tiny_slad import waveform

from models.core.batch import Sequences, Tokens, Waveform
from pipeline.datasets.assembly.sequences import scale
from pipeline.datasets.training_set import TrainingSet
from pipeline.training.loop.missing import (
    SOUND_STEP,
    Blanks,
    absent,
    changed,
    emptied,
    parts_of,
    spared,
    values_of,
    with_values,
)

ROWS = torch.tensor([True, False, True, True])


def entry_of(dim: int, normalized: list[str]) -> dict[str, Any]:
    generator = np.random.default_rng(1)
    columns = [f"c{i}" for i in range(dim)]
    scaled = np.isin(columns, normalized)
    mean = np.where(scaled, generator.normal(size=dim) * 3, 0.0)
    sd = np.where(scaled, generator.uniform(0.1, 2, dim), 1.0)
    return {"dim": dim, "columns": columns, "normalized": normalized, "mean": [*mean], "sd": [*sd]}


def blanks_of(folder: Path, text: dict[str, Any] | None = None, **entries: dict[str, Any]) -> Blanks:
    read = TrainingSet.load(write_tiny_set(folder))
    stats = {"modalities": {**read.stats["modalities"], **entries}}
    stats["modalities"]["text"] |= text or {}
    return Blanks.of(Tiny(TinySettings(), read.dims), stats, read.splits["train"])


# --------------------------------------------------------------------------------------------------- blanks
def test_dropped_frames_are_zeros_before_normalisation(tmp_path: Path) -> None:
    """As assembly would have scaled them; of a constant column 0, and never beyond its limits."""
    entry = entry_of(4, ["c0", "c1", "c3"])
    entry["mean"][3], entry["sd"][3] = 50.0, 1.0
    entry["sd"][1] = 0.0
    found = blanks_of(tmp_path / "set", audio=entry)
    zeros = np.zeros((1, 4), np.float32)
    scale(zeros, np.ones(1, bool), entry)
    torch.testing.assert_close(found.dropped["audio"], torch.from_numpy(zeros[0]))
    assert found.dropped["audio"][3] == -10 and found.dropped["audio"][1] == 0
    assert found.masked["audio"].tolist() == [0, 0, 0, 0] and found.empty["audio"].tolist() == [[0, 0, 0, 0]]


def test_a_modality_that_is_not_normalised_is_hidden_by_the_mean_of_the_train_split(tmp_path: Path) -> None:
    found = blanks_of(tmp_path / "set")
    train = TrainingSet.load(tmp_path / "set").splits["train"].batch(torch.arange(60)).text
    assert train is not None
    expected = train.values[train.mask].mean(dim=0)
    torch.testing.assert_close(found.masked["text"], expected)
    torch.testing.assert_close(found.empty["text"], expected[None])
    assert found.dropped["text"].tolist() == [0] * 6


@pytest.mark.parametrize(("save", "ids"), [(save_tiny_bert, (4, 1, 2, 3)), (save_tiny_roberta, (4, 3, 0, 2))])
def test_words_are_hidden_by_the_tokenizers_own_tokens(
    save: Any, ids: tuple[int, ...], tmp_path: Path
) -> None:
    """[MASK], [UNK] and the special tokens of an empty sentence."""
    folder = write_tiny_set(tmp_path / "set")
    settings = TinySettings(text="finetune", text_backbone=str(save(tmp_path / "encoder")))
    read = TrainingSet.load(folder)
    method = Tiny(settings, read.dims)
    train = TrainingSet.load(folder, method.reading()).splits["train"]
    found = Blanks.of(method, read.stats, train)
    masked, unknown, first, last = ids
    assert (found.masked["tokens"], found.dropped["tokens"]) == (masked, unknown)
    assert found.empty["tokens"].tolist() == [first, last]
    batch = train.batch(torch.arange(5))
    assert batch.tokens is not None
    steps = found.touchable("tokens", batch.tokens)
    lengths = batch.tokens.mask.sum(dim=1)
    assert not steps[:, 0].any() and not steps[torch.arange(5), lengths - 1].any()
    assert (steps.sum(dim=1) == lengths - 2).all()


def test_of_frozen_states_of_tokens_the_first_and_last_stay(tmp_path: Path) -> None:
    token = {"provenance": {"params": {"kind": "hf", "unit": "token"}}}
    batch = random_batch(4, absent={(1, "text")})
    framed, plain = blanks_of(tmp_path / "a", token), blanks_of(tmp_path / "b")
    assert batch.text is not None
    steps, lengths = framed.touchable("text", batch.text), batch.text.mask.sum(dim=1)
    assert (steps.sum(dim=1) == (lengths - 2).clamp(min=0)).all()
    assert not steps[:, 0].any() and not steps[torch.arange(4), lengths - 1].any()
    assert torch.equal(plain.touchable("text", batch.text), batch.text.mask)
    assert batch.audio is not None and torch.equal(framed.touchable("audio", batch.audio), batch.audio.mask)


@pytest.mark.parametrize(
    "rows",
    [
        {"align": "words", "provenance": {"params": {"kind": "hf", "unit": "token"}}},
        {"provenance": {"params": {"kind": "hf", "unit": "word"}}},
        {"provenance": {"params": {"kind": "hf", "unit": "token", "pool": "mean"}}},
    ],
    ids=["aligned", "words", "pooled"],
)
def test_rows_that_are_words_or_whole_clips_can_all_be_hit(rows: dict[str, Any], tmp_path: Path) -> None:
    text = random_batch(4).text
    assert text is not None
    assert torch.equal(blanks_of(tmp_path / "set", rows).touchable("text", text), text.mask)


# ----------------------------------------------------------------------------------------------- the batch
def test_empty_clips_have_the_blank_steps_and_others_stay() -> None:
    batch = random_batch(4, vocabulary=40, absent={(3, "audio")})
    sound = waveform([700, 20, 0, 900])
    fills = {
        "audio": (batch.audio, torch.full((1, DIMS["audio"]), 0.5)),
        "tokens": (batch.tokens, torch.tensor([7, 8])),
        "waveform": (sound, torch.zeros(1000)),
    }
    for name, (part, empty) in fills.items():
        assert isinstance(part, Sequences | Tokens | Waveform)
        found = emptied(part, ROWS, empty)
        assert type(found) is type(part) and torch.equal(found.present, part.present)
        real = values_of(found)
        for row in range(4):
            steps = real[row][found.mask[row]]
            if ROWS[row] and part.present[row]:
                assert torch.equal(steps, empty), name
            else:
                assert torch.equal(steps, values_of(part)[row][part.mask[row]]), name


def test_hit_steps_alone_change() -> None:
    part = random_batch(4).audio
    assert part is not None
    hit = part.mask & (torch.arange(part.mask.shape[1]) % 2 == 1)
    found = with_values(part, hit, torch.arange(5.0))
    assert isinstance(found, Sequences)
    assert (found.values[hit] == torch.arange(5.0)).all()
    assert torch.equal(found.values[~hit], part.values[~hit]) and torch.equal(found.mask, part.mask)
    sound = waveform([1700, 1000, 0, 400])
    steps = torch.zeros(4, -(-1700 // SOUND_STEP), dtype=torch.bool)
    steps[:, [1, 3]] = True
    quiet = with_values(sound, steps, torch.tensor(0.0))
    zero = quiet.values == 0  # type: ignore[union-attr]
    assert zero[0, 320:640].all() and zero[0, 960:1280].all() and not zero[0, :320].any()
    assert not zero[1, 640:960].any() and zero[3, 320:].all()
    assert torch.equal(quiet.mask, sound.mask)


def test_an_absent_modality_is_marked() -> None:
    part = random_batch(4).audio
    assert part is not None
    found = absent(part, ROWS)
    assert torch.equal(found.present, ~ROWS) and torch.equal(found.mask, part.mask & ~ROWS[:, None])


def test_the_last_modality_is_spared() -> None:
    order = np.array([[0.1, 2.0, 0.5, 0.2], [0.9, 0.1, 1.5, 0.3], [0.5, 0.1, 0.1, 0.99]])
    gone = [[True, False, True, True], [False, True, False, True], [True, True, True, False]]
    assert spared(order).tolist() == gone


def test_what_was_said_before_changes_too() -> None:
    batch = random_batch(3, context=True)
    seen: list[str] = []

    def change(inputs: Any, prefix: str) -> dict[str, Any]:
        seen.append(prefix)
        return {"audio": replace(inputs.audio, values=inputs.audio.values + 1)}

    found = changed(batch, change)
    assert sorted(seen) == ["", "context "]
    for old, new in ((batch, found), (batch.context, found.context)):
        assert old is not None and new is not None and old.audio is not None and new.audio is not None
        assert torch.equal(new.audio.values, old.audio.values + 1)
        assert torch.equal(parts_of(new)["text"].mask, parts_of(old)["text"].mask)
