"""Frames of words where no times are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made.tensors import double
from reference import mag_bert as reference

from models.core.batch import Sequences
from models.core.word_frames import beside_words


def of_lengths(*lengths: int, width: int = 3) -> Sequences:
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    values = double(len(lengths), max(lengths), width)
    return Sequences(values.masked_fill(~mask[..., None], 0.0), mask, mask.any(dim=1))


@pytest.mark.parametrize(
    ("frames", "words", "expected"),
    [
        (10, 4, [[0, 1], [2, 3, 4], [5, 6], [7, 8, 9]]),
        (2, 4, [[0], [0], [1], [1]]),
        (5, 5, [[0], [1], [2], [3], [4]]),  # a set with `align: words`
        (3, 1, [[0, 1, 2]]),
        (1, 3, [[0], [0], [0]]),
    ],
)
def test_known_splits(frames: int, words: int, expected: list[list[int]]) -> None:
    assert [list(reference.frames_of(i, words, frames)) for i in range(words)] == expected
    identity = Sequences(
        torch.eye(frames)[None], torch.ones(1, frames, dtype=torch.bool), torch.tensor([True])
    )
    beside, known = beside_words(identity, torch.ones(1, words, dtype=torch.bool))
    assert [row.nonzero().flatten().tolist() for row in beside[0]] == expected
    torch.testing.assert_close(beside.sum(dim=-1), torch.ones(1, words))
    assert known.all()


def test_means_are_of_real_frames_and_for_words_alone() -> None:
    """Clips of their own lengths; special tokens around and among the words; a clip without frames."""
    frames = of_lengths(9, 4, 1, 0)
    words = torch.tensor([[0, 1, 1, 0, 1, 0], [0, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0]])
    beside, known = beside_words(frames, words.bool())
    for row, length in enumerate((9, 4, 1, 0)):
        number = int(words[row].sum())
        if length:
            expected = reference.means(number, frames.values[row, :length].numpy())
            np.testing.assert_allclose(beside[row][words[row].bool()].numpy(), expected, atol=1e-12)
        assert (beside[row][~words[row].bool()] == 0).all()
    assert torch.equal(known, words.bool() & frames.present[:, None])
    assert (beside[3] == 0).all()


def test_frames_that_are_masked_in_the_middle_are_not_there() -> None:
    frames = of_lengths(6)
    frames.mask[0, [1, 4]] = False
    words = torch.ones(1, 2, dtype=torch.bool)
    short = Sequences(frames.values[:, [0, 2, 3, 5]], frames.mask[:, [0, 2, 3, 5]], frames.present)
    torch.testing.assert_close(beside_words(frames, words)[0], beside_words(short, words)[0])
