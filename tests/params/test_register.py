"""Corpora and imports entered into a params.yaml, and the links to them in data/raw."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import ParamsError
from pipeline.corpora.clips import can_train
from pipeline.corpora.links import linked
from pipeline.params.params import check_params, load_params
from pipeline.params.register import NewCorpus, check_name, register

PARAMS = Path("params.yaml")
IMPORT: dict[str, Any] = {
    "kind": "mird",
    "root": "data/raw/mine",
    "language": "en",
    "label_range": [-3.0, 3.0],
}
FEATURES = {"text": "mine/text-imported", "audio": "mine/audio-imported"}


@pytest.fixture
def here(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with the real params.yaml; the current folder."""
    (tmp_path / PARAMS).write_bytes((project / PARAMS).read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def entered(entry: NewCorpus, *, run: bool = True) -> list[str]:
    check_name(entry.name, entry.folds, load_params(), PARAMS)
    edit = register(entry, load_params(), PARAMS, run=run)
    edit.write()
    return edit.keys


def lost(before: str) -> list[str]:
    """Lines of the file before that are not there any more; blank ones aside, which only move."""
    lines = difflib.unified_diff(before.splitlines(), PARAMS.read_text().splitlines(), n=0)
    return [line[1:] for line in lines if line.startswith("-") and line.strip("-").strip()]


# ---------------------------------------------------------------------------------------------- params.yaml
@pytest.mark.usefixtures("here")
def test_an_import_is_entered_and_nothing_else_moves() -> None:
    before, old = PARAMS.read_text(), load_params()
    keys = entered(NewCorpus("mine", "imports", IMPORT, "mmsa", features=FEATURES))
    assert keys == ["imports.mine", "assemble.mine", "datasets_run: mine"]
    places = ["imports: {}", "datasets_run: [sample]        # training sets: keys of `assemble`"]
    assert lost(before) == places
    for line in places:
        assert line.partition("#")[2] in PARAMS.read_text()
    params = load_params()
    assert params.imported("mine").kind == "mird" and params.imported("mine").label_range == (-3, 3)
    chosen = params.training_set("mine")
    assert (chosen.text, chosen.audio, chosen.visual) == (*FEATURES.values(), "none")
    assert params.datasets_run == ["sample", "mine"]
    assert all(method.corpora["mine"] == {} for method in params.models.values())
    new = {"imports", "assemble", "datasets_run", "models"}
    assert params.model_dump(exclude=new) == old.model_dump(exclude=new)


@pytest.mark.parametrize(("visual", "chosen"), [("facemesh", True), ("clip", False), ("facecrops", False)])
@pytest.mark.usefixtures("here")
def test_measures_of_faces_are_chosen_where_the_encoder_has_them(visual: str, chosen: bool) -> None:
    corpus = {"kind": "mmsa", "root": "data/raw/mine", "language": "en", "label_range": [-1.0, 1.0]}
    encoders, features = {"visual": visual}, {"visual": f"mine/visual-{visual}"}
    sets = NewCorpus("mine", "datasets", corpus, "sims", encoders, features).sets(load_params())
    assert ("columns" in sets["mine"]) == chosen


@pytest.mark.usefixtures("here")
def test_a_dataset_has_jobs_and_columns() -> None:
    before = PARAMS.read_text()
    encoders = {"text": "minilm", "audio": "none", "visual": "facemesh"}
    features = {"text": "mine/text-minilm", "visual": "mine/visual-facemesh"}
    corpus = {"kind": "folder", "root": "data/raw/mine", "label_range": [-1.0, 1.0]}
    keys = entered(NewCorpus("mine", "datasets", corpus, "sims", encoders, features), run=False)
    assert keys == ["datasets.mine", "jobs.text.mine-minilm", "jobs.visual.mine-facemesh", "assemble.mine"]
    assert lost(before) == []
    params = load_params()
    assert (
        params.jobs.text["mine-minilm"].kind == "hf"
        and params.jobs.visual["mine-facemesh"].encoder == "facemesh"
    )
    assert "mine-librosa33" not in params.jobs.audio
    assert params.training_set("mine").columns["visual"] == params.training_set("sample").columns["visual"]
    assert params.datasets_run == ["sample"]


@pytest.mark.usefixtures("here")
def test_folds_are_as_many_training_sets() -> None:
    entered(NewCorpus("mine", "imports", IMPORT, "mmsa", features=FEATURES, folds=3, by="video"))
    params = load_params()
    names = ["mine-f0", "mine-f1", "mine-f2"]
    assert params.datasets_run == ["sample", *names] and "mine" not in params.assemble
    folds = [params.training_set(name).protocol.folds for name in names]
    assert [(one.fold, one.number, one.by) for one in folds if one] == [(i, 3, "video") for i in range(3)]
    assert {params.training_set(name).dataset for name in names} == {"mine"}


@pytest.mark.usefixtures("here")
def test_several_entries_one_after_the_other() -> None:
    for name in ("one", "two"):
        entered(NewCorpus(name, "imports", {**IMPORT, "root": f"data/raw/{name}"}, "mmsa", features=FEATURES))
    params = load_params()
    assert list(params.imports) == ["one", "two"] and params.datasets_run == ["sample", "one", "two"]


@pytest.mark.usefixtures("here")
def test_settings_of_a_method_that_are_there_already_stay() -> None:
    """params.yaml knows what differs on MOSI before anybody has MOSI."""
    known = load_params().models["khar"].corpora["mosi"]
    entered(NewCorpus("mosi", "imports", {**IMPORT, "root": "data/raw/mosi"}, "mmsa", features=FEATURES))
    assert known and load_params().models["khar"].corpora["mosi"] == known


@pytest.mark.usefixtures("here")
def test_what_would_not_be_valid_is_not_written() -> None:
    before = PARAMS.read_bytes()
    with pytest.raises(ParamsError, match=r"assemble\.mine\.metrics is 'cls', expected mmsa, sims or"):
        register(NewCorpus("mine", "imports", IMPORT, "cls", features=FEATURES), load_params(), PARAMS)
    with pytest.raises(ParamsError, match="text encoder 'bart' is not known"):
        entered(NewCorpus("mine", "datasets", {"root": "x"}, "mmsa", {"text": "bart"}))
    assert PARAMS.read_bytes() == before


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("name", "folds", "message"),
    [
        ("sample", 0, r"datasets\.sample already exists"),
        ("one", 0, r"imports\.one already exists"),
        ("two-f1", 0, r"assemble\.two-f1 already exists"),
        ("-x", 0, "expected letters, digits"),
        ("a/b", 0, "expected letters, digits"),
        ("..", 0, "expected letters, digits"),
        ("", 0, "expected letters, digits"),
        ("a b", 0, "expected letters, digits"),
        ("ä", 0, "expected letters, digits"),
        ("a" * 65, 0, "at most 64"),
        ("a\n", 0, "expected letters, digits"),
        ("new", 1, "--folds 1: expected at least 2"),
    ],
)
def test_names_that_cannot_be_used(name: str, folds: int, message: str) -> None:
    sets = NewCorpus("two", "imports", IMPORT, "mmsa", features=FEATURES, folds=2).sets(load_params())
    tree = {
        "imports": {"one": IMPORT, "two": IMPORT},
        "datasets": {"sample": {"root": "x"}},
        "assemble": sets,
    }
    with pytest.raises(ParamsError, match=message):
        check_name(name, folds, check_params(tree, "test"), PARAMS)


