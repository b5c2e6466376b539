"""What a search writes down: params.yaml keeps all else, an experiment comes true, the command does both."""

from __future__ import annotations

import difflib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made.tiny_search import contents, searched, trials_in
from ruamel.yaml import YAML
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.core.errors import ParamsError
from pipeline.core.git import save_experiment
from pipeline.params.edit import with_tuned
from pipeline.params.params import load_params
from pipeline.params.run import RunConfig
from pipeline.params.search import with_values
from pipeline.training.loop.pretrain import pretrain
from pipeline.training.loop.train import train

pytestmark = pytest.mark.usefixtures("tiny_method")

PARAMS = """\
# what is learnt
datasets: {tiny: {root: none}}
assemble:
  tiny: {dataset: tiny, metrics: mmsa, text: none, audio: none, visual: none, waveform: none}
datasets_run: [tiny]
models_run: [tiny]
seeds: [7, 8]
models:
  tiny:
    base:
      dropout: 0.1   # of the hidden layer
      training: {epochs: 2, lr_other: 1.0e-4}
    corpora:
      tiny:          # [D] small
        training:
          batch_size: 8   # clips

  other:             # stays as it is
    base: {}
"""


def test_the_file_keeps_everything_but_the_values() -> None:
    values = {"training.lr_other": 3.2e-5, "training.batch_size": 4, "dropout": 0.25, "weights.spread": 1e-5}
    text = with_tuned(PARAMS, "tiny", "tiny", values)
    assert with_tuned(PARAMS, "tiny", "tiny", {}) == PARAMS
    before, after = (YAML(typ="safe").load(t) for t in (PARAMS, text))
    expected = with_values(before["models"]["tiny"]["corpora"]["tiny"], values)
    assert after["models"]["tiny"]["corpora"]["tiny"] == expected
    after["models"]["tiny"]["corpora"]["tiny"] = before["models"]["tiny"]["corpora"]["tiny"]
    assert after == before
    gone = [line for line in PARAMS.splitlines() if line not in text.splitlines()]
    assert gone == ["          batch_size: 8   # clips"]
    assert "batch_size: 4   # clips" in text
    with pytest.raises(ParamsError, match=r"models\.tiny\.corpora\.mosi is missing"):
        with_tuned(PARAMS, "tiny", "mosi", values)


def test_the_projects_own_params_are_kept_line_by_line(project: Path) -> None:
    text = (project / "params.yaml").read_text(encoding="utf-8")
    for method in ("text_only", "misr", "cmir", "slad", "mird", "khar"):
        tuned = with_tuned(text, method, "sample", {"training.lr_other": 0.00042, "weights.spare": 0.5})
        marks = [line[:2] for line in difflib.ndiff(text.splitlines(), tuned.splitlines())]
        assert 1 <= marks.count("- ") <= marks.count("+ ") <= 2
        tree = YAML(typ="safe").load(tuned)["models"][method]["corpora"]["sample"]
        assert (tree["training"]["lr_other"], tree["weights"]) == (0.00042, {"spare": 0.5})


@pytest.mark.parametrize(
    "section", ["{}", "{training: {epochs: 3}}", "{training: }", "\n        dropout: 0.3", "{dropout: 1}"]
)
@pytest.mark.parametrize("value", [1e-05, 0.25, 3, True, None, "adam", "on", "null", "1", "a: b"])
def test_any_value_is_read_back_from_any_section(section: str, value: object) -> None:
    text = f"models:\n  m:\n    corpora:\n      d: {section}\n# end\n"
    values = {"training.x": value, "dropout": value, "a.b.c": value}
    expected = YAML(typ="safe").load(text)["models"]["m"]["corpora"]["d"]
    expected["training"] = {**(expected.get("training") or {}), "x": value}
    expected |= {"dropout": value, "a": {"b": {"c": value}}}
    found = YAML(typ="safe").load(with_tuned(text, "m", "d", values))["models"]["m"]["corpora"]["d"]
    assert found == expected and type(found["dropout"]) is type(value)


