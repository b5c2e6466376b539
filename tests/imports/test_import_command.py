"""`msa-cli import` of every kind of file, from what is on the screen to a trained and scored run; and DVC."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from made import made_arrays, made_mmsa, made_multibench
from ruamel.yaml import YAML

from pipeline.formats.source import Source
from pipeline.imports.registry import KINDS, importer, sniff
from pipeline.params.edit import with_edits
from pipeline.params.params import load_params
from pipeline.params.run import run_configs
from pipeline.training.loop.train import train

PARAMS = Path("params.yaml")
# module of tests/made_*.py, its function, kind, clips by split
MADE = [
    ("mmsa", "make", "mmsa_pickle", {"train": 6, "valid": 4, "test": 3}),
    ("mmsa", "make_sims", "mmsa_pickle", {"train": 6, "valid": 4, "test": 3, "unlabeled": 5}),
    ("mird", "make", "mird", {"train": 5, "valid": 3, "test": 3}),
    ("mird", "make_unlabeled", "mird", {"unlabeled": 4}),
    ("multibench", "make", "multibench", {"train": 4, "valid": 3, "test": 3}),
    ("multibench", "make_humor", "multibench", {"train": 4, "valid": 3, "test": 3}),
    ("word_lists", "make", "word_lists", {"train": 5, "valid": 3, "test": 3}),
    ("word_lists", "make_clue", "word_lists", {"train": 3, "valid": 3, "test": 3, "test_ood": 3}),
    ("urfunny", "make", "urfunny_pickles", {"train": 2, "valid": 1, "test": 1, "context": 4}),
    ("mustard", "make", "mustard_features", {"train": 3, "valid": 2, "test": 1, "context": 6}),
    ("cherma", "make", "cherma_features", {"train": 3, "valid": 1, "test": 2}),
    ("csd", "make", "csd", {"train": 2, "valid": 2, "test": 2}),
    ("openface_folder", "make", "openface_folder", {"train": 2, "valid": 1, "test": 1}),
    ("arrays", "make", "arrays", {"train": 3, "valid": 1, "test": 1}),
]
ALIKE = {("mmsa", "make_sims"), ("multibench", "make"), ("word_lists", "make")}  # one of a kind is trained on
TRAINED = {(module, function) for module, function, _, _ in MADE} - ALIKE
ONES = [pytest.param(*one, id=f"{one[0]}-{one[1]}") for one in MADE]
MORE = {
    "csd": ["--setting", "folds=folds.json"],
    "arrays": ["--mapping", "mapping.yaml"],
    "mustard": ["--setting", "valid=0.3"],  # of six clips a tenth is none
}
SMALL = {"width": 8, "heads": 2, "head_dim": 4, "feedforward": 8, "layers": 1, "num_tokens": 4}
SMALL |= {"training": {"batch_size": 4, "epochs": 2, "lr_other": 0.001}}  # type: ignore[dict-item]


@pytest.fixture(scope="module")
def params_text(project: Path) -> str:
    text = (
        (project / PARAMS).read_text(encoding="utf-8").replace("\nseeds: [1111, 1112]\n", "\nseeds: [1111]\n")
    )
    return with_edits(text, {("models", "misr", "corpora", "mine"): SMALL})


@pytest.fixture
def here(tmp_path: Path, params_text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of params.yaml alone, in which MISR is small, of one seed; the current folder."""
    (tmp_path / PARAMS).write_text(params_text)
    (tmp_path / "mapping.yaml").write_text(json.dumps(made_arrays.SETTINGS))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(module: str, function: str, folder: Path) -> Path:
    path: Path = getattr(importlib.import_module(f"made.made_{module}"), function)(folder)
    return path


