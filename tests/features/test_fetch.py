"""Models fetched into the cache: from a hub of ours, used without it, pinned with all comments kept."""

# ruff: noqa: F811  (fixtures come by import)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from made.hub import COMMIT, Hub, bert, copy, hub, online  # noqa: F401  (fixtures)
from made.tiny_speech import save_tiny_whisper

from models.core.backbones import load_text_backbone, load_tokenizer
from models.core.checkpoints import download, missing_here, model_folder, model_identity, pinned_revision
from pipeline.cli import doctor
from pipeline.core.errors import MissingModelError, ParamsError
from pipeline.features.fetch import PARTS, needed, wanted_models
from pipeline.params.edit import pin
from pipeline.params.encoders import Pretrained, TransformerText
from pipeline.params.params import Params, load_params
from pipeline.params.transcribe import PRESETS, AsrParams, Engine, TranscribeParams
from pipeline.transcripts import faster_whisper
from pipeline.transcripts.engines import load_engine


def params() -> Params:
    return Params(
        text={
            "minilm": TransformerText(),
            "two": TransformerText(model={"en": "org/tiny", "zh": "org/gone"}),
        }
    )


def fetched(names: list[str], loaded: Params) -> dict[tuple[str, ...], str]:
    """Commits by key, as the command gathers them."""
    return {one.key: download(one.model, one.revision, PARTS).name for one in wanted_models(names, loaded)}


@pytest.mark.parametrize("revision", ["", f"@{COMMIT}", "@main"])
def test_fetched_here_and_used_without_the_hub(
    hub: type[Hub],
    bert: Path,
    monkeypatch: pytest.MonkeyPatch,
    cli: Callable[..., tuple[int, str]],
    revision: str,
) -> None:
    (hub.folder / "own.py").write_text("never fetched")
    (hub.folder / "preprocessor_config.json").write_text("{}")
    code, said = cli("fetch", f"org/tiny{revision}")
    assert code == 0 and f"org/tiny: 0 MB\n  commit: {COMMIT}" in said
    folder = model_folder("org/tiny", COMMIT, PARTS)
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= names and "own.py" not in names

    hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert missing_here("org/tiny", COMMIT, PARTS) == []
    assert missing_here("org/tiny", "0" * 40, PARTS) == ["its files"], "another commit is another model"
    assert model_identity("org/tiny", COMMIT) == f"org/tiny@{COMMIT}"
    if revision != f"@{COMMIT}":
        assert pinned_revision("org/tiny") == COMMIT
    load_tokenizer("org/tiny", COMMIT)
    found, expected = load_text_backbone("org/tiny", COMMIT).state_dict(), load_text_backbone(str(bert))
    assert all(torch.equal(found[key], value) for key, value in expected.state_dict().items())
    assert hub.asked == []


@pytest.mark.parametrize("engine", list(PRESETS))
def test_a_short_name_of_recognition_is_what_its_engine_reads(
    engine: Engine,
    hub: type[Hub],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cli: Callable[..., tuple[int, str]],
) -> None:
    model, commit = hub.repository, hub.commit = PRESETS[engine]["base"]
    hub.folder = tiny = save_tiny_whisper(tmp_path / "whisper")
    files = {path.name for path in tiny.iterdir()}
    if engine == "faster-whisper":
        files = {"config.json", "tokenizer.json", "preprocessor_config.json", "model.bin", "vocabulary.txt"}
        hub.folder = tmp_path / "converted"
        hub.folder.mkdir()
        for name in files:
            source = tiny / name
            (hub.folder / name).write_bytes(source.read_bytes() if source.is_file() else name.encode())
    (hub.folder / "README.md").write_text("never fetched")
    code, said = cli("fetch", "base", "--set", f"transcribe.asr.engine={engine}")
    assert code == 0 and f"{model}: " in said and f"commit: {commit}" in said
    hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    if engine == "transformers":
        assert load_engine(AsrParams(model="base"), model, commit, "cpu").languages
    folder = model_folder(model, commit, PARTS if engine == "transformers" else faster_whisper.PARTS)
    assert {path.name for path in folder.iterdir()} == files
    assert hub.asked == []


def test_every_short_name_and_an_encoder_of_that_name() -> None:
    for engine, presets in PRESETS.items():
        known = Params(transcribe=TranscribeParams(asr=AsrParams(engine=engine)))
        found = wanted_models(["base", "small", "large-v3", "turbo"], known)
        assert [(one.key, one.model, one.revision) for one in found] == [
            ((), *presets[name]) for name in ("base", "small", "large-v3", "turbo")
        ]
    (own,) = wanted_models(["base"], Params(text={"base": TransformerText(model="org/tiny")}))
    assert (own.key, own.model) == (("text", "base", "revision"), "org/tiny")


def test_what_is_missing_is_said_with_the_way_to_get_it(hub: type[Hub]) -> None:
    hub.asked.clear()
    needs = needed("text", "bert", Params().text["bert"])
    assert "google-bert/bert-base-uncased (its files missing)" in needs
    assert "HF_HUB_CACHE=FOLDER msa-cli fetch bert;" in needs[-1]
    checks = {check.what: check.found for check in doctor._encoders(params())}
    assert checks["text encoder two"].startswith("needs org/tiny (its files missing); org/gone")
    assert hub.asked == [], "the hub is not asked"
    fetched(["org/tiny"], params())
    one = Params(text={"two": TransformerText(model={"en": "org/tiny"}, revision={"en": COMMIT})})
    assert needed("text", "two", one.text["two"]) == []
    assert {check.what: check.found for check in doctor._encoders(one)}["text encoder two"].startswith("runs")


