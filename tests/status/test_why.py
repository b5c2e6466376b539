"""`msa-cli why` in a small project of DVC: every kind of change is told as what it is, and no other stage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc.repo import Repo
from made.code_changes import edited
from made.tiny_project import commit, run

from pipeline.status.why import lines, why

ONE = "train@one-sample"


@pytest.fixture
def folder(once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project, in which everything is up to date."""
    copy = shutil.copytree(once, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(copy)
    return copy


def said(*stages: str) -> list[str]:
    """Lines of the answer, below the first; DVC calls the same stages changed."""
    found, every = why(stages), why()
    with Repo() as repo:
        changed = set(repo.status())
    assert {stage for cause in every.causes for stage in cause.stages} <= changed <= {*every.stale}
    heading, *causes = lines(found)
    assert ("up to date" in heading) == (not found.stale)
    return causes


def test_nothing_is_stale(folder: Path) -> None:
    assert lines(why()) == ["all 4 stages are up to date"]
    assert lines(why([ONE])) == [f"{ONE} is up to date"]


def test_weight(folder: Path) -> None:
    edited(folder / "params.yaml", "prior: 0.4", "prior: 0.5")
    assert said(ONE) == ["- models.one.base.weights.prior 0.4 -> 0.5 (params.yaml)"]
    assert lines(why(["train@two-sample"])) == ["train@two-sample is up to date"]
    assert said("report") == [
        f"- runs/one-sample is made by {ONE}, which is stale: "
        "models.one.base.weights.prior 0.4 -> 0.5 (params.yaml)"
    ]
    assert lines(why()) == [
        "2 of 4 stages are stale:",
        f"- models.one.base.weights.prior 0.4 -> 0.5 (params.yaml) ({ONE})",
        "and those that depend on them: report",
    ]


def test_other_params(folder: Path) -> None:
    edited(folder / "params.yaml", "seeds: [1, 2]", "seeds: [2, 3]")
    edited(folder / "params.yaml", "one: {base: {width: 8,", "one: {base: {deep: {a: true}, b: null,")
    words = ("b null added", "deep.a true added", "width 8 removed")
    assert sorted(said(ONE)) == [
        *(f"- models.one.base.{one} (params.yaml)" for one in words),
        "- seeds 3 added, 1 removed (params.yaml)",
    ]
    edited(folder / "params.yaml", "seeds: [2, 3]", "seeds: [2, 1]")
    assert "- seeds [1, 2] -> [2, 1] (params.yaml)" in said(ONE)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('{"prior": x}', '{"prior": x + 1}', "models/one/model.py: Method.losses (line 12)"),
        ("Unweighted.", "No weights.", "models/one/model.py: only comments, docstrings or layout"),
        ("class", "clas", "models/one: model.py changed"),  # no Python any more
    ],
)
def test_code(folder: Path, old: str, new: str, words: str) -> None:
    edited(folder / "models/one/model.py", old, new)
    assert said(ONE) == [f"- {words}"]
    commit(folder, "Changed, and not run")
    assert said(ONE) == [f"- {words}"]


def test_files_of_code(folder: Path) -> None:
    (folder / "models/one/blocks.py").write_text("A = 1\n")
    assert said(ONE) == ["- models/one: blocks.py added"]
    (folder / "models/one/model.py").rename(folder / "models/one/net.py")
    assert said(ONE) == ["- models/one: model.py removed", "- models/one: blocks.py, net.py added"]


def test_code_that_was_never_committed(folder: Path) -> None:
    edited(folder / "models/one/model.py", "WIDTH = 8\n", "WIDTH = 9\n")
    run(folder, "dvc", "repro", "-q")
    edited(folder / "models/one/model.py", "WIDTH = 9\n", "WIDTH = 10\n")
    (line,) = said(ONE)
    assert "which neither a commit nor DVC's cache has" in line
    assert line.endswith(", First: models/one/model.py: WIDTH (line 3)")


def test_version_of_a_library(folder: Path) -> None:
    edited(folder / "constraints.txt", "torch==2.6.0", "torch==2.7.0")
    edited(folder / "constraints.txt", "numpy==2.1.0\n", "scipy==1.0\n")
    assert said("ingest@sample") == [
        "- constraints.txt: numpy removed, torch 2.6.0 -> 2.7.0, scipy 1.0 added"
    ]