@pytest.mark.usefixtures("here")
def test_folds_whose_names_are_taken() -> None:
    entered(NewCorpus("mine-f1", "imports", IMPORT, "mmsa", features=FEATURES))
    with pytest.raises(ParamsError, match=r"imports\.mine-f1 already exists"):
        check_name("mine", 2, load_params(), PARAMS)


@pytest.mark.parametrize(
    ("labels", "folds", "expected"),
    [
        ([("train", 0.0)], 0, True),
        ([("train", None), ("test", 1.0), ("valid", 1)], 0, False),
        ([("test", 1.0)], 3, True),
        ([("unlabeled", 1.0), ("context", 1.0), (None, 1.0)], 3, False),
        ([], 0, False),
    ],
)
def test_who_can_train(labels: list[tuple[str | None, float | None]], folds: int, expected: bool) -> None:
    assert can_train(labels, folds) is expected


def test_outside_of_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParamsError, match=r"No .*params\.yaml here; run this in the project folder"):
        check_name("mine", 0, load_params(), PARAMS)


# --------------------------------------------------------------------------------------------------- links
@pytest.fixture
def files(here: Path) -> Path:
    """A folder of two files outside of data/raw."""
    folder = here / "elsewhere" / "files"
    folder.mkdir(parents=True)
    for name in ("a.pkl", "b.csv"):
        (folder / name).write_text(name)
    return folder


