"""Random batches of ragged sequences for the methods' tests."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np
import torch

from models.core.batch import Batch, Inputs, Sequences, Tokens

DIMS = {"text": 12, "audio": 5, "visual": 7}
LONGEST = {"text": 6, "audio": 9, "visual": 11}


def random_batch(
    clips: int = 4,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    absent: Collection[tuple[int, str]] = (),
    vocabulary: int | None = None,
    classes: int = 0,
    unlabeled: Collection[int] = (),
    context: bool = False,
    unimodal: bool = False,
) -> Batch:
    """Clips of 2 to LONGEST steps, padded to LONGEST; labels in [-3, 3], or indices of classes.

    Parameters
    ----------
    absent : (clip, modality) pairs without features
    vocabulary : token ids below it in place of text features
    unlabeled : row numbers of clips without a label
    context : whether utterances before the clips are read too; the first clip of a batch has none
    unimodal : whether each modality has a score of its own too, near that of all together
    """
    generator = np.random.default_rng(seed)
    inputs = _random_inputs(clips, generator, dtype, absent, vocabulary)
    drawn = generator.integers(0, classes, clips) if classes else generator.uniform(-3, 3, clips)
    labeled = torch.tensor([clip not in unlabeled for clip in range(clips)])
    label = torch.from_numpy(drawn).to(dtype).masked_fill(~labeled, torch.nan)
    before = {(0, name) for name in DIMS}
    earlier = _random_inputs(clips, generator, dtype, before, vocabulary) if context else None
    own = {name: torch.full((clips,), torch.nan, dtype=dtype) for name in DIMS}
    if unimodal:
        own = {name: label + torch.from_numpy(generator.normal(size=clips)).to(dtype) for name in DIMS}
    return Batch(
        **vars(inputs),
        clip_ids=[f"clip{row}" for row in range(clips)],
        label=label,
        labeled=labeled,
        **{f"label_{name}": values for name, values in own.items()},
        context=earlier,
    )


def _random_inputs(
    clips: int,
    generator: np.random.Generator,
    dtype: torch.dtype,
    absent: Collection[tuple[int, str]],
    vocabulary: int | None,
) -> Inputs:
    parts: dict[str, Sequences] = {}
    for name, width in DIMS.items():
        steps = LONGEST[name]
        lengths = torch.from_numpy(generator.integers(2, steps + 1, clips))
        present = torch.tensor([(clip, name) not in absent for clip in range(clips)])
        mask = (torch.arange(steps) < lengths[:, None]) & present[:, None]
        values = torch.from_numpy(generator.normal(size=(clips, steps, width))).to(dtype)
        parts[name] = Sequences(values * mask[..., None], mask, present)
    if vocabulary is None:
        return Inputs(**parts)
    text = parts.pop("text")
    ids = torch.from_numpy(generator.integers(1, vocabulary, text.mask.shape))
    return Inputs(**parts, tokens=Tokens(ids * text.mask, text.mask, text.present))


def change(
    inputs: Inputs,
    sequences: Callable[[Sequences], Sequences],
    tokens: Callable[[Tokens], Tokens],
) -> Inputs:
    """The inputs (or the batch with its context) with every modality changed."""
    changed: dict[str, object] = {}
    for name in DIMS:
        part = getattr(inputs, name)
        changed[name] = part and sequences(part)
    changed["tokens"] = inputs.tokens and tokens(inputs.tokens)
    if isinstance(inputs, Batch) and inputs.context is not None:
        changed["context"] = change(inputs.context, sequences, tokens)
    return replace(inputs, **changed)


def select(batch: Batch, rows: list[int]) -> Batch:
    """These clips of the batch, in this order."""
    chosen = change(
        batch,
        lambda part: Sequences(part.values[rows], part.mask[rows], part.present[rows]),
        lambda part: Tokens(part.ids[rows], part.mask[rows], part.present[rows]),
    )
    names = ("label", "labeled", "label_text", "label_audio", "label_visual")
    labels = {name: getattr(batch, name)[rows] for name in names}
    return replace(chosen, clip_ids=[batch.clip_ids[row] for row in rows], **labels)


def clips_of(batch: Batch, names: Collection[str]) -> dict[str, list[np.ndarray | None]]:
    """The real steps of each clip, (T, D), by modality; None where it has none."""
    return {
        name: [
            values[mask] if mask.any() else None
            for values, mask in zip(part.values.numpy(), part.mask.numpy(), strict=True)
        ]
        for name in names
        if (part := getattr(batch, name)) is not None
    }


def pad_more(batch: Batch, steps: int) -> Batch:
    """The batch with `steps` further zero steps in every modality."""

    def longer(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, x.new_zeros(len(x), steps, *x.shape[2:])], dim=1)

    return change(
        batch,
        lambda part: Sequences(longer(part.values), longer(part.mask), part.present),
        lambda part: Tokens(longer(part.ids), longer(part.mask), part.present),
    )


def fill_masked(batch: Batch, value: float) -> Batch:
    """The batch with `value` in every masked step, and with it in everything that is absent."""
    return change(
        batch,
        lambda part: replace(part, values=part.values.masked_fill(~part.mask[..., None], value)),
        lambda part: replace(part, ids=part.ids.masked_fill(~part.mask, 10**6)),
    )
