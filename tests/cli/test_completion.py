"""What a shell completes: names of the project in the working folder, quickly."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from models import METHODS

PARAMS = """
datasets: {mine: {kind: folder}, other: {kind: mosi}}
imports: {brought: {kind: arrays}}
assemble: {mine: {dataset: mine}, mine_fold0: {dataset: mine}}
groups: {anchors: [ridge]}
text: {minilm: {}, bert: {}}
audio: {librosa33: {}}
visual: {facemesh: {}}
"""
RUNS = ["misr-mine", "misr-mine/1", "misr-mine/20"]
ASKED = [
    ("stage ingest ", ["mine", "other"]),
    ("stage import ", ["brought"]),
    ("stage train mi", [name for name in METHODS if name.startswith("mi")]),
    ("stage train misr ", ["mine", "mine_fold0"]),
    ("stage text mine ", ["minilm", "bert"]),
    ("stage audio mine ", ["librosa33"]),
    ("-q stage visual mine ", ["facemesh"]),
    ("extract --visual-encoder ", ["facemesh"]),
    ("validate ", ["mine", "other", "brought", "mine_fold0"]),
    ("evaluate ", [f"runs/{name}" for name in RUNS]),
    ("predict --run ", RUNS),
    ("significance misr-mine --against ", ["misr-mine"]),
    ("repro --models anc", ["anchors"]),
    ("why ", ["ingest", "train"]),
]
Completed = Callable[[str], list[str]]


@pytest.fixture
def completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., tuple[int, str]]
) -> Completed:
    """What bash is told for what was typed, in a small project."""
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "dvc.yaml").write_text("stages: {ingest: {cmd: a}, train: {cmd: b}}")
    for seed in (1, 20):
        (tmp_path / f"runs/misr-mine/{seed}").mkdir(parents=True)
        (tmp_path / f"runs/misr-mine/{seed}/config.json").touch()
    (tmp_path / "results/mine/misr").mkdir(parents=True)
    (tmp_path / "results/mine/misr/metrics.json").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("_MSA_CLI_COMPLETE", "complete_bash")

    def ask(typed: str) -> list[str]:
        words = f"msa-cli {typed}"
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
        code, printed = cli()
        assert code == 0
        return printed.split()

    return ask


@pytest.mark.parametrize(("typed", "expected"), ASKED)
def test_names_of_the_project(completed: Completed, typed: str, expected: list[str]) -> None:
    assert completed(typed) == expected


@pytest.mark.parametrize("content", ["", "- a\n", "assemble: [a]\n", "a: [", "\0"])
def test_without_params_there_is_nothing_to_complete(completed: Completed, content: str) -> None:
    Path("params.yaml").write_text(content)
    assert completed("stage assemble ") == []
    Path("params.yaml").unlink()
    assert completed("stage assemble ") == []


def test_the_script_of_a_shell_asks_this_program(
    cli: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    code, script = cli("--show-completion", "bash")
    assert code == 0 and "_MSA_CLI_COMPLETE=complete_bash" in script
    assert cli("--install-completion", "bash")[0] == 0
    assert "msa-cli" in (tmp_path / ".bashrc").read_text()


def test_nothing_that_computes_is_imported(project: Path) -> None:
    program = (
        "import sys; sys.argv = ['msa-cli']; from pipeline.cli.app import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([name for name in ('torch', 'numpy', 'pyarrow', 'dvc', 'rich') if name in sys.modules])"
    )
    asked = {
        "_MSA_CLI_COMPLETE": "complete_bash",
        "COMP_WORDS": "msa-cli stage train misr ",
        "COMP_CWORD": "4",
    }
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=project, env=asked, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["sample", "[]"]
