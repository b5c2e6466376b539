"""Speech recognition by Whisper: text, language, and the time and score of every word.

16 kHz sound ─▶ stretches of at most 30 s ─▶ a Whisper (engines.py) ─▶ tokens, times, scores ─▶ words

*Stretches.* Longer sound is cut where it is quiet (loudness.py), so that no word is cut in two where there is
a pause, and nothing has to be merged. With `max_pause_s`, longer pauses are cut out before.

*Nothing said.* A stretch gives no text where it is silent, or where the model gives "no speech" a high
probability and doubts its words. A text that zlib makes more than 2.4 times smaller says the same again and
again: the stretch is heard anew in halves, and gives no text where it is short. OpenAI's decoder would sample
at higher temperatures instead, and so give other bytes each time.

*Times.* A token's time is when it is predicted. A word's is what is loud of the time from its first token to
the next word's: it ends where speech ends.

*Scores* are the mean probability of a word's tokens.

*Same bytes.* Greedy, one stretch a forward, on CPU one thread.
"""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.devices import prepare_device
from pipeline.core.errors import ClipError, ParamsError
from pipeline.core.waveform import SAMPLE_RATE
from pipeline.media.decode import SILENCE_DBFS, level_dbfs, waveform
from pipeline.params.params import MediaLimits
from pipeline.params.transcribe import AsrParams
from pipeline.transcripts.engines import load_engine
from pipeline.transcripts.faster_whisper import FasterWhisper
from pipeline.transcripts.loudness import (
    loud_blocks,
    pause_in_middle,
    speech_within,
    spoken_parts,
    stretches,
)
from pipeline.transcripts.whisper import Hearing, Whisper

DETECT = "detect"
DOUBT = -1.0  # mean log probability of the tokens below which "no speech" is believed
REPLACEMENT = "\ufffd"  # of bytes that are no character
UNSPACED = {"ja", "lo", "my", "th", "yue", "zh"}  # written without spaces: every character is a word


@dataclass
class Recognition:
    """What is said in a clip; `text` is empty where nothing is. `words` as in the transcripts table."""

    text: str
    language: str | None
    words: list[dict[str, Any]]