def test_clip(folder: Path) -> None:
    with (folder / "data/sample/label.csv").open("a") as file:
        file.write("a$_$3,new\n")
    (folder / "data/sample/3.mp4").write_bytes(b"\0")
    causes = ["data/sample/label.csv: 1 line added", "data/sample: 3.mp4 added"]
    assert said("ingest@sample") == [f"- {cause}" for cause in causes]
    above = "data/clips.parquet is made by ingest@sample, which is stale: "
    assert said(ONE) == [f"- {above}{cause}" for cause in causes]
    above = "runs/one-sample is made by train@one-sample, from data/clips.parquet of ingest@sample, "
    assert said("report") == [f"- {above}which is stale: {cause}" for cause in causes]
    run(folder, "dvc", "repro", "-q", "-s", "ingest@sample")
    assert said(ONE) == ["- data/clips.parquet: 1 clip added (a$_$3)"]


def test_clips_that_changed_or_left(folder: Path) -> None:
    (folder / "data/sample/label.csv").write_text("clip_id,text\na$_$1,fine\n")
    run(folder, "dvc", "repro", "-q", "-s", "ingest@sample")
    words = "1 clip removed (a$_$2), 1 clip changed in text (a$_$1)"
    assert said(ONE) == [f"- data/clips.parquet: {words}"]


def test_output(folder: Path) -> None:
    run(folder, "rm", "runs/one-sample/1/config.json")
    assert said(ONE) == ["- its output runs/one-sample: 1/config.json removed"]
    shutil.rmtree(folder / "runs/one-sample")
    assert said(ONE) == ["- its output runs/one-sample is missing"]
    assert said("report") == [
        f"- runs/one-sample is made by {ONE}, which is stale: its output runs/one-sample is missing"
    ]


def test_table_that_was_changed_by_hand(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "data/clips.parquet"
    path.chmod(0o644)
    rows = pq.read_table(path).to_pylist()
    path.unlink()
    pq.write_table(pa.Table.from_pylist([*rows, {"clip_id": "x", "text": ""}]), path)
    words = "its output data/clips.parquet: 1 clip added (x)"
    assert said("ingest@sample") == [f"- {words}"]
    assert lines(why([ONE]))[1:] == [
        f"- data/clips.parquet is made by ingest@sample, which is stale: {words}"
    ]


def test_cache_that_was_emptied(folder: Path) -> None:
    shutil.rmtree(folder / ".dvc/cache")
    assert said(ONE) == [
        "- its output runs/one-sample is not in DVC's cache",
        "- data/clips.parquet is made by ingest@sample, which is stale: "
        "its output data/clips.parquet is not in DVC's cache",
    ]


def test_command_and_dependencies(folder: Path) -> None:
    edited(folder / "dvc.yaml", "train.py ${item.method}\n", "train.py ${item.method} --fast\n")
    edited(folder / "dvc.yaml", ", code/train.py]", ", code/train.py, code/report.py]")
    assert said(ONE) == [
        "- its command was 'python code/train.py one', now 'python code/train.py one --fast'",
        "- code/report.py is new in dvc.yaml",
    ]
    edited(folder / "dvc.yaml", ", seeds]", ", seeds, models_run]")
    assert said(ONE)[-1] == "- models_run is new in dvc.yaml (params.yaml)"
    shutil.rmtree(folder / "models/one")
    assert said(ONE)[1] == "- models/one is missing"


def test_stage_that_never_ran(folder: Path) -> None:
    edited(folder / "params.yaml", "models_run: [one, two]", "models_run: [one, two, three]")
    edited(folder / "params.yaml", "  two:", "  three: {}\n  two:")
    assert said("train@three-sample") == ["- it never ran: dvc.lock has no entry for it"]


def test_group_of_stages_and_json(folder: Path, cli: Callable[..., tuple[int, str]]) -> None:
    edited(folder / "params.yaml", "seeds: [1, 2]", "seeds: [1]")
    code, output = cli("why", "train", "--json")
    both = [ONE, "train@two-sample"]
    assert code == 0
    assert json.loads(output) == {
        "asked": both,
        "stale": both,
        "causes": [{"words": "seeds 2 removed (params.yaml)", "stages": both, "way": []}],
    }


def test_wrong_names_and_places(
    folder: Path, cli: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, output = cli("why", "train@one-sampel")
    assert code == 2
    assert f"stage 'train@one-sampel' is not known, did you mean '{ONE}'" in output
    (folder / "params.yaml").write_text("a: [")
    code, output = cli("why")
    assert code == 2 and len(output.splitlines()) == 1 and "params.yaml" in output
    monkeypatch.chdir(folder / "data")
    code, output = cli("why")
    assert (code, output.count("\n")) == (2, 1) and "no dvc.yaml" in output
