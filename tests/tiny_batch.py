"""Random batches of ragged sequences for the methods' tests."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import torch

from pipeline.batches import Batch, Sequences, Tokens

DIMS = {"text": 12, "audio": 5, "visual": 7}
LONGEST = {"text": 6, "audio": 9, "visual": 11}


def random_batch(
    clips: int = 4,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    absent: Collection[tuple[int, str]] = (),
    vocabulary: int | None = None,
) -> Batch:
    """Clips of 2 to LONGEST steps, padded to LONGEST; labels in [-3, 3].

    Parameters
    ----------
    absent : (clip, modality) pairs without features
    vocabulary : token ids below it in place of text features
    """
    generator = np.random.default_rng(seed)
    parts: dict[str, Sequences] = {}
    for name, width in DIMS.items():
        steps = LONGEST[name]
        lengths = torch.from_numpy(generator.integers(2, steps + 1, clips))
        present = torch.tensor([(clip, name) not in absent for clip in range(clips)])
        mask = (torch.arange(steps) < lengths[:, None]) & present[:, None]
        values = torch.from_numpy(generator.normal(size=(clips, steps, width))).to(dtype)
        parts[name] = Sequences(values * mask[..., None], mask, present)
    label = torch.from_numpy(generator.uniform(-3, 3, clips))
    tokens = None
    if vocabulary is not None:
        text = parts["text"]
        ids = torch.from_numpy(generator.integers(1, vocabulary, text.mask.shape))
        tokens = Tokens(ids * text.mask, text.mask, text.present)
    nothing = torch.full((clips,), torch.nan, dtype=dtype)
    return Batch(
        clip_ids=[f"clip{row}" for row in range(clips)],
        text=None if tokens else parts["text"],
        audio=parts["audio"],
        visual=parts["visual"],
        tokens=tokens,
        label=label.to(dtype),
        label_text=nothing,
        label_audio=nothing,
        label_visual=nothing,
    )


def select(batch: Batch, rows: list[int]) -> Batch:
    """These clips of the batch, in this order."""

    def take(part: Sequences | None) -> Sequences | None:
        return part and Sequences(part.values[rows], part.mask[rows], part.present[rows])

    tokens = batch.tokens
    return replace(
        batch,
        clip_ids=[batch.clip_ids[row] for row in rows],
        text=take(batch.text),
        audio=take(batch.audio),
        visual=take(batch.visual),
        tokens=tokens and Tokens(tokens.ids[rows], tokens.mask[rows], tokens.present[rows]),
        label=batch.label[rows],
    )


def pad_more(batch: Batch, steps: int) -> Batch:
    """The batch with `steps` further zero steps in every modality."""

    def longer(part: Sequences | None) -> Sequences | None:
        if part is None:
            return None
        zeros = part.values.new_zeros(len(part.values), steps, part.values.shape[2])
        mask = torch.cat([part.mask, part.mask.new_zeros(len(part.mask), steps)], dim=1)
        return Sequences(torch.cat([part.values, zeros], dim=1), mask, part.present)

    return replace(batch, text=longer(batch.text), audio=longer(batch.audio), visual=longer(batch.visual))


def fill_masked(batch: Batch, value: float) -> Batch:
    """The batch with `value` in every masked step, and with it in everything that is absent."""

    def filled(part: Sequences | None) -> Sequences | None:
        return part and replace(part, values=part.values.masked_fill(~part.mask[..., None], value))

    tokens = batch.tokens
    return replace(
        batch,
        text=filled(batch.text),
        audio=filled(batch.audio),
        visual=filled(batch.visual),
        tokens=tokens and replace(tokens, ids=tokens.ids.masked_fill(~tokens.mask, 10**6)),
    )
