"""Recognition by a tiny random Whisper: what it says means nothing, how it is heard and timed does."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from made.media_factory import make_clip
from made.tiny_models import save_tiny_bert
from made.tiny_speech import save_tiny_ctc, save_tiny_whisper, speech

from pipeline.core.errors import (
    AbsentError,
    ClipError,
    FormatError,
    MissingModelError,
    ParamsError,
)
from pipeline.corpora.clips import clip_table
from pipeline.params.params import MediaLimits
from pipeline.params.transcribe import AsrParams, TranscribeParams
from pipeline.transcripts import recognition
from pipeline.transcripts.engines import load_engine, weights_identity
from pipeline.transcripts.loudness import loud_blocks, speech_within, stretches
from pipeline.transcripts.recognition import Recognizer
from pipeline.transcripts.stage import transcribe_dataset
from pipeline.transcripts.whisper import Hearing, Whisper, cheapest_path, load_whisper, token_times
from pipeline.transcripts.words import locate

RATE = 16_000
LIMITS = MediaLimits()
ANYTHING = 99.0  # times that a text may be smaller: what a random model says, it may say again and again


@pytest.fixture(scope="module")
def whisper(folder: Path) -> Whisper:
    return load_whisper(str(folder))


@pytest.fixture(scope="module")
def recognizer(folder: Path) -> Recognizer:
    return Recognizer(AsrParams(model=str(folder), compression_ratio=ANYTHING))


# ---------------------------------------------------------------------------------------------- what is heard
@pytest.mark.parametrize("language", ["en", "zh"])
def test_words_make_the_text_and_lie_in_the_clip(recognizer: Recognizer, language: str) -> None:
    heard = recognizer.recognize_sound(speech(1.7), language)
    assert heard.language == language
    assert heard.text == " ".join(heard.text.split())
    assert len(heard.words) > 3
    flat = "".join(heard.text.split())
    assert "".join("".join(word["text"].split()) for word in heard.words) == flat
    where = locate([word["text"] for word in heard.words], heard.text)
    assert [heard.text[a:b] for a, b in where] == [word["text"] for word in heard.words]
    edges = np.array([[word["start_s"], word["end_s"]] for word in heard.words])
    assert (np.diff(edges.reshape(-1)) >= 0).all()
    assert edges[0, 0] >= 0 and edges[-1, 1] <= 1.7
    assert all(0 < word["score"] <= 1 for word in heard.words)


def test_same_sound_same_words(recognizer: Recognizer, folder: Path) -> None:
    other = Recognizer(AsrParams(model=str(folder), compression_ratio=ANYTHING))
    other.recognize_sound(speech(3.0, seed=1), "zh")  # what was heard before leaves no trace
    assert other.recognize_sound(speech(1.5), "en") == recognizer.recognize_sound(speech(1.5), "en")


def test_the_language_is_the_likeliest(recognizer: Recognizer, whisper: Whisper) -> None:
    for seed in range(4):
        sound = speech(1.0, seed)
        mel = whisper.mel(sound)
        (token,) = whisper.model.detect_language(mel).tolist()
        heard = recognizer.recognize_sound(sound)
        assert whisper.languages[heard.language or ""] == token
        assert heard == recognizer.recognize_sound(sound, heard.language)


def test_greedy_decoding_by_hand(recognizer: Recognizer, whisper: Whisper) -> None:
    """Tokens, scores and times from nothing but the model's forward pass."""
    sound = speech(1.2)
    model, config = whisper.model, whisper.model.generation_config
    mel = whisper.mel(sound)
    prompt = [config.decoder_start_token_id, whisper.languages["en"], config.task_to_id["transcribe"]]
    ids = [*prompt, config.no_timestamps_token_id]
    begun = len(ids)
    with torch.inference_mode():
        while len(ids) < begun + 20:
            logits = model(mel, decoder_input_ids=torch.tensor([ids])).logits[0, -1]
            logits[config.suppress_tokens] = -torch.inf
            if len(ids) == begun:
                logits[config.begin_suppress_tokens] = -torch.inf
            ids.append(int(logits.argmax()))
            if ids[-1] == whisper.end:
                break
        tokens = [token for token in ids[begun:] if token != whisper.end]
        passed = model(
            mel,
            decoder_input_ids=torch.tensor([[*ids[:begun], *tokens, whisper.end]]),
            output_attentions=True,
        )
    heard = recognizer.recognize_sound(sound, "en")
    assert heard.text == " ".join(whisper.tokenizer.decode(tokens).replace("\ufffd", "").split())
    odds = passed.logits[0, begun - 1 : -2, : whisper.end + 1].softmax(-1)[range(len(tokens)), tokens].numpy()
    weights = torch.stack([passed.cross_attentions[layer][0, head] for layer, head in ((0, 0), (1, 1))])
    starts = np.minimum(token_times(weights[:, begun - 1 : -1, :60].numpy()), 1.2)
    loud = loud_blocks(sound)
    pieces = [whisper.tokenizer.decode(tokens[i : i + 1]) for i in range(len(tokens))]
    first = [i for i, piece in enumerate(pieces) if piece.startswith(" ") or i == 0]
    spoken = [i for i in first if "".join(pieces[i : next((n for n in first if n > i), None)]).strip()]
    last = heard.words[-1]
    for word, i in zip(heard.words, spoken, strict=True):
        ends = next((n for n in first if n > i), len(starts) - 1)
        span = speech_within(starts[i], starts[ends], loud)
        assert (word["start_s"], word["end_s"]) == pytest.approx(span)
    assert last["score"] == pytest.approx(odds[spoken[-1] :].mean(), rel=1e-4)


