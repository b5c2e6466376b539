"""Methods are found from their folders, without torch; what their source says is what their classes are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from models import METHODS, MethodEntry
from models.core.method import Method
from pipeline.core.errors import FormatError


def test_every_folder_but_core_is_a_method(project: Path) -> None:
    folders = {path.name for path in (project / "models").iterdir() if (path / "__init__.py").exists()}
    assert set(METHODS) == folders - {"core"}


def test_the_source_tells_what_the_class_is() -> None:
    for entry in METHODS.values():
        found = entry.load()
        assert issubclass(found, Method)
        own = found.pretraining_methods.__func__ is not Method.pretraining_methods.__func__  # type: ignore[attr-defined]
        assert entry.pretrains == own
    assert {name for name, entry in METHODS.items() if entry.pretrains} == {"khar", "kuda"}


def test_listing_the_methods_imports_no_torch(project: Path) -> None:
    code = (
        "import sys; from models import METHODS\n"
        "assert all(entry.class_name and entry.pretrains in (True, False) for entry in METHODS.values())\n"
        "sys.exit('torch' in sys.modules or 'pydantic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=project).returncode == 0


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("class A: ...\n", "expected one class that names its loss terms, .*, found none"),
        ("class A:\n    TERMS = ()\nclass B:\n    TERMS = ()\n", "found A, B"),
        ("class A:\n    TERMS: tuple\n", "found none"),  # named, not given
        ("class A(:\n", "cannot be read as Python"),
    ],
)
def test_a_file_without_one_method(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_written.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FormatError, match=message):
        _ = MethodEntry("half_written").class_name
