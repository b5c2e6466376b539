"""The Makefile's environment: which Python, what is installed, by uv or pip, as `make -n` tells."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

Made = Callable[..., str]


@pytest.fixture
def make(tmp_path: Path, project: Path) -> Made:
    """What make would do with these programs in PATH: a Python's version, `shim` of one that is not there."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(project / name, tmp_path)
    folder = tmp_path / "bin"
    folder.mkdir()
    program = shutil.which("make")
    assert program is not None

    def made(target: str, *options: str, **programs: str) -> str:
        for name, version in programs.items():
            minor = version.removeprefix("3.")
            code = f"import sys; sys.version_info = (3, {minor}, 1); exec(sys.argv[1])"
            run = f"exec {sys.executable} -c '{code}' \"$2\"" if minor.isdigit() else "exit 127"
            file = folder / name.replace("python3_", "python3.")
            file.write_text(f"#!/bin/sh\n{run}\n", encoding="utf-8")
            file.chmod(0o755)
        done = subprocess.run(
            [program, "--no-print-directory", "-n", "-B", target, *options],
            cwd=tmp_path,
            env={"PATH": str(folder), "HOME": os.environ.get("HOME", "")},
            capture_output=True,
            text=True,
        )
        return done.stdout if done.returncode == 0 else done.stderr

    return made


ENVIRONMENT = ".venv/.installed"


@pytest.mark.parametrize(
    ("programs", "chosen"),
    [
        ({"python3_12": "3.12", "python3_11": "3.11", "python3": "3.11"}, "python3.12"),
        ({"python3_12": "shim", "python3_11": "3.11", "python3": "3.13"}, "python3.11"),
        ({"python3_12": "shim", "python3_11": "shim", "python3": "3.12"}, "python3"),
        ({"python3": "3.11"}, "python3"),
    ],
)
def test_the_first_python_that_runs_and_fits(make: Made, programs: dict[str, str], chosen: str) -> None:
    assert make(ENVIRONMENT, **programs).splitlines()[0] == f"{chosen} -m venv .venv"


def test_a_python_fits_that_may_install_the_project_with_mediapipe(make: Made, project: Path) -> None:
    told = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = next(Requirement(line) for line in told["dependencies"] if line.startswith("mediapipe"))
    assert wanted.marker is not None
    for version in (f"3.{minor}" for minor in range(9, 16)):
        allowed = version in SpecifierSet(told["requires-python"])
        fits = allowed and wanted.marker.evaluate({"python_version": version})
        assert ("python3 -m venv .venv" in make(ENVIRONMENT, python3=version)) == fits, version


def test_without_a_fitting_python_one_line_says_so(make: Made) -> None:
    error = make("demo", python3_12="shim", python3="3.13")
    assert len(error.splitlines()) == 1
    assert "none of python3.12, python3.11 and python3 is Python 3.11 or 3.12" in error
    assert "make PYTHON=/path/to/python3.12" in error


def test_a_named_python_is_taken(make: Made) -> None:
    assert make(ENVIRONMENT, "PYTHON=/opt/python", python3_12="3.12").startswith(
        "/opt/python -m venv .venv\n"
    )


@pytest.mark.parametrize(("version", "chosen"), [("3.12", "python3.12"), ("shim", "3.12")])
def test_uv_makes_the_environment_where_it_is_there(make: Made, version: str, chosen: str) -> None:
    """Of a Python that fits, else of its own."""
    lines = make("lint", uv="none", python3_12=version).splitlines()
    assert "/uv venv " in lines[0] and f"--python {chosen} " in lines[0]
    installing = [line for line in lines if " pip install " in line]
    assert installing and all("/uv pip install" in line for line in installing)


@pytest.mark.parametrize(
    ("target", "extras"), [("demo", ""), ("docs", "docs"), ("lint", "dev"), ("test", "dev")]
)
@pytest.mark.parametrize("uv", [{}, {"uv": "none"}])
def test_each_installs_from_the_lock_what_it_needs(
    make: Made, target: str, extras: str, uv: dict[str, str]
) -> None:
    lines = [line for line in make(target, python3="3.12", **uv).splitlines() if " pip install " in line]
    assert all("-c constraints.txt" in line for line in lines)
    found = [line.rpartition(" -e ")[2] for line in lines if " -e " in line]
    assert found == [".", *([f"'.[{extras}]'"] if extras else [])]
