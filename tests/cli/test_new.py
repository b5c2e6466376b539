"""`msa-cli new`: what it refuses, and that its changes fit twice; test_contributing.py runs it."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cli.new import SECTIONS, What
from pipeline.cli.templates import Template, renamed
from pipeline.core.errors import FormatError, MsaError
from pipeline.params.params import check_params
from pipeline.params.plain_yaml import read_yaml

Cli = Callable[..., tuple[int, str]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("method Misr", "'Misr' cannot name a method: expected lower-case letters"),
        ("method 2d", "cannot name a method"),
        ("encoder lambda", "not a Python keyword"),
        ("method misr", "misr: the name is taken or reserved; choose another"),
        ("encoder whisper", "whisper: the name is taken"),
        ("corpus mosi", "mosi: the name is taken"),
        ("modell demo", "'modell' is not one of"),
    ],
)
def test_names_that_will_not_do(
    words: str, said: str, cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    code, printed = cli("new", *words.split())
    assert code == 2 and said in printed


def test_elsewhere_it_writes_nothing(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, printed = cli("new", "method", "demo")
    assert code == 2 and "not the project whose code this msa-cli runs" in printed
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", list(What))
def test_two_of_a_kind_fit_into_one_project(what: What, project: Path, tmp_path: Path) -> None:
    heading, example = SECTIONS[what]
    page = (project / "CONTRIBUTING.md").read_text("utf-8")
    first, second = (Template.read(page, heading, {example: name}) for name in ("one", "second_one"))
    for path in ("params.yaml", *first.diffs):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(project / path, tmp_path / path)
    before = (tmp_path / "params.yaml").read_text("utf-8")
    for template in (first, second):
        for path in template.write(tmp_path):
            text = (tmp_path / path).read_text("utf-8")
            if path.endswith(".py"):
                ast.parse(text)
    assert all(
        f'"{name}"' in (tmp_path / path).read_text("utf-8")
        for path in first.diffs
        for name in ("one", "second_one")
    )
    text = (tmp_path / "params.yaml").read_text("utf-8")
    if what == What.method:
        params = check_params(read_yaml(text, "params.yaml"), "params.yaml")
        assert params.models_run[-2:] == ["one", "second_one"]
        assert {"one", "second_one"} <= set(params.groups["all"]) & set(params.models)
    changed = set(before.splitlines()) - set(text.splitlines())
    assert len(changed) <= 3  # lines that were lengthened; all others stay
    with pytest.raises(MsaError, match="already exists"):
        first.write(tmp_path)


def test_a_change_that_does_not_fit_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("one\n")
    template = Template(files={"b.py": "x = 1\n"}, diffs={"a.py": " two\n+three\n"})
    with pytest.raises(FormatError, match=r"a\.py: has 0 places for this change"):
        template.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.py"]


def test_names_are_changed_as_words() -> None:
    text = 'class MeansWeights: ...  # means, "means", test_means, sample-means; meanswhile, Meanspirited'
    assert renamed(text, {"means": "two_parts"}) == (
        'class TwoPartsWeights: ...  # two_parts, "two_parts", test_two_parts, sample-two_parts; meanswhile, '
        "Meanspirited"
    )