def test_long_sound_is_heard_in_stretches(recognizer: Recognizer) -> None:
    sound = speech(5.0)
    heard = recognizer.recognize_sound(sound, "en")
    parts = [recognizer.recognize_sound(sound[a:b], "en") for a, b in stretches(sound, 2 * RATE)]
    assert heard.text == " ".join(part.text for part in parts)
    assert [word["text"] for word in heard.words] == [word["text"] for part in parts for word in part.words]
    begin = stretches(sound, 2 * RATE)[1][0] / RATE
    later = heard.words[len(parts[0].words)]
    assert later["start_s"] == pytest.approx(parts[1].words[0]["start_s"] + begin)
    assert heard.words[-1]["end_s"] <= 5.0


def test_silence_says_nothing(recognizer: Recognizer, folder: Path) -> None:
    heard = recognizer.recognize_sound(np.zeros(RATE, np.float32), "en")
    assert (heard.text, heard.words) == ("", [])
    never, always = (
        Recognizer(AsrParams(model=str(folder), compression_ratio=ANYTHING, no_speech=p)) for p in (1.0, 0.0)
    )
    assert never.recognize_sound(speech(1.0), "en").text
    assert not always.recognize_sound(speech(1.0), "en").text  # a random model doubts all it says


def test_the_spectrogram_is_padded_and_not_the_sound(whisper: Whisper) -> None:
    """By NumPy: power of 25 ms windows every 10 ms through the mel filters, log, floor and scale."""
    sound = speech(1.2345)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(sound, 200, mode="reflect"), 400)[::160]
    power = np.abs(np.fft.rfft(frames * np.hanning(401)[:-1], axis=1)) ** 2
    logs = np.log10(np.maximum(power @ whisper.features.mel_filters, 1e-10)).T[:, : len(sound) // 160]
    expected = (np.maximum(logs, logs.max() - 8) + 4) / 4
    (mel,) = whisper.mel(sound).numpy()
    assert mel.shape == (80, 200)
    np.testing.assert_allclose(mel[:, :122], expected[:, :122], atol=2e-4)  # the last frame sees the padding
    assert not mel[:, 123:].any()
    assert whisper.mel(sound[:7]).shape == (1, 80, 200)  # shorter than a window


class Parrot:
    """Stands for a Whisper of 30 s that says the same for every six seconds of sound that it hears."""

    window, languages = 30 * RATE, {"en": 0}

    def __init__(self, saying: str, silence: float = 0.0, log_odds: float = -0.05) -> None:
        self.saying, self.silence, self.log_odds = saying, silence, log_odds
        self.heard: list[float] = []

    def decode(self, tokens: list[int]) -> str:
        return self.saying * len(tokens)

    def hear(self, sound: np.ndarray, language: str | None) -> Hearing:
        self.heard.append(len(sound) / RATE)
        n = max(1, len(sound) // (6 * RATE))
        return Hearing(
            [0] * n, np.arange(n + 1.0), np.full(n, self.log_odds), self.log_odds, self.silence, "en"
        )


def told_by(parrot: Parrot, sound: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(recognition, "load_engine", lambda *_: parrot)
    return Recognizer(AsrParams(model="parrot")).recognize_sound(sound, "en").text


def test_what_repeats_itself_is_heard_in_halves_and_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    parrot = Parrot(" Lay blue by c two again.")  # four times 100 bytes in 35, twice 50 in 32
    text = told_by(parrot, speech(24.0), monkeypatch)
    assert len(parrot.heard) == 3 and sum(parrot.heard[1:]) == parrot.heard[0] == 24.0
    assert all(8 <= length <= 16 for length in parrot.heard[1:])
    times = sum(int(length // 6) for length in parrot.heard[1:])
    assert text == " ".join(["Lay blue by c two again."] * times)
    loop = Parrot(" 1" + ",5" * 100)
    assert told_by(loop, speech(24.0), monkeypatch) == ""
    assert max(loop.heard[1:]) <= 16 and min(loop.heard) >= 10 / 3
    assert told_by(loop, speech(3.0), monkeypatch) == ""
    assert told_by(Parrot(" so it goes"), speech(1.0), monkeypatch) == "so it goes"


def test_what_lies_between_long_pauses_is_heard_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pause, spoken = np.zeros(2 * RATE), np.ones(RATE) / 10
    sound = np.concatenate([pause, spoken, pause, *[spoken] * 40]).astype(np.float32)
    parrot = Parrot(" so it goes")
    monkeypatch.setattr(recognition, "load_engine", lambda *_: parrot)
    heard = Recognizer(AsrParams(model="parrot", max_pause_s=1.0)).recognize_sound(sound, "en")
    assert parrot.heard[0] == 1.4 and len(parrot.heard) == 3 and max(parrot.heard) <= 30
    assert sum(parrot.heard) == pytest.approx(1.4 + 40.2)
    assert 1.98 <= heard.words[0]["start_s"] < 3 and heard.words[1]["start_s"] >= 4.8


def test_doubtful_words_where_there_is_no_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    for silence, log_odds, text in ((0.9, -1.5, ""), (0.9, -0.5, "you"), (0.3, -1.5, "you")):
        parrot = Parrot(" you", silence, log_odds)
        assert told_by(parrot, speech(1.0), monkeypatch) == text


def test_a_model_of_english_alone(tmp_path: Path) -> None:
    model = save_tiny_whisper(tmp_path / "english", multilingual=False)
    heard = Recognizer(AsrParams(model=str(model), compression_ratio=ANYTHING)).recognize_sound(speech(1.0))
    assert heard.language == "en" and heard.text and heard.words


def test_characters_of_several_tokens_stay_whole(whisper: Whisper) -> None:
    text = " caf\u00e9 \u4f60\u597d, \U0001f600!"
    tokens = whisper.tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = recognition._characters(whisper.decode, tokens)
    assert "".join(piece for piece, _, _ in pieces) == text
    assert [first for _, first, _ in pieces[1:]] == [last for _, _, last in pieces[:-1]]
    assert len(tokens) > len(pieces) > 8
    starts, log_odds = np.arange(len(tokens) + 1) / 10, np.zeros(len(tokens))
    for language, words in (
        ("en", ["caf\u00e9", "\u4f60\u597d,", "\U0001f600!"]),
        ("zh", ["c", "a", "f", "\u00e9", "\u4f60", "\u597d,", "\U0001f600!"]),
    ):
        found = recognition._words(whisper.decode, Hearing(tokens, starts, log_odds, 0.0, 0.0, language))
        assert [word["text"] for word in found] == words
    broken = recognition._characters(whisper.decode, [*tokens[:2], tokens[-4], *tokens[2:]])  # a stray byte
    assert sum(last - first for _, first, last in broken) == len(tokens) + 1


# ------------------------------------------------------------------------------------------------------ times
def test_the_cheapest_path_is_the_cheapest() -> None:
    rng = np.random.default_rng(3)
    for m, n in [*itertools.product(range(1, 5), range(1, 6))] * 3:
        cost = rng.integers(0, 3, (m, n)) if (m + n) % 2 else rng.normal(size=(m, n))  # with ties, too
        rows, columns = cheapest_path(cost)
        best = min(_all_paths(cost, m - 1, n - 1))
        assert cost[rows, columns].sum() == pytest.approx(best)
        assert (rows[0], columns[0], rows[-1], columns[-1]) == (0, 0, m - 1, n - 1)
        steps = set(zip(np.diff(rows), np.diff(columns), strict=True))
        assert steps <= {(0, 1), (1, 0), (1, 1)}


def _all_paths(cost: np.ndarray, i: int, j: int) -> list[float]:
    if i == 0 and j == 0:
        return [cost[0, 0]]
    before = [(i - 1, j - 1)] if i and j else []
    before += [(i - 1, j)] if i else []
    before += [(i, j - 1)] if j else []
    return [cost[i, j] + total for a, b in before for total in _all_paths(cost, a, b)]


def test_times_follow_attention() -> None:
    """Attention that looks at one place a token: the token begins where the look goes there."""
    begins = [0, 20, 50, 90, 120]
    attention = np.full((2, 5, 150), 1e-3)
    for row, (begin, end) in enumerate(zip(begins, [*begins[1:], 150], strict=True)):
        attention[:, row, begin:end] = 1
    np.testing.assert_allclose(token_times(attention), np.array(begins) * 0.02, atol=0.021)
    assert token_times(np.ones((1, 3, 2))).shape == (3,)  # shorter than the filter


# ----------------------------------------------------------------------------------------- files and refusals
def test_recognize_a_file_and_a_part_of_it(folder: Path, tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.wav", sound=speech(3.0), audio_codec="pcm_s16le")
    recognizer = Recognizer(AsrParams(model=str(folder), compression_ratio=ANYTHING, language="en"))
    found = recognizer.recognize(path, LIMITS, language="zh", start_s=1.0, end_s=2.5)
    assert found.language == "en" and found.text
    assert found.words[-1]["end_s"] <= 1.5
    cut = make_clip(tmp_path / "b.wav", sound=speech(3.0)[RATE : 5 * RATE // 2], audio_codec="pcm_s16le")
    assert recognizer.recognize(cut, LIMITS).text == found.text
    with pytest.raises(AbsentError):
        recognizer.recognize(make_clip(tmp_path / "mute.mkv", times=[0.0, 0.04]), LIMITS)


def test_models_that_will_not_do(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ClipError, match=r"whisper-tiny-random does not know the language 'fr'"):
        Recognizer(AsrParams(model=str(folder))).recognize_sound(speech(1.0), "fr")
    with pytest.raises(ClipError, match="no model for the language 'zh'"):
        Recognizer(AsrParams(model={"en": str(folder)})).recognize_sound(speech(1.0), "zh")
    with pytest.raises(ParamsError, match="can only be detected by one model for all"):
        Recognizer(AsrParams(model={"en": str(folder)}, language="detect")).recognize_sound(speech(1.0), "en")
    with pytest.raises(ParamsError, match="expected a Whisper"):
        load_whisper(str(save_tiny_bert(tmp_path / "bert")))
    with pytest.raises(ParamsError, match="expected a Whisper"):
        load_whisper(str(save_tiny_ctc(tmp_path / "ctc")))
    bare = save_tiny_whisper(tmp_path / "bare")
    (bare / "generation_config.json").unlink()
    with pytest.raises(MissingModelError, match=r"generation_config\.json missing"):
        load_whisper(str(bare))
    (bare / "generation_config.json").write_text("{")
    with pytest.raises(FormatError, match="cannot be read"):
        load_whisper(str(bare))


def test_a_folder_that_is_damaged_or_lacks_a_file(folder: Path, tmp_path: Path) -> None:
    settings = AsrParams(model="x")
    for names, missing in (
        (("model.safetensors",), r"the weights \(model\.safetensors\) missing"),
        (("tokenizer.json", "vocab.json"), "the tokenizer's files"),
        (("config.json",), r"config\.json missing"),
    ):
        broken = tmp_path / names[0]
        shutil.copytree(folder, broken)
        file = broken / names[0]
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(FormatError, match=r"cannot be read|is not the config"):
            load_engine(settings, str(broken), None, "cpu")
        for name in names:
            (broken / name).unlink()
        for use in (weights_identity, lambda *given: load_engine(*given, "cpu")):
            with pytest.raises(MissingModelError, match=missing):
                use(settings, str(broken), None)


@pytest.mark.parametrize("part", ["asr", "align"])
def test_a_hub_id_must_be_pinned(part: str) -> None:
    settings = TranscribeParams.model_validate({part: {"model": "someone/model", "revision": "main"}})
    clips = clip_table([])
    with pytest.raises(ParamsError, match="expected a commit hash"):
        transcribe_dataset(clips, Path(), "toy", settings, LIMITS)


@pytest.mark.parametrize(
    "section",
    [
        {"model": "a/b", "revision": {"en": "main"}},
        {"model": {"en": "a/b"}, "revision": "main"},
        {"revision": "main"},
        {"model": ""},
        {"model": {"English": "a/b"}},
        {"model": {"en": "a/b"}, "revision": {"zh": "main"}},
        {"language": "English"},
    ],
)
def test_settings_that_do_not_fit(section: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"revision (is|has|names)|not the name of a model|not an ISO 639"):
        TranscribeParams.model_validate({"asr": section})
    assert TranscribeParams.model_validate({"asr": None, "align": None}) == TranscribeParams()
