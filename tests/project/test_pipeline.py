"""The whole DAG on a handful of clips of the sample corpus, as a user runs it: `dvc repro` and git."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.store.store import FeatureStore

pytestmark = pytest.mark.slow

VIDEOS = {"train": 2, "valid": 1, "test": 1}  # videos of each split that are taken
CLIPS = 3  # of each video
FEATURES = ("text-minilm", "audio-librosa33", "visual-facemesh")
SMALL = {"num_tokens": 4, "width": 16, "heads": 2, "head_dim": 8, "feedforward": 16, "layers": 1}
SMALL_KHAR = {
    "pretraining": {
        "width": 16,
        "layers": 2,
        "heads": 2,
        "adapter_heads": 2,
        "epochs": {"text": 1, "audio": 1, "visual": 1},
    }
}


class Workspace:
    """A project of its own in a folder, under git and DVC."""

    def __init__(self, folder: Path):
        self.folder = folder

    def run(self, *command: str, ok: bool = True) -> str:
        """Output of a command in the project; `ok` says whether it must succeed."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment(), capture_output=True, text=True
        )
        output = done.stdout + done.stderr
        assert (done.returncode == 0) == ok, f"{' '.join(command)} -> {done.returncode}\n{output}"
        return output

    def environment(self) -> dict[str, str]:
        return os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "MSA_WORKERS": "2",
            "DVC_NO_ANALYTICS": "1",
            "GIT_AUTHOR_NAME": "t",
            "GIT_AUTHOR_EMAIL": "t@t",
            "GIT_COMMITTER_NAME": "t",
            "GIT_COMMITTER_EMAIL": "t@t",
        }

    def repro(self, ok: bool = True) -> tuple[set[str], str]:
        """Names of the stages that ran, and all output."""
        output = self.run("dvc", "repro", ok=ok)
        return set(re.findall(r"Running stage '([^']+)'", output)), output

    def edit(self, **changes: object) -> None:
        """Set params by dotted key (dots as __)."""
        yaml = YAML()
        params = yaml.load(self.folder / "params.yaml")
        for key, value in changes.items():
            section = params
            *path, last = key.split("__")
            for part in path:
                section = section.setdefault(part, {})
            section[last] = value
        yaml.dump(params, self.folder / "params.yaml")

    def add_a_clip(self) -> None:
        """One of the corpus' clips once more, as a clip of its own."""
        corpus = self.folder / "data/sample"
        with (corpus / "label.csv").open(encoding="utf-8", newline="") as file:
            row = next(csv.DictReader(file))
        old = corpus / "Raw" / row["video_id"] / f"{row['clip_id']}.mp4"
        shutil.copy(old, old.with_name("99.mp4"))
        with (corpus / "label.csv").open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, row).writerow(row | {"clip_id": "99"})

    def bytes_of(self, *folders: str) -> dict[str, bytes]:
        files = (path for folder in folders for path in (self.folder / folder).rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in files}

    def features(self) -> dict[str, bytes]:
        return self.bytes_of(*(f"data/features/sample/{name}" for name in FEATURES))


