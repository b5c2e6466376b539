"""Damaged files of runs, states, sets and results: one line that names them, or they are made again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made.feature_rows import META, make_row
from made.tiny_khar import PRETRAINING, TINY
from made.tiny_runs import made_run, made_set, tiny_params

from pipeline.core.errors import MsaError
from pipeline.evaluation.evaluate import evaluate
from pipeline.params.params import MediaLimits, TrainParams
from pipeline.params.run import RunConfig
from pipeline.params.transcribe import TranscribeParams
from pipeline.reports.report import report
from pipeline.store.shard import FeatureRow
from pipeline.store.store import FeatureStore
from pipeline.training.loop.checkpoint import Checkpoint
from pipeline.training.loop.pretrain import pretrain
from pipeline.training.loop.train import train
from pipeline.training.runs import open_runs
from pipeline.transcripts.stage import KeptResults, Transcript

KHAR: dict[str, Any] = {
    **TINY,
    "pretraining": {
        **PRETRAINING,
        "adapters": "pretrained",
        "epochs": dict.fromkeys(("text", "audio", "visual"), 1),
    },
    "training": {"epochs": 1},
    "kappa": 0.4,
}
RESULTS = "results/tiny/misr"
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda old: b"",
    "half": lambda old: old[: len(old) // 2],
    "garbage": lambda old: np.random.default_rng(0).bytes(len(old)),
    "a list": lambda old: b"[]",
    "another object": lambda old: b'{"format": 1, "stats": 3}',
}


def evaluated(here: Path) -> None:
    evaluate([here / "misr-run"], here / "set", here / RESULTS, "mmsa", device="cpu")


def khar_run(here: Path) -> RunConfig:
    return RunConfig(
        method_name="khar",
        dataset="tiny",
        seed=1,
        method_params=KHAR,
        train_params=TrainParams(),
        assembled=here / "set",
        pretrained=here / "pretrained",
        out=here / "khar-run",
    )


def pretrained(here: Path) -> None:
    pretrain(khar_run(here), device="cpu", state_root=here / "state")


def trained(here: Path) -> None:
    train(khar_run(here), device="cpu", state_root=here / "state", logs=here / "logs")


def transcribed(here: Path) -> None:
    kept = KeptResults(here / "kept.jsonl", TranscribeParams(), MediaLimits(), "cpu", False)
    clip = Transcript("a", here / "a.mp4", None, None, "en", "said")
    key = kept.key("0" * 64, clip)
    if (found := kept.find(key)) is not None:
        replace(clip, **found)
    kept.add(key, clip)


def stored(here: Path) -> None:
    def compute(clip_ids: list[str]) -> list[FeatureRow]:
        return [make_row(clip_id) for clip_id in clip_ids]

    FeatureStore(here / "store").update(dict.fromkeys("abc", "s"), META, 1, compute)


# a file -> what reads it; those of the second half make it again
READERS: dict[str, list[Callable[[Path], object]]] = {
    "misr-run/config.json": [evaluated, lambda here: open_runs([here / "misr-run"])],
    "misr-run/model.safetensors": [evaluated],
    "misr-run/curves.tsv": [
        evaluated,
        lambda here: report(tiny_params(), here / "results", here / "reports"),
    ],
    "misr-run/train.predictions.parquet": [evaluated],
    "set/stats.json": [trained, evaluated],
    "set/train.parquet": [trained, evaluated],
    **{
        f"{RESULTS}/{name}": [lambda here: report(tiny_params(), here / "results", here / "reports")]
        for name in ("metrics.json", "predictions.parquet", "curves.tsv", "views.json")
    },
}
MAKERS: dict[str, list[Callable[[Path], object]]] = {
    "pretrained/pretrained.json": [pretrained, trained],
    "pretrained/text.safetensors": [pretrained, trained],
    "state": [trained],
    "kept.jsonl": [transcribed, transcribed],
    "store/shard-000.parquet": [stored, stored],
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a set, a run of MISR, its results and views, a pretraining of KHaR, a state, a store."""
    here = tmp_path_factory.mktemp("whole") / "whole"
    made_run(here, "misr", made_set(here / "set"))
    for make in (evaluated, pretrained, transcribed, stored):
        make(here)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "remove", lambda self: None)
        patch.setattr("pipeline.training.loop.checkpoint.SAVE_EVERY_S", -1.0)
        trained(here)
    return here


def damaged(whole: Path, tmp_path: Path, name: str, damage: str) -> Path:
    """A copy in which a file, or the state of the one training that has some, is damaged."""
    here = tmp_path / "here"
    shutil.copytree(whole, here)
    (path,) = here.glob(f"{name}/*/state.pt") if name == "state" else [here / name]
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    return here


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_one_line(whole: Path, tmp_path: Path, name: str, damage: str) -> None:
    here, said = damaged(whole, tmp_path, name, damage), []
    for read in READERS[name]:
        try:
            read(here)
        except MsaError as error:
            said.append(str(error))
    assert all(Path(name).name in line and "\n" not in line for line in said)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", MAKERS)
def test_a_damaged_state_is_made_anew(whole: Path, tmp_path: Path, name: str, damage: str) -> None:
    here = damaged(whole, tmp_path, name, damage)
    for make in MAKERS[name]:
        make(here)
    if name == "state":
        assert (here / "khar-run/model.safetensors").read_bytes() == (
            whole / "khar-run/model.safetensors"
        ).read_bytes()
    elif name != "kept.jsonl":
        assert (here / name).read_bytes() == (whole / name).read_bytes()
