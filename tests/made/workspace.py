"""A project of its own in a folder: the sample corpus cut down to a handful of clips, small methods."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

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
            "MSA_WORKERS": "1",  # each would import torch for a handful of clips
            "DVC_NO_ANALYTICS": "1",
            "GIT_AUTHOR_NAME": "t",
            "GIT_AUTHOR_EMAIL": "t@t",
            "GIT_COMMITTER_NAME": "t",
            "GIT_COMMITTER_EMAIL": "t@t",
        }

    def repro(self, *targets: str, ok: bool = True) -> tuple[set[str], str]:
        """Names of the stages that ran, and all output; without `targets` of the whole DAG."""
        output = self.run("dvc", "repro", *targets, ok=ok)
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
    for name in ("dvc.yaml", "params.yaml", "constraints.txt", ".gitignore", ".dvcignore"):
        shutil.copy(project / name, folder / name)
    for nothing in ("data/features/none", "data/assembled/none"):
        shutil.copytree(project / nothing, folder / nothing)
    copy_corpus(project / "data/sample", folder / "data/sample")
    workspace = Workspace(folder)
    workspace.edit(
        models_run=["misr", "khar"],  # one without a pretraining, one with
        seeds=[1],
        shards=3,
        audio__librosa33__f0="yin",  # a tenth of the default's time
        visual__facemesh__fps=5,
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
