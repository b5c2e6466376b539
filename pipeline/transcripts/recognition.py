"""Speech recognition by Whisper: text, language, and the time and score of every word.

16 kHz sound ─▶ stretches of at most 30 s ─▶ mel ─▶ encoder ─▶ greedy decoding ─▶ tokens
                                                       └──── one pass over the tokens ─▶ times, scores

*Stretches.* Longer sound is cut at the quietest tenth of a second of the last third of each 30 s, so that no
word is cut in two where there is a pause, and nothing has to be merged.

*Times.* As OpenAI's decoder finds them: the cross-attention of the alignment heads that the model's
generation_config.json names, scaled over the tokens, smoothed in time, averaged; the cheapest monotonic path
through it (dynamic time warping) gives the time at which each token is predicted. Words follow each other
without a gap: a word ends where the next begins.

*Scores* are the mean probability of a word's tokens.

*Same bytes.* Greedy, fp32, one stretch a forward, on CPU one thread: no sampling at a higher temperature when
the text looks odd, which OpenAI's decoder does.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.devices import check_presence
from pipeline.core.errors import ParamsError
from pipeline.core.waveform import SAMPLE_RATE
from pipeline.media.decode import SILENCE_DBFS, level_dbfs, waveform
from pipeline.params.params import MediaLimits
from pipeline.params.transcribe import AsrParams
from pipeline.transcripts.whisper import HOP, Whisper, generate, load_whisper

DETECT = "detect"
DOUBT = -1.0  # mean log probability of the tokens below which "no speech" is believed
FRAME_S = 2 * HOP / SAMPLE_RATE  # of the encoder: 20 ms
PAUSE = SAMPLE_RATE // 10  # samples over which loudness is taken to find a pause
MEDIAN = 7  # frames of the smoothing
BOTH, DOWN, RIGHT = range(3)  # steps of a path
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
        self._models: dict[tuple[str, str | None], Whisper] = {}

    def model_name(self, language: str | None) -> str | None:
        """Name of the model for a language: a hub id, or the name of a folder; None where there is none."""
        found = self.settings.checkpoint(self._language(language))
        if found is None:
            return None
        return Path(found[0]).name if Path(found[0]).is_dir() else found[0]

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
        ParamsError : the model does not know the language, or there is no model for it
        """
        wanted = self._language(language)
        whisper = self._model(wanted)
        if whisper.languages and wanted is not None and wanted not in whisper.languages:
            raise ParamsError(
                f"transcribe.asr: {self.model_name(language)} does not know the language {wanted!r}; set "
                "transcribe.asr.language to `detect`, or take another model"
            )
        words: list[dict[str, Any]] = []
        text = ""
        for begin, end in stretches(sound, whisper.window):
            found, wanted = self._stretch(whisper, sound[begin:end], wanted)
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

    def _model(self, language: str | None) -> Whisper:
        found = self.settings.checkpoint(language)
        if found is None:
            raise ParamsError(
                f"transcribe.asr.model has no model for the language {language!r}; name one there"
                + ("; a language can only be detected by one model for all" if language is None else "")
            )
        if found not in self._models:
            import torch

            check_presence(self.device)
            if self.device == "cpu":
                torch.set_num_threads(1)  # sums in another order give other bytes
            self._models[found] = load_whisper(*found)
            self._models[found].model.to(self.device)
        return self._models[found]

    def _stretch(
        self, whisper: Whisper, sound: np.ndarray, language: str | None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Words of a stretch, each with the `piece` of text that it is; and the language, maybe detected."""
        import torch

        if level_dbfs(sound) < SILENCE_DBFS:  # Whisper would invent words
            return [], language
        mel = whisper.features(sound, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        config = whisper.model.generation_config
        with torch.inference_mode():
            encoded = whisper.model.model.encoder(mel.to(self.device))
            first = torch.tensor([[config.decoder_start_token_id]], device=self.device)
            opening = whisper.model(encoder_outputs=encoded, decoder_input_ids=first).logits[0, -1].float()
            silence = float(opening.softmax(-1)[config.no_timestamps_token_id - 1])  # <|nospeech|>
            options: dict[str, Any] = {}
            if whisper.languages:
                if language is None:
                    codes = sorted(whisper.languages)
                    best = opening[[whisper.languages[code] for code in codes]].argmax()
                    language = codes[int(best)]
                options = {"language": language, "task": "transcribe"}
            ids = generate(whisper, encoded, options)
            prompt = [config.decoder_start_token_id]
            if whisper.languages and language is not None:
                prompt += [whisper.languages[language], config.task_to_id["transcribe"]]
            tokens = [int(token) for token in ids if token < whisper.end]
            if not tokens:
                return [], language or "en"
            whole = [*prompt, config.no_timestamps_token_id, *tokens, whisper.end]
            passed = whisper.model(
                encoder_outputs=encoded,
                decoder_input_ids=torch.tensor([whole], device=self.device),
                output_attentions=True,
            )
        odds = (
            passed.logits[0, len(prompt) : -1, : whisper.end + 1].float().log_softmax(-1)
        )  # (tokens + 1, ids)
        chosen = torch.tensor([*tokens, whisper.end], device=odds.device)
        log_odds = odds.gather(1, chosen[:, None])[:, 0].cpu().numpy()
        if silence > self.settings.no_speech and log_odds.mean() < DOUBT:
            return [], language or "en"
        frames = max(1, min(-(-len(sound) // (2 * HOP)), passed.cross_attentions[0].shape[-1]))
        attention = torch.stack([passed.cross_attentions[layer][0, head] for layer, head in whisper.heads])
        starts = token_times(attention[:, len(prompt) : -1, :frames].float().cpu().numpy())
        starts = np.minimum(starts, len(sound) / SAMPLE_RATE)
        return _words(whisper.tokenizer, tokens, starts, np.exp(log_odds), language), language or "en"


def stretches(sound: np.ndarray, window: int) -> list[tuple[int, int]]:
    """Sound as stretches of at most `window` samples that follow each other, cut at pauses."""
    cuts = [0]
    while len(sound) - cuts[-1] > window:
        begin, end = cuts[-1] + window * 2 // 3, cuts[-1] + window
        power = np.square(sound[begin:end], dtype=np.float64)
        blocks = power[: len(power) // PAUSE * PAUSE].reshape(-1, PAUSE).mean(axis=1)
        cuts.append(begin + int(blocks.argmin()) * PAUSE + PAUSE // 2)
    return list(zip(cuts, [*cuts[1:], len(sound)], strict=True))


def token_times(attention: np.ndarray) -> np.ndarray:
    """When each token is predicted, from cross-attention.

    Parameters
    ----------
    attention : (heads, m, frames): row i is that of predicting token i; the last is the end of the text

    Returns
    -------
    (m,) float64 seconds, not decreasing, the first 0
    """
    from scipy.ndimage import median_filter

    weights = attention.astype(np.float64)
    weights /= np.maximum(weights.sum(axis=-1, keepdims=True), 1e-12)  # of the frames that hold sound
    spread = np.maximum(weights.std(axis=1, keepdims=True), 1e-12)
    weights = (weights - weights.mean(axis=1, keepdims=True)) / spread
    if weights.shape[-1] > MEDIAN // 2:
        weights = median_filter(weights, size=(1, 1, MEDIAN), mode="mirror")
    rows, frames = cheapest_path(-weights.mean(axis=0))
    return frames[np.flatnonzero(np.diff(rows, prepend=-1))] * FRAME_S


def cheapest_path(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dynamic time warping: from the first row and column to the last, by steps down, right or both.

    Parameters
    ----------
    cost : (m, n)

    Returns
    -------
    rows, columns : of the cells of the path with the least sum, in its order
    """
    m, n = cost.shape
    total = np.full((m + 1, n + 1), np.inf)
    total[0, 0] = 0
    for diagonal in range(2, m + n + 1):  # the cells of one do not depend on each other
        i = np.arange(max(1, diagonal - n), min(m, diagonal - 1) + 1)
        j = diagonal - i
        before = np.minimum(np.minimum(total[i - 1, j - 1], total[i - 1, j]), total[i, j - 1])
        total[i, j] = cost[i - 1, j - 1] + before
    rows, columns = [m - 1], [n - 1]
    while rows[-1] or columns[-1]:
        i, j = rows[-1], columns[-1]
        both, down, right = total[i, j], total[i, j + 1], total[i + 1, j]
        step = RIGHT if right <= min(both, down) else BOTH if both <= down else DOWN
        rows.append(i - (step != RIGHT))
        columns.append(j - (step != DOWN))
    return np.array(rows[::-1]), np.array(columns[::-1])


def _words(
    tokenizer: Any, tokens: list[int], starts: np.ndarray, odds: np.ndarray, language: str | None
) -> list[dict[str, Any]]:
    """Tokens gathered into words; a word keeps the marks that follow it, and its `piece` the space before it.

    Parameters
    ----------
    starts : (n + 1,) seconds; the last is where the text ends
    odds : (n + 1,) probability of each token and of the end
    """
    pieces: list[tuple[str, int, int]] = []  # text, first token, one past the last
    for piece, first, last in _characters(tokenizer, tokens):
        if not pieces or piece[:1].isspace() or (language in UNSPACED and any(map(str.isalnum, piece))):
            pieces.append((piece, first, last))
        else:
            before, first, _ = pieces[-1]
            pieces[-1] = before + piece, first, last
    return [
        {
            "piece": piece,
            "text": unicodedata.normalize("NFC", piece.strip()),
            "start_s": float(starts[first]),
            "end_s": float(starts[last]),
            "score": float(np.float32(odds[first:last].mean())),
        }
        for piece, first, last in pieces
        if piece.strip()
    ]


def _characters(tokenizer: Any, tokens: list[int]) -> list[tuple[str, int, int]]:
    """(text, first token, one past the last) of the fewest tokens that make whole characters each."""

    decode = partial(tokenizer.decode, skip_special_tokens=True, clean_up_tokenization_spaces=False)
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