def make_workspace(folder: Path, project: Path) -> Workspace:
    for package in ("pipeline", "models"):
        shutil.copytree(project / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(project / name, folder / name)
    for nothing in ("data/features/none", "data/assembled/none"):
        shutil.copytree(project / nothing, folder / nothing)
    copy_corpus(project / "data/sample", folder / "data/sample")
    workspace = Workspace(folder)
    workspace.edit(
        models_run=["misr", "khar"],  # one without a pretraining, one with
        seeds=[1],
        shards=3,
        models__misr__corpora__sample={**SMALL, "training": {"epochs": 2}},
        models__khar__corpora__sample={**SMALL_KHAR, "training": {"epochs": 2}},
    )
    workspace.run("git", "init", "-q")
    workspace.run("dvc", "init", "-q")
    return workspace


def copy_corpus(source: Path, target: Path) -> None:
    with (source / "label.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    taken: list[dict[str, str]] = []
    for split, number in VIDEOS.items():
        videos = sorted({row["video_id"] for row in rows if row["mode"] == split})[:number]
        for video in videos:
            taken += [row for row in rows if row["video_id"] == video][:CLIPS]
    target.mkdir(parents=True)
    with (target / "label.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(taken)
    for row in taken:
        clip = Path("Raw") / row["video_id"] / f"{row['clip_id']}.mp4"
        (target / clip).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / clip, target / clip)


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
        *("pretrain", "train", "evaluate", "inspect", "report", "page"),
    }
    total = CLIPS * sum(VIDEOS.values())
    for name in FEATURES:
        features = FeatureStore(workspace.folder / "data/features/sample" / name).read()
        assert features is not None and len(features.rows) == total
        assert {row.status for row in features.rows.values()} == {"ok"}
    result = json.loads((workspace.folder / "results/sample/misr-1.json").read_text())
    assert result["n"]["test"] == CLIPS
    assert 0 <= result["test"]["mae"] <= 6
    tracked = workspace.run("git", "ls-files").splitlines()
    assert "results/sample/misr-1.json" in tracked
    assert "results/sample/misr-1.predictions.parquet" in tracked
    assert not [name for name in tracked if name.startswith(("data/features/sample", "runs", "data/clips"))]


def test_again_there_is_nothing_to_do(workspace: Workspace) -> None:
    ran, output = workspace.repro()
    assert ran == set() and "up to date" in output


def test_one_loss_weight_retrains_one_method_and_git_compares(workspace: Workspace) -> None:
    before = workspace.bytes_of("runs", "results")
    workspace.edit(models__khar__base__weights__contrastive=0.25)
    ran, _ = workspace.repro()
    after = {"train@khar-sample-1", "evaluate@khar-sample-1", "inspect@khar-sample-1", "report", "page"}
    assert ran == after  # and no pretraining
    assert "models.khar.base.weights.contrastive" in workspace.run("dvc", "params", "diff")
    assert "mae" in workspace.run("dvc", "metrics", "diff", "HEAD")
    assert workspace.bytes_of("runs", "results") != before
    workspace.run("git", "checkout", "-q", ".")
    workspace.run("dvc", "checkout", "-q")
    assert workspace.bytes_of("runs", "results") == before
    assert workspace.repro()[0] == set()


def test_a_setting_of_the_pretraining_runs_it_again(workspace: Workspace) -> None:
    before = workspace.bytes_of("pretrained/khar-sample")
    workspace.edit(models__khar__base__pretraining__lr=2.0e-3)
    ran, _ = workspace.repro()
    stages = {"train@khar-sample-1", "evaluate@khar-sample-1", "inspect@khar-sample-1", "report", "page"}
    assert ran == {"pretrain@khar-sample"} | stages
    after = workspace.bytes_of("pretrained/khar-sample")
    assert all(before[name] != after[name] for name in before)


def test_one_more_clip_is_one_clip_of_work(workspace: Workspace) -> None:
    workspace.add_a_clip()
    before = workspace.features()
    _, output = workspace.repro()
    total = CLIPS * sum(VIDEOS.values())
    for what in ("text minilm", "audio librosa33", "visual facemesh"):
        assert f"{what} on sample: {total} kept, 1 to compute" in output
    after = workspace.features()
    assert sum(before[name] != after[name] for name in before) == len(FEATURES)  # one shard each


def test_a_broken_clip_is_a_row_with_a_reason(workspace: Workspace) -> None:
    victim = min((workspace.folder / "data/sample/Raw").rglob("*.mp4"))
    victim.write_text("not a video")
    _, output = workspace.repro(ok=False)
    total = CLIPS * sum(VIDEOS.values())
    assert f"1 of {total} clips failed, more than max_failed_fraction" in output
    assert "Traceback" not in output
    workspace.edit(max_failed_fraction=0.5)
    workspace.repro()
    rows = FeatureStore(workspace.folder / "data/features/sample/visual-facemesh").read()
    assert rows is not None
    failed = [row for row in rows.rows.values() if row.status == "failed"]
    assert len(failed) == 1 and failed[0].error


@pytest.mark.parametrize("stage", ["audio@sample-librosa33", "visual@sample-facemesh"])
def test_killed_and_resumed_is_undisturbed(workspace: Workspace, stage: str) -> None:
    undisturbed = workspace.bytes_of("data/features/sample", "runs", "results")
    shutil.rmtree(workspace.folder / "data/features/sample")
    shutil.rmtree(workspace.folder / ".dvc/cache")
    shutil.rmtree(workspace.folder / ".dvc/tmp/run-cache", ignore_errors=True)
    folder = workspace.folder / "data/features/sample" / f"{stage.split('@')[0]}-{stage.split('-')[-1]}"
    running = subprocess.Popen(
        ["dvc", "repro", stage],
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
    workspace.repro()
    assert workspace.bytes_of("data/features/sample", "runs", "results") == undisturbed
