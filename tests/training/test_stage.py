"""The train stage: what is kept, trained and removed, and that neither death nor company changes a byte."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from made import tiny_khar, tiny_misr
from made.tiny_set import Tiny, write_tiny_set

from models import METHODS, MethodEntry
from pipeline.core.console import Epochs, RunsProgress
from pipeline.core.errors import MsaError
from pipeline.params.params import TrainParams
from pipeline.params.run import RunConfig
from pipeline.training import workers
from pipeline.training.loop import checkpoint
from pipeline.training.stage import TrainStage, train_stages
from pipeline.training.workers import TrainJob, TrainOutcome, TrainRuntime

ALONE = TrainRuntime(workers=1, device="cpu")
PREDICTIONS = {"train.predictions.parquet", "valid.predictions.parquet"}
FILES = {"model.safetensors", "config.json", "curves.tsv", *PREDICTIONS}
SETTINGS: dict[str, dict[str, Any]] = {
    "tiny": {"training": {"epochs": 3}},
    "misr": {**tiny_misr.TINY, "training": {"epochs": 3}},
    "khar": {
        **tiny_khar.TINY,
        "pretraining": {
            **tiny_khar.PRETRAINING,
            "adapters": "pretrained",
            "epochs": dict.fromkeys(("text", "audio", "visual"), 1),
        },
        "training": {"epochs": 2},
    },
}


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "tiny", MethodEntry("made.tiny_set"))
    monkeypatch.chdir(tmp_path)
    write_tiny_set(Path("set"))


def stage(method: str, *seeds: int, alone: bool = False, **settings: Any) -> TrainStage:
    runs = [
        RunConfig(
            method_name=method,
            dataset="set",
            seed=seed,
            method_params=SETTINGS[method] | settings,
            train_params=TrainParams(),
            assembled=Path("set"),
            pretrained=Path(f"runs/{method}-set/pretrained"),
            out=Path(f"runs/{method}-set/{seed}"),
        )
        for seed in seeds
    ]
    return TrainStage(tuple(runs), alone)


def content() -> dict[str, tuple[int, bytes]]:
    """Time and bytes of every file below `runs`, locks and what is half written too."""
    files = [path for path in Path("runs").rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def only_bytes() -> dict[str, bytes]:
    return {name: kept for name, (_, kept) in content().items()}


# -------------------------------------------------------------------------------- kept, trained and removed
def test_an_added_seed_is_one_run_and_a_removed_one_leaves() -> None:
    train_stages([stage("tiny", 1, 2)], ALONE)
    before = content()
    assert {Path(name).name for name in before} == FILES and len(before) == 2 * len(FILES)
    Path("runs/tiny-set/notes").mkdir()
    train_stages([stage("tiny", 1, 2, 30)], ALONE)
    after = content()
    assert {name: after[name] for name in before} == before
    assert {name for name in after if name not in before} == {f"runs/tiny-set/30/{name}" for name in FILES}
    train_stages([stage("tiny", 2, alone=True)], ALONE)  # one that is asked for removes no other
    assert content() == after
    train_stages([stage("tiny", 30, 2)], ALONE)
    assert content() == {name: kept for name, kept in after.items() if "/1/" not in name}
    assert Path("runs/tiny-set/notes").exists()


def test_settings_that_come_back_are_not_trained_again(capsys: pytest.CaptureFixture[str]) -> None:
    train_stages([stage("tiny", 1, 2)], ALONE)
    before = only_bytes()
    train_stages([stage("tiny", 1, training={"epochs": 2})], ALONE)
    assert only_bytes()["runs/tiny-set/1/config.json"] != before["runs/tiny-set/1/config.json"]
    capsys.readouterr()
    train_stages([stage("tiny", 1, 2)], ALONE)
    assert "tiny-set: 0 kept, 2 from the run cache, 0 to train" in capsys.readouterr().out
    assert only_bytes() == before
    shutil.rmtree("runs")
    for entry in Path(".state/runs").iterdir():  # one is of other settings, and is not looked at
        weights = (entry / "model.safetensors").read_bytes()
        (entry / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    train_stages([stage("tiny", 1, 2)], ALONE)
    said = capsys.readouterr().out
    assert said.count("model.safetensors is not as it was written; removed") == 2
    assert "tiny-set: 0 kept, 2 to train" in said
    assert only_bytes() == before


def test_a_run_says_what_its_files_are() -> None:
    train_stages([stage("tiny", 1)], ALONE)
    config = json.loads(Path("runs/tiny-set/1/config.json").read_text())
    assert set(config["files"]) == FILES - {"config.json"}
    assert json.loads(Path("logs/train-tiny-set-1.json").read_text())["epoch"] == config["epoch"]
    assert "seconds" not in config


def test_one_changed_weight_is_all_seeds_of_that_method_alone(capsys: pytest.CaptureFixture[str]) -> None:
    train_stages([stage("tiny", 1, 2), stage("misr", 1)], ALONE)
    before = content()
    capsys.readouterr()
    train_stages([stage("tiny", 1, 2, weights={"spread": 0.5}), stage("misr", 1)], ALONE)
    assert "runs/tiny-set/2: trained again, of other params" in capsys.readouterr().out
    after = content()
    changed = {name.rpartition("/")[0] for name in before if after[name][0] != before[name][0]}
    assert changed == {"runs/tiny-set/1", "runs/tiny-set/2"}
    train_stages([stage("tiny", 1, 2), stage("misr", 1)], ALONE)
    assert {name: kept for name, (_, kept) in before.items()} == only_bytes()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "curves.tsv is missing": lambda run: (run / "curves.tsv").unlink(),
    "model.safetensors is not as it was written": lambda run: os.truncate(run / "model.safetensors", 9),
    "valid.predictions.parquet is not as": lambda run: os.truncate(run / "valid.predictions.parquet", 99),
    "config.json is not as it was written": lambda run: (run / "config.json").write_text(
        re.sub(r'"valid_loss": \d', '"valid_loss": 7', (run / "config.json").read_text())
    ),
    "not a run folder": lambda run: (run / "config.json").write_bytes(b"{"),
    "other.txt is no file of it": lambda run: (run / "other.txt").write_text("x"),
}
RESTORED = ("curves.tsv is missing", "other.txt is no file of it")  # others damage what the links share


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("said", DAMAGE)
def test_a_damaged_folder_is_told_and_made_anew(
    said: str, cached: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    train_stages([stage("tiny", 1, 2)], ALONE)
    if not cached:
        shutil.rmtree(".state/runs")
    before = content()
    capsys.readouterr()
    DAMAGE[said](Path("runs/tiny-set/1"))
    train_stages([stage("tiny", 1, 2)], ALONE)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("runs/tiny-set/1: ")]
    assert ("from the run cache" if cached and said in RESTORED else "trained again") in line and said in line
    assert only_bytes() == {name: kept for name, (_, kept) in before.items()}
    assert all(content()[name] == before[name] for name in before if "/2/" in name)


def test_a_seed_that_fails_is_named_and_the_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    build = Tiny.build

    def broken(self: Tiny, backbones: Any) -> None:
        if torch.initial_seed() == 2:
            raise MsaError("the second seed is broken")
        build(self, backbones)

    torch.manual_seed(0)  # not that of an earlier training
    monkeypatch.setattr(Tiny, "build", broken)
    with pytest.raises(MsaError, match=r"^tiny-set-2: the second seed is broken$"):
        train_stages([stage("tiny", 1, 2, 3)], ALONE)
    assert {path.name for path in Path("runs/tiny-set").iterdir()} == {"1", "3"}


# ------------------------------------------------------------------------------------------------- killed
def test_killed_at_any_moment_is_undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after ever more moments (steps, renames and removals), until it comes through."""
    monkeypatch.setattr(checkpoint, "SAVE_EVERY_S", -1.0)
    monkeypatch.setattr(checkpoint, "SAVE_SHARE", float("inf"))
    stages = [stage("khar", 1, 2), stage("tiny", 1, 2)]
    moments = []
    for place, name in ((Tiny, "losses"), (os, "replace"), (Path, "rename"), (shutil, "rmtree")):
        moments.append((place, name, getattr(place, name)))

    def killed_at(moment: int) -> int:
        left = [moment]

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **options)

            return call

        def work() -> None:
            for place, name, function in moments:
                setattr(place, name, counted(function))
            train_stages(stages, ALONE)

        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        process.join()
        return process.exitcode or 0

    assert killed_at(-1) == 0
    undisturbed = only_bytes()
    assert not [name for name in undisturbed if "/." in name]
    shutil.rmtree("runs")
    shutil.rmtree(".state")
    deaths = 0
    while code := killed_at(3 + 7 * deaths):
        assert code == -signal.SIGKILL
        deaths += 1
        assert deaths < 30
    assert deaths >= 5
    assert only_bytes() == undisturbed
    assert [path.name for path in Path(".state").iterdir()] == ["runs"]  # no state of a training
    shutil.rmtree("runs")
    train_stages(stages, ALONE)
    assert only_bytes() == undisturbed  # what is left in the cache is whole


