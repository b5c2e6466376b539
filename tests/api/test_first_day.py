"""The notebook and the six lines of docs/python.md, run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def run(program: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_every_cell_of_the_notebook(project: Path, tmp_path: Path) -> None:
    """In a clone in which nothing was made: `data` has the sample corpus alone."""
    clone = tmp_path / "clone"
    (clone / "data").mkdir(parents=True)
    (clone / "data/sample").symlink_to(project / "data/sample")
    (clone / "params.yaml").symlink_to(project / "params.yaml")
    (clone / "examples").mkdir()
    notebook = project / "examples/first_day.ipynb"
    (clone / "examples/first_day.ipynb").symlink_to(notebook)
    tree: dict[str, Any] = json.loads(notebook.read_text("utf-8"))
    assert (tree["nbformat"], tree["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in tree["cells"]]
    assert len(set(ids)) == len(ids)
    code = [cell for cell in tree["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)  # none to go stale
    said = run("\n".join("".join(cell["source"]) for cell in code), clone / "examples")
    assert "visual: (" in said and "ok" in said and "librosa33 43.06" in said
    assert said.count("not yet: ") == 2  # no training set and no run in a fresh clone


def test_the_six_lines_of_the_page(project: Path, tmp_path: Path) -> None:
    """Where `make demo` has run, all of them; else that they are Python, and that each call exists."""
    page = (project / "docs/python.md").read_text("utf-8")
    block = re.search(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert block is not None
    lines = [line for line in block[1].splitlines() if line and not line.startswith("import")]
    assert len(lines) == 6
    import pipeline as msa

    called = set(re.findall(r"msa\.(\w+)\(", page))
    assert called <= set(msa.__all__) and {"load_features", "load_set", "predict"} <= called
    assert set(re.findall(r"^\| `(\w+)\(", page, re.MULTILINE)) == set(msa.__all__)
    compile(block[1], "docs/python.md", "exec")
    made = ("data/features/sample/visual-facemesh", "data/assembled/sample/stats.json", "runs/misr-sample")
    if not all((project / path).exists() for path in made):
        pytest.skip("make demo has not run here")
    assert len(run(block[1], project).split()) > 4
