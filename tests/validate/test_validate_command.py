"""`msa-cli validate NAME`: folders, files, and the names of params.yaml; exit codes, page and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from made import made_mmsa
from made.made_corpora import made
from made.mmsa_corpus import GOOD, corpus
from ruamel.yaml import YAML
from test_feature_checks import write
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.core.errors import MsaError
from pipeline.core.paths import transcript_table
from pipeline.params.params import Params
from pipeline.transcripts.table import TRANSCRIPTS, write_transcripts
from pipeline.validate.subjects import registered

MODES = ("train", "train", "valid", "test")
LINES = [
    f"v{video},{clip},text {video} {clip},{(video + clip) % 3 - 1},,,,,{MODES[clip]}"
    for video in range(8)
    for clip in range(4)
]
NONE = {"text": "none", "audio": "none", "visual": "none", "waveform": "none", "metrics": "mmsa"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a corpus that is split within its videos, an import, and training sets of the first."""
    corpus(tmp_path / "raw", *LINES)
    made_mmsa.make_sims(tmp_path / "files")
    protocol = {"folds": {"number": 4, "fold": 1, "by": "video"}, "train_fraction": 0.5, "label_noise": 0.2}
    tree = {
        "datasets": {"mine": {"kind": "mmsa", "root": "raw", "language": "en"}, "other": {"root": "nowhere"}},
        "imports": {"sims": {"kind": "mmsa_pickle", "root": "files/unaligned.pkl", "label_range": [-1, 1]}},
        "assemble": {
            "mine": {"dataset": "mine", **NONE},
            "few": {"dataset": "mine", **NONE, "protocol": protocol},
            "by-speaker": {"dataset": "mine", **NONE, "protocol": {"folds": {"number": 4, "fold": 0}}},
            "other": {"dataset": "mine", **NONE},
        },
    }
    YAML().dump(tree, tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def validated(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["validate", *map(str, arguments)])


def facts(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    done = validated(*arguments, "--json")
    assert done.exit_code == code, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def checks(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {finding["check"]: finding for finding in found["findings"]}


def test_a_corpus_by_name_and_by_folder(project: Path) -> None:
    named, folder = facts("mine"), facts("raw")
    assert named["splits"] == folder["splits"]
    assert (named["what"], folder["what"]) == ("mine: corpus of kind mmsa", "raw: corpus of kind mmsa")
    assert [split["clips"] for split in named["splits"]] == [16, 8, 8]
    assert len(checks(named)["videos in two splits"]["rows"]) == 8


def test_splits_of_a_training_set_are_those_of_its_protocol(project: Path) -> None:
    found = facts("few")
    assert "videos in two splits" not in checks(found)
    clips = {split["split"]: split["clips"] for split in found["splits"]}
    assert clips["test"] == 8  # two of eight videos
    kept = (32 - clips["test"] - clips["valid"]) / 2
    assert clips["train"] == kept
    assert f"{kept:g} omitted" in checks(found)["protocol"]["message"]
    assert "fold 1 (from 0) of 4 folds by video" in checks(found)["protocol"]["message"]


def test_folds_that_cannot_be_made_are_an_error(project: Path) -> None:
    found = facts("by-speaker", code=2)
    assert not found["usable"]
    assert "32 of 32 clips have no speaker" in checks(found)["protocol"]["message"]


def test_an_import_by_name_and_by_file(project: Path) -> None:
    named = facts("sims")
    assert named["what"] == "sims: import of kind mmsa_pickle"
    assert named["conflicts"]["clips"] == 13
    by_file = facts("files/unaligned.pkl", "--range", "-1", "1")
    assert by_file["conflicts"] == named["conflicts"]
    facts("files/unaligned.pkl", "--range", "-0.1", "0.1", code=2)


def test_a_name_is_a_corpus_unless_a_training_set_is_made_of_it(project: Path) -> None:
    with open("params.yaml", encoding="utf-8") as file:
        params = Params.model_validate(YAML(typ="safe").load(file))
    assert registered("mine", params).training_set == "mine"
    assert (registered("other", params).corpus.root, registered("other", params).training_set) == (
        "nowhere",
        None,
    )
    assert registered("few", params).dataset == "mine"


def test_features_of_a_training_set_are_compared_with_the_whole_corpus(project: Path) -> None:
    clips = {f"v{video}$_${clip}": "ok" for video in range(8) for clip in range(4)}
    write(project, "mine/visual-facemesh", clips)
    (store,) = facts("few")["features"]
    assert (store["ok"], store["lacking"], store["unknown"]) == (32, 0, [])
    assert "mediapipe 0.10.14" in store["made_by"]


def test_transcripts_stand_in_where_the_corpus_has_no_text(project: Path) -> None:
    corpus(project / "raw", *[line.replace("text 0 0", "") for line in LINES])
    rows = [{"clip_id": "v0$_$0", "text": "Мне нравится", "language": "en", "source": "asr:x", "words": None}]
    write_transcripts(TRANSCRIPTS.empty_table().from_pylist(rows, TRANSCRIPTS), transcript_table("mine"))
    assert checks(facts("mine"))["script"]["rows"] == ["v0$_$0: Мне нравится"]
    assert "no transcript" not in checks(facts("mine"))
    transcript_table("mine").write_bytes(b"nothing")
    assert checks(facts("mine"))["damaged transcripts"]["level"] == "warning"
    assert checks(facts("mine"))["no transcript"]["message"].startswith("1 of 32")


def test_a_bad_label_file_leaves_with_2_and_has_a_page(tmp_path: Path) -> None:
    corpus(tmp_path / "raw", GOOD, "a,2,x,one,,,,,train")
    done = validated(tmp_path / "raw", "--html", tmp_path / "page.html")
    assert done.exit_code == 2
    assert "fix the errors first" in done.stdout
    assert "fix the errors first" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_folder_of_another_kind(tmp_path: Path) -> None:
    made["mosi_ood"](tmp_path)
    found = facts(tmp_path, "--kind", "mosi_ood")
    assert [split["split"] for split in found["splits"]] == ["train", "valid", "test", "test_ood"]
    found = facts(tmp_path, "--kind", "mosi_ood", "--setting", "splits=nowhere", code=2)
    assert "splits" in checks(found)


@pytest.mark.parametrize(("language", "other"), [("en", False), ("zh", True), (None, False)])
def test_a_language_may_be_declared(tmp_path: Path, language: str | None, other: bool) -> None:
    corpus(tmp_path, GOOD)
    options = ("--language", language) if language else ()
    assert ("script" in checks(facts(tmp_path, *options))) == other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("nobody",),
            "no such folder or file; dataset, import or training set 'nobody' is not known (there are: mine",
        ),
        (("mine", "--kind", "mosi"), "mine is described in params.yaml"),
        (
            ("raw", "--kind", "mossi"),
            "--kind 'mossi' is not known, did you mean 'mosi' (there are: mmsa, mosi",
        ),
        (("raw", "--range", "3", "1"), "is not a range: expected [smallest, largest]"),
    ],
)
def test_wrong_use(project: Path, arguments: tuple[str, ...], message: str) -> None:
    error = validated(*arguments).exception
    assert isinstance(error, MsaError) and error.exit_code == 2
    assert message in str(error)
