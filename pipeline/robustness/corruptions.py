"""Corruptions of a batch: functions of the clip and the seed, nested in the rate, the same for every method.

Noise of hit steps (`gaussian`, `laplace`) has the spread that each feature has over the steps of the train
split, of a waveform that of the clip itself; Laplace's has scale σ/√2, the same variance. Noise of fine-tuned
text is added to the word embeddings, where the encoder looks them up (`noisy_words`).

Which steps are hit is drawn from the stream `frames` for all of `gaussian`, `laplace`, `erase` and `frames`,
one number a step, special tokens included: step t is hit at rate r where u_t < r. So what is hit at one rate
is hit at all higher ones. Where the unit of text is the word, one number a word is drawn in place of one a
step, and all of its steps are hit (words.py).

Shapes: B clips, T steps, D features. Masks: True = real.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from models.core.batch import Batch, Inputs, Sequences, Tokens, Waveform
from models.core.noise import standard_deviation
from pipeline.core.errors import MsaError
from pipeline.core.vocabulary import MODALITIES
from pipeline.datasets.splits import Streams
from pipeline.evaluation.robust_results import NOISE
from pipeline.robustness.conditions import WHOLE, Condition
from pipeline.robustness.streams import stream
from pipeline.robustness.words import NO_WORD
from pipeline.training.loop.missing import (
    MODALITY,
    SOUND_STEP,
    Blanks,
    Part,
    absent,
    changed,
    contexts,
    emptied,
    parts_of,
    spared,
    values_of,
    with_values,
)

Missing = Literal["blank", "absent"]
TextUnit = Literal["piece", "word"]
STREAM_OF = {"gaussian": "gauss", "laplace": "laplace"}  # whose values are drawn from which stream


@dataclass
class Draws:
    """Random numbers for the clips of one batch, each drawn once and kept.

    Parameters
    ----------
    dataset, split : names, parts of the key
    clip_ids : of the batch
    seed : of the corruption
    words : where the unit of text is the word, the word of each step, (B, T), see words.py
    """

    dataset: str
    split: str
    clip_ids: Sequence[str]
    seed: int
    words: Mapping[str, np.ndarray] = field(default_factory=dict)
    _kept: dict[tuple[str, ...], np.ndarray] = field(default_factory=dict)

    def uniforms(self, kind: str, name: str, counts: np.ndarray) -> np.ndarray:
        """(B, longest) in [0, 1), `counts` (B,) of each clip; 1 behind them, which no rate hits."""
        if (kind, name) not in self._kept:
            found = np.ones((len(counts), max(1, int(counts.max(initial=0)))))
            for row, (clip, count) in enumerate(zip(self.clip_ids, counts.tolist(), strict=True)):
                found[row, :count] = stream(kind, self.dataset, self.split, clip, name, self.seed).random(
                    count
                )
            self._kept[kind, name] = found
        return self._kept[kind, name]

    def noise(self, kind: str, name: str, counts: np.ndarray, width: int) -> np.ndarray:
        """(B, longest, width) float32 of variance 1, row by row; 0 behind `counts` (B,)."""
        if (kind, name, "noise") not in self._kept:
            found = np.zeros((len(counts), max(1, int(counts.max(initial=0))), width), np.float32)
            for row, (clip, count) in enumerate(zip(self.clip_ids, counts.tolist(), strict=True)):
                numbers = stream(STREAM_OF[kind], self.dataset, self.split, clip, name, self.seed)
                shape = (count, width)
                drawn = (
                    numbers.standard_normal(shape)
                    if kind == "gaussian"
                    else numbers.laplace(0.0, 0.5**0.5, shape)
                )
                found[row, :count] = drawn
            self._kept[kind, name, "noise"] = found
        return self._kept[kind, name, "noise"]


@dataclass(frozen=True)
class Spoiler:
    """What corruptions need to know of a training set and a method.

    Attributes
    ----------
    std : spread over the train split, (D,) of each modality that the method reads and of `tokens`
    missing : what stands for a missing modality: `blank`s, or nothing, as where a clip really lacks it
    """

    blanks: Blanks
    std: Mapping[str, Tensor]
    missing: Missing = "blank"

    def corrupted(self, batch: Batch, condition: Condition, draws: Draws) -> Batch:
        """The batch with the utterances before its clips, under the condition."""
        return changed(batch, lambda inputs, prefix: self._parts(inputs, condition, draws, prefix))

    def _parts(self, inputs: Inputs, condition: Condition, draws: Draws, prefix: str) -> dict[str, Part]:
        """The streams that the condition changes."""
        found: dict[str, Part] = {}
        for name, part in parts_of(inputs).items():
            modality = MODALITY.get(name, name)
            if modality not in condition.hits or condition.level == 0:
                continue
            key = f"{prefix}{name if name == 'waveform' else modality}"
            if condition.kind in WHOLE:
                rows = torch.from_numpy(missing_rows(condition, draws, modality)).to(part.mask.device)
                if self.missing == "absent":
                    found[name] = absent(part, rows)
                else:
                    found[name] = trimmed(emptied(part, rows, self.blanks.empty[name]))
            elif condition.kind not in NOISE[:2]:
                fill = self.blanks.masked if condition.kind == "erase" else self.blanks.dropped
                found[name] = with_values(part, self.hits(name, part, condition, draws, key), fill[name])
            elif not isinstance(part, Tokens):  # words: `noisy_words`
                hit = self.hits(name, part, condition, draws, key)
                found[name] = with_values(part, hit, self.noisy(name, part, condition.kind, draws, key))
        return found

    def hits(self, name: str, part: Part, condition: Condition, draws: Draws, key: str) -> Tensor:
        """(B, T) bool, the steps that are hit."""
        mask = part.mask & part.present[:, None]
        counts = mask.sum(dim=1)
        if isinstance(part, Waveform):
            counts = -(-counts // SOUND_STEP)
        words = None if isinstance(part, Waveform) else draws.words.get(key)
        # the words of frozen states tell which are of none; else the first and the last are taken for these
        known = words is not None and isinstance(part, Sequences)
        touchable = mask if known else self.blanks.touchable(name, part)
        lengths = counts.cpu().numpy() if words is None else words.max(axis=1, initial=NO_WORD) + 1
        if condition.kind == "blocks":
            hit = in_block(condition, draws, key, lengths, touchable.shape[1])
        else:
            hit = draws.uniforms("frames", key, lengths) < condition.level
        if words is not None:
            hit = np.take_along_axis(hit, words.clip(0), axis=1) & (words != NO_WORD)
        steps = np.zeros(touchable.shape, bool)
        steps[:, : hit.shape[1]] = hit
        return touchable & torch.from_numpy(steps).to(touchable.device)

    def noisy(self, name: str, part: Any, kind: str, draws: Draws, key: str) -> Tensor:
        """The part's values with noise in all real steps."""
        mask = part.mask & part.present[:, None]
        lengths = mask.sum(dim=1).cpu().numpy()
        sound = isinstance(part, Waveform)
        values = part.values[..., None] if sound else part.values  # (B, T, D)
        noise = np.zeros(values.shape, np.float32)
        drawn = draws.noise(kind, key, lengths, values.shape[-1])
        noise[:, : drawn.shape[1]] = drawn
        scale = (
            loudness(values[..., 0], mask)[:, None, None].to(values) if sound else self.std[name].to(values)
        )
        found: Tensor = values + torch.from_numpy(noise).to(values) * scale
        return found[..., 0] if sound else found

    @contextmanager
    def noisy_words(self, backbone: Any, batch: Batch, condition: Condition, draws: Draws) -> Iterator[None]:
        """Within it, the embeddings of the batch's words are noisy, before positions are added.

        MsaError where the encoder was given words of which nothing is known.
        """
        known: list[tuple[Tokens, Tensor]] = []
        if backbone is not None and condition.kind in NOISE[:2] and "text" in condition.hits:
            for prefix, inputs in contexts(batch).items():
                if (tokens := inputs.tokens) is not None:
                    key = f"{prefix}text"
                    hit = self.hits("tokens", tokens, condition, draws, key)
                    counts = (tokens.mask & tokens.present[:, None]).sum(dim=1).cpu().numpy()
                    drawn = draws.noise(condition.kind, key, counts, len(self.std["tokens"]))
                    noise = torch.zeros(*hit.shape, drawn.shape[-1])
                    noise[:, : drawn.shape[1]] = torch.from_numpy(drawn)
                    known.append((tokens, noise.to(hit.device) * self.std["tokens"] * hit[..., None]))
        if not known:
            yield
            return

        def change(_module: Any, arguments: tuple[Tensor, ...], embedded: Tensor) -> Tensor:
            (ids,) = arguments
            for tokens, noise in known:
                width = min(ids.shape[1], tokens.ids.shape[1])
                real = (tokens.mask & tokens.present[:, None])[:, :width]
                if len(ids) == len(real) and torch.equal(ids[:, :width][real], tokens.ids[:, :width][real]):
                    found = embedded.clone()
                    found[:, :width] += noise[:, :width].to(embedded)
                    return found
            raise MsaError("the text encoder reads words that are not in the batch; noise cannot be added")

        hook = backbone.get_input_embeddings().register_forward_hook(change)
        try:
            yield
        finally:
            hook.remove()


