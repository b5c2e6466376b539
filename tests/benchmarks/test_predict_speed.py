"""What predicting costs beside extracting: a further clip, and the first one of a process."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from made.sample_runs import SampleRuns, make_sample_runs
from timing import Rounds

from pipeline.execution.local import THREADS
from pipeline.params.params import Params
from pipeline.predict.predict import Predictor

pytestmark = [pytest.mark.benchmark, pytest.mark.filterwarnings("ignore:SymbolDatabase.GetPrototype")]

METHODS = ("misr", "cmir", "slad", "mird", "khar")
FURTHER = 1.5  # times its extraction, of a clip of three seconds
FIRST = 1.25  # times the first extraction of a process
FIRST_S, CALM_LOAD = 10.0, 1.5  # seconds of one core; others slow it down through memory and caches


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory, project: Path) -> SampleRuns:
    return make_sample_runs(tmp_path_factory.mktemp("speed"), project / "data" / "sample")


def test_a_further_clip_costs_little_more_than_its_extraction(sample: SampleRuns) -> None:
    predictor = Predictor.open([sample.run(method) for method in METHODS], Params())
    clip_id = max(sample.videos, key=lambda name: sample.videos[name].stat().st_size)
    video, text = sample.videos[clip_id], sample.texts[clip_id]
    rounds = Rounds(
        {
            "extraction": lambda: predictor.extract(clip_id, video, text),
            "prediction": lambda: predictor(clip_id, video, text),
        }
    ).run(7)
    ratio = rounds.median("prediction") / rounds.median("extraction")
    print(
        f"\na further clip, five methods: {ratio:.2f} times its extraction (others: {rounds.load:.1f} cores)"
    )
    assert ratio < FURTHER


def test_the_first_prediction_of_a_process(sample: SampleRuns) -> None:
    """Nearly all of it is importing what extraction needs: so it is compared with that, too."""
    clip_id, video = next(iter(sample.videos.items()))
    clip = ["--video", str(video), "--text", sample.texts[clip_id]]
    commands = {
        "extract": ["extract", *clip, "--out", "features"],
        "predict": ["predict", *clip, "--run", str(sample.run("misr"))],
    }
    spent: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(3):
        for name, command in commands.items():
            spent[name].append(_seconds(command, sample.folder))
    first = {name: min(seconds) for name, seconds in spent.items()}
    ratio = first["predict"] / first["extract"]
    print(
        f"\nthe first prediction of a process: {first['predict']:.1f} s of one core, {ratio:.2f} times "
        f"the first extraction (other load {os.getloadavg()[0]:.1f})"
    )
    assert ratio < FIRST
    if os.getloadavg()[0] < CALM_LOAD:
        assert first["predict"] < FIRST_S


def _seconds(command: list[str], folder: Path) -> float:
    """CPU time of `msa-cli` with these arguments, all its threads together."""
    program = str(Path(sys.executable).parent / "msa-cli")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [program, *command], env={**os.environ, **THREADS}, cwd=folder, check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
