"""The wheel, installed away from the source tree, works from a foreign folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of executables of an environment that holds our wheel; the locked dependencies are lent to it.

    Installing them anew would take minutes and 3 GB; `make demo` does it from the same lock file. The
    project's own editable installation is not visible there: a path file's folder has no path files read.
    """
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(project / name, source / name)
    for package in ("pipeline", "models"):
        shutil.copytree(project / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(source / "dist")]
    subprocess.run([*build, str(source)], check=True, capture_output=True)
    wheel = next((source / "dist").glob("*.whl"))
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    binaries = environment / "bin"
    pip = [binaries / "python", "-m", "pip", "install", "--quiet", "--no-deps", wheel]
    subprocess.run(pip, check=True, capture_output=True)
    site = next((environment / "lib").glob("python*/site-packages"))
    (site / "locked_dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return binaries


def test_every_module_and_template_is_in_the_wheel(installed: Path, project: Path) -> None:
    site = next((installed.parent / "lib").glob("python*/site-packages"))
    files = [
        path.relative_to(project)
        for package in ("pipeline", "models")
        for kind in ("*.py", "*.j2")
        for path in (project / package).rglob(kind)
    ]
    assert any(file.suffix == ".j2" for file in files)
    assert [str(file) for file in files if not (site / file).exists()] == []


def test_extract_from_a_foreign_folder(installed: Path, project: Path, tmp_path: Path) -> None:
    shutil.copy(min((project / "data/sample/Raw").rglob("*.mp4")), tmp_path / "clip.mp4")
    code = "import pipeline, models; print(pipeline.__file__, models.__file__)"
    where = subprocess.run([installed / "python", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert where.stdout.count(str(installed.parent)) == 2, where.stderr
    command = [installed / "msa-cli", "extract", "--video", "clip.mp4", "--text", "hello there"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "clip.features").iterdir()} == {
        "text.parquet",
        "audio.parquet",
        "visual.parquet",
    }
