"""Predicting where more than the clip counts: what was said before it, its runs and their project."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from made.sample_runs import SampleRuns
from ruamel.yaml import YAML

from models.core.batch import Reading
from pipeline.core.errors import FormatError, MsaError
from pipeline.core.paths import run_folder
from pipeline.params.params import Params
from pipeline.predict.inputs import ClipInputs, batch_of
from pipeline.predict.predict import Predictor, clips_of, predict
from pipeline.training.runs import open_runs

VALID = ("video_0002$_$0001", "video_0002$_$0002")

pytestmark = pytest.mark.filterwarnings("ignore:SymbolDatabase.GetPrototype")


def written(run: Path, clip_id: str) -> float:
    """What training wrote of a clip of the validation split."""
    table = pq.read_table(run / "valid.predictions.parquet").to_pydict()
    return float(table["prediction"][table["clip_id"].index(clip_id)])


@pytest.mark.parametrize("settings", [{}, {"text": "finetune", "max_tokens": 12}])
def test_after_what_was_said_before_a_clip_gets_the_prediction_that_training_wrote(
    sample: SampleRuns, settings: dict[str, Any]
) -> None:
    folder = sample.run("slad", **settings)
    predictor = Predictor.open([folder], Params())
    before = predictor.extract(VALID[0], sample.videos[VALID[0]], sample.texts[VALID[0]])
    second = (VALID[1], sample.videos[VALID[1]], sample.texts[VALID[1]])
    clip, alone = predictor(*second, before=[before, before]), predictor(*second)
    assert clip.value == pytest.approx(written(folder, VALID[1]), abs=1e-6)
    assert abs(alone.value - clip.value) > 1e-4
    assert "context" not in {one.kind for one in clip.cautions}
    assert "--context" in str(alone.cautions)
    assert predictor.predict(before, []).value == pytest.approx(written(folder, VALID[0]), abs=1e-6)


def test_the_sound_before_a_clip_is_kept_from_its_end() -> None:
    """As in a training set: the last samples of all utterances, whichever of them they are of."""
    reading = Reading(waveform=6, context=2)
    run: Any = SimpleNamespace(reading=reading, entries={}, device=torch.device("cpu"))
    sounds = [np.arange(start, start + 9, dtype=np.int16) for start in (100, 200, 300)]
    sounds[1] = sounds[1][:4]
    clip, *before = (ClipInputs(str(i), {}, sound=sound) for i, sound in enumerate((sounds[2], *sounds[:2])))
    batch = batch_of(run, replace(clip, before=tuple(before)))
    assert batch.waveform is not None and batch.context is not None and batch.context.waveform is not None
    assert (batch.waveform.values[0] * 32768).tolist() == [300, 301, 302, 303, 304, 305]
    assert (batch.context.waveform.values[0] * 32768).tolist() == [107, 108, 200, 201, 202, 203]


def test_a_folder_is_one_video_in_natural_order(sample: SampleRuns, tmp_path: Path) -> None:
    talks = {"a/2.mp4": VALID[0], "a/10.mp4": VALID[1], "b/1.mp4": VALID[1]}
    for name, clip_id in talks.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(sample.videos[clip_id], tmp_path / name)
        (tmp_path / name).with_suffix(".txt").write_text(sample.texts[clip_id], encoding="utf-8")
    (tmp_path / "a" / "3.mp4").write_bytes(b"no video" * 100)  # has no place in the order
    folder = sample.run("slad")
    clips = clips_of([tmp_path])
    assert list(clips) == ["a/2", "a/3", "a/10", "b/1"]
    found = {
        clip.features.clip_id: clip
        for clip in predict(Predictor.open([folder], Params()), clips, context=True)
    }
    assert found["a/10"].value == pytest.approx(written(folder, VALID[1]), abs=1e-6)
    assert found["a/2"].value == pytest.approx(written(folder, VALID[0]), abs=1e-6)
    assert abs(found["b/1"].value - found["a/10"].value) > 1e-4 and not found["a/3"].ok


def test_runs_that_do_not_belong_together_are_refused(sample: SampleRuns, tmp_path: Path) -> None:
    with pytest.raises(MsaError, match=r"of dataset 'scores'.* of 'classes'"):
        open_runs([sample.run("misr"), sample.run("misr", classes=True)])
    again = tmp_path / "again"
    again.symlink_to(sample.run("misr"))
    for twin in (sample.run("misr"), again):
        with pytest.raises(MsaError, match="given twice"):
            open_runs([sample.run("misr"), twin])
    with pytest.raises(FormatError, match="not a run folder"):
        open_runs([tmp_path])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config.pop("stats"), "stats is missing"),
        (lambda config: config["stats"].pop("modalities"), "stats.modalities is missing"),
        (lambda config: config["params"].update(foo=1), "does not accept its settings .*'foo'"),
        (lambda config: config.update(method="other"), "method 'other' is not known"),
    ],
)
def test_a_run_that_was_edited_or_is_of_another_version(
    sample: SampleRuns, tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(sample.run("misr"), run)
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    change(config)
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(FormatError, match=f"run.*{message}"):
        open_runs([run])


def test_runs_of_one_name_are_told_apart(sample: SampleRuns, tmp_path: Path) -> None:
    """Of two projects, say: each has its line in the JSON."""
    run = sample.run("misr")
    twin = tmp_path / "runs" / run.name
    shutil.copytree(run, twin)
    clip = Predictor.open([run, twin, sample.run("misr", seed=2)], Params())("a", sample.videos[VALID[0]])
    assert [one.run for one in clip.outcomes] == [str(run), str(twin), "misr-scores-2"]


def test_the_language_is_that_of_the_project_in_which_the_run_lies(
    sample: SampleRuns, tmp_path: Path, project: Path
) -> None:
    run = tmp_path / run_folder("misr", "scores", 1)
    shutil.copytree(sample.run("misr"), run)
    assert Predictor.open([run], Params()).language is None
    text = (project / "params.yaml").read_text(encoding="utf-8")
    params = YAML(typ="safe").load(text)
    params["datasets"]["sample"]["language"] = "zh"
    params["assemble"] = {"scores": params["assemble"]["sample"]}
    params |= {"datasets_run": []}
    YAML(typ="safe").dump(params, tmp_path / "params.yaml")
    predictor = Predictor.open([run], Params())
    assert predictor.language == "zh"
    clip = predictor("a", sample.videos[VALID[0]], "so so", "en")
    assert "the clip is in 'en', but the run was trained on 'zh'" in str([str(one) for one in clip.cautions])
    (tmp_path / "params.yaml").write_text("nonsense: 1", encoding="utf-8")
    assert Predictor.open([run], Params()).language is None
