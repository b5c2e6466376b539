"""What batches of like lengths save against padding every clip to the longest: one epoch, side by side."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import tiny_set
import torch
from torch import Tensor

from models.method import REGRESSION, Method
from pipeline.batches import Ragged, Split, shuffled_batches
from pipeline.runs import build_method
from pipeline.training_set import TrainingSet

LONGEST = 50  # steps
SMALL = {"width": 64, "heads": 4, "head_dim": 16, "feedforward": 64, "num_tokens": 8, "layers": 1}


def epoch_seconds(method: Method, split: Split, pool_batches: int) -> float:
    """Forward, losses and backward over all batches of 32; CPU seconds of the one thread."""
    order = torch.Generator().manual_seed(0)
    started = time.process_time()
    for rows in shuffled_batches(split.lengths, 32, pool_batches, order):
        batch = split.batch(rows)
        losses = method.losses(batch, method(batch), method.TERMS)
        torch.stack(list(losses.values())).sum().backward()
    return time.process_time() - started


@pytest.mark.benchmark
def test_length_buckets_against_padding_to_the_longest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dims = {"text": 384, "audio": 33, "visual": 30}
    counts = {"train": 512, "valid": 1, "test": 1, "unlabeled": 0}
    folder = tiny_set.write_tiny_set(tmp_path / "set", counts, dims, steps=(4, LONGEST), same_steps=True)
    split = TrainingSet.load(folder, only=["train"]).splits["train"]
    method = build_method("misr", SMALL, dims, REGRESSION).train()
    pad = Ragged.pad

    def pad_to_the_longest(self: Ragged, clips: Tensor, on_device: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        values, mask, present = pad(self, clips, on_device)
        missing = LONGEST - mask.shape[1]
        values = torch.nn.functional.pad(values, (0, 0) * (values.dim() - 2) + (0, missing))
        return values, torch.nn.functional.pad(mask, (0, missing)), present

    best = {"buckets": float("inf"), "shuffled": float("inf"), "padded": float("inf")}
    for _ in range(4):  # in turns, so that other load hits all alike
        best["buckets"] = min(best["buckets"], epoch_seconds(method, split, 50))
        best["shuffled"] = min(best["shuffled"], epoch_seconds(method, split, 1))
        with monkeypatch.context() as patched:
            patched.setattr(Ragged, "pad", pad_to_the_longest)
            best["padded"] = min(best["padded"], epoch_seconds(method, split, 1))
    with capsys.disabled():
        print(f"\none epoch of 512 clips, 4 to {LONGEST} steps, best of 4:")
        for name, seconds in best.items():
            print(f"  {name:9} {seconds:.2f} s ({seconds / best['buckets']:.2f}x)")
    assert best["buckets"] < best["padded"]
