"""Steps of runs, mapped back to words and seconds: token pieces, bins, whole clips, words, samples."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models.core.backbones import load_tokenizer
from models.core.batch import Reading
from models.core.loading import load_fast_tokenizer
from pipeline.core.vocabulary import OK
from pipeline.datasets.assembly.sequences import shorten
from pipeline.explain.places import CELL_S, MOST, Place, places_of
from pipeline.predict.inputs import ClipInputs, inputs_of
from pipeline.predict.prediction import ClipFeatures
from pipeline.store.shard import FeatureRow
from pipeline.transcripts.stage import Transcript

TEXT = "Unbelievably good, really"


def entry(dim: int, steps: int, how: str = "pool", **more: Any) -> dict[str, Any]:
    names = [f"c{i}" for i in range(dim)]
    return {
        "fingerprint": "f",
        "dim": dim,
        "columns": names,
        "max_steps": steps,
        "shorten": how,
        "normalized": [],
        "mean": [0.0] * dim,
        "sd": [1.0] * dim,
        **more,
    }


def of_row(
    modality: str,
    row: FeatureRow,
    described: dict[str, Any],
    text: str = TEXT,
    words: list[dict[str, Any]] | None = None,
) -> tuple[list[Place], np.ndarray]:
    """Places of one modality of a clip, and the sequence that a run reads of it."""
    run: Any = SimpleNamespace(
        needed={modality: described},
        entries={modality: described},
        reading=Reading(),
        aligned="align" in described,
    )
    spoken = Transcript("a", None, None, None, "en", text, words=words)
    features = ClipFeatures("a", Path("a"), spoken, {"f": row}, {"f": described["columns"]})
    inputs = inputs_of(run, "a", *features.streams(run), spoken)
    values = inputs.sequences[modality]
    assert values is not None
    return places_of(run, features, inputs)[modality], values


def framed(count: int, rate: float = 25.0, times: bool = True) -> FeatureRow:
    centres = ((np.arange(count) + 0.5) / rate).astype(np.float32) if times else None
    return FeatureRow("a", "", OK, "", np.arange(count, dtype=np.float32)[:, None] + 1, centres)


def spelt(spans: list[tuple[int, int]]) -> FeatureRow:
    starts, ends = np.array(spans, np.int32).T
    return FeatureRow("a", "", OK, "", np.ones((len(spans), 1), np.float32), None, None, starts, ends)


# ------------------------------------------------------------------------------------------------------ words
def test_pieces_of_a_word_are_one_place_and_special_tokens_none() -> None:
    pieces = [(-1, -1), (0, 2), (2, 12), (13, 17), (17, 18), (19, 25), (-1, -1)]
    places, _ = of_row("text", spelt(pieces), entry(1, 50, "cut"))
    assert [(one.first, one.last, one.name) for one in places] == [
        (1, 3, "Unbelievably"),
        (3, 5, "good,"),
        (5, 6, "really"),
    ]
    assert all(one.chars is not None and TEXT[slice(*one.chars)] == one.name for one in places)


def test_words_that_were_cut_off_have_no_place() -> None:
    pieces = [(-1, -1), (0, 2), (2, 12), (13, 17), (17, 18), (19, 25), (-1, -1)]
    places, values = of_row("text", spelt(pieces), entry(1, 3, "cut"))
    assert [(one.first, one.last, one.name) for one in places] == [(1, 3, "Unbelievably")]
    assert len(values) == 3


def test_words_that_share_a_step_are_one_place() -> None:
    """Two bins of seven tokens: the middle one is in both, and so are the words on its sides."""
    pieces = [(-1, -1), (0, 2), (2, 12), (13, 17), (17, 18), (19, 25), (-1, -1)]
    places, values = of_row("text", spelt(pieces), entry(1, 2))
    assert len(values) == 2
    assert [(one.first, one.last, one.name) for one in places] == [(0, 2, TEXT)]


def test_a_text_of_one_row_is_one_place() -> None:
    """As PooledEncoder leaves it: from the first character to the last."""
    (place,), _ = of_row("text", spelt([(0, 25)]), entry(1, 50, "cut"))
    assert (place.first, place.last, place.name) == (0, 1, TEXT)


def test_chinese_has_a_place_a_character() -> None:
    places, _ = of_row("text", spelt([(0, 1), (1, 2), (2, 3)]), entry(1, 9, "cut"), text="今天好。")
    assert [one.name for one in places] == ["今", "天", "好。"]


@pytest.mark.parametrize("sentence_case", [False, True])
def test_words_of_a_text_that_is_fine_tuned(sentence_case: bool) -> None:
    tokenizer = load_tokenizer("minilm")
    run: Any = SimpleNamespace(
        needed={}, entries={}, reading=Reading(tokenizer, max_tokens=11, sentence_case=sentence_case)
    )
    text = "UNBELIEVABLY GOOD, REALLY GOOD"
    features = ClipFeatures("a", Path("a"), Transcript("a", None, None, None, "en", text), {}, {})
    places = places_of(run, features, ClipInputs("a", {}, text))["text"]
    (ids,) = tokenizer.encode([text], 11)
    for place in places:  # the tokens of a place say its word, and nothing else
        said = load_fast_tokenizer("minilm", None).decode(ids[place.first : place.last])
        assert said.replace(" ", "") == place.name.lower()
    assert places[0].name == ("Unbelievably" if sentence_case else "UNBELIEVABLY")
    assert places[0].first == 1 and places[-1].last <= len(ids) - 1


# ----------------------------------------------------------------------------------------- sound and pictures
@pytest.mark.parametrize(("frames", "steps"), [(75, 50), (50, 50), (20, 50), (101, 7)])
def test_bins_are_at_the_times_of_their_frames(frames: int, steps: int) -> None:
    """Averages of frame times lie where the frames do that shorten() has averaged."""
    row, described = framed(frames), entry(1, steps)
    places, values = of_row("audio", row, described)
    assert row.times is not None
    of_times, _ = shorten(row.times[:, None], ["c0"], described)
    assert places[0].first == 0 and places[-1].last == len(values)
    assert [one.last for one in places[:-1]] == [one.first for one in places[1:]]
    for place in places:
        assert place.seconds is not None
        begin, end = place.seconds
        middle = of_times[place.first : place.last].mean()
        assert begin < middle < end
        assert end - begin == pytest.approx((place.last - place.first) * frames / len(values) / 25, abs=0.05)
    assert places[0].seconds is not None and places[0].seconds[0] == 0
    assert places[-1].seconds is not None and places[-1].seconds[1] == pytest.approx(frames / 25)
    assert len(places) <= min(MOST, max(1, round(frames / 25 / CELL_S)))


def test_leading_frames_of_zeros_are_nowhere() -> None:
    row = framed(30)
    assert row.features is not None
    row.features[:10] = 0
    places, values = of_row("visual", row, entry(1, 50, "skip"))
    assert len(values) == 20 and places[0].seconds == pytest.approx((10 / 25, 10 / 25 + 0.16), abs=0.05)


def test_one_row_of_a_clip_is_one_place() -> None:
    """As PooledEncoder leaves it: its time is the middle."""
    row = FeatureRow("a", "", OK, "", np.ones((1, 1), np.float32), np.array([1.5], np.float32))
    (place,), _ = of_row("audio", row, entry(1, 50))
    assert place.seconds == pytest.approx((0.0, 3.0))


def test_steps_without_times_have_their_numbers() -> None:
    places, _ = of_row("audio", framed(50, times=False), entry(1, 5))
    assert [one.name for one in places] == [f"step {i}" for i in range(1, 6)]
    assert all(one.seconds is None for one in places)


def test_samples_of_a_sound_that_is_fine_tuned() -> None:
    run: Any = SimpleNamespace(needed={}, entries={}, reading=Reading(waveform=32_000))
    features = ClipFeatures("a", Path("a"), Transcript("a", None, None, None, "en"), {}, {})
    inputs = ClipInputs("a", {}, sound=np.zeros(48_000, np.int16))
    places = places_of(run, features, inputs)["audio"]
    assert places[-1].last == 32_000 and places[-1].seconds is not None and places[-1].seconds[1] == 2.0
    assert len(places) == round(2 / CELL_S)


# --------------------------------------------------------------------------------------------------- aligned
def test_rows_of_aligned_words() -> None:
    words = [
        {"text": text, "start_s": 0.4 * i, "end_s": 0.4 * i + 0.3, "score": 1.0}
        for i, text in enumerate(("unbelievably", "good", "really"))
    ]
    places, values = of_row("audio", framed(30), entry(1, 9, "cut", align="words"), words=words)
    assert len(values) == 3
    assert [(one.first, one.last, one.name) for one in places] == [
        (0, 1, "unbelievably"),
        (1, 2, "good"),
        (2, 3, "really"),
    ]
    assert places[1].seconds == (0.4, 0.7)
    assert [TEXT[slice(*one.chars)] for one in places if one.chars] == ["Unbelievably", "good", "really"]
