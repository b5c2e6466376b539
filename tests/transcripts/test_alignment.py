"""CTC forced alignment against all alignments there are, PyTorch's CTC loss, and paths that are known."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made.media_factory import make_clip
from made.tiny_models import save_tiny_bert, save_tiny_data2vec_audio
from made.tiny_speech import LETTERS, save_tiny_ctc

from pipeline.core.errors import ClipError, FormatError, MissingModelError, ParamsError
from pipeline.corpora.clips import clip_table
from pipeline.params.params import MediaLimits
from pipeline.params.transcribe import AlignParams, TranscribeParams
from pipeline.transcripts import alignment
from pipeline.transcripts.alignment import (
    Aligner,
    CtcModel,
    emissions,
    load_ctc,
    tokens_of,
    viterbi,
    word_times,
)
from pipeline.transcripts.stage import transcribe_dataset

RATE = 16_000
LIMITS = MediaLimits()
VOCABULARY = {piece: index for index, piece in enumerate(["<pad>", "<s>", "</s>", "<unk>", *LETTERS])}


def letters(delimiter: bool = True) -> CtcModel:
    """The tiny model's vocabulary without a model."""
    known = {piece: index for piece, index in VOCABULARY.items() if delimiter or piece != "|"}
    return CtcModel(torch.nn.Identity(), known, 0, known.get("|"), 320)


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


# --------------------------------------------------------------------------------------------------- the path
def collapse(path: tuple[int, ...]) -> list[int]:
    """CTC's rule: equal neighbours are one, then blanks (0) fall away."""
    return [token for token, _ in itertools.groupby(path) if token != 0]


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 6), st.lists(st.integers(1, 2), min_size=1, max_size=3), st.integers(0, 10_000))
def test_viterbi_against_all_paths(frames: int, tokens: list[int], seed: int) -> None:
    """Of all 3^T paths that collapse to the text, the likeliest."""
    odds = np.random.default_rng(seed).normal(size=(frames, 3))
    log_odds = odds - np.log(np.exp(odds).sum(axis=1, keepdims=True))
    paths = [path for path in itertools.product(range(3), repeat=frames) if collapse(path) == tokens]
    if not paths:
        with pytest.raises(ClipError, match=f"but its sound has {frames}"):
            viterbi(log_odds, np.array(tokens), 0)
        return
    totals = [sum(log_odds[t, token] for t, token in enumerate(path)) for path in paths]
    found = viterbi(log_odds, np.array(tokens), 0)
    said = tuple(np.where(found >= 0, np.array(tokens)[found], 0).tolist())
    assert said == paths[int(np.argmax(totals))]
    assert sorted(set(found.tolist()) - {-1}) == list(range(len(tokens)))
    assert (np.diff(found[found >= 0]) >= 0).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(10, 60), st.integers(1, 9), st.integers(0, 10_000))
