"""The first use of librosa in a fresh installation, by several processes at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.features.audio.librosa33 import compile_once

PROGRAM = """
import numpy as np
from pipeline.params.encoders import Librosa33Params
from pipeline.features.audio.librosa33 import Librosa33
from pipeline.params.params import MediaLimits
encoder = Librosa33("x", Librosa33Params(f0="zcr"), MediaLimits())
encoder.load()
print(encoder.features(np.zeros(22_050, np.float32)).shape)
"""


@pytest.mark.slow
def test_several_processes_compile_once(tmp_path: Path, project: Path) -> None:
    """With an empty cache of Numba's; the mark then spares the next process the lock."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "numba"), "XDG_CACHE_HOME": str(tmp_path)}

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM], cwd=project, env=environment, stdout=subprocess.PIPE, text=True
        )

    first = [start(), start()]
    for process in [*first, start()]:
        assert process.communicate(timeout=300)[0] == "(44, 33)\n" and process.returncode == 0
    marks = [path for path in (tmp_path / "msa-pipeline").iterdir() if path.suffix != ".lock"]
    assert len(marks) == 1


def test_the_mark_belongs_to_one_installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calls: list[int] = []
    compile_once(lambda: calls.append(1))
    compile_once(lambda: calls.append(1))
    assert len(calls) == 1
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "elsewhere"))
    compile_once(lambda: calls.append(1))
    assert len(calls) == 2


def test_links_to_an_environment_share_its_mark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two checkouts with one `.venv`: two locks would let both compile into the same files at once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calls: list[int] = []
    compile_once(lambda: calls.append(1))
    site_packages = next(Path(path) for path in sys.path if (Path(path) / "librosa").is_dir())
    (tmp_path / "link").symlink_to(site_packages)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "link"), *sys.path])
    monkeypatch.setitem(sys.modules, "librosa", None)  # found anew, through the link
    monkeypatch.delitem(sys.modules, "librosa")
    compile_once(lambda: calls.append(1))
    assert len(calls) == 1
