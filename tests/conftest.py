"""Fixtures that several rooms share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

# Workers and libraries would otherwise fight over two cores (OpenMP barriers).
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")

from pipeline.features.audio.librosa33 import compile_once  # noqa: E402  (after the variables, which NumPy reads)

compile_once()  # before the processes of a parallel run import librosa all at once

LONGEST_FIRST = (
    *("test_pipeline.py", "test_extract.py", "test_mpnet.py", "test_import_command.py"),
    *("test_table_runs.py", "test_light.py", "test_compile.py", "test_contributing.py"),
)

PROJECT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that run whole pipelines go first: no process of a parallel run is left with one alone."""
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's folder."""
    return PROJECT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real clips, speech and labels; skips where they are not."""
    folder = os.environ.get("MSA_SHARED")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MSA_SHARED does not name the folder of real clips")
    return Path(folder)


@pytest.fixture
def cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Run `msa-cli` with these words in this process: its exit code, and what it printed."""
    from pipeline.cli.app import main

    def run(*words: str | Path) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["msa-cli", *map(str, words)])
        capsys.readouterr()
        try:
            code = main() or 0
        except SystemExit as done:
            code = int(done.code or 0)
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run