def test_no_path_is_likelier_than_all_together(frames: int, length: int, seed: int) -> None:
    """PyTorch's CTC loss sums over the paths; where one is nearly certain, it is that one."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, 5, length)
    for sharpness in (1.0, 60.0):
        log_odds = torch.from_numpy(rng.normal(size=(frames, 5)) * sharpness).log_softmax(-1)
        found = viterbi(log_odds.numpy(), tokens, 0) if frames >= 2 * length else None
        if found is None:
            return
        said = np.where(found >= 0, tokens[found], 0)
        best = log_odds.numpy()[np.arange(frames), said].sum()
        whole = -torch.nn.functional.ctc_loss(
            log_odds[:, None], torch.from_numpy(tokens)[None], [frames], [length], reduction="sum"
        )
        assert best <= float(whole) + 1e-9
        assert collapse(tuple(said.tolist())) == tokens.tolist()
    assert best == pytest.approx(float(whole), abs=3.0)


def spoken(path: str, certainty: float = 0.9) -> np.ndarray:
    """Log probabilities of a known path: a letter a frame, `.` = blank."""
    others = (1 - certainty) / (len(VOCABULARY) - 1)
    odds = np.full((len(path), len(VOCABULARY)), others)
    odds[np.arange(len(path)), [VOCABULARY["<pad>" if c == "." else c] for c in path]] = certainty
    return np.log(odds)


def test_a_known_path_gives_known_times() -> None:
    path = "..OHH.|..GOO.OD.||..BOO.."
    words = word_times("Oh, good boo!", spoken(path.replace("BOO", "BO.O")), letters(), 0.02, 1.0)
    assert [word["text"] for word in words] == ["Oh,", "good", "boo!"]
    np.testing.assert_allclose(
        [(word["start_s"], word["end_s"]) for word in words], [(0.04, 0.1), (0.18, 0.3), (0.4, 0.48)]
    )
    assert words[0]["score"] == pytest.approx(0.9)
    assert words[2]["score"] == pytest.approx(0.9)
    other = word_times("oh god boo", spoken(path), letters(), 0.02, 1.0)  # one O too few, and one too many
    assert other[1]["score"] < 0.9


def test_words_without_known_characters_lie_between_their_neighbours() -> None:
    words = word_times("— 2 so 3 4 it, !", spoken("....SSO|......II|T..."), letters(), 0.02, 0.5)
    assert [word["text"] for word in words] == ["—", "2", "so", "3", "4", "it,", "!"]
    edges = [(word["start_s"], word["end_s"]) for word in words]
    np.testing.assert_allclose(
        edges, [(0, 0.04), (0.04, 0.08), (0.08, 0.14), (0.14, 0.21), (0.21, 0.28), (0.28, 0.36), (0.36, 0.5)]
    )
    assert [word["score"] is None for word in words] == [True, True, False, True, True, False, True]


def test_no_word_ends_after_the_sound() -> None:
    words = word_times("so", spoken("SSOO"), letters(), 0.02, 0.07)
    assert words[0]["end_s"] == 0.07


def test_texts_that_cannot_be_aligned() -> None:
    with pytest.raises(ClipError, match="no character of its text is in the vocabulary"):
        word_times("123 你好", spoken("....."), letters(), 0.02, 1.0)
    with pytest.raises(ClipError, match="needs 5 frames, but its sound has 4"):
        word_times("good", spoken("GOOD"), letters(), 0.02, 1.0)


@pytest.mark.parametrize("delimiter", [True, False])
def test_characters_become_tokens(delimiter: bool) -> None:
    tokens, owner = tokens_of(["Né", "5", "d|o", "—", "It's"], letters(delimiter))
    pieces = {index: piece for piece, index in VOCABULARY.items()}
    between = "|" if delimiter else ""
    assert "".join(pieces[token] for token in tokens) == f"NE{between}DO{between}IT'S"
    assert owner[owner >= 0].tolist() == [0, 0, 2, 2, 4, 4, 4, 4]
    han = CtcModel(torch.nn.Identity(), {"<pad>": 0, "你": 1, "好": 2}, 0, None, 320)
    assert tokens_of(["你", "好。"], han)[0].tolist() == [1, 2]


# -------------------------------------------------------------------------------------------------- the model
@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_ctc(tmp_path_factory.mktemp("models") / "ctc")


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert"])
def test_emissions_are_the_models(kind: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCTC

    model = load_ctc(str(save_tiny_ctc(tmp_path / kind, kind=kind)))
    assert (model.blank, model.delimiter, model.stride) == (0, 4, 320)
    sound = noise(1.0)
    plain = AutoModelForCTC.from_pretrained(tmp_path / kind).eval()
    scaled = torch.from_numpy((sound - sound.mean()) / np.sqrt(sound.var() + 1e-7))
    with torch.inference_mode():
        expected = plain(scaled[None]).logits[0].log_softmax(-1).numpy()
    np.testing.assert_allclose(emissions(model, sound), expected, atol=1e-4)
    np.testing.assert_allclose(np.exp(expected).sum(axis=1), 1, atol=1e-4)


def test_windows_join_without_a_gap(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of windows lie where those of the whole do; the end of a track is in some window."""
    model = load_ctc(str(folder))
    for seconds in (3.0, 3.99, 4.0, 4.01, 6.5):
        monkeypatch.setattr(alignment, "WINDOW_S", 30.0)
        whole = emissions(model, noise(seconds))
        monkeypatch.setattr(alignment, "WINDOW_S", 2.0)
        windows = emissions(model, noise(seconds))
        assert windows.shape == whole.shape
        same = (windows.argmax(axis=1) == whole.argmax(axis=1)).mean()
        shifted = (windows[1:].argmax(axis=1) == whole[:-1].argmax(axis=1)).mean()
        assert same > 0.8 and same > shifted + 0.2
    with pytest.raises(ClipError, match="too short to align"):
        emissions(model, noise(0.01))


