"""Backbones and tokenizers against transformers called directly; wrong and hostile files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from made.tiny_models import bundled, save_tiny_bert, save_tiny_roberta
from transformers import AutoModel, AutoTokenizer

from models.core.backbones import load_text_backbone, load_text_config, load_tokenizer, longest_input
from pipeline.core.errors import FormatError, MissingDependencyError, ParamsError

SENTENCE = "I really liked the movie, it was not bad."


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_roberta(tmp_path_factory.mktemp("models") / "roberta")


@pytest.fixture(params=["bert", "roberta", "minilm"])
def model(request: pytest.FixtureRequest) -> str:
    return "minilm" if request.param == "minilm" else str(request.getfixturevalue(request.param))


@pytest.fixture
def copy(bert: Path, tmp_path: Path) -> Path:
    """A copy of the tiny BERT that a test may spoil."""
    return Path(shutil.copytree(bert, tmp_path / "copy"))


# ----------------------------------------------------------------------------------------------- same numbers
def test_states_are_those_of_transformers_itself(model: str) -> None:
    folder = bundled() if model == "minilm" else Path(model)
    tokens = AutoTokenizer.from_pretrained(folder)(SENTENCE, return_tensors="pt")
    with torch.inference_mode():
        expected = AutoModel.from_pretrained(folder).eval()(**tokens).last_hidden_state
        ids = torch.from_numpy(load_tokenizer(model).encode([SENTENCE], 64)[0])[None]
        found = load_text_backbone(model)(ids, torch.ones_like(ids)).last_hidden_state
    assert ids.tolist() == tokens["input_ids"].tolist()
    assert torch.equal(found, expected)


def test_eval_mode_without_pooler(model: str) -> None:
    backbone = load_text_backbone(model)
    assert not backbone.training
    assert not [name for name, _ in backbone.named_parameters() if "pooler" in name]
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}


def test_pooler_on_request_has_the_files_weights(bert: Path) -> None:
    backbone = load_text_backbone(str(bert), pooler=True)
    expected = AutoModel.from_pretrained(bert).pooler.dense.weight
    assert torch.equal(backbone.get_submodule("pooler.dense").weight, expected)


def test_config_only_reads_no_weights(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    torch.manual_seed(1)
    first = load_text_backbone(str(copy), config_only=True)
    torch.manual_seed(1)
    again = load_text_backbone(str(copy), config_only=True)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    with torch.device("meta"):
        empty = load_text_backbone(str(copy), config_only=True)
    assert {parameter.device.type for parameter in empty.parameters()} == {"meta"}
    assert [p.shape for p in empty.parameters()] == [p.shape for p in first.parameters()]


def test_half_precision_files_are_computed_in_the_asked_precision(bert: Path, tmp_path: Path) -> None:
    AutoModel.from_pretrained(bert, dtype=torch.float16).save_pretrained(tmp_path)
    backbone = load_text_backbone(str(tmp_path))
    assert next(backbone.parameters()).dtype == torch.float32
    assert next(load_text_backbone(str(bert), precision="bf16").parameters()).dtype == torch.bfloat16


def test_loading_is_silent(bert: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_text_backbone(str(bert))
    load_tokenizer(str(bert)).count(SENTENCE * 100)
    assert capfd.readouterr() == ("", "")


def test_longest_input_is_where_the_positions_end(bert: Path, roberta: Path) -> None:
    for folder in (bert, roberta):
        backbone = load_text_backbone(str(folder))
        longest = longest_input(load_text_config(str(folder)))
        assert longest == 128
        ids = torch.full((1, longest), 7)
        assert backbone(ids).last_hidden_state.shape == (1, longest, 32)
        with pytest.raises((IndexError, RuntimeError)):
            backbone(torch.full((1, longest + 1), 7))


# ------------------------------------------------------------------------------------------------- tokenizers
def test_tokens_are_cut_and_never_padded(model: str) -> None:
    tokenizer = load_tokenizer(model)
    texts = ["it", SENTENCE, ""]
    whole = tokenizer.encode(texts, 64)
    cut = tokenizer.encode(texts, 5)
    assert [ids.dtype for ids in whole] == [np.int64] * 3
    assert tokenizer.encode([], 5) == []
    for full, short in zip(whole, cut, strict=True):
        expected = full if len(full) <= 5 else np.append(full[:4], full[-1])
        assert short.tolist() == expected.tolist()
    assert tokenizer.count(SENTENCE) == len(whole[1])
    assert len(whole[2]) == 2
    assert all(tokenizer.pad_id not in ids for ids in whole)


def test_offsets_slice_the_text_to_the_surface(model: str) -> None:
    ids, start, end = load_tokenizer(model).with_offsets(SENTENCE, 64)
    assert [array.dtype for array in (ids, start, end)] == [np.int32] * 3
    assert (start[0], end[0], start[-1], end[-1]) == (-1, -1, -1, -1)
    surface = [SENTENCE[a:b] for a, b in zip(start[1:-1], end[1:-1], strict=True)]
    assert "".join(surface).replace(" ", "") == SENTENCE.replace(" ", "")
    names = AutoTokenizer.from_pretrained(bundled() if model == "minilm" else model).convert_ids_to_tokens(
        ids
    )
    for name, piece in zip(names[1:-1], surface, strict=True):
        assert name.removeprefix("##").lstrip("Ġ") in (piece, piece.lower())


# ------------------------------------------------------------------------------------------- wrong or hostile
def test_no_parameter_stays_random(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    dropped = {key: value for key, value in weights.items() if "layer.1.output" not in key}
    save_file(dropped, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FormatError, match=r"lack 4 parameters of BertModel"):
        load_text_backbone(str(copy))


def test_weights_of_other_shapes_or_none(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"intermediate_size": 16}))
    with pytest.raises(FormatError, match="its shapes are not the config's"):
        load_text_backbone(str(copy))
    (copy / "model.safetensors").write_bytes(b"junk" * 10)
    with pytest.raises(FormatError, match="cannot be read as those of a bert"):
        load_text_backbone(str(copy))
    (copy / "config.json").write_text("{")
    with pytest.raises(FormatError, match="is not the config"):
        load_text_config(str(copy))


class Hostile:
    """A pickle that would create a file when it is loaded."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.marker), "w")


