"""CTC forced alignment: when each word of a known text is said.

16 kHz sound ─▶ encoder with a CTC head ─▶ log probabilities (T, V) ─┐
text ─▶ words ─▶ the characters that the vocabulary has ─▶ tokens ───┴▶ Viterbi ─▶ frames ─▶ word times

The path is the likeliest of those that CTC allows: every token in order, each for one frame or more, blanks
anywhere between, and one at least between two equal tokens. A word lasts from the first frame of its first
token to the last frame of its last; its score is the mean probability of its tokens' frames.

Characters that the vocabulary does not have (digits, punctuation, other scripts) are skipped. A word of
nothing else gets the time between its neighbours, shared equally with others like it, and no score.

Symbols: T frames, V tokens of the vocabulary, L tokens of the text, S = 2 L + 1 states.
"""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.core.backbones import AUDIO_TYPES
from models.core.checkpoints import model_folder
from models.core.loading import first_line, importing_models, load_config, load_weights
from pipeline.core.devices import check_presence
from pipeline.core.errors import ClipError, FormatError, ParamsError
from pipeline.core.waveform import SAMPLE_RATE
from pipeline.media.decode import waveform
from pipeline.media.words import spans
from pipeline.params.params import MediaLimits
from pipeline.params.transcribe import AlignParams

if TYPE_CHECKING:
    from torch import nn

VOCABULARY = "vocab.json"
WINDOW_S = 30.0  # seconds a forward; longer sound in windows
CONTEXT_S = 1.0  # seconds on both sides of a window that go in and are not used


@dataclass
class CtcModel:
    """An encoder of sound with a CTC head, in eval mode.

    Attributes
    ----------
    model : (1, samples) of zero mean and unit variance -> logits (1, frames, tokens)
    vocabulary : character (or longer piece) -> token
    blank : the token for "nothing new"
    delimiter : the token between words, None where the vocabulary has none
    stride : samples between frames
    """

    model: nn.Module
    vocabulary: dict[str, int]
    blank: int
    delimiter: int | None
    stride: int


def load_ctc(model: str, revision: str | None = None) -> CtcModel:
    """A wav2vec 2.0, HuBERT, WavLM or data2vec-audio with its CTC head and vocabulary.

    models/core/checkpoints.py says what `model` may be. ParamsError where it is another kind of model; else
    errors as `load_weights` has them.
    """
    import torch

    config: Any = load_config(model, revision)
    if config.model_type not in AUDIO_TYPES:
        raise ParamsError(
            f"transcribe.align.model is {model!r}, a model of type {config.model_type!r}; expected a CTC "
            f"model ({', '.join(AUDIO_TYPES)}), e.g. facebook/wav2vec2-base-960h"
        )
    config.mask_time_prob = config.mask_feature_prob = 0.0  # of training
    file = model_folder(model, revision, ("config", "tokenizer", "weights")) / VOCABULARY
    try:
        vocabulary = json.loads(file.read_text(encoding="utf-8"))
        if not all(isinstance(token, int) for token in vocabulary.values()):
            raise ValueError("expected one mapping of characters to numbers")
    except (OSError, ValueError, AttributeError) as error:
        raise FormatError(f"model {model!r}: {file} cannot be read: {first_line(error)}") from error
    with importing_models():
        from transformers import AutoModelForCTC
    return CtcModel(
        load_weights(AutoModelForCTC, model, revision, config, dtype=torch.float32),
        vocabulary,
        blank=int(config.pad_token_id),
        delimiter=vocabulary.get("|", vocabulary.get(" ")),
        stride=int(np.prod(config.conv_stride)),
    )


class Aligner:
    """CTC models by language, each loaded when it is first asked for."""

    def __init__(self, settings: AlignParams, device: str = "cpu"):
        self.settings = settings
        self.device = device
        self._models: dict[tuple[str, str | None], CtcModel] = {}

    def align(
        self,
        path: Path,
        limits: MediaLimits,
        text: str,
        language: str | None,
        start_s: float | None = None,
        end_s: float | None = None,
    ) -> list[dict[str, Any]]:
        """The words of a clip's text with their times from the clip's start, as in the transcripts table.

        Raises
        ------
        AbsentError : no audio track
        ClipError : cannot be decoded, or see `word_times`
        ParamsError : no model for the language
        """
        model = self._model(language)
        sound = waveform(path, limits, sample_rate=SAMPLE_RATE, start_s=start_s, end_s=end_s)
        log_odds = emissions(model, sound, self.device)
        return word_times(text, log_odds, model, model.stride / SAMPLE_RATE, len(sound) / SAMPLE_RATE)

    def covers(self, language: str | None) -> bool:
        """Whether there is a model for the language."""
        return self.settings.checkpoint(language) is not None

    def _model(self, language: str | None) -> CtcModel:
        found = self.settings.checkpoint(language)
        if found is None:
            raise ParamsError(f"transcribe.align.model has no model for the language {language!r}")
        if found not in self._models:
            import torch

            check_presence(self.device)
            if self.device == "cpu":
                torch.set_num_threads(1)  # sums in another order give other bytes
            self._models[found] = load_ctc(*found)
            self._models[found].model.to(self.device)
        return self._models[found]