def test_words_lie_in_the_clip_and_are_the_same_again(folder: Path, tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.wav", sound=noise(2.0), audio_codec="pcm_s16le")
    settings = AlignParams(model=str(folder))
    words = Aligner(settings).align(path, LIMITS, "So, this is it: 42!", "en", 0.25, 1.75)
    assert [word["text"] for word in words] == ["So,", "this", "is", "it:", "42!"]
    edges = np.array([(word["start_s"], word["end_s"]) for word in words])
    assert (np.diff(edges.reshape(-1)) >= 0).all() and edges[0, 0] >= 0 and edges[-1, 1] <= 1.5
    assert words == Aligner(settings).align(path, LIMITS, "So, this is it: 42!", "en", 0.25, 1.75)


def test_models_that_will_not_do(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="expected a CTC"):
        load_ctc(str(save_tiny_bert(tmp_path / "bert")))
    headless = save_tiny_data2vec_audio(tmp_path / "headless")
    with pytest.raises(MissingModelError, match="vocabulary"):
        load_ctc(str(headless))
    (headless / "vocab.json").write_text('{"a": 0}')
    with pytest.raises(FormatError, match=r"lm_head.*trained for this|cannot be read"):
        load_ctc(str(headless))
    bad = save_tiny_ctc(tmp_path / "bad")
    (bad / "vocab.json").write_text('{"en": {"a": 0}}')
    with pytest.raises(FormatError, match=r"vocab\.json cannot be read"):
        load_ctc(str(bad))
    only = Aligner(AlignParams(model={"en": str(folder)}))
    assert only.covers("en") and not only.covers("zh")
    with pytest.raises(ParamsError, match="no model for the language 'zh'"):
        only.align(tmp_path / "a.wav", LIMITS, "a", "zh")


def test_the_stage_gives_word_times(folder: Path, tmp_path: Path) -> None:
    """To labels and sidecars without them; what cannot be aligned keeps its text and says why."""
    for name in "abcd":
        make_clip(tmp_path / f"{name}.wav", sound=noise(1.0), audio_codec="pcm_s16le")
    (tmp_path / "b.txt").write_text("as we say")
    (tmp_path / "c.srt").write_text("1\n00:00:00,100 --> 00:00:00,500\nHi\n")
    rows = [
        ("a", "so it is", "en"),
        ("b", None, "en"),
        ("c", None, "en"),
        ("d", "12", "en"),
        ("e", "so", "zh"),
    ]
    clips = clip_table(
        {
            "clip_id": i,
            "video_id": i,
            "split": "train",
            "language": n,
            "text": t,
            "path": f"{i}.wav",
            "status": "ok",
        }
        for i, t, n in rows
    )
    align = TranscribeParams(align=AlignParams(model={"en": str(folder)}))
    table, report = transcribe_dataset(clips, tmp_path, "toy", align, LIMITS, workers=1)
    found = {row["clip_id"]: row for row in table.to_pylist()}
    assert [word["text"] for word in found["a"]["words"]] == ["so", "it", "is"]
    assert (found["b"]["source"], len(found["b"]["words"])) == ("sidecar", 3)
    assert found["c"]["words"] == [{"text": "Hi", "start_s": 0.1, "end_s": 0.5, "score": None}]
    assert (found["d"]["text"], found["d"]["words"], found["e"]["words"]) == ("12", None, None)
    assert report.problems == {
        "d": "words not aligned: no character of its text is in the vocabulary of the model that aligns"
    }
    assert (report.failed, report.timed) == (0, 3)