def test_a_section_that_another_shares_is_not_touched() -> None:
    text = "models: {m: {corpora: {a: &x {dropout: 0.1}, d: *x}}}\n"
    with pytest.raises(ParamsError, match=r"m\.corpora\.d\.dropout: cannot be edited: .* shared"):
        with_tuned(text, "m", "d", {"dropout": 0.5})


def run(*command: str, here: Path) -> str:
    environment = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    if command[0] == "dvc":
        command = (sys.executable, "-m", *command)
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def repository(
    tmp_path: Path,
    assembled: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A DVC project below the root of a git repository, with a change that is not committed."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    here = tmp_path / "repo" / "project"
    here.mkdir(parents=True)
    run("git", "init", "-q", here=here.parent)
    run("dvc", "init", "-q", "--subdir", here=here)
    (here / "params.yaml").write_text(PARAMS.replace("dropout: 0.1", "dropout: 0.3"), encoding="utf-8")
    (here / "dvc.yaml").write_text(
        "stages:\n  a:\n    cmd: 'true'\n    params: [models.tiny.base, models.tiny.corpora]\n",
        encoding="utf-8",
    )
    (here / "code.py").write_text("one = 1\n")
    (here / ".gitignore").write_text("/data\n/.state\n/runs\n/logs\n")
    run("git", "add", ".", here=here)
    name = ("-c", "user.name=t", "-c", "user.email=t@t")
    run("git", *name, "commit", "-q", "-m", "first", here=here)
    (here / "params.yaml").write_text(PARAMS, encoding="utf-8")
    (here / "code.py").write_text("one = 2\n")
    shutil.copytree(assembled, here / "data/assembled/tiny")
    monkeypatch.chdir(here)
    return here


def test_a_tuned_experiment_is_applied_and_gives_the_saved_loss(repository: Path, tmp_path: Path) -> None:
    study = searched(
        tmp_path / "study",
        4,
        repository / "data/assembled/tiny",
        settings=load_params().model("tiny", "tiny"),
    )
    best = study.findings().winner
    assert best.number > 0, "the test needs a find"
    status = run("git", "status", "--porcelain", here=repository)
    index = (repository.parent / ".git/index").read_bytes()
    save_experiment("tune-tiny-tiny", "params.yaml", with_tuned(PARAMS, "tiny", "tiny", best.values))
    assert run("git", "status", "--porcelain", here=repository) == status
    assert (repository.parent / ".git/index").read_bytes() == index
    assert (repository / "params.yaml").read_text(encoding="utf-8") == PARAMS
    assert "tune-tiny-tiny" in run("dvc", "exp", "show", "--csv", here=repository)

    run("dvc", "exp", "apply", "tune-tiny-tiny", here=repository)
    assert (repository / "code.py").read_text() == "one = 2\n", "trained with this, so it belongs to it"
    params = load_params()
    settings = params.model("tiny", "tiny")
    rerun, pretrained = tmp_path / "runs" / "tiny-tiny-7", tmp_path / "pretrained"
    data = repository / "data/assembled/tiny"
    again = RunConfig(
        method_name="tiny",
        dataset="tiny",
        seed=7,
        method_params=settings,
        train_params=params.train,
        assembled=data,
        pretrained=pretrained,
        out=rerun,
    )
    pretrain(again, device="cpu")
    found = train(again, device="cpu", state_root=tmp_path / "state", logs=tmp_path / "logs")
    assert found["valid_loss"] == best.screened
    (rerun / "model.safetensors").unlink()  # no trial keeps its weights
    assert contents(rerun) == contents(study.folder / "runs" / f"trial-{best.number}-seed-7")

    save_experiment("tune-tiny-tiny", "params.yaml", PARAMS)  # again, from what is there now
    assert run("dvc", "exp", "list", "--name-only", here=repository).split().count("tune-tiny-tiny") == 1


SPACE_TEXT = """
tune:
  tiny:
    training.lr_other: {low: 1.0e-3, high: 1.0e-1, log: true}
    training.lr_backbone: {low: 1.0e-6, high: 1.0e-4, log: true}
"""


def tune(*options: str) -> str:
    result = CliRunner().invoke(app, ["tune", "tiny", "--device", "cpu", *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_goes_on_and_writes_down_both_ways(repository: Path) -> None:
    params, reports = repository / "params.yaml", repository / "reports/tune"
    before = PARAMS + SPACE_TEXT
    params.write_text(before, encoding="utf-8")
    said = tune("--trials", "3", "--finalists", "1")
    assert "training.lr_backbone is not searched: no encoder is fine-tuned on tiny" in said
    assert "dvc exp apply tune-tiny-tiny" in said and "**Gain**" in said
    assert params.read_text(encoding="utf-8") == before
    assert "tune-tiny-tiny" in run("dvc", "exp", "list", "--name-only", here=repository).split()

    first = (reports / "tiny-tiny.tsv").read_text().splitlines()
    said = tune("--trials", "4", "--finalists", "1", "--write")
    assert "3 finished trials are kept" in said
    table = (reports / "tiny-tiny.tsv").read_text().splitlines()
    assert table[:4] == first and len(table) == 5, "the three trials, and no other finalist"
    found = YAML(typ="safe").load((reports / "tiny-tiny.yaml").read_text())
    (study,) = (repository / ".state/tune").iterdir()
    best = trials_in(study)[found["winner"]["trial"]]
    assert found["chosen"] == {"training": {"lr_other": best.values["training.lr_other"]}}
    assert found["winner"]["valid_loss"] == best.loss == (best.losses["seed-7"] + best.losses["seed-8"]) / 2
    text = params.read_text(encoding="utf-8")
    assert "training: {lr_other" not in text and f"lr_other: {best.values['training.lr_other']}" in text
    written = load_params().model("tiny", "tiny")["training"]["lr_other"]
    assert written == best.values["training.lr_other"]
    assert not (repository / "runs").exists(), "runs of the project are not touched"


def test_a_report_alone_from_base_and_again(repository: Path) -> None:
    """What a DVC stage calls: nothing but reports/tune, and the same bytes once more, from nothing too."""
    text = PARAMS.replace("batch_size: 8 ", "batch_size: 30") + SPACE_TEXT
    (repository / "params.yaml").write_text(text, encoding="utf-8")
    status = run("git", "status", "--porcelain", here=repository)
    options = ("--trials", "2", "--finalists", "1", "--from-base", "--report-only")
    tune(*options)
    reports = contents(repository / "reports/tune")
    assert set(reports) == {f"tiny-tiny.{kind}" for kind in ("md", "tsv", "yaml")}
    assert run("git", "status", "--porcelain", here=repository) == status + "?? project/reports/\n"
    assert (repository / "params.yaml").read_text(encoding="utf-8") == text
    assert run("dvc", "exp", "list", "--name-only", here=repository) == ""

    # what an earlier search has put under corpora is not read
    (repository / "params.yaml").write_text(
        text.replace("batch_size: 30", "batch_size: 4 "), encoding="utf-8"
    )
    said = tune(*options)
    assert "2 finished trials are kept" in said and contents(repository / "reports/tune") == reports
    shutil.rmtree(repository / ".state")
    shutil.rmtree(repository / "reports")
    tune(*options)
    assert contents(repository / "reports/tune") == reports


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--report-only", "--write"], "give one of them"),
        (["--folds", "1"], "at least two folds"),
        (["--folds", "3", "--seeds", "7,8"], "one seed with them"),
        (["--from-base"], r"corpora\.tiny has training\.batch_size, not searched"),
    ],
)
def test_options_that_do_not_go_together(repository: Path, options: list[str], message: str) -> None:
    (repository / "params.yaml").write_text(PARAMS + SPACE_TEXT, encoding="utf-8")
    with pytest.raises(ParamsError, match=message):
        CliRunner().invoke(app, ["tune", "tiny", *options], catch_exceptions=False)


def test_the_command_without_a_space_says_what_to_write(repository: Path) -> None:
    result = CliRunner().invoke(app, ["tune", "tiny"])
    assert isinstance(result.exception, ParamsError)
    assert "tune.tiny is missing in params.yaml" in str(result.exception)
