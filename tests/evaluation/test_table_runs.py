"""Rows of the papers' tables, run as DVC experiments: what keeps them from it, and a whole run."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from made.workspace import make_workspace
from test_tables import small_params
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.core.errors import MsaError
from pipeline.evaluation.tables import TABLES, run
from pipeline.evaluation.tables.rows import PaperTable, Row
from pipeline.params.params import Params, check_params


def git(*command: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run(["git", *identity, *command], check=True, capture_output=True)


def test_a_folder_that_experiments_cannot_start_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    table, params = TABLES["misr", "4"], small_params()

    def refused(message: str, chosen: Params = params, dataset: str = "d") -> None:
        with pytest.raises(MsaError, match=message):
            run.run_table(table, dataset, [1], chosen)

    refused("dataset 'e' is not known", dataset="e")
    tree = params.model_dump(mode="json")
    tree["models"]["misr"]["corpora"] = {}
    refused(r"models\.misr\.corpora\.d is missing", check_params(tree, "test"))
    tree["datasets"]["3d"] = tree["datasets"]["d"]
    tree["models"]["misr"]["corpora"] = {"3d": {}}
    refused("with a letter first", check_params(tree, "test"), "3d")
    refused("no dvc.yaml")
    Path("dvc.yaml").write_text("stages: {}\n")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    refused("not the working folder of a git repository")
    git("init", "-q")
    refused("no commit yet")
    git("commit", "-q", "--allow-empty", "-m", "x")
    refused(r"git does not track dvc\.yaml, so")
    git("add", ".")
    refused(r"training set of d was not built, .* `dvc repro assemble@d`")
    Path("dvc.lock").write_text("stages:\n  assemble@d: {}\n")
    refused(r"git does not track dvc\.lock, so")


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("a\nmsa-cli: key is wrong\nERROR: failed to reproduce\n", "key is wrong"),
        ("WARNING: w\nERROR: no /x/.dvc/tmp/exps/standalone/tmpab/runs/r here\n", "no runs/r here"),
        ("Traceback\n  line\nKeyError: 'x'\n\n", "KeyError: 'x'"),
        ("", "no message"),
    ],
)
def test_the_reason_of_a_failure(tmp_path: Path, log: str, expected: str) -> None:
    (tmp_path / "log").write_text(log)
    assert run._last_error(tmp_path / "log") == f"{expected} (see {tmp_path / 'log'})"


# ------------------------------------------------------------------------------------------------ the run
@pytest.mark.slow
def test_a_table_is_run_as_experiments(
    monkeypatch: pytest.MonkeyPatch, project: Path, tmp_path: Path
) -> None:
    workspace = make_workspace(tmp_path / "project", project)
    folder = workspace.folder
    if not (folder / "data/assembled/none").exists():
        shutil.copytree(project / "data/assembled/none", folder / "data/assembled/none")
    workspace.edit(assemble__sample__audio="none", assemble__sample__visual="none")  # the text is enough
    workspace.run("git", "add", ".")
    workspace.run("git", "commit", "-qm", "start")
    workspace.run("dvc", "repro", "assemble@sample")
    workspace.run("git", "add", ".")  # not committed: what git knows of is taken along
    for name, value in workspace.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)
    rows = (
        Row("w/o L_IC", {"weights.invariance": 0}, {"MOSI": {"mae": 0.682}}),
        Row("broken", {"invariance_over": "nope"}),
        Row("V+A+T", without=("audio",)),
    )
    monkeypatch.setitem(TABLES, ("misr", "tiny"), PaperTable("misr", "tiny", "Table 0: tiny", rows))
    before = {name: (folder / name).read_bytes() for name in workspace.run("git", "ls-files").splitlines()}

    command = ["table", "misr", "tiny", "--run", "--seeds", "3,5"]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 1, first.output  # a row failed
    report = (folder / "reports/tables/misr-tiny-sample.md").read_text(encoding="utf-8")
    assert report in first.output
    line = next(line for line in report.splitlines() if line.startswith("| w/o L_IC "))
    assert re.match(r"\| w/o L_IC +\| \d\.\d{3} ± \d\.\d{3} +\| +0\.682 ", line)
    assert "- broken: failed: models.misr.base.invariance_over is 'nope'" in report
    assert "- V+A+T: not run: sample is assembled without audio anyway" in report
    assert str(tmp_path) not in report and "Traceback" not in first.output
    assert before == {name: (folder / name).read_bytes() for name in before}
    assert not list((folder / "results").rglob("*.json")) if (folder / "results").exists() else True

    name = "misr-tiny-sample-w-o-l-ic"
    assert name in workspace.run("dvc", "exp", "list", "--name-only")
    again = CliRunner().invoke(app, command)
    assert report in again.output
    log = (folder / f"logs/tables/{name}.log").read_text(encoding="utf-8")
    assert "misr-sample: 0 kept, 2 from the run cache, 0 to train" in log