# ---------------------------------------------------------------------------------------------- many at once
def holder(lock: Path) -> int | None:
    """The worker that has this file open."""
    for process in multiprocessing.active_children():
        for link in Path(f"/proc/{process.pid}/fd").glob("*"):
            if link.exists() and os.path.samefile(link, lock):
                return process.pid
    return None


def test_workers_and_their_deaths_change_no_byte(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = [stage("khar", 1, 2), stage("misr", 1, 2)]
    train_stages(stages, ALONE)
    alone = only_bytes()
    shutil.rmtree("runs")
    shutil.rmtree(".state")
    deadly = {"misr-set-1": 1, "misr-set-2": 2}  # so often its worker is killed
    follow = RunsProgress.epoch

    def epoch(self: RunsProgress, epochs: Epochs) -> None:
        follow(self, epochs)
        lock = Path(f"runs/misr-set/.{epochs.title[-1]}.lock")
        if deadly.get(epochs.title, 0) and (worker := holder(lock)):
            deadly[epochs.title] -= 1
            os.kill(worker, signal.SIGKILL)

    monkeypatch.setattr(RunsProgress, "epoch", epoch)
    with pytest.raises(MsaError, match=r"^misr-set-2: its worker was killed by SIGKILL \(out of memory\?\)"):
        train_stages(stages, TrainRuntime(workers=2, device="cpu"))
    assert set(deadly.values()) == {0}
    assert {*alone} - {*only_bytes()} == {f"runs/misr-set/2/{name}" for name in FILES}
    said = capsys.readouterr()
    assert "misr-set-2: failed" in said.err and " of 5 done, about " in said.err
    train_stages(stages, ALONE)
    assert only_bytes() == alone


def test_a_ray_cluster_changes_no_byte() -> None:
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    train_stages([stage("khar", 1, 2)], ALONE)
    alone = only_bytes()
    shutil.rmtree("runs")
    shutil.rmtree(".state")
    train_stages([stage("khar", 1, 2)], TrainRuntime(workers=2, device="cpu", executor="ray"))
    ray.shutdown()
    assert only_bytes() == alone


# ------------------------------------------------------------------------------------------------------ GPUs
def test_what_has_no_room_on_a_gpu_is_tried_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[str, bool]] = []
    together: list[dict[str, Any]] = []

    def trainer(device: str, fresh: bool) -> Callable[[TrainJob], TrainOutcome]:
        def work(job: TrainJob) -> TrainOutcome:
            crowd = len(together) == 1
            seen.append((job.title, crowd))
            if (job.run.seed == 2 and crowd) or job.run.seed == 3:
                return TrainOutcome(failure="out of memory", crowded=True)
            job.run.out.mkdir(parents=True)
            return TrainOutcome("trained")

        return work

    def run(make: Any, jobs: list[TrainJob], **options: Any) -> Any:
        together.append(options)
        for job in jobs:
            yield job, make()(job)

    monkeypatch.setattr(workers, "trainer", trainer)
    monkeypatch.setattr(workers, "visible_gpus", lambda device: ["3", "5"])
    monkeypatch.setattr(workers, "device_type", lambda device: "cuda")
    monkeypatch.setattr(workers.local, "run", run)
    runtime = TrainRuntime(device="cuda", runs_per_gpu=2)
    with pytest.raises(MsaError, match=r"^tiny-set-3: out of memory$"):
        train_stages([stage("tiny", 1, 2, 3, 4, 5)], runtime)
    first, second = together
    assert (first["workers"], second["workers"]) == (4, 2)
    assert first["environments"] == [{"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "5"}]
    assert [title for title, _ in seen].count("tiny-set-2") == 2
    assert "tiny-set-2: does not fit on the GPU with other runs; retried alone" in capsys.readouterr().err


def test_out_of_memory_is_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Tiny, backbones: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Tiny, "build", full)
    outcome = workers.trainer("cpu", False)(TrainJob(stage("tiny", 1).runs[0]))
    assert outcome.crowded and "batch_size" in outcome.failure
