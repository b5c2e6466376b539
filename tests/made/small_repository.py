"""A small repository with two commits of results, made anew for each test, and what msa-cli says in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli.app import main
from pipeline.core.git import open_revision
from pipeline.evaluation.compare import Comparison, compare
from pipeline.evaluation.metrics import METRIC_SETS

CLIPS = 60
CLIPS_A_VIDEO = 2
SEEDS = (1, 2, 3)
PARAMS = """
seeds: [1, 2]
train: {precision: fp32}
models:
  misr:
    base: {width: 64, weights: {invariance: 1.0, prior: 0.1}}
    corpora: {mosi: {width: 32}, sims: {}}
"""


def git(folder: Path, *command: str) -> str:
    names = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a"}
    environment = {**os.environ, **names, "GIT_COMMITTER_EMAIL": "a@b"}
    done = subprocess.run(
        ["git", *command], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit(folder: Path, message: str) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", message)
    return git(folder, "rev-parse", "HEAD")


def save_runs(
    folder: Path,
    method: str,
    seeds: Sequence[int],
    noise: float,
    dataset: str = "mosi",
    clips: int = CLIPS,
    speakers: Sequence[str] = (),
    one: Mapping[int, dict[str, Any]] | None = None,
    **changes: Any,
) -> Path:
    """A method's results as evaluate writes them, its metrics computed from its predictions.

    Parameters
    ----------
    speakers : of the clips; none are known by default
    one, changes : what is different in the entry of a seed, and in all of them
    """
    label = np.round(np.random.default_rng(0).uniform(-3, 3, CLIPS), 1)[:clips].astype(np.float32)
    videos = [f"v{i // CLIPS_A_VIDEO:02d}" for i in range(clips)]
    names = [f"{video}$_${i:02d}" for i, video in enumerate(videos)]
    known = {"video_id": videos, "speaker": pa.array(speakers or [None] * clips, pa.string())}
    table = pa.table({"split": ["test"] * clips, "clip_id": names, **known, "label": label})
    runs = []
    for seed in seeds:
        error = np.random.default_rng([seed, len(method)]).normal(size=CLIPS)[:clips]
        prediction = (label + noise * error).astype(np.float32)
        table = table.append_column(f"prediction_{seed}", pa.array(prediction))
        found = METRIC_SETS["mmsa"](prediction, label)
        runs.append(
            {
                "format": 2,
                "method": method,
                "dataset": dataset,
                "seed": seed,
                "metric_set": "mmsa",
                "feature_set": "f" * 64,
                "features": {"text": "minilm"},
                "class_names": [],
                "epoch": 1,
                "n": {"test": clips},
                "floor": {},
                "remarks": {},
                "test": {name: round(value, 6) for name, value in found.items()},
                "valid": {"mae": noise},
                **changes,
                **(one or {}).get(seed, {}),
            }
        )
    place = folder / "results" / dataset / method
    place.mkdir(parents=True, exist_ok=True)
    (place / "metrics.json").write_text(json.dumps({"runs": runs}))
    pq.write_table(table, place / "predictions.parquet")
    return place


def write_lock(folder: Path, **code: dict[str, str]) -> None:
    """dvc.lock with the hash of each place of code that each method's runs were made with."""
    stages = {
        f"train@{method}-mosi": {
            "cmd": "msa-cli stage train",
            "deps": [{"path": "data/assembled/mosi", "md5": "a.dir"}]
            + [{"path": path, "md5": f"{value}.dir"} for path, value in places.items()],
        }
        for method, places in code.items()
    }
    (folder / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))  # JSON is YAML


def make_repository(tmp_path: Path) -> Path:
    """Tag `before`: misr and cmir; HEAD: misr is better with a new weight, cmir the same, slad is new."""
    git(tmp_path, "init", "-q", "-b", "main")
    write_lock(tmp_path, misr={"models/core": "1", "models/misr": "1"}, cmir={"models/core": "1"})
    (tmp_path / "params.yaml").write_text(PARAMS)
    save_runs(tmp_path, "misr", SEEDS, 1.5)
    save_runs(tmp_path, "cmir", SEEDS, 1.2)
    commit(tmp_path, "First")
    git(tmp_path, "tag", "before")
    (tmp_path / "params.yaml").write_text(
        PARAMS.replace("invariance: 1.0", "invariance: 0.5").replace("64", "48")
    )
    write_lock(tmp_path, misr={"models/core": "1", "models/misr": "2"}, cmir={"models/core": "1"}, slad={})
    save_runs(tmp_path, "misr", SEEDS, 0.3)
    save_runs(tmp_path, "slad", [1], 1.0)
    commit(tmp_path, "Half the invariance <b>|")
    return tmp_path


def compared(a: str, b: str | None = None, **how: Any) -> Comparison:
    return compare(open_revision(a), open_revision(b), **{"resamples": 300, **how})


def said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> tuple[int, str, str]:
    """Exit code, output and errors of msa-cli."""
    monkeypatch.setattr(sys, "argv", ["msa-cli", *words])
    monkeypatch.delenv("COLUMNS", raising=False)
    try:
        code = main() or 0
    except SystemExit as error:
        code = int(error.code or 0)
    out, errors = capsys.readouterr()
    return code, out, errors
