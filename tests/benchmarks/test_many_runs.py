"""Four seeds of each method on the sample's training set: two workers beside one, and the bytes of both.

In a project whose `data/assembled/sample` is there: `dvc repro assemble@sample` makes it.
"""

from __future__ import annotations

import os
import resource
import shutil
import time
from pathlib import Path

import pytest

from pipeline.params.params import load_params
from pipeline.training.stage import stage_of, train_stages
from pipeline.training.workers import TrainRuntime

pytestmark = pytest.mark.benchmark

SEEDS = (1111, 1112, 1113, 1114)


def test_two_workers_beside_one(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (project / "data/assembled/sample/stats.json").exists():
        pytest.skip("data/assembled/sample is not there: dvc repro assemble@sample")
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core")
    params = load_params(project / "params.yaml")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/assembled").symlink_to(project / "data/assembled")
    monkeypatch.chdir(tmp_path)
    stages = [stage_of(params, method, "sample", SEEDS) for method in params.models_run]
    seconds, found = {}, {}
    for workers in (1, 2):
        before, cpu = time.perf_counter(), _cpu_seconds()
        train_stages(stages, TrainRuntime(workers=workers, device="cpu", run_cache=Path(f"cache-{workers}")))
        seconds[workers] = time.perf_counter() - before
        print(f"\n{workers} worker(s): {seconds[workers]:.1f} s, {_cpu_seconds() - cpu:.1f} CPU s")
        files = [path for path in Path("runs").rglob("*") if path.is_file()]
        found[workers] = {str(path): path.read_bytes() for path in files}
        shutil.rmtree("runs")
    print(f"{seconds[1] / seconds[2]:.2f} times faster, {len(found[1])} files")
    assert found[1] == found[2] and len(found[1]) >= 5 * len(SEEDS) * len(stages)
    assert seconds[1] / seconds[2] >= 1.7


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
