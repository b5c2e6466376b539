"""Decoder-only models as text encoders: states, the last token, batches, and what is said of memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from made.tiny_models import save_tiny_bert, save_tiny_decoder
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.core.errors import ParamsError
from pipeline.features import checkpoint
from pipeline.features.encoder import BatchEncoder, Clip, Encoded
from pipeline.features.registry import build_encoder
from pipeline.params.encoders import TransformerText
from pipeline.params.params import MediaLimits

KINDS = ("gpt2", "llama", "qwen2")
TEXTS = ["I really liked the movie, you know", "good", "It was NOT bad – 好 😀"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {kind: save_tiny_decoder(root / kind, kind) for kind in KINDS}


@pytest.fixture(scope="module")
def make(folders: dict[str, Path]) -> Callable[..., BatchEncoder]:
    def get(kind: str, **options: Any) -> BatchEncoder:
        params = TransformerText(model=str(folders[kind]), **options)
        encoder = build_encoder("text", "mine", params, MediaLimits())
        assert isinstance(encoder, BatchEncoder)
        encoder.load()
        return encoder

    return get


def by_hand(folder: Path, text: str) -> list[np.ndarray]:
    """What each layer reads, and what the head reads: (tokens, D) each, seen from outside by hooks."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    base = model.transformer if hasattr(model, "transformer") else model.model
    layers = base.h if hasattr(base, "h") else base.layers
    seen: list[torch.Tensor] = []
    for part in (*layers, model.get_output_embeddings()):
        part.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0]))
    with torch.inference_mode():
        model(**AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt", return_token_type_ids=False))
    return [states.numpy() for states in seen]


def clip(text: str) -> Clip:
    return Clip("v$_$1", text=text)


@pytest.mark.parametrize("kind", KINDS)
def test_states_are_those_that_the_head_reads(kind: str, folders: dict[str, Path], make: Any) -> None:
    for text in TEXTS:
        found = make(kind).encode(clip(text))
        states = by_hand(folders[kind], text)
        np.testing.assert_allclose(found.features, states[-1], rtol=2e-3, atol=2e-3)
        assert found.char_start is not None
        assert (found.char_start < 0).tolist() == [kind == "llama"] + [False] * (len(states[-1]) - 1)
    middle = make(kind, layers=[0, 1]).encode(clip(text))
    np.testing.assert_allclose(middle.features, (states[0] + states[1]) / 2, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_token_and_the_mean(kind: str, make: Any) -> None:
    frames = make(kind).encode(clip(TEXTS[0])).features
    real = frames[1:] if kind == "llama" else frames  # without its <s>
    np.testing.assert_array_equal(make(kind, pool="last").encode(clip(TEXTS[0])).features, frames[-1:])
    mean = make(kind, pool="mean").encode(clip(TEXTS[0]))
    np.testing.assert_allclose(mean.features[0], real.mean(axis=0, dtype=np.float64), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_knows_what_came_before_it_alone(kind: str, make: Any) -> None:
    encoder = make(kind)
    first, longer = (encoder.encode(clip(text)).features for text in ("the movie", "the movie was bad"))
    np.testing.assert_allclose(longer[: len(first)], first, atol=2e-3)
    other = encoder.encode(clip("a movie")).features
    assert np.abs(other[-1].astype(float) - first[-1]).max() > 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_batches_and_bytes(kind: str, make: Any) -> None:
    encoder = make(kind)
    alone = [encoder.encode(clip(text)).features for text in TEXTS]
    for one, other in zip(alone, encoder.infer([encoder.prepare(clip(text)) for text in TEXTS]), strict=True):
        assert isinstance(other, Encoded)
        np.testing.assert_allclose(other.features, one, rtol=1e-3, atol=2e-3)
    again = make(kind)
    assert [again.encode(clip(text)).features.tobytes() for text in TEXTS[::-1]] == [
        one.tobytes() for one in alone[::-1]
    ]


def test_limits(folders: dict[str, Path], make: Any) -> None:
    with pytest.raises(ParamsError, match=r"max_length is 129; .* at most 128 tokens"):
        make("gpt2", max_length=129)
    cut = make("gpt2", max_length=4).encode(clip(TEXTS[0]))
    assert len(cut.features) == 4 and cut.note.startswith("cut to 4 of")


# ---------------------------------------------------------------------------------------------------- memory
@pytest.mark.parametrize(("precision", "width"), [("fp32", 4), ("bf16", 2)])
def test_large_weights_are_announced(
    precision: str,
    width: int,
    folders: dict[str, Path],
    make: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make("llama", precision=precision)
    assert "weights" not in capsys.readouterr().err, "small ones are not worth a line"
    model = AutoModelForCausalLM.from_pretrained(folders["llama"])
    size = sum(weights.numel() for weights in model.parameters()) * width
    monkeypatch.setattr(checkpoint, "WORTH_SAYING", 1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2 * size))
    make("llama", precision=precision)
    said = " ".join(capsys.readouterr().err.split())
    assert f"the weights of {folders['llama']} take {size / 1e9:.1f} GB of memory in {precision}" in said
    assert ("precision: bf16 takes half" in said) == (precision == "fp32")
    assert "more than" not in said
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=size // 2))
    make("llama", precision=precision)
    assert "more than the" in capsys.readouterr().err


def test_stored_in_half_and_loaded_whole(folders: dict[str, Path], tmp_path: Path) -> None:
    """A file of bf16 takes twice its size in fp32; a file of fp32 half of it in bf16."""
    whole = save_tiny_bert(tmp_path / "whole")
    assert checkpoint.weights_in_memory((str(whole), None), "fp32") == pytest.approx(
        (whole / "model.safetensors").stat().st_size, rel=0.2
    )
    half = tmp_path / "half"
    AutoModelForCausalLM.from_pretrained(folders["qwen2"], dtype=torch.bfloat16).save_pretrained(half)
    size = (half / "model.safetensors").stat().st_size
    assert checkpoint.weights_in_memory((str(half), None), "bf16") == pytest.approx(size, rel=0.1)
    assert checkpoint.weights_in_memory((str(half), None), "fp32") == pytest.approx(2 * size, rel=0.1)