def test_pickled_weights_run_no_code(copy: Path, tmp_path: Path) -> None:
    expected = load_text_backbone(str(copy)).state_dict()
    torch.save(expected, copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    found = load_text_backbone(str(copy)).state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    torch.save({"x": Hostile(tmp_path / "ran")}, copy / "pytorch_model.bin")
    with pytest.raises(FormatError, match="cannot be read as those of a bert"):
        load_text_backbone(str(copy))
    assert not (tmp_path / "ran").exists()


def test_code_of_a_repository_is_never_run(copy: Path, tmp_path: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (copy / "config.json").write_text(json.dumps(config | own))
    (copy / "own.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\nclass Model: pass\n"
    )
    for load in (load_text_backbone, load_text_config):
        with pytest.raises(FormatError, match="never run"):
            load(str(copy))
    assert not (tmp_path / "ran").exists()


def test_encoder_decoder_is_refused(copy: Path) -> None:
    (copy / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(ParamsError, match="encoder-decoder"):
        load_text_backbone(str(copy))


@pytest.mark.parametrize(
    ("package", "failure"),
    [
        ("torchvision", "RuntimeError('operator torchvision::nms does not exist')"),
        ("torchaudio", "OSError('libcudart.so.13: cannot open shared object file')"),
    ],
)
def test_broken_neighbours_of_torch_are_named(
    package: str, failure: str, bert: Path, tmp_path: Path, project: Path
) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(f"raise {failure}")
    (tmp_path / f"{package}-9.0.dist-info").mkdir()
    (tmp_path / f"{package}-9.0.dist-info" / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {package}\nVersion: 9.0\n"
    )
    code = (
        f"import sys; sys.path[:0] = {[str(tmp_path), str(project)]!r}\nfrom models.core.backbones import *\n"
    )
    code += f"try: load_text_backbone({str(bert)!r})\nexcept Exception as e: print(type(e).__name__, e)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.startswith(MissingDependencyError.__name__)
    assert failure.split("'")[1] in out
    assert "pip uninstall torchaudio torchvision" in out
