"""Contributions of modalities to predictions: they add up, over runs too, and nothing absent is named."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made.media_factory import muted
from made.sample_runs import SampleRuns

from pipeline.params.params import Params
from pipeline.predict.inputs import ClipInputs
from pipeline.predict.predict import Predictor
from pipeline.predict.prediction import outcome
from pipeline.predict.report import blocks, to_table

METHODS = ("misr", "text_only", "slad")
VALID = ("video_0002$_$0001", "video_0002$_$0002")

pytestmark = pytest.mark.filterwarnings("ignore:SymbolDatabase.GetPrototype")


@pytest.fixture(scope="module")
def predictor(sample: SampleRuns) -> Predictor:
    return Predictor.open([sample.run(name) for name in METHODS], Params())


@pytest.fixture(scope="module")
def first(sample: SampleRuns, predictor: Predictor) -> Any:
    return predictor(VALID[0], sample.videos[VALID[0]], sample.texts[VALID[0]])


def test_contributions_add_up_to_what_the_runs_say_more_than_on_average(first: Any) -> None:
    """Of each run, and of their mean: SLaD does not see, and gives the face nothing."""
    for one in first.outcomes:
        total = sum(one.contributions.values())
        assert total == pytest.approx(one.scores - one.baseline, abs=1e-6)
    assert set(first.contributions) == {"text", "audio", "visual"}
    means = [mean for mean, _ in first.contributions.values()]
    assert sum(means) == pytest.approx(first.value - first.baseline, abs=1e-6)
    own = [float(one.contributions.get("visual", np.zeros(1))[0]) for one in first.outcomes]
    assert own[METHODS.index("slad")] == 0 and "visual" not in first.outcomes[2].contributions
    mean, sd = first.contributions["visual"]
    assert (mean, sd) == pytest.approx((statistics.fmean(own), statistics.stdev(own)))


def test_a_modality_that_is_not_there_contributes_nothing_and_is_not_named(
    sample: SampleRuns, predictor: Predictor, first: Any, tmp_path: Path
) -> None:
    """The sound of two clips with the same words and pictures, one of them mute."""
    video = muted(sample.videos[VALID[0]], tmp_path / "muted.mp4")
    silent = predictor("muted", video, sample.texts[VALID[0]])
    assert ("absent", "audio") in {(one.kind, one.modality) for one in silent.cautions}
    assert set(silent.contributions) == {"text", "visual"}
    for whole, mute in zip(first.outcomes, silent.outcomes, strict=True):
        assert "audio" not in mute.contributions
        if set(whole.contributions) == {"text", "audio"}:  # two players: a half of each difference
            text = mute.scores - mute.baseline  # v(text) - v(nothing)
            assert mute.contributions["text"] == pytest.approx(text, abs=1e-6)
            both = whole.scores - mute.scores
            alone = 2 * whole.contributions["audio"] - both  # v(audio) - v(nothing)
            assert whole.contributions["text"] == pytest.approx(
                (text + whole.scores - whole.baseline - alone) / 2, abs=1e-6
            )
    table = to_table([silent], predictor.facts).to_pylist()[0]
    assert table["contribution_audio"] is None and table["contribution_text"] is not None
    shown = "\n".join(str(block) for block in blocks([silent]))
    assert "audio" not in shown.split("What each modality contributed")[1]


def test_the_only_modality_of_a_clip_contributes_all(sample: SampleRuns, predictor: Predictor) -> None:
    run = predictor.runs[0]
    nothing: dict[str, np.ndarray | None] = {"text": None, "visual": None}
    found = outcome(run, ClipInputs("a", {**nothing, "audio": np.ones((4, 33), np.float32)}), "run")
    assert list(found.contributions) == ["audio"]
    assert found.contributions["audio"] == pytest.approx(found.scores - found.baseline)
