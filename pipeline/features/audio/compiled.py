"""librosa's machine code, compiled by one process alone.

Numba compiles parts of librosa when it is imported for the first time, and keeps them on disk. Where several
processes do that at once, as the workers of a fresh installation would, the files can be broken for good, and
every later clip ends in a segmentation fault. So the first import is made under a lock, with everything that
is compiled later, and a mark says that it was done: for this installation, on this kind of CPU.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from pipeline.core.files import lock

LIBRARIES = ("librosa", "llvmlite", "numba", "numpy")


def compile_once(run: Callable[[], object]) -> None:
    """Import librosa and `run` its compiled functions, once and alone; nothing where that was done before."""
    mark = _place() / f"librosa-{_installation()}"
    if mark.exists():
        return
    with lock(mark.with_suffix(".lock")):
        if not mark.exists():
            run()
            mark.touch()


def _installation() -> str:
    """What the compiled files belong to."""
    spec = importlib.util.find_spec("librosa")  # finds without importing
    assert spec is not None and spec.origin is not None
    file = Path(spec.origin).stat()
    known = [
        *(f"{name} {version(name)}" for name in LIBRARIES),
        *(spec.origin, str(file.st_ino), str(file.st_mtime_ns)),
        os.environ.get("NUMBA_CACHE_DIR", ""),
        _cpu(),
    ]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:16]


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith("model name")), "")


def _place() -> Path:
    """A folder of the user's for marks and locks."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "msa-pipeline"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        cache = Path(tempfile.gettempdir()) / f"msa-pipeline-{os.getuid()}"
        cache.mkdir(exist_ok=True)
    return cache