def everything(folder: Path) -> dict[str, bytes | str]:
    """Every file below a folder, links by where they lead."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


# --------------------------------------------------------------------------------------------- every kind
@pytest.mark.parametrize(("module", "function", "kind", "splits"), ONES)
def test_from_a_foreign_file_to_a_scored_run(
    module: str, function: str, kind: str, splits: dict[str, int], here: Path, cli: Callable[..., Any]
) -> None:
    file = made(module, function, here / "files")
    code, shown = cli("import", file, "--name", "mine", *MORE.get(module, []))
    assert code == 0, shown
    counts = ", ".join(f"{count} {split}" for split, count in splits.items())
    assert f"│ {counts} " in shown and "next: dvc repro" in shown
    params = load_params()
    assert params.imported("mine").kind == kind
    clips = pq.read_table("data/clips/mine.parquet")
    assert {split: clips["split"].to_pylist().count(split) for split in splits} == splits
    assert len(clips) == sum(splits.values())

    assert cli("stage", "import", "mine")[0] == 0  # as `dvc repro` will do
    if "train" not in splits:  # a training set of it would end every `dvc repro`
        assert "no labelled training clip" in shown
        assert "mine" not in params.assemble and params.datasets_run == ["sample"]
        return
    code, shown = cli("stage", "assemble", "mine")
    assert code == 0, shown
    if (module, function) not in TRAINED:
        return
    if module == "mmsa":  # in a process of its own, as `dvc repro` does; importing torch takes seconds
        code, shown = cli("stage", "train", "misr", "mine")
        assert code == 0, shown
    else:
        (run,) = run_configs(params, "misr", "mine")
        train(run, device="cpu")
    code, shown = cli("stage", "evaluate", "misr", "mine")
    assert code == 0, shown
    result = json.loads(Path("results/mine/misr/metrics.json").read_text())["runs"][0]
    tested = {split: count for split, count in splits.items() if split in ("valid", "test", "test_ood")}
    assert result["n"] == tested and result["metric_set"] == params.training_set("mine").metrics
    assert set(tested) <= set(result)


def test_every_kind_is_made_here() -> None:
    assert {kind for _, _, kind, _ in MADE} == set(KINDS)


@pytest.mark.parametrize(("module", "function", "kind", "splits"), ONES)
def test_files_are_recognised(
    module: str, function: str, kind: str, splits: dict[str, int], tmp_path: Path
) -> None:
    """Each is of its own kind and of no other, so that the order of kinds decides nothing."""
    source = Source(made(module, function, tmp_path / "files"))
    fitting = [kind for kind in KINDS if not importer(kind).matches(source)]
    assert fitting == [kind] and sniff(source) == kind


@pytest.mark.parametrize(("module", "function", "kind", "splits"), ONES)
def test_files_of_another_kind_are_refused(
    module: str, function: str, kind: str, splits: dict[str, int], here: Path, cli: Callable[..., Any]
) -> None:
    file = made(module, function, here / "files")
    before = everything(here)
    for other in KINDS:
        if other != kind:
            code, shown = cli("import", file, "--name", "mine", "--as", other)
            assert code == 2, (other, shown)
            assert shown.startswith("msa-cli: ") and "Traceback" not in shown, (other, shown)
            assert everything(here) == before, other


# -------------------------------------------------------------------------------------------- the command
def test_options_and_folds(here: Path, cli: Callable[..., Any]) -> None:
    file = made_mmsa.make(here / "files")
    words = (
        "--range",
        "-4",
        "4",
        "--language",
        "zh",
        "--metrics",
        "sims",
        "--folds",
        "3",
        "--by",
        "clip",
        "--no-run",
    )
    code, shown = cli("import", file, "--name", "mine", *words)
    assert code == 0, shown
    params = load_params()
    entered = params.imported("mine")
    assert (entered.label_range, entered.language, entered.task) == ((-4, 4), "zh", "regression")
    assert params.datasets_run == ["sample"]
    tested: list[str] = []
    for fold in range(3):
        assert params.training_set(f"mine-f{fold}").metrics == "sims"
        assert cli("stage", "assemble", f"mine-f{fold}")[0] == 0
        tested += pq.read_table(f"data/assembled/mine-f{fold}/test.parquet")["clip_id"].to_pylist()
    assert sorted(tested) == pq.read_table("data/clips/mine.parquet")["clip_id"].to_pylist()


def test_several_files_and_a_second_name(here: Path, cli: Callable[..., Any]) -> None:
    folder = made_multibench.make_humor(here / "files")
    files = sorted(folder.iterdir())
    assert cli("import", *files, "--name", "one")[0] == 0
    assert cli("import", folder, "--name", "two")[0] == 0
    stores = [Path(f"data/features/{name}/text-imported/shard-000.parquet") for name in ("one", "two")]
    tables = [pq.read_table(store).drop(["source_sha256"]) for store in stores]
    assert tables[0].equals(tables[1])
    assert Path("data/raw/two").is_symlink() and not Path("data/raw/one").is_symlink()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--name", "sample"], "datasets.sample already exists; choose another --name"),
        (["--name", "a b"], "expected letters, digits"),
        (
            ["--name", "mine", "--as", "pickle"],
            "kind of import 'pickle' is not known, did you mean 'mmsa_pi",
        ),
        (["--name", "mine", "--metrics", "cls"], "expected mmsa, sims or magbert for a regression"),
        (["--name", "mine", "--task", "classification"], "classes is missing"),
        (
            ["--name", "mine", "--classes", "no,yes"],
            "but the files are for regression",
        ),
        (["--name", "mine", "--range", "-1", "1"], "expected -1 to 1 (imports.mine.label_range)"),
        (["--name", "mine", "--range", "1", "-1"], "is not a range"),
        (["--name", "mine", "--setting", "what=1"], "what"),
        (["--name", "mine", "--setting", "what"], "expected key=value"),
        (["--name", "mine", "--folds", "1"], "expected at least 2"),
        (
            ["--name", "mine", "--by", "face", "--folds", "2"],
            "--by face: expected speaker, video, clip or published",
        ),
        (["--name", "mine", "--mapping", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_mistakes_are_named_and_leave_no_trace(
    words: list[str], message: str, here: Path, cli: Callable[..., Any]
) -> None:
    file = made_mmsa.make(here / "files")
    before = everything(here)
    code, shown = cli("import", file, *words)
    assert code == 2 and message in shown, shown
    assert "Traceback" not in shown
    assert everything(here) == before and not (here / "data").exists()


def test_a_failure_while_writing_leaves_no_trace(
    here: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.imports import convert

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "shard-000.parquet")

    file = made_mmsa.make(here / "files")
    before = everything(here)
    monkeypatch.setattr(convert, "_store", full)
    code, shown = cli("import", file, "--name", "mine")
    assert code == 1 and "No space left on device" in shown
    assert everything(here) == before


def test_unreadable_tables_are_failed_rows_and_too_many_refused(here: Path, cli: Callable[..., Any]) -> None:
    folder = made("openface_folder", "make", here / "files")
    (folder / "v1" / "1.csv").write_bytes(b"")
    before = everything(here)
    code, shown = cli("import", folder, "--name", "mine")
    assert code == 1 and "visual: 1 of 4 clips cannot be read, more than max_failed_fraction = 0.02" in shown
    assert "  - v1$_$1: 1.csv: the file is empty" in shown and "Traceback" not in shown
    assert everything(here) == before

    strict = PARAMS.read_text()
    PARAMS.write_text(strict.replace("max_failed_fraction: 0.02", "max_failed_fraction: 0.3"))
    code, shown = cli("import", folder, "--name", "mine")
    assert code == 0 and "visual: 1 failed, 3 ok" in shown
    assert cli("stage", "import", "mine")[0] == 0 and cli("stage", "assemble", "mine")[0] == 0
    assert "unreadable features" in cli("validate", "mine")[1]
    PARAMS.write_text(PARAMS.read_text().replace("max_failed_fraction: 0.3", "max_failed_fraction: 0.02"))
    code, shown = cli("stage", "import", "mine")
    assert code == 1 and "1 of 4 clips cannot be read" in shown
    assert Path("data/features/mine/visual-imported/shard-000.parquet").exists()


def test_outside_of_a_project(
    tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, shown = cli("import", made_mmsa.make(tmp_path / "files"), "--name", "mine")
    assert code == 2 and "params.yaml" in shown and not (tmp_path / "data").exists()


# ------------------------------------------------------------------------------------------- hostile files
class Command:
    """Unpickled by pickle itself, it would run a command."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


