"""10,000 resamples of a test split of CMU-MOSEI's size, five seeds a side, nine metrics, one thread."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from timing import Rounds

from pipeline.evaluation.clusters import Clusters
from pipeline.evaluation.significance import RESAMPLES, Sides, differences

pytestmark = pytest.mark.benchmark

CLIPS, VIDEOS, RUNS = 4_662, 675, 5
LIMIT_S = 2.0


def test_resamples_by_video_beside_those_by_clip(capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    label = random.uniform(-3, 3, CLIPS)
    a, b = label + random.normal(size=(2, RUNS, CLIPS))
    of_clip = random.permutation(np.arange(CLIPS) % VIDEOS)
    paired = Sides(label, a, b, Clusters("videos", of_clip), "mmsa")
    clips = replace(paired, clusters=Clusters.alone(CLIPS))
    sides = {
        "videos": paired,
        "videos, other seeds": replace(paired, paired=False),
        "clips": clips,
        "clips, other seeds": replace(clips, paired=False),
    }
    rounds = Rounds({name: partial(differences, one, RESAMPLES) for name, one in sides.items()}).run(3)
    with capsys.disabled():
        for name in sides:
            print(
                f"\n{name}: {rounds.median(name):.2f} CPU s, {rounds.ratio(name, 'clips'):.2f} of clips",
                end="",
            )
        print(f"  (others took {rounds.load:.1f} cores)")
    rounds.hold(max(map(rounds.median, sides)) < LIMIT_S, f"expected less than {LIMIT_S} s each")
    rounds.hold(rounds.ratio("videos", "clips") < 0.5, "videos should take less than half the time of clips")
