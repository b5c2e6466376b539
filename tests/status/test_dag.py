"""`msa-cli dag`: a node a stage of dvc.yaml, and the committed picture is what it draws."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.errors import MsaError
from pipeline.status.dag import read_dag
from pipeline.status.dag_figure import direct

Cli = Callable[..., tuple[int, str]]
SMALL = """
stages:
  report: {cmd: c, deps: [results, code], outs: [reports/page.html]}
  train:
    matrix: {method: [a, b], dataset: [x]}
    cmd: c
    deps: ["sets/${item.dataset}", "outside/${item.method}"]
    outs: [{"runs/${key}": {persist: true}}]
    metrics: ["results/${item.dataset}/${item.method}/metrics.json": {cache: false}]
  make: {foreach: [x], do: {cmd: c, deps: ["${item.root}"], outs: ["sets/${key}"]}}
  bring: {foreach: [y], do: {cmd: c, outs: ["sets/${key}"]}}
  look: {foreach: [y], do: {cmd: c, deps: ["sets/${key}"]}}
"""


def test_stages_read_what_others_write(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(SMALL)
    nodes = {node.name: node for node in read_dag(tmp_path / "dvc.yaml")}
    assert {name: node.above for name, node in nodes.items()} == {
        "make": (),
        "bring": (),
        "look": ("bring",),  # another `foreach` than that of make
        "train": ("make", "bring"),
        "report": ("train",),
    }
    assert {name for name, node in nodes.items() if node.many} == {"make", "bring", "look", "train"}
    assert nodes["make"].writes == "sets/NAME" and nodes["look"].writes == ""
    assert nodes["train"].writes == "results, runs (2 outputs)"


def test_the_stages_of_this_project(project: Path) -> None:
    nodes = read_dag(project / "dvc.yaml")
    arrows = direct(nodes)
    assert arrows["text"] == ["import", "transcribe"] and arrows["transcribe"] == ["ingest"]
    assert {*arrows["assemble"]} == {"text", "audio", "visual"}
    assert (
        arrows["train"] == ["assemble"] and arrows["evaluate"] == ["train"] and arrows["report"] == ["robust"]
    )


def test_the_committed_picture_is_what_the_command_draws(
    project: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    committed = (project / "docs/images/dag.svg").read_text(encoding="utf-8")
    assert cli("dag", "--svg", "--out", tmp_path / "dag.svg") == (0, "")
    assert (tmp_path / "dag.svg").read_text(encoding="utf-8") == committed
    assert cli("dag", "--svg") == (0, committed)
    code, table = cli("dag")
    assert code == 0 and all(node.name in table for node in read_dag())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has no .*dvc.yaml; run this in the project's folder"),
        ("stages: []", "has no stages"),
        ("stages: {a: {deps: [x], outs: [y]}, b: {deps: [y], outs: [x]}}", "depend on each other: "),
    ],
)
def test_what_is_no_dag(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "dvc.yaml").write_text(content)
    with pytest.raises(MsaError, match=message):
        read_dag(tmp_path / "dvc.yaml")