def test_commits_are_written_into_params_with_all_comments(
    hub: type[Hub],
    tmp_path: Path,
) -> None:
    file = tmp_path / "params.yaml"
    text = "# top\ntext:\n  two:   # of two\n    kind: hf\n    model: {en: org/tiny, zh: minilm}  # here\n"
    file.write_text(text + "    revision: null\n  one: {kind: hf, model: org/tiny, revision: null}\n")
    loaded = load_params(file)
    written = pin(fetched(["two", "one"], loaded), file)
    assert written == ["text.two.revision.en", "text.one.revision"]
    after = file.read_text()
    assert after.startswith(text) and after.count(COMMIT) == 2
    assert load_params(file).text["two"].checkpoints() == {"en": ("org/tiny", COMMIT), "zh": ("minilm", None)}


def test_pinning_moves_no_other_byte(
    hub: type[Hub],
    tmp_path: Path,
    cli: Callable[..., tuple[int, str]],
) -> None:
    file = tmp_path / "params.yaml"
    text = """text:
  one: {kind: hf, model: org/tiny,   revision: null,
        layers: [-1],  precision: 'fp32'}
  two: {kind: hf, model: {en: org/tiny, zh: minilm}, revision:  {en: null, zh: null}}  # both
seeds: [ 1,
   2 ]
""".replace("\n", "\r\n")
    file.write_bytes(text.encode())
    code, said = cli("fetch", "two", "one", "--pin", "--params", str(file))
    assert code == 0 and f"written into {file}: text.two.revision.en, text.one.revision" in said
    wanted = text.replace("revision: null", f"revision: {COMMIT}").replace("en: null", f"en: {COMMIT}")
    assert file.read_bytes().decode() == wanted


@pytest.mark.parametrize("name", ["one", "org/tiny"])
def test_a_commit_is_written_wherever_the_model_has_none(
    name: str, hub: type[Hub], tmp_path: Path, cli: Callable[..., tuple[int, str]]
) -> None:
    """Of an encoder, of methods that fine-tune the model, in their base or for a corpus; others stay."""
    file, other = tmp_path / "params.yaml", "f" * 40
    text = f"""text:
  one: {{kind: hf, model: org/tiny, revision: null}}
models:
  misr:
    base: {{text_backbone: org/tiny, text_revision: null}}
    corpora:
      a: {{text_backbone: org/tiny}}   # of a
      b: {{text_backbone: org/tiny, text_revision: {other}}}
      c: {{text_backbone: org/gone, text_revision: null}}
  slad:
    base:
      audio_backbone: org/tiny
      audio_revision: null   # online
"""
    file.write_text(text)
    code, said = cli("fetch", name, "--pin", "--params", str(file))
    assert code == 0, said
    wanted = text.replace("model: org/tiny, revision: null", f"model: org/tiny, revision: {COMMIT}")
    wanted = wanted.replace("org/tiny, text_revision: null", f"org/tiny, text_revision: {COMMIT}")
    wanted = wanted.replace(
        "{text_backbone: org/tiny}", f"{{text_backbone: org/tiny, text_revision: {COMMIT}}}"
    )
    wanted = wanted.replace("audio_revision: null", f"audio_revision: {COMMIT}")
    assert file.read_text() == wanted


def test_methods_name_the_commits_that_the_encoders_have(project: Path) -> None:
    """One model, one commit; and none is left out that is known."""
    loaded = load_params(project / "params.yaml")
    commits = {
        model: commit
        for modality in ("text", "audio")
        for settings in getattr(loaded, modality).values()
        if isinstance(settings, Pretrained)
        for model, commit in settings.checkpoints().values()
    }
    named = 0
    for method, entry in loaded.models.items():
        for section in (entry.base, *entry.corpora.values()):
            for modality in ("text", "audio"):
                model, commit = (section.get(f"{modality}_{key}") for key in ("backbone", "revision"))
                known = commits.get(model)
                assert commit in ((known,) if method in ("cmir", "slad") else (known, None)), (
                    method,
                    section,
                )
                named += commit is not None
    assert named > 10


def test_a_shared_section_cannot_be_pinned(hub: type[Hub], tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    text = "text:\n  one: &same {kind: hf, model: org/tiny, revision: null}\n  two: *same\n"
    file.write_text(text)
    got = fetched(["one"], load_params(file))
    with pytest.raises(ParamsError, match=r"text\.one\.revision: cannot be edited: .*write it out"):
        pin(got, file)
    assert file.read_text() == text


def test_what_cannot_be_fetched_is_a_message(
    hub: type[Hub],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ParamsError, match="did you mean 'hubert'"):
        wanted_models(["huberd"], Params())
    with pytest.raises(ParamsError, match="did you mean 'turbo'"):
        wanted_models(["trubo"], Params())
    with pytest.raises(ParamsError, match=r"text\.minilm\.model is 'minilm': it is not on a hub"):
        wanted_models(["minilm"], Params())
    with pytest.raises(MissingModelError, match=r"'org/gone'.* http://127.0.0.1:\d+ gave: .*404"):
        fetched(["org/gone"], Params())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(MissingModelError, match="the hub was not asked, because HF_HUB_OFFLINE is set"):
        fetched(["org/tiny"], Params())
