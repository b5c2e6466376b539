"""Whisper by transformers: its weights, tokenizer and mel spectrograms, greedy decoding, times of its tokens.

16 kHz sound ─▶ log-mel, padded with 0 ─▶ encoder ─▶ greedy decoding ─▶ tokens
                                             └──── one pass over the tokens ─▶ times, scores

*Padding.* The spectrogram of the sound alone is padded with 0, as faster-whisper does it. Where the sound is
padded with silence, as transformers does it, base makes three times the errors in Chinese (docs/features.md),
and of noise, which it else hears as no speech, says one word again and again.

*Times.* As OpenAI's decoder finds them: the cross-attention of the alignment heads that the model's
generation_config.json names, scaled over the tokens, smoothed in time, averaged; the cheapest monotonic path
through it (dynamic time warping) gives the time at which each token is predicted. No token of time is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.core.loading import (
    importing_models,
    load_config,
    load_fast_tokenizer,
    load_generation,
    load_weights,
    quiet,
)
from pipeline.core.errors import ClipError, ParamsError, first_line
from pipeline.core.waveform import SAMPLE_RATE

if TYPE_CHECKING:
    import torch

HOP = 160  # samples between the mel frames; the encoder halves them
FRAME_S = 2 * HOP / SAMPLE_RATE  # of the encoder: 20 ms
MEDIAN = 7  # frames of the smoothing
BOTH, DOWN, RIGHT = range(3)  # steps of a path
ENGLISH = "en"


@dataclass
class Hearing:
    """What a Whisper hears in one stretch of sound.

    Attributes
    ----------
    tokens : n ids of text
    starts : (n + 1,) float64, seconds at which each token and the end of the text are predicted
    log_odds : (n,) float64, log probability of each token
    mean_log_odds : of the tokens and the end of the text
    silence : probability of "no speech"
    language : ISO 639-1, given or detected
    """

    tokens: list[int]
    starts: np.ndarray
    log_odds: np.ndarray
    mean_log_odds: float
    silence: float
    language: str


@dataclass
class Whisper:
    """A Whisper in eval mode and what belongs to it.

    Attributes
    ----------
    model : attention in plain (eager) form, so that cross-attention can be seen
    tokenizer : of transformers
    features : mel spectrograms of 16 kHz sound
    window : samples that the model hears at once (30 s)
    end : the end-of-text token; text tokens are the ids below it
    languages : ISO 639-1 code -> language token; empty for a model of English alone
    heads : (layer, head) whose cross-attention follows the sound
    """

    model: Any
    tokenizer: Any
    features: Any
    window: int
    end: int
    languages: dict[str, int]
    heads: list[tuple[int, int]]

    def decode(self, tokens: list[int]) -> str:
        """The text of some tokens, with a replacement character for bytes that are none."""
        text: str = self.tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def mel(self, sound: np.ndarray) -> torch.Tensor:
        """Log-mel of at most `window` samples, (1, bands, window / HOP), 0 where there is no sound."""
        import torch

        reach = max(HOP, self.features.n_fft - len(sound))  # of the last frame, which looks around itself
        own = self.features(
            np.pad(sound, (0, reach)), sampling_rate=SAMPLE_RATE, padding=False, return_tensors="pt"
        ).input_features[..., : max(1, len(sound) // HOP)]
        return torch.nn.functional.pad(own, (0, self.window // HOP - own.shape[-1]))

    def hear(self, sound: np.ndarray, language: str | None) -> Hearing:
        """What is said in at most `window` samples, in a language; None = it is detected."""
        import torch

        config, device = self.model.generation_config, self.model.device
        with torch.inference_mode():
            encoded = self.model.model.encoder(self.mel(sound).to(device))
            first = torch.tensor([[config.decoder_start_token_id]], device=device)
            opening = self.model(encoder_outputs=encoded, decoder_input_ids=first).logits[0, -1].float()
            silence = float(opening.softmax(-1)[config.no_timestamps_token_id - 1])  # <|nospeech|>
            options: dict[str, Any] = {}
            prompt = [config.decoder_start_token_id]
            if self.languages:
                codes = sorted(self.languages)
                best = int(opening[[self.languages[code] for code in codes]].argmax())
                language = language or codes[best]
                options = {"language": language, "task": "transcribe"}
                prompt += [self.languages[language], config.task_to_id["transcribe"]]
            ids = self._generate(encoded, options)
            tokens = [int(token) for token in ids if token < self.end]
            starts, log_odds = self.follow(encoded, prompt, tokens, len(sound))
        return Hearing(tokens, starts, log_odds[:-1], float(log_odds.mean()), silence, language or ENGLISH)

    def follow(
        self, encoded: Any, prompt: list[int], tokens: list[int], samples: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """When some tokens and the end of the text are predicted, and how likely, in one pass over them.

        Parameters
        ----------
        encoded : what the encoder gave of a stretch of so many samples
        prompt : tokens before the one that says that no token of time follows

        Returns
        -------
        starts, log_odds : (n + 1,) float64 each, seconds and log probabilities
        """
        import torch

        device = self.model.device
        whole = [*prompt, self.model.generation_config.no_timestamps_token_id, *tokens, self.end]
        with torch.inference_mode():
            passed = self.model(
                encoder_outputs=encoded,
                decoder_input_ids=torch.tensor([whole], device=device),
                output_attentions=True,
            )
        logits = passed.logits[0, len(prompt) : -1, : self.end + 1].float()  # (tokens + 1, ids)
        chosen = torch.tensor([*tokens, self.end], device=device)
        log_odds = logits.log_softmax(-1).gather(1, chosen[:, None])[:, 0].double().cpu().numpy()
        frames = max(1, min(-(-samples // (2 * HOP)), passed.cross_attentions[0].shape[-1]))
        attention = torch.stack([passed.cross_attentions[layer][0, head] for layer, head in self.heads])
        return token_times(attention[:, len(prompt) : -1, :frames].float().cpu().numpy()), log_odds

    def _generate(self, encoded: Any, options: dict[str, Any]) -> torch.Tensor:
        """Token ids of the greedy decoding, the prompt and all special ones included; shape (n,)."""
        with quiet():  # it warns of its own defaults
            try:
                ids: torch.Tensor = self.model.generate(
                    encoder_outputs=encoded,
                    return_timestamps=False,
                    temperature=0.0,
                    num_beams=1,
                    max_new_tokens=self.model.config.max_target_positions // 2,
                    **options,
                )
            except (ValueError, RuntimeError) as error:
                raise ClipError(f"the recognizer failed: {first_line(error)}") from error
        return ids[0]


def load_whisper(model: str, revision: str | None = None, device: str = "cpu") -> Whisper:
    """A Whisper (models/core/checkpoints.py says what `model` may be) with its tokenizer.

    Its generation_config.json names the languages and the attention heads that tell word times. ParamsError
    where it is another kind of model; else errors as `load_weights` has them.
    """
    import torch

    config: Any = load_config(model, revision)
    if config.model_type != "whisper":
        raise ParamsError(
            f"transcribe.asr.model is {model!r}, a model of type {config.model_type!r}; expected a Whisper, "
            "e.g. openai/whisper-small"
        )
    generation: Any = load_generation(model, revision)
    tokenizer = load_fast_tokenizer(model, revision)
    with importing_models():
        from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration
    network: Any = load_weights(
        WhisperForConditionalGeneration,
        model,
        revision,
        config,
        dtype=torch.float32,
        attn_implementation="eager",
    )
    end = int(
        generation.eos_token_id[0] if isinstance(generation.eos_token_id, list) else generation.eos_token_id
    )
    # Every id above the end of text is special. Times come from attention, so no time token may be said:
    # generate() would take one for the end of a stretch and go on behind it.
    special = range(end + 1, config.vocab_size)
    generation.suppress_tokens = sorted({*(generation.suppress_tokens or []), *special} - {end})
    network.generation_config = generation
    seconds = config.max_source_positions * 2 * HOP // SAMPLE_RATE
    layers, each = range(config.decoder_layers // 2, config.decoder_layers), config.decoder_attention_heads
    usual = [(layer, head) for layer in layers for head in range(each)]  # as OpenAI where none are named
    many = getattr(generation, "is_multilingual", True)
    known = getattr(generation, "lang_to_id", {}) if many else {}
    return Whisper(
        network.to(device),
        tokenizer,
        WhisperFeatureExtractor(feature_size=config.num_mel_bins, chunk_length=seconds),
        seconds * SAMPLE_RATE,
        end,
        {name.strip("<|>"): int(token) for name, token in known.items()},
        [(int(layer), int(head)) for layer, head in getattr(generation, "alignment_heads", None) or usual],
    )


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
