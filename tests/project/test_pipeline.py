"""The whole DAG on a handful of clips of the sample corpus, as a user runs it: `dvc repro` and git."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from made.code_changes import edited
from made.workspace import CLIPS, FEATURES, VIDEOS, Workspace, make_workspace

from pipeline.core.stage_code import WOKEN_BY_LOCK
from pipeline.store.store import FeatureStore

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def first_run(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Workspace, set[str]]]:
    workspace = make_workspace(tmp_path_factory.mktemp("project"), project)
    ran, _ = workspace.repro()
    workspace.run("git", "add", "-A")
    workspace.run("git", "commit", "-qm", "first")
    return workspace, ran


@pytest.fixture
def workspace(first_run: tuple[Workspace, set[str]]) -> Iterator[Workspace]:
    """The finished first run; whatever a test does to it is undone."""
    yield first_run[0]
    first_run[0].run("git", "checkout", "-q", ".")
    first_run[0].run("git", "clean", "-qfd")
    first_run[0].run("dvc", "checkout", "-q")


def test_raw_clips_become_tracked_metrics(first_run: tuple[Workspace, set[str]]) -> None:
    workspace, ran = first_run
    stages = {name.split("@")[0] for name in ran}
    assert stages == {
        *("ingest", "transcribe", "text", "audio", "visual", "assemble"),
        *("train", "evaluate", "report"),
    }
    total = CLIPS * sum(VIDEOS.values())
    for name in FEATURES:
        features = FeatureStore(workspace.folder / "data/features/sample" / name).read()
        assert features is not None and len(features.rows) == total
        assert {row.status for row in features.rows.values()} == {"ok"}
    (result,) = json.loads((workspace.folder / "results/sample/misr/metrics.json").read_text())["runs"]
    assert result["n"]["test"] == CLIPS
    assert 0 <= result["test"]["mae"] <= 6
    tracked = workspace.run("git", "ls-files").splitlines()
    assert "results/sample/misr/metrics.json" in tracked
    assert "results/sample/misr/predictions.parquet" in tracked
    assert not [
        name for name in tracked if name.startswith(("data/features/sample/", "runs/", "data/clips/"))
    ]


def test_again_there_is_nothing_to_do(first_run: tuple[Workspace, set[str]]) -> None:
    ran, output = first_run[0].repro()
    assert ran == set() and "up to date" in output


def test_one_loss_weight_retrains_one_method_and_git_compares(workspace: Workspace) -> None:
    before = workspace.bytes_of("runs", "results")
    workspace.edit(models__khar__base__weights__contrastive=0.25)
    ran, _ = workspace.repro()
    after = {"train@khar-sample", "evaluate@khar-sample", "report"}
    assert ran == after
    pretrained = workspace.bytes_of("runs/khar-sample/pretrained")
    assert pretrained and all(before[name] == content for name, content in pretrained.items())
    assert "models.khar.base.weights.contrastive" in workspace.run("dvc", "params", "diff")
    assert "mae" in workspace.run("dvc", "metrics", "diff", "HEAD")
    assert workspace.bytes_of("runs", "results") != before
    workspace.run("git", "checkout", "-q", ".")
    workspace.run("dvc", "checkout", "-q")
    assert workspace.bytes_of("runs", "results") == before
    assert workspace.repro()[0] == set()


def test_a_setting_of_the_pretraining_runs_it_again(workspace: Workspace) -> None:
    before = workspace.bytes_of("runs/khar-sample/pretrained")
    workspace.edit(models__khar__base__pretraining__lr=2.0e-3)
    assert workspace.repro("train@khar-sample")[0] == {"train@khar-sample"}
    after = workspace.bytes_of("runs/khar-sample/pretrained")
    assert all(before[name] != after[name] for name in before)


def test_a_broken_clip_is_a_row_with_a_reason(workspace: Workspace) -> None:
    victim = min((workspace.folder / "data/sample/Raw").rglob("*.mp4"))
    victim.write_text("not a video")
    _, output = workspace.repro(ok=False)
    total = CLIPS * sum(VIDEOS.values())
    assert f"1 of {total} clips failed, more than max_failed_fraction" in output
    assert "Traceback" not in output
    workspace.edit(max_failed_fraction=0.5)
    ran, _ = workspace.repro("evaluate@misr-sample")  # it is no obstacle behind
    assert {"visual@sample-facemesh", "train@misr-sample", "evaluate@misr-sample"} <= ran
    rows = FeatureStore(workspace.folder / "data/features/sample/visual-facemesh").read()
    assert rows is not None
    failed = [row for row in rows.rows.values() if row.status == "failed"]
    assert len(failed) == 1 and failed[0].error


def test_a_new_version_in_the_lock_runs_what_it_may_change_and_keeps_every_row(workspace: Workspace) -> None:
    lock = workspace.folder / "constraints.txt"
    before = workspace.bytes_of("data", "runs", "results", "reports")
    lock.write_text(lock.read_text(encoding="utf-8").replace("\ndvc==", "\ndvc==9."), encoding="utf-8")
    ran, output = workspace.repro()
    assert {name.partition("@")[0] for name in ran} == {*WOKEN_BY_LOCK} - {"import"}
    total = CLIPS * sum(VIDEOS.values())
    for what in ("text minilm", "audio librosa33", "visual facemesh"):
        assert f"{what} on sample: {total} kept, 0 to compute" in output
    assert workspace.bytes_of("data", "runs", "results", "reports") == before
    assert workspace.repro()[0] == set()


def test_side_by_side_is_one_after_the_other_byte_for_byte(workspace: Workspace) -> None:
    folder, made = workspace.folder, ("data", "runs", "results", "reports")
    before, lock = workspace.bytes_of(*made), (folder / "dvc.lock").read_bytes()
    for path in (
        "data/clips",
        "data/features/sample",
        "data/assembled/sample",
        "runs",
        "results",
        ".dvc/cache",
        ".state/runs",
    ):
        shutil.rmtree(folder / path)
    (folder / "dvc.lock").unlink()  # nothing has run
    output = workspace.run("msa-cli", "repro", "--workers", "2")
    total = CLIPS * sum(VIDEOS.values())
    for what in ("text minilm", "audio librosa33", "visual facemesh"):
        assert f"{what} on sample: 0 kept, {total} to compute" in output
        assert f"{what} on sample: {total} kept, 0 to compute" in output  # what DVC then finds
    assert "3 of 3 done" in output and output.count("1 kept, 0 to train") == 2
    assert workspace.bytes_of(*made) == before
    assert (folder / "dvc.lock").read_bytes() == lock
    workspace.edit(models__khar__base__weights__contrastive=0.25)
    output = workspace.run("msa-cli", "repro", "train@khar-sample", "train@misr-sample")
    assert "khar-sample: 0 kept, 1 to train" in output
    assert "misr-sample:" not in output and "to compute" not in output  # DVC would not run them


def test_killed_and_resumed_is_undisturbed(workspace: Workspace) -> None:
    undisturbed = workspace.bytes_of("data", "runs", "results")
    stages = {"audio@sample-librosa33": "audio-librosa33", "visual@sample-facemesh": "visual-facemesh"}
    folders = [workspace.folder / "data/features/sample" / name for name in stages.values()]
    for folder in folders:
        shutil.rmtree(folder)
    for stage, folder in zip(stages, folders, strict=True):
        running = subprocess.Popen(
            ["dvc", "repro", "--single-item", stage],
            cwd=workspace.folder,
            env=workspace.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while not list(folder.glob("shard-*.parquet")) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        assert len(list(folder.glob("shard-*.parquet"))) > 0, "killed before the first shard"
    assert workspace.repro()[0] == {*stages}
    assert workspace.bytes_of("data", "runs", "results") == undisturbed


def test_why_names_what_changed_and_one_more_clip_is_one_clip_of_work(workspace: Workspace) -> None:
    assert "are up to date" in workspace.run("msa-cli", "why")
    workspace.edit(models__misr__base__weights__prior=0.5)
    model = workspace.folder / "models/misr/model.py"
    edited(model, "        return losses\n", "        return dict(losses)\n")
    workspace.add_a_clip()
    heading, *causes = workspace.run("msa-cli", "why", "train@misr-sample").splitlines()
    assert heading == "train@misr-sample is stale:"
    own = [cause for cause in causes if "which is stale: " not in cause]
    line = next(n for n, text in enumerate(model.read_text().splitlines(), 1) if "def losses(" in text)
    assert own == [
        f"- models/misr/model.py: MISR.losses (line {line})",
        "- models.misr.base.weights.prior 0.4 -> 0.5 (params.yaml)",
    ]
    above = [cause.rpartition("which is stale: ")[2] for cause in causes if cause not in own]
    assert [cause.partition(": ")[0] for cause in above] == ["data/sample/label.csv", "data/sample"]
    khar = workspace.run("msa-cli", "why", "train@khar-sample").splitlines()
    assert khar == ["train@khar-sample is stale:", *(cause for cause in causes if cause not in own)]
    before = workspace.features()
    _, output = workspace.repro("assemble@sample")
    total = CLIPS * sum(VIDEOS.values())
    for what in ("text minilm", "audio librosa33", "visual facemesh"):
        assert f"{what} on sample: {total} kept, 1 to compute" in output
    after = workspace.features()
    assert sum(before[name] != after[name] for name in before) == len(FEATURES)  # one shard each
    assert "is up to date" in workspace.run("msa-cli", "why", "assemble@sample")
