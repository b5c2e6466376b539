"""`dvc repro` as the pages describe it: two in one folder end as one, `-k` goes on past a failed stage."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from made.code_changes import edited
from made.tiny_project import environment, make_project, run
from ruamel.yaml import YAML

STARTED, GO = Path("started"), Path("go")
WAITING = f"""
import time
Path("{STARTED}").touch()
while not Path("{GO}").exists():
    time.sleep(0.05)
"""
TOLD = ("is busy, it is being blocked by", "Unable to acquire lock")


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which every stage has run."""
    return make_project(tmp_path_factory.mktemp("repros") / "project")


@pytest.fixture
def folder(once: Path, tmp_path: Path) -> Path:
    """The same, with both methods to train again."""
    copy = shutil.copytree(once, tmp_path / "project", symlinks=True)
    edited(copy / "params.yaml", "seeds: [1, 2]", "seeds: [1]")
    return copy


def start(folder: Path, *targets: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["dvc", "repro", *targets], cwd=folder, env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def written(folder: Path) -> dict[str, bytes]:
    """The lock file and all outputs."""
    files = [folder / "dvc.lock", folder / "report.md", *(folder / "runs").rglob("*")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files if file.is_file()}


def test_the_second_is_told_while_a_stage_runs(folder: Path) -> None:
    code = folder / "code/train.py"
    code.write_text(code.read_text() + WAITING)
    first = start(folder)
    while not (folder / STARTED).exists():
        assert first.poll() is None
        time.sleep(0.05)
    before = written(folder)
    told = run(folder, "dvc", "repro", ok=False)
    assert TOLD[0] in told and f"(PID {first.pid})" in told
    assert written(folder) == before
    (folder / GO).touch()
    said, _ = first.communicate(timeout=60)
    assert first.returncode == 0, said
    assert run(folder, "dvc", "status").startswith("Data and pipelines are up to date")


@pytest.mark.parametrize("targets", [((), ()), (("train@one-sample",), ("train@two-sample",))])
def test_both_started_at_once(folder: Path, targets: tuple[tuple[str, ...], ...]) -> None:
    alone = shutil.copytree(folder, folder.with_name("alone"), symlinks=True)
    run(alone, "dvc", "repro", "-q")
    both = [start(folder, *names) for names in targets]
    for process in both:
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0 or any(words in said for words in TOLD), said
    run(folder, "dvc", "repro", "-q")
    assert written(folder) == written(alone)


def entries(folder: Path) -> dict[str, object]:
    return dict(YAML(typ="safe").load(folder / "dvc.lock")["stages"])


def test_what_does_not_follow_from_a_failed_stage_runs(folder: Path) -> None:
    code = folder / "code/train.py"
    code.write_text('import sys\nif sys.argv[1] == "one":\n    sys.exit("no")\n' + code.read_text())
    before = entries(folder)
    said = run(folder, "dvc", "repro", "-k", ok=False)
    assert "Stage 'report' will be skipped due to this failure" in said
    after = entries(folder)
    assert [name for name in after if after[name] != before[name]] == ["train@two-sample"]
    said = run(folder, "msa-cli", "why", "report")
    assert "is made by train@one-sample, which is stale: seeds 2 removed (params.yaml)" in said
