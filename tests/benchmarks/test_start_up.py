"""CPU seconds of commands that compute next to nothing, in the project as `make demo` leaves it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.benchmark

TARGETS = {  # command: CPU seconds on a quiet core
    "msa-cli --help": 1,
    "dvc repro": 3,
    "msa-cli extract --video {clip} --text Good. --out {out}": 5,
    "msa-cli stage evaluate {method} {dataset}": 4,
    "msa-cli stage report": 10,
}


def cpu_s(command: list[str], folder: Path, *, wanted: str = "") -> float:
    """User and system seconds of a command and of all that it starts."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0 and wanted in done.stdout, done.stdout + done.stderr
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def test_what_starting_costs(project: Path, tmp_path: Path) -> None:
    """Of the second time, when bytecode and compiled functions are there; the clip has 2.84 s."""
    dry = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", "--dry"], cwd=project, capture_output=True, text=True
    )
    if "up to date" not in dry.stdout:
        pytest.skip("the project has something to compute; run `make demo` first")
    method, _, dataset = sorted((project / "runs").iterdir())[0].name.partition("-")
    named = {
        "clip": "data/sample/Raw/video_0022/0002.mp4",
        "out": str(tmp_path / "features"),
        "method": method,
        "dataset": dataset,
    }
    print("\nCPU s | target | command")
    for command, target in TARGETS.items():
        words = command.format(**named).split()
        wanted = "up to date" if words[0] == "dvc" else ""
        _, again = (cpu_s(words, project, wanted=wanted) for _ in range(2))
        print(f"{again:5.1f} | {target:6} | {command}")
