"""Models fetched into a folder: from a hub of ours, used without it, pinned with all comments kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from test_checkpoints import COMMIT, Hub, bert, copy, hub, online  # noqa: F401  (fixtures)

from models.core.backbones import load_text_backbone, load_tokenizer
from models.core.checkpoints import missing_here, model_identity, pinned_revision
from pipeline.cli import doctor
from pipeline.core.errors import MissingModelError, ParamsError
from pipeline.features.fetch import MEGABYTES, fetch, needed, pin, wanted_models
from pipeline.params.encoders import TransformerAudio, TransformerText
from pipeline.params.params import Params, load_params

PARTS = ("config", "tokenizer", "weights")


def params() -> Params:
    return Params(
        text={
            "minilm": TransformerText(),
            "two": TransformerText(model={"en": "org/tiny", "zh": "org/gone"}),
        }
    )


def test_every_preset_has_a_size() -> None:
    defaults = Params()
    names = [name for modality in ("text", "audio") for name in getattr(defaults, modality)]
    settings = {**defaults.text, **defaults.audio}
    presets = [name for name in names if isinstance(settings[name], TransformerText | TransformerAudio)]
    models = {wanted.model for wanted in wanted_models([n for n in presets if n != "minilm"], defaults)}
    assert models == set(MEGABYTES)


def test_fetched_here_and_used_without_the_hub(
    hub: type[Hub],  # noqa: F811
    bert: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (hub.folder / "own.py").write_text("never fetched")
    (hub.folder / "preprocessor_config.json").write_text("{}")
    (wanted,) = wanted_models(["org/tiny"], params())
    got = fetch(wanted, tmp_path / "models")
    assert got.commit == COMMIT and got.folder == tmp_path / "models" / "org--tiny"
    names = {path.name for path in got.folder.iterdir()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "fetched.json"} <= names
    assert not {"own.py", ".cache"} & names
    note = json.loads((got.folder / "fetched.json").read_text())
    assert (note["id"], note["commit"]) == ("org/tiny", COMMIT)

    hub.asked.clear()
    monkeypatch.setenv("MSA_MODELS", str(tmp_path / "models"))
    assert missing_here("org/tiny", COMMIT, PARTS) == []
    assert missing_here("org/tiny", "0" * 40, PARTS) == ["its files"], "another commit is another model"
    assert pinned_revision("org/tiny") == COMMIT
    assert model_identity("org/tiny", COMMIT) == f"org/tiny@{COMMIT}"
    load_tokenizer("org/tiny", COMMIT)
    found, expected = load_text_backbone("org/tiny", COMMIT).state_dict(), load_text_backbone(str(bert))
    assert all(torch.equal(found[key], value) for key, value in expected.state_dict().items())
    assert hub.asked == []


def test_what_is_missing_is_said_with_its_size_and_the_way_to_get_it(
    hub: type[Hub],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub.asked.clear()
    needs = needed("text", "bert", Params().text["bert"])
    assert "google-bert/bert-base-uncased (its files missing, about 440 MB)" in needs
    assert "msa-cli fetch bert --into FOLDER" in needs[-1]
    checks = {check.what: check.found for check in doctor._encoders(params())}
    assert checks["text encoder two"].startswith("needs org/tiny (its files missing); org/gone")
    assert hub.asked == [], "the hub is not asked"
    fetch(wanted_models(["org/tiny"], params())[0], tmp_path)
    monkeypatch.setenv("MSA_MODELS", str(tmp_path))
    one = Params(text={"two": TransformerText(model={"en": "org/tiny"}, revision={"en": COMMIT})})
    assert needed("text", "two", one.text["two"]) == []
    assert {check.what: check.found for check in doctor._encoders(one)}["text encoder two"].startswith("runs")


def test_commits_are_written_into_params_with_all_comments(
    hub: type[Hub],  # noqa: F811
    tmp_path: Path,
) -> None:
    file = tmp_path / "params.yaml"
    text = "# top\ntext:\n  two:   # of two\n    kind: hf\n    model: {en: org/tiny, zh: minilm}  # here\n"
    file.write_text(text + "    revision: null\n  one: {kind: hf, model: org/tiny, revision: null}\n")
    loaded = load_params(file)
    written = pin([fetch(wanted, tmp_path) for wanted in wanted_models(["two", "one"], loaded)], file)
    assert written == ["text.two.revision.en", "text.one.revision"]
    after = file.read_text()
    assert after.startswith(text) and after.count(COMMIT) == 2
    assert load_params(file).text["two"].checkpoints() == {"en": ("org/tiny", COMMIT), "zh": ("minilm", None)}


def test_pinning_moves_no_other_byte(hub: type[Hub], tmp_path: Path) -> None:  # noqa: F811
    file = tmp_path / "params.yaml"
    text = """text:
  one: {kind: hf, model: org/tiny,   revision: null,
        layers: [-1],  precision: 'fp32'}
  two: {kind: hf, model: {en: org/tiny, zh: minilm}, revision:  {en: null, zh: null}}  # both
seeds: [ 1,
   2 ]
""".replace("\n", "\r\n")
    file.write_bytes(text.encode())
    pin([fetch(wanted, tmp_path) for wanted in wanted_models(["two", "one"], load_params(file))], file)
    wanted = text.replace("revision: null", f"revision: {COMMIT}").replace("en: null", f"en: {COMMIT}")
    assert file.read_bytes().decode() == wanted


def test_a_shared_section_cannot_be_pinned(hub: type[Hub], tmp_path: Path) -> None:  # noqa: F811
    file = tmp_path / "params.yaml"
    text = "text:\n  one: &same {kind: hf, model: org/tiny, revision: null}\n  two: *same\n"
    file.write_text(text)
    got = [fetch(wanted, tmp_path) for wanted in wanted_models(["one"], load_params(file))]
    with pytest.raises(ParamsError, match=r"text\.one\.revision together with another section.*write it out"):
        pin(got, file)
    assert file.read_text() == text


def test_what_cannot_be_fetched_is_a_message(hub: type[Hub], tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(ParamsError, match="did you mean 'hubert'"):
        wanted_models(["huberd"], Params())
    with pytest.raises(ParamsError, match=r"text\.minilm\.model is 'minilm': nothing of it is on a hub"):
        wanted_models(["minilm"], Params())
    with pytest.raises(MissingModelError, match="'org/gone' cannot be fetched from http"):
        fetch(wanted_models(["org/gone"], Params())[0], tmp_path)
