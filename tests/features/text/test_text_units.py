"""Words, layers, languages and batches of text states, against transformers and means by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made.tiny_models import WORDS, save_tiny_bert, save_tiny_roberta
from transformers import AutoModel, AutoTokenizer

from pipeline.core.errors import AbsentError, ClipError, MissingModelError, ParamsError
from pipeline.execution.gpu import Prepared
from pipeline.features.encoder import Clip, Encoded
from pipeline.features.text.hf import TransformerStates
from pipeline.params.encoders import TransformerText
from pipeline.params.params import MediaLimits

TEXT = "It was, really, the baddest movie's END!"
COMMIT = "0123456789" * 4


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        "bert": save_tiny_bert(root / "bert"),
        "roberta": save_tiny_roberta(root / "roberta", layers=4),
        "chinese": save_tiny_bert(root / "chinese", [*WORDS, *"好电影我不喜欢"], seed=1),
        "wide": save_tiny_bert(root / "wide", width=48),
    }


@pytest.fixture(scope="module")
def make(folders: dict[str, Path]) -> Callable[..., TransformerStates]:
    def get(model: str | dict[str, str], **options: Any) -> TransformerStates:
        known = {name: str(folder) for name, folder in folders.items()}
        source = known[model] if isinstance(model, str) else {k: known.get(v, v) for k, v in model.items()}
        encoder = TransformerStates("mine", TransformerText(model=source, **options), MediaLimits())
        encoder.load()
        return encoder

    return get


def hidden(folder: Path, text: str) -> tuple[list[torch.Tensor], list[str]]:
    """All states of a text, each (tokens, D), and its tokens, from transformers alone."""
    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        output = AutoModel.from_pretrained(folder).eval()(**tokens, output_hidden_states=True)
    return [state[0] for state in output.hidden_states], tokens.tokens()


def surfaces(encoded: Encoded, text: str) -> list[str]:
    assert encoded.char_start is not None and encoded.char_end is not None
    return [text[a:b] for a, b in zip(encoded.char_start, encoded.char_end, strict=True)]


# ----------------------------------------------------------------------------------------------------- layers
@pytest.mark.parametrize("model", ["bert", "roberta"])
@pytest.mark.parametrize("layers", [[0], [1], [-2], [-1], [0, -1], [-3, -2, -1], [2, 2, 1]])
def test_layers_are_those_of_transformers(model: str, layers: list[int], folders: Any, make: Any) -> None:
    states, _ = hidden(folders[model], TEXT)
    expected = sum(states[layer].double() for layer in layers) / len(layers)
    found = make(model, layers=layers).encode(Clip("a", text=TEXT)).features
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-3)
    if len(layers) == 1:
        np.testing.assert_array_equal(found, expected.numpy().astype(np.float16))


def test_the_usual_layer_is_the_same_in_company(make: Any) -> None:
    """[-1] takes another way through the code than [-1, -1] does."""
    one, two = (make("bert", layers=layers).encode(Clip("a", text=TEXT)) for layers in ([-1], [-1, -1]))
    assert one.features.tobytes() == two.features.tobytes()


@pytest.mark.parametrize(("model", "layer", "states"), [("bert", 3, 3), ("bert", -4, 3), ("roberta", 5, 5)])
def test_a_layer_that_is_not_there(model: str, layer: int, states: int, folders: dict[str, Path]) -> None:
    params = TransformerText(model=str(folders[model]), layers=[-1, layer])
    there = f"{states} states: 0 to {states - 1}, or -{states} to -1"
    pattern = rf"text\.mine\.layers has {layer}; .*{model} has {there}"
    with pytest.raises(ParamsError, match=pattern):
        _ = TransformerStates("mine", params, MediaLimits()).dim


# ------------------------------------------------------------------------------------------------------ words
def test_words_are_means_of_their_tokens(folders: dict[str, Path], make: Any) -> None:
    states, tokens = hidden(folders["bert"], TEXT)
    groups: list[list[int]] = []  # by the rule of WordPiece: a token that goes on begins with ##
    for index, token in enumerate(tokens[1:-1], start=1):
        if token.startswith("##"):
            groups[-1].append(index)
        else:
            groups.append([index])
    assert max(len(group) for group in groups) > 3  # "baddest" is no word of the vocabulary
    encoded = make("bert", unit="word").encode(Clip("a", text=TEXT))
    expected = np.stack([states[-1][group].double().mean(dim=0).numpy() for group in groups])
    np.testing.assert_allclose(encoded.features, expected, atol=2e-3)
    words = ["It", "was", ",", "really", ",", "the", "baddest", "movie", "'", "s", "END", "!"]
    assert surfaces(encoded, TEXT) == words
    ids = AutoTokenizer.from_pretrained(folders["bert"]).convert_tokens_to_ids(tokens)
    assert encoded.token_ids.tolist() == [ids[group[0]] for group in groups]
    assert encoded.features.dtype == np.float16 and encoded.times is None


def test_byte_level_words_keep_no_blanks(make: Any) -> None:
    text = "really  good \n xylophone"
    encoded = make("roberta", unit="word").encode(Clip("a", text=text))
    assert surfaces(encoded, text) == ["really", "good", "xylophone"]
    tokens = make("roberta").encode(Clip("a", text=text))
    assert tokens.char_start is not None
    own = np.flatnonzero(tokens.char_start >= text.index("xyl"))
    assert len(own) > 3
    mean = tokens.features[own].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(encoded.features[2], mean, atol=4e-3)


def test_a_chinese_word_is_a_character(folders: dict[str, Path], make: Any) -> None:
    text = "我不喜欢电影, really"
    encoded = make("chinese", unit="word").encode(Clip("a", text=text))
    assert surfaces(encoded, text) == [*"我不喜欢电影", ",", "really"]
    tokens = make("chinese").encode(Clip("a", text=text))
    np.testing.assert_array_equal(encoded.features[:6], tokens.features[1:7])


def test_words_of_the_text_before_lower_case_and_cuts(make: Any) -> None:
    text = "İİ REALLY İ good"
    encoded = make("bert", unit="word", lowercase=True).encode(Clip("a", text=text))
    assert surfaces(encoded, text) == ["İİ", "REALLY", "İ", "good"]
    cut = make("bert", unit="word", max_length=6).encode(Clip("a", text="really xylo good"))
    assert surfaces(cut, "really xylo good") == ["really", "xyl"]
    assert cut.note == "cut to 6 of 8 tokens"
    with pytest.raises(AbsentError, match="invisible"):
        make("bert", unit="word").encode(Clip("a", text="\u200b"))


# -------------------------------------------------------------------------------------------------- languages
def test_the_language_chooses_the_checkpoint(make: Any, folders: dict[str, Path]) -> None:
    both = make({"en": "bert", "zh": "chinese"})
    for language, model in (("en", "bert"), ("zh", "chinese")):
        found = both.encode(Clip("a", text=TEXT, language=language)).features
        assert found.tobytes() == make(model).encode(Clip("a", text=TEXT, language="xx")).features.tobytes()
    with pytest.raises(ClipError, match=r"'fr': text\.mine\.model has en, zh; add text\.mine\.model\.fr"):
        both.encode(Clip("a", text=TEXT, language="fr"))


def test_a_checkpoint_that_is_not_needed_may_be_missing(make: Any, folders: Any, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(folders["chinese"], bare, ignore=shutil.ignore_patterns("*.safetensors"))
    for other, missing in ((str(bare), "the weights"), ("org/nothing", "org/nothing.* missing here")):
        encoder = make({"en": "bert", "zh": other}, revision={"zh": COMMIT})
        assert encoder.dim == 32
        assert len(encoder.encode(Clip("a", text=TEXT)).features) > 5
        with pytest.raises(MissingModelError, match=missing):
            encoder.encode(Clip("a", text=TEXT, language="zh"))


def test_checkpoints_of_two_widths(folders: dict[str, Path]) -> None:
    params = TransformerText(model={"en": str(folders["bert"]), "zh": str(folders["wide"])})
    with pytest.raises(ParamsError, match=r"text\.mine\.model: .*bert is 32 wide and .*wide 48"):
        TransformerStates("mine", params, MediaLimits()).load()


def test_identity_covers_every_language(folders: dict[str, Path], tmp_path: Path) -> None:
    def built(model: Any, **options: Any) -> TransformerStates:
        return TransformerStates("mine", TransformerText(model=model, **options), MediaLimits())

    en, zh = str(folders["bert"]), str(folders["chinese"])
    one = built({"en": en, "zh": zh})
    alone = {name: built(folder).model_identity for name, folder in (("en", en), ("zh", zh))}
    assert one.model_identity == f"en={alone['en']}, zh={alone['zh']}"
    moved = str(shutil.copytree(zh, tmp_path / "moved"))
    assert built({"zh": moved, "en": en}).fingerprint == one.fingerprint
    others = [built({"en": zh, "zh": en}), built({"en": en}), built(en), built({"en": en, "de": zh})]
    changed = [built({"en": en, "zh": zh}, unit="word"), built({"en": en, "zh": zh}, layers=[-2, -1])]
    prints = {encoder.fingerprint for encoder in [one, *others, *changed]}
    assert len(prints) == 7
    half = built({"en": en, "zh": "org/zh"})
    assert half.model_identity == f"en={alone['en']}, zh=unpinned"
    with pytest.raises(ClipError, match=r"text\.mine\.revision\.zh is null; pin org/zh to a commit"):
        half.source(Clip("c", text="好", language="zh"))
    with pytest.raises(ParamsError, match=r"'org/en': revision is None, expected a commit hash"):
        _ = built({"en": "org/en", "zh": "org/zh"}).fingerprint
    pinned = built({"en": en, "zh": "org/zh"}, revision={"zh": COMMIT})
    assert pinned.model_identity.endswith(f"zh=org/zh@{COMMIT}")


# ---------------------------------------------------------------------------------------------------- batches
@pytest.mark.parametrize("layers", [[-1], [-2, -1]])
@pytest.mark.parametrize("unit", ["token", "word"])
@pytest.mark.parametrize("model", ["bert", "roberta"])
def test_a_batch_gives_what_each_clip_gives(model: str, unit: str, layers: list[int], make: Any) -> None:
    encoder = make(model, unit=unit, layers=layers)
    random = np.random.default_rng(0)
    lengths = [1, 28, *random.integers(1, 30, 10)]
    texts = [" ".join(random.choice([*WORDS, "好", "xylophone"], length)) for length in lengths]
    prepared = [encoder.prepare(Clip(str(i), text=text)) for i, text in enumerate(texts)]
    contents = [one.content for one in prepared]
    source = encoder.sources[0]
    for own, found in zip(contents, encoder.states(source, contents), strict=True):
        np.testing.assert_allclose(found, encoder.states(source, [own])[0], atol=2e-5)
    for one, found in zip(prepared, encoder.infer(prepared), strict=True):
        (alone,) = encoder.infer([one])
        np.testing.assert_allclose(found.features, alone.features, atol=4e-3)  # a step of float16
        assert found.token_ids.tolist() == alone.token_ids.tolist()
        assert found.note == alone.note


def test_a_batch_of_two_languages_keeps_its_order(make: Any) -> None:
    encoder = make({"en": "bert", "zh": "chinese"})
    clips = [Clip(str(i), text=" ".join(WORDS[: i + 1]), language="zh" if i % 3 else "en") for i in range(7)]
    prepared = [encoder.prepare(clip) for clip in clips]
    assert [one.steps for one in prepared] == [3 + i for i in range(7)]
    for clip, found in zip(clips, encoder.infer(prepared), strict=True):
        np.testing.assert_allclose(found.features, encoder.encode(clip).features, atol=4e-3)


def test_preparing_needs_no_weights_and_travels(folders: Any, make: Any, tmp_path: Path) -> None:
    import pickle

    bare = tmp_path / "bare"
    shutil.copytree(folders["bert"], bare, ignore=shutil.ignore_patterns("*.safetensors"))
    preparer = TransformerStates("mine", TransformerText(model=str(bare)), MediaLimits())
    preparer.load_preparer()
    prepared = preparer.prepare(Clip("a", text=TEXT))
    assert isinstance(prepared, Prepared) and prepared.pieces == 1
    assert pickle.loads(pickle.dumps(prepared)).content.ids.tolist() == prepared.content.ids.tolist()
    expected = make("bert").encode(Clip("a", text=TEXT))
    assert prepared.steps == len(expected.features)
    assert prepared.content.ids.tolist() == expected.token_ids.tolist()


def test_a_failure_is_its_own_clips(make: Any, folders: dict[str, Path], tmp_path: Path) -> None:
    """An embedding that is not a number spoils the clips with that token, not their neighbours."""
    model = AutoModel.from_pretrained(folders["bert"])
    tokenizer = AutoTokenizer.from_pretrained(folders["bert"])
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[tokenizer.convert_tokens_to_ids("movie")] = float("nan")
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    encoder = make({"en": str(tmp_path)})
    good, bad = (encoder.prepare(Clip("a", text=text)) for text in ("really good", "a movie"))
    outcomes = encoder.infer([good, bad, good])
    assert [isinstance(outcome, ClipError) for outcome in outcomes] == [False, True, False]
    np.testing.assert_allclose(outcomes[0].features, encoder.infer([good])[0].features, atol=4e-3)
