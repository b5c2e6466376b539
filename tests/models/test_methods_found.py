"""Methods are found from their folders, without torch; what their source says is what their classes are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import models
from models import METHODS, MethodEntry
from models.core.method import Method
from pipeline.core.errors import FormatError
from pipeline.params.params import load_params


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


def test_the_source_tells_papers_and_what_is_read() -> None:
    found = {name: (entry.title, entry.paper, entry.needs) for name, entry in METHODS.items()}
    assert all(found[name][2] == entry.load().NEEDS for name, entry in METHODS.items())
    assert found["misr"] == (
        "MISR: multimodal invariant sentiment representation learning.",
        'Zhu et al., "Multimodal Invariant Sentiment Representation Learning", Findings of ACL 2025',
        ("text", "audio", "visual"),
    )
    papers = {name: paper for name, (_, paper, _) in found.items()}
    assert papers["slad"].endswith(", submitted to ICLR 2026") and papers["cmir"].endswith('", ACL 2026')
    assert papers["khar"] == "Anonymous ACL submission"
    groups = load_params(Path(models.__file__).parents[1] / "params.yaml").groups
    assert {name for name, paper in papers.items() if not paper} == set(groups["anchors"])


def test_listing_the_methods_imports_no_torch(project: Path) -> None:
    code = (
        "import sys; from models import METHODS\n"
        "assert all(e.class_name and e.title and e.paper + str(e.needs) for e in METHODS.values())\n"
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
