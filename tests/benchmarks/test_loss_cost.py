"""Losses are computed for a whole batch at once: no loop over clips or pairs, and little beside a step."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from full_size import FRAMES, Trainer, full_size, mosi
from made import tiny_methods
from timing import Rounds
from torch.utils._python_dispatch import TorchDispatchMode

from models.core.batch import Batch
from models.core.method import Method, Output

CLIPS = 256
LARGEST_SHARE = 0.05  # of a step
CONTRAST = {"khar": ("contrastive",), "slad": ("contrastive", "repulsion", "multilabel")}
REPRESENTATIONS = ("refined", "invariant", "specific")  # what these terms compare
LIGHT = {"khar": {}, "slad": {"context": 0, "fusion_layers": 1, "aligned_steps": 16}}


class Counter(TorchDispatchMode):
    """Counts operations, those of the backward pass too."""

    number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += 1
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("name", tiny_methods.NAMES)
def test_as_many_operations_for_any_number_of_clips(name: str) -> None:
    def operations(clips: int) -> int:
        method = tiny_methods.tiny(name)
        batch = tiny_methods.batch_for(method, clips)
        output = method(batch)
        with Counter() as counter:
            losses = method.losses(batch, output, tiny_methods.terms_of(method))
            if method.estimator_steps():
                losses["estimators"] = method.estimator_loss(batch, output)
            torch.stack(list(losses.values())).sum().backward()
        return counter.number

    assert operations(8) == operations(64)


def contrast(method: Method, batch: Batch, output: Output, terms: Collection[str]) -> None:
    """The terms and their gradient, down to the representations that they compare."""
    leaves = {
        field: {m: x.detach().requires_grad_() for m, x in getattr(output, field).items()}
        for field in REPRESENTATIONS
        if hasattr(output, field)
    }
    losses = method.losses(batch, replace(output, **leaves), terms)
    torch.stack(list(losses.values())).sum().backward()


@pytest.mark.benchmark
@pytest.mark.shared
@pytest.mark.parametrize("name", CONTRAST)
def test_contrast_of_256_clips(name: str, shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside the cheapest step that there is: the shortest clips, bf16, and of SLaD, whose full step would
    take minutes, one layer of fusion, 16 bins and no context.
    """
    method = full_size(name, FRAMES[name], **LIGHT[name])
    split = mosi(shared, method, FRAMES[name])
    batch, trainer = split.batch(split.lengths.argsort()[:CLIPS]), Trainer(method)
    output = method(batch)
    rounds = Rounds(
        {
            "step": lambda: trainer.step(batch, "bf16"),
            "contrast": lambda: contrast(method, batch, output, CONTRAST[name]),
        }
    ).run(3)
    share = rounds.ratio("contrast", "step")
    with capsys.disabled():
        print(f"\n{name}, {CLIPS} clips: contrast {1e3 * rounds.median('contrast'):.1f} ms ", end="")
        print(f"beside a step of {rounds.median('step'):.1f} s, {share:.2%} (others {rounds.load:.1f} cores)")
    rounds.hold(share < LARGEST_SHARE, f"{share:.2%} of a step, to be under {LARGEST_SHARE:.0%}")
