"""Words of a text, and features pooled over them: loops over frames and characters say what is right."""

from __future__ import annotations

import itertools
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import ClipError
from pipeline.media.words import joined, spans
from pipeline.transcripts.words import locate, pool_frames, pool_tokens, times_of


# ------------------------------------------------------------------------------------------------------- text
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("  I'm  fine, really. ", ["I'm", "fine,", "really."]),
        ("今天,我 很好!", ["今", "天,", "我", "很", "好!"]),
        ("买iPhone15吧", ["买", "iPhone15", "吧"]),
        ("한국어 는 좋다", ["한국어", "는", "좋다"]),  # Hangul is written with spaces
        ("カタカナ と", ["カ", "タ", "カ", "ナ", "と"]),
        ("— ok", ["—", "ok"]),
        ("", []),
    ],
)
def test_words_of_a_text(text: str, words: list[str]) -> None:
    assert [text[first:last] for first, last in spans(text)] == words


@given(st.text("ab é今天,. ", max_size=30))
def test_spans_hold_every_character_but_spaces(text: str) -> None:
    covered = [i for first, last in spans(text) for i in range(first, last)]
    assert covered == [i for i, character in enumerate(text) if not character.isspace()]


def test_pieces_that_belong_to_one_word() -> None:
    assert joined("real", "ly") and joined("oh", ",")
    assert (
        not joined("oh ", "ly") and not joined("oh", " ly") and not joined("你", "好") and not joined("", "a")
    )


@settings(deadline=None)
@given(st.lists(st.sampled_from(["so", "it", "is", "İt", "ß", "é", "good,"]), max_size=8), st.booleans())
def test_words_are_found_in_order(words: list[str], decompose: bool) -> None:
    text = "  ".join(words)
    asked = [unicodedata.normalize("NFD", word) for word in words] if decompose else words
    begins = np.cumsum([0, *(len(word) + 2 for word in words)])[:-1]
    expected = [(begin, begin + len(word)) for begin, word in zip(begins, words, strict=True)]
    assert locate(asked, text).tolist() == [list(span) for span in expected]
    assert locate([word.swapcase() for word in asked], text).tolist() == [list(span) for span in expected]


def test_words_that_are_not_there() -> None:
    assert locate(["THE", "the"], "the other").tolist() == [[0, 3], [5, 8]]
    with pytest.raises(ClipError, match=r"word 2 of its word times, 'a', is not in its transcript"):
        locate(["b", "a"], "a b")


# ----------------------------------------------------------------------------------------------------- frames
def frames_by_hand(
    features: np.ndarray, real: np.ndarray, times: np.ndarray, words: np.ndarray
) -> np.ndarray:
    rows = []
    for start, end in words:
        mine = [i for i in range(len(times)) if start <= times[i] < end]
        if not mine:
            middle = (start + end) / 2
            mine = [min(range(len(times)), key=lambda i: (abs(times[i] - middle), i))]
        good = [features[i].astype(np.float64) for i in mine if real[i]]
        rows.append(np.mean(good, axis=0) if good else np.zeros(features.shape[1]))
    return np.array(rows).reshape(len(words), features.shape[1])


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 30), st.integers(0, 12), st.integers(0, 10_000))
def test_frames_of_a_word(n: int, w: int, seed: int) -> None:
    """Also words that overlap, have no length, hold no frame, or lie outside the track."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 3)).astype(np.float32)
    times = (np.sort(rng.choice(60, n, replace=False)) / 8).astype(np.float32)
    starts = rng.integers(-8, 80, w) / 8
    words = np.stack([starts, starts + rng.integers(0, 16, w) / 8], axis=1)
    real = rng.random(n) > 0.3
    np.testing.assert_allclose(
        pool_frames(features, real, times, words),
        frames_by_hand(features, real, times, words),
        rtol=1e-5,
        atol=1e-6,
    )


def test_a_frame_on_the_border_belongs_to_the_word_that_begins_there() -> None:
    values, times = np.arange(4, dtype=np.float32)[:, None], np.array([0.0, 1.0, 2.0, 3.0])
    words = np.array([[0.0, 1.0], [1.0, 3.0], [3.0, 3.5]])
    assert pool_frames(values, np.ones(4, bool), times, words).tolist() == [[0.0], [1.5], [3.0]]


# ----------------------------------------------------------------------------------------------------- tokens
@settings(max_examples=150, deadline=None)
@given(st.integers(1, 12), st.integers(0, 10_000), st.booleans())
def test_tokens_of_a_word(w: int, seed: int, cut: bool) -> None:
    rng = np.random.default_rng(seed)
    spans_of, at = [], 0
    for _ in range(w):
        length = int(rng.integers(1, 6))
        spans_of.append((at, at + length))
        at += length + int(rng.integers(0, 2))
    pieces = []
    for first, last in spans_of:
        cuts = sorted({first, last, *rng.integers(first, last + 1, 2).tolist()})
        pieces += list(itertools.pairwise(cuts))
    tokens = [(-1, -1), *pieces, (at, at), (-1, -1)]  # with an empty token of a byte-level vocabulary
    if cut:
        tokens = [tokens[0], *tokens[1 : 1 + int(rng.integers(1, len(pieces) + 1))], tokens[-1]]
    features = rng.normal(size=(len(tokens), 2)).astype(np.float16)
    starts, ends = np.array(tokens, np.int32).T
    expected = []
    for first, last in spans_of:
        mine = [i for i, (a, b) in enumerate(tokens) if a >= 0 and a < last and b > first]
        if mine:
            expected.append(features[mine].astype(np.float64).mean(axis=0))
    pooled = pool_tokens(features, starts, ends, np.array(spans_of))
    assert pooled.dtype == np.float32
    np.testing.assert_allclose(pooled, np.array(expected), rtol=1e-3, atol=1e-6)


def test_a_word_that_the_tokenizer_dropped_takes_the_token_before() -> None:
    features = np.array([[9.0], [1.0], [2.0], [9.0]], np.float32)
    starts, ends = np.array([-1, 3, 8, -1]), np.array([-1, 4, 9, -1])
    words = np.array([[0, 1], [3, 4], [5, 6], [8, 9], [11, 12]])  # the first lies before every token
    assert pool_tokens(features, starts, ends, words).tolist() == [[1.0], [1.0], [1.0], [2.0]]
    assert pool_tokens(features[:1], starts[:1], ends[:1], words).shape == (0, 1)


def test_times_of_words() -> None:
    words = [{"text": "a", "start_s": 0.5, "end_s": 1.0}, {"text": "b", "start_s": 1, "end_s": 2}]
    assert times_of(words).tolist() == [[0.5, 1.0], [1.0, 2.0]]
    assert times_of([]).shape == (0, 2)