def hostile_pickle(path: Path, mark: Path) -> None:
    tree: dict[str, Any] = made_mmsa.tree()
    tree["train"]["raw_text"] = Command(mark)
    path.write_bytes(pickle.dumps(tree))


def object_arrays(path: Path, mark: Path) -> None:
    np.savez(path, id=np.array(["a"]), audio=np.array([Command(mark)], object))


def external_link(path: Path, mark: Path) -> None:
    with h5py.File(path, "w") as file:
        file["audio"] = h5py.ExternalLink(str(mark.with_name("other.h5")), "/secret")
        file["id"] = ["a$_$1"]
    with h5py.File(mark.with_name("other.h5"), "w") as file:
        file["secret"] = np.ones((1, 2, 3))


def archive(path: Path, mark: Path) -> None:
    shutil.make_archive(str(path.with_suffix("")), "zip", path.parent)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("unaligned_50.pkl", hostile_pickle),
        ("clips.npz", object_arrays),
        ("clips.h5", external_link),
        ("clips.zip", archive),
    ],
)
def test_hostile_files_are_refused_and_run_nothing(
    name: str, make: Callable[[Path, Path], None], here: Path, cli: Callable[..., Any]
) -> None:
    (here / "files").mkdir()
    file, mark = here / "files" / name, here / "executed"
    make(file, mark)
    settings = {"ids": f"{name}:id", "audio": {"array": f"{name}:audio"}, "splits": f"{name}:id"}
    (here / "mapping.yaml").write_text(json.dumps(settings | {"labels": {"label": f"{name}:id"}}))
    before = everything(here)
    for words in ([], ["--as", "mmsa_pickle"], ["--mapping", "mapping.yaml"]):
        code, shown = cli("import", file, "--name", "mine", *words)
        assert code == 2, shown
        assert shown.startswith("msa-cli: ") and "Traceback" not in shown
        if words:
            assert len(shown.strip().splitlines()) == 1, shown
        assert everything(here) == before
    assert not mark.exists()


