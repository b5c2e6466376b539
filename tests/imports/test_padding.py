"""Where padding is, found again for any sequences: against sequences that were padded by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.imports.contract import Side
from pipeline.imports.padding import Edges, believable, clean, edges, real_steps, side_of

VALUES = st.floats(-5, 5, width=32)
LARGEST = float(np.finfo(np.float32).max)

steadily = settings(deadline=None, derandomize=True)  # the machine may be busy


@st.composite
def sequences(draw: st.DrawFn) -> list[np.ndarray]:
    """One to six (T, 2) float32 sequences of one to seven steps; any step may be zeros."""
    counts = draw(st.lists(st.integers(1, 7), min_size=1, max_size=6))
    return [draw(hnp.arrays(np.float32, (count, 2), elements=VALUES)) for count in counts]


def padded(block: np.ndarray, steps: int, side: Side) -> np.ndarray:
    fill = np.zeros((steps - len(block), block.shape[1]), block.dtype)
    return np.concatenate([fill, block] if side == "front" else [block, fill])


def outer(blocks: list[np.ndarray], at: int) -> bool:
    """Whether each sequence says something in its first (0) or last (-1) step."""
    return all(block[at].any() for block in blocks)


# --------------------------------------------------------------------------------------- what can be found
@steadily
@given(sequences(), st.integers(0, 5), st.sampled_from(["front", "back"]))
def test_padding_is_found_on_either_side(blocks: list[np.ndarray], more: int, side: Side) -> None:
    """Sequences whose ends are no zeros come back exactly: there is nothing on the other side to mislead."""
    for block in blocks:
        block[0, 0] = block[-1, 1] = 1
    steps = max(map(len, blocks)) + more
    wide = [padded(block, steps, side) for block in blocks]
    found = [edges(block) for block in wide]
    chosen = side_of(found)
    assert chosen == (side if any(len(block) < steps for block in blocks) else None)
    for block, whole, one in zip(blocks, wide, found, strict=True):
        np.testing.assert_array_equal(whole[real_steps(one, chosen)], block)


@steadily
@given(sequences(), st.integers(0, 5), st.sampled_from(["front", "back"]))
def test_zeros_on_the_other_side_stay(blocks: list[np.ndarray], more: int, side: Side) -> None:
    """With the side known, only the end at the padding must say something; zeros within and before stay."""
    at = 0 if side == "front" else -1
    for block in blocks:
        block[at] = [0, 1]
    steps = max(map(len, blocks)) + more
    for block in blocks:
        whole = padded(block, steps, side)
        np.testing.assert_array_equal(whole[real_steps(edges(whole), side)], block)


@steadily
@given(sequences(), st.integers(0, 5), st.sampled_from(["front", "back"]))
def test_a_length_saves_zeros_at_the_padding(blocks: list[np.ndarray], more: int, side: Side) -> None:
    """With side and length known, every sequence comes back, even one of nothing but zeros."""
    steps = max(map(len, blocks)) + more
    for block in blocks:
        whole = padded(block, steps, side)
        np.testing.assert_array_equal(whole[real_steps(edges(whole), side, len(block))], block)


@steadily
@given(sequences(), st.integers(0, 5), st.sampled_from(["front", "back"]), st.integers(-3, 20))
def test_a_length_never_takes_a_step_that_says_something(
    blocks: list[np.ndarray], more: int, side: Side, said: int
) -> None:
    """Whatever a file says: at least one step, none outside, and all that are not zeros."""
    steps = max(map(len, blocks)) + more
    for block in blocks:
        whole = padded(block, steps, side)
        kept = real_steps(edges(whole), side, said)
        assert 0 <= kept.start < kept.stop <= steps
        rest = np.delete(whole, np.arange(kept.start, kept.stop), axis=0)
        if side_of([edges(whole)]) in (side, None) or not block.any():
            assert not rest.any()


def test_the_side_is_that_of_most_zeros_over_all_clips() -> None:
    face_lost_at_first = Edges(10, 6, 2)  # alone, it would be believed to be padded in front
    assert side_of([face_lost_at_first]) == "front"
    assert side_of([face_lost_at_first, Edges(10, 0, 5), Edges(10, 1, 3)]) == "back"


def test_lengths_tell_the_side_where_most_zeros_do_not() -> None:
    late_faces = [Edges(20, 12, 0), Edges(20, 12, 1), Edges(20, 12, 2)]
    assert side_of(late_faces) == "front"
    assert side_of(late_faces, [20, 19, 18]) == "back"
    assert side_of(late_faces, [None, None, 18]) == "back"
    assert side_of(late_faces, [8, 8, 18]) == "front"
    assert side_of(late_faces, [None, 20, 20]) == "front", "nothing is left by them"
    assert side_of([Edges(6, 0, 0)], [3]) is None, "states of pad tokens are no zeros"


def test_ties_are_padded_behind_as_most_files_are() -> None:
    assert side_of([Edges(10, 3, 3)]) == "back"


def test_clips_of_zeros_have_no_say() -> None:
    nothing = edges(np.zeros((8, 2)))
    assert nothing.empty and nothing == Edges(8, 8, 8)
    assert side_of([nothing, nothing]) is None
    assert side_of([nothing, Edges(8, 1, 0)]) == "front"
    assert real_steps(nothing, "back") == slice(0, 1)
    assert real_steps(nothing, "front") == slice(7, 8)


def test_a_sequence_without_steps_is_empty() -> None:
    assert edges(np.zeros((0, 3), np.float32)).empty


# ------------------------------------------------------------------------------------- lengths that are said
@pytest.mark.parametrize(
    ("said", "kept"),
    [(None, 5), (5, 5), (7, 7), (10, 10), (99, 10), (4, 5), (1, 5), (0, 5), (-1, 5)],
)
def test_a_length_counts_only_where_all_behind_it_is_zeros(said: int | None, kept: int) -> None:
    assert real_steps(Edges(10, 2, 5), "back", said) == slice(0, kept)
    assert real_steps(Edges(10, 5, 2), "front", said) == slice(10 - kept, 10)


@pytest.mark.parametrize(("said", "kept"), [(4, 4), (1, 1), (0, 1), (12, 10)])
def test_a_trusted_length_counts_though_states_are_behind_it(said: int, kept: int) -> None:
    assert real_steps(Edges(10, 0, 0), "back", said, trusted=True) == slice(0, kept)


def test_lengths_that_are_the_shape_are_not_believed_where_most_clips_are_padded() -> None:
    padded_ones = [Edges(50, 0, 20), Edges(50, 0, 3), Edges(50, 0, 0)]
    assert not believable([50, 50, 50], padded_ones)
    assert believable([30, 47, 50], padded_ones)
    assert believable([50, 50, 50], [Edges(50, 0, 20), Edges(50, 0, 0), Edges(50, 0, 0)])
    assert believable([], [])


# ------------------------------------------------------------------------------------ numbers that are none
@steadily
@given(hnp.arrays(np.float64, (4, 3), elements=st.floats(width=64)))
def test_clean_values_are_those_of_float32(block: np.ndarray) -> None:
    given_values = block.copy()
    values, nan, infinite = clean(block)
    assert values.dtype == np.float32
    with np.errstate(over="ignore"):
        single = block.astype(np.float32)
    good = np.isfinite(single)
    np.testing.assert_array_equal(values[good], single[good])
    assert not values[~good].any()
    assert nan == np.isnan(block).sum() and infinite == np.isinf(single).sum()
    np.testing.assert_array_equal(block, given_values)  # what is read stays as it is


def test_clean_counts_by_hand() -> None:
    block = np.array([[np.nan, -np.inf, np.inf], [1e39, -1e300, LARGEST], [1e-50, -0.0, 2.5]])
    values, nan, infinite = clean(block)
    assert (nan, infinite) == (1, 4)
    assert values.tolist() == [[0, 0, 0], [0, 0, LARGEST], [0, 0, 2.5]]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "float16", "float32", ">f8", "bool"])
def test_clean_of_other_numbers(dtype: str) -> None:
    block = np.array([[0, 1], [1, 0]]).astype(dtype)
    values, nan, infinite = clean(block)
    assert values.dtype == np.float32 and (nan, infinite) == (0, 0)
    assert values.tolist() == [[0, 1], [1, 0]]


def test_a_row_of_nothing_but_nan_is_padding_once_it_is_clean() -> None:
    values, _, _ = clean(np.array([[1.0, 2.0], [np.nan, np.nan]]))
    assert edges(values) == Edges(2, 0, 1)
