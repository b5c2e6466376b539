"""Names, paths, languages and numbers of params.yaml: what leads elsewhere or means nothing is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models import METHODS
from pipeline.core.errors import ParamsError
from pipeline.params.params import check_params
from pipeline.params.plain_yaml import read_yaml_file
from pipeline.params.search import with_values

NO_NAMES = [
    *("x; touch PWNED #", "$(touch PWNED)", "x'y", "my data", "a\nb", "a\0b", "ä", "", " "),
    *("../../evil", "..", ".", "/etc/x", "a/b", "a\\b", "a.b", "a@b", "-x", "--help", "none", "n" * 65),
]
SECTIONS = "datasets imports assemble jobs.text jobs.audio jobs.visual text audio visual models tune"
KEYS = [*SECTIONS.split(), "models.misr.corpora"]
VALUES = ["jobs.text.sample-minilm.dataset", "jobs.audio.sample-librosa33.encoder", "assemble.sample.dataset"]
LISTS = ["datasets_run", "models_run", "reports.transcripts"]
FOLDERS = [f"assemble.sample.{stream}" for stream in ("text", "audio", "visual", "waveform")]
PATHS = [
    "datasets.sample.root",
    "jobs.visual.sample-facemesh.source",
    "visual.openface.csv",
    "visual.openface.binary",
]


@pytest.fixture(scope="module")
def written(project: Path) -> dict[str, Any]:
    tree: dict[str, Any] = read_yaml_file(project / "params.yaml")
    return tree


@pytest.fixture
def here(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the real params.yaml; the current one."""
    (tmp_path / "params.yaml").write_bytes((project / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(tree: dict[str, Any]) -> str:
    with pytest.raises(ParamsError) as caught:
        check_params(tree, "params.yaml")
    message = str(caught.value)
    assert len(message.splitlines()) == 1 and "\0" not in message
    return message


def renamed(tree: dict[str, Any], place: str, name: str) -> dict[str, Any]:
    tree = copy.deepcopy(tree)
    section = tree
    for part in place.split("."):
        section = section[part]
    section[name] = copy.deepcopy(next(iter(section.values()), {"kind": "csd", "root": "x"}))
    return tree


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name_is_refused_wherever_one_stands(written: dict[str, Any], name: str) -> None:
    for place in KEYS:
        if not (place.startswith("jobs") and len(name) == 65):  # these are <dataset>-<encoder>
            assert f"{place}: {name[:64]!r}"[:60] in refused(renamed(written, place, name)), place
    for place in VALUES:
        assert place in refused(with_values(written, {place: name})), place
    for place in LISTS:
        assert place in refused(with_values(written, {place: [name]})), place
    for place in FOLDERS:
        for folder in (f"{name}/text-x", f"sample/{name}", name, f"sample/x/{name}"):
            if folder not in ("none", "a/b") and len(name) < 65:
                assert place in refused(with_values(written, {place: folder})), folder
    refused(with_values(written, {"pretrain_on": name})) if name != "none" else None
    refused(with_values(written, {"seeds": [name]}))


@pytest.mark.parametrize("path", ["", " ", "a\0b", "a\nb", "http://127.0.0.1/x", "remote://x/y", "s3://x"])
def test_what_is_no_path_of_this_machine_is_refused(written: dict[str, Any], path: str) -> None:
    for place in PATHS:
        assert "is not a path" in refused(with_values(written, {place: path})), place


@pytest.mark.parametrize("path", ["data/sample", "/data/mosi", "../x", "Meine Daten/é 我", "x; y", "-x"])
def test_a_path_may_have_any_letters(written: dict[str, Any], path: str) -> None:
    assert (
        check_params(with_values(written, {"datasets.sample.root": path}), "x").datasets["sample"].root
        == path
    )


@pytest.mark.parametrize("language", ["ENGLISH", "English", "EN", "e", "en_US", "", "engl", "en\n"])
def test_a_language_is_a_code(
    written: dict[str, Any], language: str, cli: Callable[..., tuple[int, str]], project: Path, here: Path
) -> None:
    for place in ("datasets.sample.language", "transcribe.asr.language"):
        assert f"{place}: {language!r} is not an ISO 639" in refused(with_values(written, {place: language}))
    assert "`en` is English" in refused(with_values(written, {"text.bert.model": {language: "x"}}))
    code, output = cli(
        "ingest", "mmsa", str(project / "data/sample"), "--name", "mine", "--language", language
    )
    assert code == 2 and "is not an ISO 639 code" in output and len(output.strip().splitlines()) == 1


def numbers(tree: dict[str, Any], above: str = "") -> Iterator[tuple[str, int | float]]:
    """Every number of a plain tree by its key."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from numbers(value, f"{above}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{above}{key}", value


@pytest.mark.parametrize("wrong", [True, False, "1", float("nan"), float("inf"), [1], {"a": 1}])
def test_no_number_is_a_boolean_a_text_or_endless(written: dict[str, Any], wrong: object) -> None:
    tree = {key: value for key, value in written.items() if key not in ("models", "tune")}
    found = [key for key, _ in numbers(tree)]
    assert len(found) > 40
    for key in found:
        assert key in refused(with_values(written, {key: wrong})), key
    refused(with_values(written, {"seeds": [wrong]}))
    refused(with_values(written, {"datasets.sample.label_range": [wrong, 3]}))
    refused(with_values(written, {"tune.misr": {"dropout": {"low": wrong, "high": 3}}}))


@pytest.mark.parametrize("method", METHODS)
def test_numbers_of_a_method_are_no_booleans(written: dict[str, Any], method: str) -> None:
    config, base = METHODS[method].load().Config, written["models"][method]["base"]
    config.model_validate(base)
    for key, _ in numbers(base):
        for wrong in (True, "1", float("nan")):
            with pytest.raises(ValueError, match=key.split(".")[-1]):
                config.model_validate(with_values(base, {key: wrong}))


@pytest.mark.parametrize("value", [-1, 0, 10**12])
def test_sizes_that_make_no_sense(written: dict[str, Any], value: int) -> None:
    for key in ("shards", "audio.librosa33.sample_rate", "assemble.sample.protocol.folds.number"):
        wrong = {"number": value, "fold": 0} if key.endswith("number") else value
        place = key.removesuffix(".number")
        assert place in refused(with_values(written, {place: wrong})), key


@pytest.mark.parametrize("wrong", ["width=0", "widht=3", "layers=true", "weights.prior=.nan"])
def test_base_is_checked_where_a_corpus_overrules_it(
    here: Path, cli: Callable[..., tuple[int, str]], wrong: str
) -> None:
    key, _, value = wrong.partition("=")
    text = (here / "params.yaml").read_text(encoding="utf-8")
    start = text.index("    base:\n", text.index("\n  misr:")) + len("    base:\n")
    before, after = text[:start], text[start:]
    line = f"{'  ' * key.count('.')}      {key.split('.')[-1]}: "
    after = after.replace(line, f"{line}{value} # ", 1) if line in after else f"{line}{value}\n{after}"
    (here / "params.yaml").write_text(before + after, encoding="utf-8")
    code, output = cli("stage", "train", "misr", "sample", "--seed", "1111")
    assert code == 2 and f"models.misr.base.{key}" in output