class Recognizer:
    """Whisper models by language, each loaded when it is first asked for."""

    def __init__(self, settings: AsrParams, device: str = "cpu"):
        self.settings = settings
        self.device = device
        self._models: dict[tuple[str, str | None], Whisper | FasterWhisper] = {}

    def model_name(self, language: str | None) -> str | None:
        """Name of the model for a language: a hub id, or the name of a folder; None where there is none.

        With the precision where it is not fp32.
        """
        found = self.settings.checkpoint(self._language(language))
        if found is None:
            return None
        name = Path(found[0]).name if Path(found[0]).is_dir() else found[0]
        precision = self.settings.precision
        return name if precision == "fp32" else f"{name} {precision}"

    def recognize(
        self,
        path: Path,
        limits: MediaLimits,
        language: str | None = None,
        start_s: float | None = None,
        end_s: float | None = None,
    ) -> Recognition:
        """What is said in a media file or a part of it; times are from the part's start."""
        sound = waveform(path, limits, sample_rate=SAMPLE_RATE, start_s=start_s, end_s=end_s)
        return self.recognize_sound(sound, language)

    def recognize_sound(self, sound: np.ndarray, language: str | None = None) -> Recognition:
        """What is said in 16 kHz mono sound, shape (n_samples,), in [-1, 1].

        Raises
        ------
        ClipError : the model does not know the language, or there is no model for it
        """
        wanted = self._language(language)
        whisper = self._model(wanted)
        if whisper.languages and wanted is not None and wanted not in whisper.languages:
            raise ClipError(
                f"{self.model_name(language)} does not know the language {wanted!r}; set "
                "transcribe.asr.language to `detect`, or take another model"
            )
        words: list[dict[str, Any]] = []
        text = ""
        longest = self.settings.max_pause_s
        parts = [(0, len(sound))] if longest is None else spoken_parts(sound, longest)
        todo = [
            (first + begin, first + end)
            for first, last in parts[::-1]
            for begin, end in stretches(sound[first:last], whisper.window)[::-1]
        ]
        while todo:
            begin, end = todo.pop()
            found, wanted, repeats = self._stretch(whisper, sound[begin:end], wanted)
            if repeats and end - begin > whisper.window // 3:
                middle = begin + pause_in_middle(sound[begin:end])
                todo += [(middle, end), (begin, middle)]
            for word in found:
                word["start_s"] += begin / SAMPLE_RATE
                word["end_s"] += begin / SAMPLE_RATE
            text += " " * bool(text and found and not found[0]["piece"][0].isspace())
            text += "".join(word.pop("piece") for word in found)
            words += found
        clean = unicodedata.normalize("NFC", " ".join(text.split()))
        return Recognition(clean, wanted or language, words)

    def _language(self, language: str | None) -> str | None:
        """The language that is recognized; None = to be detected."""
        wanted = self.settings.language
        return language if wanted is None else None if wanted == DETECT else wanted

    def _model(self, language: str | None) -> Whisper | FasterWhisper:
        found = self.settings.checkpoint(language)
        if found is None:
            missing = f"transcribe.asr.model has no model for the language {language!r}; name one there"
            if language is None:
                raise ParamsError(f"{missing}; a language can only be detected by one model for all")
            raise ClipError(missing)
        if found not in self._models:
            prepare_device(self.device)
            self._models[found] = load_engine(self.settings, *found, self.device)
        return self._models[found]

    def _stretch(
        self, whisper: Whisper | FasterWhisper, sound: np.ndarray, language: str | None
    ) -> tuple[list[dict[str, Any]], str | None, bool]:
        """Words of a stretch, each with the `piece` of text that it is; the language, maybe detected; and
        whether there are no words because they repeat themselves."""
        if level_dbfs(sound) < SILENCE_DBFS:  # Whisper would invent words
            return [], language, False
        heard = whisper.hear(sound, language)
        heard.starts = np.minimum(heard.starts, len(sound) / SAMPLE_RATE)
        words = _words(whisper.decode, heard)
        text = "".join(word["piece"] for word in words).strip()
        silent = heard.silence > self.settings.no_speech and heard.mean_log_odds < DOUBT
        repeats = compression_ratio(text) > self.settings.compression_ratio
        if not words or silent or repeats:
            return [], language, repeats and not silent
        loud = loud_blocks(sound)
        for word in words:
            word["start_s"], word["end_s"] = speech_within(word["start_s"], word["end_s"], loud)
        return words, heard.language, False


def compression_ratio(text: str) -> float:
    """How many times smaller zlib makes a text, in UTF-8: above 2.4 it says the same again and again."""
    return len(text.encode()) / len(zlib.compress(text.encode()))


def _words(decode: Callable[[list[int]], str], heard: Hearing) -> list[dict[str, Any]]:
    """Tokens gathered into words; a word keeps the marks that follow it, and its `piece` the space before it.

    `decode` gives the text of tokens.
    """
    pieces: list[tuple[str, int, int]] = []  # text, first token, one past the last
    for piece, first, last in _characters(decode, heard.tokens):
        unspaced = heard.language in UNSPACED and any(map(str.isalnum, piece))
        if not pieces or piece[:1].isspace() or unspaced:
            pieces.append((piece, first, last))
        else:
            before, first, _ = pieces[-1]
            pieces[-1] = before + piece, first, last
    return [
        {
            "piece": piece,
            "text": unicodedata.normalize("NFC", piece.strip()),
            "start_s": float(heard.starts[first]),
            "end_s": float(heard.starts[last]),
            "score": float(np.float32(np.exp(heard.log_odds[first:last]).mean())),
        }
        for piece, first, last in pieces
        if piece.strip()
    ]


def _characters(decode: Callable[[list[int]], str], tokens: list[int]) -> list[tuple[str, int, int]]:
    """(text, first token, one past the last) of the fewest tokens that make whole characters each."""
    whole, done, first = decode(tokens), 0, 0
    pieces = []
    for last in range(1, len(tokens) + 1):
        text = decode(tokens[first:last])
        broken = text.find(REPLACEMENT)
        # a part of a character, unless the whole text has no character there either
        if broken < 0 or whole[done + broken : done + broken + 1] == REPLACEMENT or last == len(tokens):
            pieces.append((text.replace(REPLACEMENT, ""), first, last))
            done, first = done + len(text), last
    return pieces