def test_a_folder_becomes_one_link(files: Path) -> None:
    for _ in range(2):
        with linked("mine", [files]) as place:
            assert place == Path("data/raw/mine") and place.is_symlink()
            assert (place / "a.pkl").read_text() == "a.pkl"


def test_files_become_links_in_a_folder(files: Path) -> None:
    both = [files / "a.pkl", Path("elsewhere/files/b.csv")]  # absolute or not
    for _ in range(2):
        with linked("mine", both) as place:
            assert not place.is_symlink()
            assert {path.name: path.resolve() for path in place.iterdir()} == {
                path.name: path.resolve() for path in both
            }


def test_what_lies_in_its_place_already_is_taken_as_it_is(files: Path) -> None:
    place = Path("data/raw/mine")
    place.parent.mkdir(parents=True)
    files.rename(place)
    for paths in ([place], [place / "a.pkl", place / "b.csv"]):
        with linked("mine", paths) as found:
            assert found == place
    assert sorted(path.name for path in place.iterdir()) == ["a.pkl", "b.csv"]


@pytest.mark.parametrize("several", [False, True])
def test_a_failure_leaves_no_trace(files: Path, several: bool) -> None:
    paths = [files / "a.pkl", files / "b.csv"] if several else [files]
    with pytest.raises(KeyError), linked("mine", paths):
        raise KeyError
    assert not Path("data").exists()
    assert (files / "a.pkl").read_text() == "a.pkl"
    with linked("mine", paths):
        pass
    with pytest.raises(KeyError), linked("mine", paths):  # what was there before stays
        raise KeyError
    assert (Path("data/raw/mine") / "a.pkl").exists()


def test_links_that_cannot_be_made(files: Path, here: Path) -> None:
    (here / "a.pkl").write_text("another")
    with (
        pytest.raises(ParamsError, match=r"a\.pkl: several files have this name"),
        linked("mine", [files / "a.pkl", here / "a.pkl"]),
    ):
        pass
    with (
        pytest.raises(ParamsError, match="nowhere: no such file or folder"),
        linked("mine", [files / "a.pkl", Path("nowhere")]),
    ):
        pass
    assert not Path("data").exists()


def test_folders_among_several_paths(files: Path, here: Path) -> None:
    with pytest.raises(ParamsError, match="files: a folder among several paths; give one folder"):  # noqa: SIM117
        with linked("mine", [files / "a.pkl", files]):
            pass
    assert not (here / "data").exists()


def test_places_that_are_taken(files: Path, here: Path) -> None:
    with linked("mine", [files]):
        pass
    with (
        pytest.raises(ParamsError, match=r"data/raw/mine already exists and is not"),
        linked("mine", [here]),
    ):
        pass
    with (
        pytest.raises(ParamsError, match=r"data/raw/mine is a link to .*files"),
        linked("mine", [files / "a.pkl"]),
    ):
        pass
    with linked("two", [files / "a.pkl"]):
        pass
    with (
        pytest.raises(ParamsError, match=r"data/raw/two already exists and also has 'a.pkl'"),
        linked("two", [files / "b.csv"]),
    ):
        pass
    assert [path.name for path in Path("data/raw/two").iterdir()] == ["a.pkl"]
    os.symlink("gone", "data/raw/broken")
    with pytest.raises(ParamsError, match="data/raw/broken already exists"), linked("broken", [files]):
        pass


@pytest.mark.usefixtures("here")
def test_settings_of_another_training_set_are_taken_over() -> None:
    before, old = PARAMS.read_text(), load_params()
    entry = NewCorpus("mine", "imports", IMPORT, "mmsa", features=FEATURES, like="sample")
    entered(entry)
    assert not [line for line in lost(before) if "imports: {}" not in line and "datasets_run" not in line]
    params = load_params()
    assert old.model("misr", "sample") != old.model("misr", "mine")
    for method in params.models:
        assert params.model(method, "mine") == old.model(method, "sample")
    with pytest.raises(ParamsError, match="--like 'simple' is not known, did you mean 'sample'"):
        register(NewCorpus("other", "imports", IMPORT, "mmsa", like="simple"), params, PARAMS)