# ------------------------------------------------------------------------------------------------ who is hit
def missing_rows(condition: Condition, draws: Draws, modality: str) -> np.ndarray:
    """(B,) bool, the clips whose modality is missing as a whole."""
    clips = len(draws.clip_ids)
    if condition.kind == "subsets":
        return np.ones(clips, bool)
    once = np.ones(clips, int)
    rates = condition.rates()
    u = np.stack([draws.uniforms("missing", name, once)[:, 0] for name in MODALITIES])  # (M, B)
    order = u / np.array([[rates[name]] for name in MODALITIES])  # hit where below 1
    return spared(order)[MODALITIES.index(modality)]


def in_block(condition: Condition, draws: Draws, key: str, lengths: np.ndarray, width: int) -> np.ndarray:
    """(B, width) bool: round(r n) of n steps that follow each other; of equal halves the earlier.

    Nested in r at every position: at random, one point of the clip decides where all blocks lie.
    """
    position = condition.case.partition(" ")[2]
    size = np.floor(condition.level * lengths + 0.5).astype(int)
    room = lengths - size
    if position == "random":
        point = draws.uniforms("blocks", key, np.ones(len(lengths), int))[:, 0]
        start = np.floor(point * (room + 1)).astype(int)
    else:
        start = {"start": 0 * room, "middle": room // 2, "end": room}[position]
    steps = np.arange(width)
    found: np.ndarray = (steps >= start[:, None]) & (steps < (start + size)[:, None])
    return found


# ---------------------------------------------------------------------------------------------------- values
def trimmed(part: Part) -> Part:
    """The part without the steps at the end that are padding in every clip; one step at least."""
    width = max(1, int(part.mask.sum(dim=1).max()))
    return type(part)(values_of(part)[:, :width], part.mask[:, :width], part.present)


def loudness(samples: Tensor, mask: Tensor) -> Tensor:
    """Root mean square of each clip's real samples, (B, S) -> (B,); 0 of silence and of no sound."""
    squares = samples.double().masked_fill(~mask, 0.0).square().sum(dim=1)
    return (squares / mask.sum(dim=1).clamp(min=1)).sqrt()


def train_spread(train: Streams, backbone: Any, special: Tensor) -> dict[str, Tensor]:
    """Standard deviation of each feature over the steps of the train split, by stream.

    Of `tokens` that of their word embeddings, special tokens left out; of a waveform there is none.
    """
    found = {name: standard_deviation(part.flat[:-1]) for name, part in train.items() if name in MODALITIES}
    if "tokens" in train and backbone is not None:
        table = backbone.get_input_embeddings().weight.detach()  # (V, D)
        times = torch.bincount(train["tokens"].flat[:-1].cpu(), minlength=len(table))
        times[special.cpu()] = 0
        found["tokens"] = standard_deviation(table, times.to(table.device))
    return found
