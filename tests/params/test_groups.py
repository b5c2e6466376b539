"""Groups of methods: anchors in params.yaml, which our readers and editors and DVC know; `repro --models`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from made.code_changes import edited
from made.tiny_project import make_project, run

from models import METHODS
from pipeline.cli.repro import _running
from pipeline.core.errors import ParamsError
from pipeline.params.edit import with_edits, with_models_run, with_tuned
from pipeline.params.params import check_params, load_params
from pipeline.params.plain_yaml import read_yaml
from pipeline.status.why import lines, why

RUN = re.compile(r"^models_run: .*$", re.MULTILINE)


@pytest.fixture(scope="module")
def text(project: Path) -> str:
    """params.yaml that runs the group of anchors."""
    return RUN.sub("models_run: *anchors", (project / "params.yaml").read_text(encoding="utf-8"))


def test_the_groups_have_every_method(project: Path) -> None:
    """The three have each once, `all` has them together; text_only stands first."""
    groups = load_params(project / "params.yaml").groups
    *parts, whole = groups.values()
    assert [*groups] == ["disentanglement", "baselines", "anchors", "all"]
    assert sorted(name for part in parts for name in part) == sorted(whole) == sorted(METHODS)
    assert whole[0] == "text_only"


def test_an_anchor_is_read_as_its_list(text: str) -> None:
    params = check_params(read_yaml(text, "params.yaml"), "params.yaml")
    assert params.models_run == params.groups["anchors"] and len(params.models_run) == 7
    assert params.methods(["anchors", "misr", "ridge"]) == [*params.groups["anchors"], "misr"]
    with pytest.raises(ParamsError, match="method or group 'anchor' is not known, did you mean 'anchors'"):
        params.methods(["anchor"])


def test_the_editors_keep_anchors(text: str) -> None:
    tuned = with_tuned(text, "ridge", "mosi", {"training.batch_size": 64})
    added = with_edits(text, {("models", "ridge", "corpora", "mine"): {}}, {("datasets_run",): ["mine"]})
    for changed in (tuned, added):
        assert "models_run: *anchors\n" in changed and "anchors: &anchors [" in changed
        before, after = (read_yaml(part, "params.yaml") for part in (text, changed))
        assert before["models_run"] == after["models_run"] and before["groups"] == after["groups"]
        assert len(set(text.splitlines()) - set(changed.splitlines())) <= 1


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("[anchors]", "models_run has 'anchors', which is a group: write `models_run: *anchors`"),
        (
            "anchors",
            "models_run: expected a list, found 'anchors'; a group is written `models_run: *anchors`",
        ),
        ("[misr, mizr]", "models_run 'mizr' is not known, did you mean 'misr'"),
        ("*anchor", "cannot be read as YAML: found undefined alias 'anchor'"),
        ("[*anchors]", "models_run.0 is ["),
    ],
)
def test_mistakes_are_named_in_one_line(text: str, written: str, said: str) -> None:
    with pytest.raises(ParamsError) as caught:
        check_params(read_yaml(RUN.sub(f"models_run: {written}", text), "params.yaml"), "params.yaml")
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "written", ["*all", "[one, two]  # both", "\n  - one\n  # and\n  - two", "[]", "&run [one]", ""]
)
@pytest.mark.parametrize("end", ["", "seeds: [1]\n", "seeds: *all\n"])
def test_other_methods_for_one_time(written: str, end: str) -> None:
    text = f"groups:\n  all: &all [one, two]\nmodels_run: {written}\n{end}"
    found = read_yaml(with_models_run(text, ["three", "two"]), "params.yaml")
    assert found == {**read_yaml(text, "params.yaml"), "models_run": ["three", "two"]}


def test_params_are_put_back(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("params.yaml")
    file.write_text(text, encoding="utf-8")
    seen: list[list[str]] = []

    def interrupted() -> None:
        with _running(["ridge", "disentanglement"]):
            seen.append(load_params().models_run)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert seen == [["ridge", "misr", "cmir", "slad", "mird", "khar"]]
    assert file.read_text(encoding="utf-8") == text
    with _running([]):
        assert file.read_text(encoding="utf-8") == text
    with pytest.raises(ParamsError, match="did you mean 'ridge'"), _running(["rigde"]):
        pass
    with _running(["ridge"]):
        file.write_text("seeds: [5]\n", encoding="utf-8")  # someone works on
    assert file.read_text(encoding="utf-8") == "seeds: [5]\n"


def test_dvc_reads_anchors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same list by its anchor makes nothing stale; an experiment runs the same methods."""
    folder = make_project(tmp_path / "project")
    monkeypatch.chdir(folder)
    edited(
        folder / "params.yaml", "models_run: [one, two]", "groups:\n  all: &all [one, two]\nmodels_run: *all"
    )
    assert "Data and pipelines are up to date" in run(folder, "dvc", "repro", "--dry")
    assert lines(why()) == ["all 4 stages are up to date"]
    told = run(folder, "dvc", "params", "diff")
    assert "groups.all" in told and "models_run" not in told
    edited(folder / "params.yaml", "models_run: *all", "models_run: *al")
    assert "undefined alias" in run(folder, "dvc", "repro", "--dry", ok=False)
    edited(folder / "params.yaml", "models_run: *al", "models_run: *all")
    run(folder, "git", "commit", "-qam", "Groups")
    run(folder, "dvc", "exp", "run", "-S", "models.one.base.width=9", "train")
    after = read_yaml((folder / "params.yaml").read_bytes(), "params.yaml")  # DVC writes the lists out
    assert after["models_run"] == after["groups"]["all"] == ["one", "two"]
    assert after["models"]["one"]["base"]["width"] == 9