def emissions(model: CtcModel, sound: np.ndarray, device: str = "cpu") -> np.ndarray:
    """Log probabilities of the tokens, shape (T, V), float32; frame t begins at sample t * stride.

    Parameters
    ----------
    sound : (n_samples,) float32, 16 kHz
    """
    import torch

    sound = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)
    stride = model.stride
    window, context = (int(seconds * SAMPLE_RATE) // stride * stride for seconds in (WINDOW_S, CONTEXT_S))
    parts = []
    for begin in range(0, max(len(sound), 1), window):
        first, last = max(begin - context, 0), min(begin + window + context, len(sound))
        piece = sound[first:last]
        if len(piece) < stride * 2:
            continue
        with torch.inference_mode():
            samples = torch.from_numpy(np.ascontiguousarray(piece))[None].to(device)
            logits = model.model(samples).logits[0].float().log_softmax(-1).cpu().numpy()
        skipped = (begin - first) // stride
        parts.append(logits[skipped : skipped + window // stride])
    if not parts:
        raise ClipError(f"{len(sound)} samples of sound are too short to align words with")
    return np.concatenate(parts)


def word_times(
    text: str, log_odds: np.ndarray, model: CtcModel, frame_s: float, duration_s: float
) -> list[dict[str, Any]]:
    """Times of a text's words from a CTC model's log probabilities.

    Parameters
    ----------
    log_odds : (T, V)
    frame_s : seconds between frames
    duration_s : of the sound; no word ends after it

    Raises
    ------
    ClipError : no character of the text is in the vocabulary, or the text is too long for the sound
    """
    bounds = spans(text)
    tokens, owner = tokens_of([text[first:last] for first, last in bounds], model)
    if not len(tokens):
        raise ClipError("no character of its text is in the vocabulary of the model that aligns")
    frames = viterbi(log_odds, tokens, model.blank)  # (T,): index of the token, or -1
    word_of = np.where(frames >= 0, owner[frames], -1)
    odds = np.exp(log_odds[np.arange(len(frames)), np.where(frames >= 0, tokens[frames], model.blank)])
    starts, ends = np.full(len(bounds), np.nan), np.full(len(bounds), np.nan)
    scores: list[float | None] = [None] * len(bounds)
    for word in np.unique(owner[owner >= 0]):
        mine = np.flatnonzero(word_of == word)
        starts[word], ends[word] = mine[0] * frame_s, (mine[-1] + 1) * frame_s
        scores[word] = float(np.float32(odds[mine].mean()))
    _fill(starts, ends, duration_s)
    return [
        {
            "text": text[first:last],
            "start_s": min(float(start), duration_s),
            "end_s": min(float(end), duration_s),
            "score": score,
        }
        for (first, last), start, end, score in zip(bounds, starts, ends, scores, strict=True)
    ]


def tokens_of(words: list[str], model: CtcModel) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of the words, with a delimiter between two words where the vocabulary has one.

    Returns
    -------
    tokens : (L,) int64
    owner : (L,) int64, which word a token belongs to; -1 for delimiters
    """
    tokens: list[int] = []
    owner: list[int] = []
    for index, word in enumerate(words):
        found = [token for character in word if (token := _token(character, model)) != model.blank]
        if found and tokens and model.delimiter is not None:
            tokens.append(model.delimiter)
            owner.append(-1)
        tokens += found
        owner += [index] * len(found)
    return np.array(tokens, np.int64), np.array(owner, np.int64)


def _token(character: str, model: CtcModel) -> int:
    """The token of a character as it is, in the other case, or without accents; else the blank."""
    bare = unicodedata.normalize("NFD", character)[:1]
    for spelling in (character, character.upper(), character.lower(), bare.upper(), bare.lower()):
        token = model.vocabulary.get(spelling)
        if token is not None and token != model.delimiter:
            return token
    return model.blank


def viterbi(log_odds: np.ndarray, tokens: np.ndarray, blank: int) -> np.ndarray:
    """The likeliest CTC path of a token sequence.

    Parameters
    ----------
    log_odds : (T, V)
    tokens : (L,), none of them blank

    Returns
    -------
    (T,) int64: index (0..L-1) of the token that each frame says, -1 for blank

    Raises
    ------
    ClipError : fewer frames than the tokens (and the blanks between equal ones) need
    """
    needed = len(tokens) + int((tokens[1:] == tokens[:-1]).sum())
    if len(log_odds) < needed:
        raise ClipError(
            f"its text needs {needed} frames, but its sound has {len(log_odds)}: is it all of its text?"
        )
    states = np.full(2 * len(tokens) + 1, blank, np.int64)
    states[1::2] = tokens
    # from two states back one may come past the blank between two tokens that differ
    leap = np.zeros(len(states), np.bool_)
    leap[3::2] = tokens[1:] != tokens[:-1]
    score = np.full(len(states), -np.inf)
    score[:2] = log_odds[0, states[:2]]
    back = np.zeros((len(log_odds), len(states)), np.int8)
    for t in range(1, len(log_odds)):
        options = np.full((3, len(states)), -np.inf)
        options[0] = score
        options[1, 1:] = score[:-1]
        options[2, 2:] = np.where(leap[2:], score[:-2], -np.inf)
        back[t] = options.argmax(axis=0)
        score = options.max(axis=0) + log_odds[t, states]
    state = len(states) - 1 - int(score[-2] >= score[-1])
    path = np.empty(len(log_odds), np.int64)
    for t in range(len(log_odds) - 1, -1, -1):
        path[t] = state
        state -= int(back[t, state])
    return np.where(path % 2 == 1, path // 2, -1)


def _fill(starts: np.ndarray, ends: np.ndarray, duration_s: float) -> None:
    """Give each run of words without times the gap between its neighbours, in equal parts, in place."""
    missing = np.flatnonzero(np.isnan(starts))
    for run in np.split(missing, np.flatnonzero(np.diff(missing) > 1) + 1) if len(missing) else []:
        begin = ends[run[0] - 1] if run[0] else 0.0
        end = starts[run[-1] + 1] if run[-1] + 1 < len(starts) else duration_s
        edges = np.linspace(begin, max(begin, end), len(run) + 1)
        starts[run], ends[run] = edges[:-1], edges[1:]
