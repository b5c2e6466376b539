"""Noise in what a model reads, while it learns: CmIR trains with it.

Every real step of every modality of every clip is hit with probability `rate`, each for itself. A hit step
is changed as a whole; σ is the standard deviation of each feature over the steps of the train split:

    gaussian   x + ε,  ε of standard deviation σ
    laplace    x + ε,  ε of scale σ/√2, which has the standard deviation σ too
    erase      0

Fine-tuned text is token ids. `corrupt` erases a token by the id of [MASK]; noise cannot be added to an id, it
goes on the token's embedding while the model runs (`noisy_embeddings`), in the encoder that reads it.
Special tokens are steps like others. A step of a waveform is 20 ms.

All draws are made on the CPU, and as many at every rate: a seed gives the same noise on every device, and
what is hit at one rate is hit at all higher ones, by the same noise.

Shapes: B clips, T steps, D features, S samples, N steps of many clips, V entries of a vocabulary.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor

from models.core.batch import Batch, Inputs, Sequences, Tokens, Waveform
from models.core.blocks import changed_output
from pipeline.core.errors import MsaError, ParamsError
from pipeline.core.vocabulary import MODALITIES

Kind = Literal["gaussian", "laplace", "erase"]
SOUND_STEP = 320  # samples: 20 ms at 16 kHz
BLOCK = 65_536  # steps worked on at once, so that float64 copies stay small

AnyInputs = TypeVar("AnyInputs", bound=Inputs)


def corrupt(
    batch: AnyInputs,
    kind: Kind,
    rate: float,
    std: dict[str, Tensor],
    generator: torch.Generator | None = None,
    mask_id: int | None = None,
) -> AnyInputs:
    """The batch with noise in its real steps, and in those of its context; the batch itself stays as it is.

    Parameters
    ----------
    rate : share of the steps that are hit, 0 to 1
    std : σ of `text`, `audio`, `visual` (D,) and `waveform` (1,), as far as the batch has them; not read by
        `erase`
    generator : on the CPU; None = torch's own
    mask_id : of [MASK]; with None, or another kind than `erase`, token ids stay

    Raises
    ------
    ParamsError : unknown kind, or a rate outside 0 to 1
    MsaError : no σ for something that the batch has
    """
    if kind not in get_args(Kind):
        raise ParamsError(f"noise kind {kind!r} is not known (there are: {', '.join(get_args(Kind))})")
    if not 0 <= rate <= 1:
        raise ParamsError(f"noise rate is {rate}, expected 0 to 1: the share of steps that are hit")
    corrupted: dict[str, Any] = {}
    for name in ("text", "audio", "visual", "tokens", "waveform"):
        source: Sequences | Tokens | Waveform | None = getattr(batch, name)
        if isinstance(source, Tokens):
            if kind == "erase" and mask_id is not None:
                hit = source.mask & draw_hits(source.ids, rate, generator)
                corrupted[name] = replace(source, ids=source.ids.masked_fill(hit, mask_id))
        elif source is not None:
            if kind != "erase" and name not in std:
                raise MsaError(f"{kind} noise: the batch has {name}, but there is no spread of {name}")
            sound = isinstance(source, Waveform)  # one feature a step
            values = source.values[..., None] if sound else source.values
            noisy = add_noise(
                values, source.mask, kind, rate, std.get(name), generator, SOUND_STEP if sound else 1
            )
            corrupted[name] = replace(source, values=noisy[..., 0] if sound else noisy)
    if isinstance(batch, Batch) and batch.context is not None:
        corrupted["context"] = corrupt(batch.context, kind, rate, std, generator, mask_id)
    return replace(batch, **corrupted)


def noisy_embeddings(
    backbone: Any, kind: Kind, rate: float, std: Tensor | None, generator: torch.Generator | None = None
) -> AbstractContextManager[None]:
    """Within it, the token embeddings that a text encoder looks up are corrupted, before positions are added.

    Padding is corrupted too, which the encoder does not attend to. An erased embedding is 0: for tokenizers
    without [MASK]. `std` (D,) is σ of the embeddings, unread by `erase`. Nothing is done without a backbone.
    """

    def corrupted(embeddings: Tensor) -> Tensor:
        everywhere = torch.ones_like(embeddings[..., 0], dtype=torch.bool)
        return add_noise(embeddings, everywhere, kind, rate, std, generator)

    return nullcontext() if backbone is None else changed_output(backbone.get_input_embeddings(), corrupted)


def add_noise(
    values: Tensor,
    mask: Tensor,
    kind: Kind,
    rate: float,
    std: Tensor | None,
    generator: torch.Generator | None = None,
    step: int = 1,
) -> Tensor:
    """(B, T, D) with noise in the hit ones of the steps that mask (B, T) selects; the others stay bit by bit.

    `std` is (D,); `step` neighbours are hit together.
    """
    hit = draw_hits(values[:, ::step, 0], rate, generator)  # (B, T / step)
    hit = (hit.repeat_interleave(step, dim=1)[:, : values.shape[1]] & mask)[..., None]
    if kind == "erase":
        return values.masked_fill(hit, 0.0)
    assert std is not None
    noise = torch.empty(values.shape)
    if kind == "gaussian":
        noise.normal_(generator=generator)
    else:  # the difference of two exponential numbers has scale 1
        noise.exponential_(generator=generator).sub_(
            torch.empty_like(noise).exponential_(generator=generator)
        )
        noise.mul_(0.5**0.5)
    return torch.where(hit, values + noise.to(values) * std.to(values), values)


def draw_hits(like: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """(B, T) bool, on the device of `like` (B, T), each True with probability `rate`."""
    return (torch.rand(like.shape, generator=generator) < rate).to(like.device)


def batch_deviations(batch: Batch, backbone: Any = None) -> dict[str, Tensor]:
    """σ of a batch, for noise in training: of its modalities and, with a backbone, its `tokens`."""
    steps = {name: getattr(batch, name) for name in MODALITIES}
    found = {
        name: standard_deviation(part.values.flatten(0, 1), part.mask.flatten())
        for name, part in steps.items()
        if part is not None
    }
    if batch.tokens is not None and backbone is not None:
        table, mask = backbone.get_input_embeddings().weight.detach(), batch.tokens.mask
        words = table[batch.tokens.ids.masked_fill(~mask, 0)]  # (B, T, D)
        found["tokens"] = standard_deviation(words.flatten(0, 1), mask.flatten())
    return found


def standard_deviation(values: Tensor, times: Tensor | None = None) -> Tensor:
    """Standard deviation of each column of (N, D), row n counted times[n] times; zeros where none counts.

    `times` is (N,) counts or bool, None = once. What lies in rows that do not count, even NaN, has no effect.
    """
    if times is None:
        times = torch.ones(len(values), dtype=torch.bool, device=values.device)
    width = values.shape[1]
    total, squares = (torch.zeros(width, dtype=torch.float64, device=values.device) for _ in range(2))
    number = times.sum().clamp(min=1)
    blocks = list(zip(values.split(BLOCK), times.double().split(BLOCK), strict=True))
    for rows, counts in blocks:
        total += counts @ rows.double().masked_fill(counts[:, None] == 0, 0.0)
    for rows, counts in blocks:
        squares += counts @ (rows - total / number).square().masked_fill(counts[:, None] == 0, 0.0)
    return (squares / number).sqrt().float()
