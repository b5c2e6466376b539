"""Which clips hang together: kinds, counts and sums, by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.core.errors import MsaError
from pipeline.evaluation.clusters import CLIPS, ClusterCount, clusters_of

UNKNOWN = "3 clips: no video or speaker known"


@pytest.mark.parametrize(
    ("speakers", "videos", "said", "of_clip"),
    [
        ("aab", "xyz", "3 clips of 2 speakers", [0, 0, 1]),
        ("ba-", "xyx", "3 clips of 2 videos", [0, 1, 0]),
        ("---", "yxx", "3 clips of 2 videos", [1, 0, 0]),
        ("aa-", "x-x", UNKNOWN, [0, 1, 2]),
        ("---", "---", UNKNOWN, [0, 1, 2]),
        ("---", "xyz", "3 clips: no video has two", [0, 1, 2]),
        ("abc", "xyz", "3 clips: no speaker has two", [0, 1, 2]),
        ("abc", "xxx", "3 clips of 1 video", [0, 0, 0]),
        ("abb", "xxx", "3 clips of 1 video", [0, 0, 0]),
        ("aaa", "xyz", "3 clips of 1 speaker", [0, 0, 0]),
    ],
)
def test_one_kind_holds_for_all_clips(
    speakers: Sequence[str], videos: Sequence[str], said: str, of_clip: list[int]
) -> None:
    found = clusters_of(*([None if name == "-" else name for name in names] for names in (speakers, videos)))
    assert found.counted.text_with_clips == said
    assert found.of_clip.tolist() == of_clip


def test_no_clips_are_refused() -> None:
    with pytest.raises(MsaError, match="no clips"):
        clusters_of([], [])


def test_sums_are_those_of_a_loop() -> None:
    random = np.random.default_rng(3)
    videos = [f"v{i}" for i in random.integers(0, 7, 40)]
    terms = random.normal(size=(40, 2, 3))
    clusters = clusters_of([None] * 40, videos)
    expected = [terms[[one == name for one in videos]].sum(axis=0) for name in sorted(set(videos))]
    np.testing.assert_allclose(clusters.sums(terms), expected, atol=1e-12)


def test_words() -> None:
    assert ClusterCount("speakers", 52, 700).text == "52 speakers"
    assert ClusterCount(CLIPS, 30, 30, "no video or speaker known").text == "clips: no video or speaker known"
    assert ClusterCount("videos", 20, 90).warning == ""
    assert ClusterCount("videos", 19, 90).warning.startswith("19 videos: too few to trust")