# ----------------------------------------------------------------------------------------------------- DVC
def test_dvc_runs_an_import_once_and_sees_changes_behind_links(project: Path, here: Path) -> None:
    """data/raw/mine is a folder of links; DVC hashes what they lead to."""
    folder = made_multibench.make_humor(here / "files")
    stages = YAML(typ="safe").load(project / "dvc.yaml")["stages"]
    code = [file for file in stages["import"]["do"]["deps"] if not file.startswith("$")]
    for file in code:
        source, copy = project / file, here / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)
    with Path("dvc.yaml").open("w") as out:
        YAML(typ="safe").dump({"stages": {"import": stages["import"]}}, out)
    shutil.copy(project / ".dvcignore", ".dvcignore")
    search = {"PYTHONPATH": str(project), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(*command: str | Path) -> str:
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, env=os.environ | search, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("git", "init", "--quiet")
    run("dvc", "init", "--quiet")
    run("msa-cli", "import", *sorted(folder.iterdir()), "--name", "mine")
    assert "Running stage 'import@mine'" in run("dvc", "repro")
    assert "Stage 'import@mine' didn't change, skipping" in run("dvc", "repro")
    words = {clip: ["changed"] for clip in pickle.loads((folder / "humor_raw_text.pkl").read_bytes())}
    (folder / "humor_raw_text.pkl").write_bytes(pickle.dumps(words))
    assert "Running stage 'import@mine'" in run("dvc", "repro")
    assert set(pq.read_table("data/transcripts/mine.parquet")["text"].to_pylist()) == {"changed"}
