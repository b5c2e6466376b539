"""What a training step costs at full size, and what buckets, bfloat16 and estimators do to it (`make bench`).

All in CPU seconds of one thread, as training on a CPU has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from full_size import FRAMES, Trainer, full_size, mosi, padded_to_the_longest, sample_of_batches
from made import tiny_set
from timing import Rounds

from models import METHODS
from models.core.method import REGRESSION, Method
from pipeline.datasets.splits import Split, shuffled_batches
from pipeline.datasets.training_set import TrainingSet
from pipeline.training.loop.device import reproducible
from pipeline.training.runs import build_method

pytestmark = pytest.mark.benchmark

BATCH = 16
LONGEST = 50  # steps
SMALL = {"width": 64, "heads": 4, "head_dim": 16, "feedforward": 64, "num_tokens": 8, "layers": 1}
LEAST_GAIN = 4.0  # of bf16 and buckets over fp32 and padding
LARGEST_ESTIMATORS = 1.3  # a step of MIRD with T' = 5 over one with T' = 0


@pytest.fixture(autouse=True)
def _as_in_training() -> Iterator[None]:
    with reproducible(0, torch.device("cpu")):
        yield


# -------------------------------------------------------------------------------------------------- steps
@pytest.mark.shared
@pytest.mark.parametrize("name", METHODS)
def test_a_step_at_full_size(name: str, shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """BERT-base, 16 clips of middling length; tokens are those of the clips' own text, without padding."""
    method = full_size(name, FRAMES[name])
    split = mosi(shared, method, FRAMES[name])
    (rows,) = sample_of_batches(split, BATCH, 1)
    batch, trainer = split.batch(rows), Trainer(method)
    works = {precision: partial(trainer.step, batch, precision) for precision in ("fp32", "bf16")}
    rounds = Rounds(works).run(2 if name == "slad" else 4)
    millions = sum(parameter.numel() for parameter in method.parameters()) / 1e6
    assert batch.tokens is not None
    number = int(batch.tokens.mask.sum())
    with capsys.disabled():
        print(f"\n{name}, {millions:.0f} M parameters, {BATCH} clips, {number} tokens:", end="")
        for precision in works:
            seconds = rounds.median(precision)
            print(f"  {precision} {seconds:.2f} s a step, {number / seconds:.0f} tokens/s", end="")
        print(f"  ({rounds.ratio('fp32', 'bf16'):.1f}x; others took {rounds.load:.1f} cores)")
    assert all(parameter.isfinite().all() for parameter in method.parameters())


@pytest.mark.shared
@pytest.mark.parametrize("frames", ["all", "pooled"])
@pytest.mark.parametrize("name", ["misr", "khar"])
def test_bf16_and_buckets_against_fp32_and_padding(
    name: str, frames: str, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Text padded to 50; audio and visual to 375 and 500 frames, or pooled to 50 and padded to that."""
    kinds = FRAMES[name]
    if frames == "pooled":
        kinds = {m: replace(kind, longest=LONGEST) for m, kind in kinds.items()}
    method = full_size(name, kinds)
    split = mosi(shared, method, kinds)
    chosen, trainer = sample_of_batches(split, BATCH, 5), Trainer(method)
    padded = padded_to_the_longest(split).batch(chosen[len(chosen) // 2])  # all are alike

    def in_buckets() -> None:
        for rows in chosen:
            trainer.step(split.batch(rows), "bf16")

    rounds = Rounds(
        {
            "fp32, padded": lambda: trainer.step(padded, "fp32"),
            "bf16, padded": lambda: trainer.step(padded, "bf16"),
            "bf16, buckets": in_buckets,
        },
        repeats={"bf16, buckets": len(chosen)},
    ).run(3)
    gain = rounds.ratio("fp32, padded", "bf16, buckets")
    with capsys.disabled():
        print(f"\n{name}, frames {frames}, a step of {BATCH} clips (others took {rounds.load:.1f} cores):")
        for work in rounds.works:
            print(f"  {work:14} {rounds.median(work):.2f} s ({rounds.ratio('fp32, padded', work):.2f}x)")
    rounds.hold(gain >= LEAST_GAIN, f"{gain:.2f} times faster, to be {LEAST_GAIN}")


@pytest.mark.shared
def test_cost_of_estimators(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """MIRD's T' updates take detached representations, and no forward of their own."""
    method = full_size("mird", FRAMES["mird"])
    split = mosi(shared, method, FRAMES["mird"])
    (rows,) = sample_of_batches(split, BATCH, 1)
    batch, trainer = split.batch(rows), Trainer(method)
    assert method.estimator_steps() == 5
    for precision in ("fp32", "bf16"):
        works = {steps: partial(trainer.step, batch, precision, steps) for steps in (0, 5)}
        rounds = Rounds({f"T' = {steps}": work for steps, work in works.items()}).run(7)
        ratio = rounds.ratio("T' = 5", "T' = 0")
        with capsys.disabled():
            seconds = ", ".join(f"{work} {rounds.median(work):.2f} s" for work in rounds.works)
            print(f"\nmird, {precision}: {seconds}, {ratio:.2f}x (others took {rounds.load:.1f} cores)")
        rounds.hold(ratio <= LARGEST_ESTIMATORS, f"{ratio:.2f} times, to be {LARGEST_ESTIMATORS}")


# ------------------------------------------------------------------------------------- buckets, small model
def epoch(method: Method, split: Split, pool_batches: int) -> None:
    """Forward, losses and backward over all batches of 32."""
    order = torch.Generator().manual_seed(0)
    for rows in shuffled_batches(split.lengths, 32, pool_batches, order):
        batch = split.batch(rows)
        losses = method.losses(batch, method(batch), method.TERMS)
        torch.stack(list(losses.values())).sum().backward()


def test_length_buckets_against_padding_to_the_longest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dims = {"text": 384, "audio": 33, "visual": 30}
    counts = {"train": 512, "valid": 1, "test": 1, "unlabeled": 0}
    folder = tiny_set.write_tiny_set(tmp_path / "set", counts, dims, steps=(4, LONGEST), same_steps=True)
    split = TrainingSet.load(folder, only=["train"]).splits["train"]
    padded = padded_to_the_longest(split)
    method = build_method("misr", SMALL, dims, REGRESSION).train()
    rounds = Rounds(
        {
            "buckets": lambda: epoch(method, split, 50),
            "shuffled": lambda: epoch(method, split, 1),
            "padded": lambda: epoch(method, padded, 1),
        }
    ).run(4)
    with capsys.disabled():
        print(f"\none epoch of 512 clips, 4 to {LONGEST} steps:")
        for work in rounds.works:
            print(f"  {work:9} {rounds.median(work):.2f} s ({rounds.ratio(work, 'buckets'):.2f}x)")
    ratio = rounds.ratio("padded", "buckets")
    rounds.hold(ratio > 1, f"padding costs {ratio:.2f} times as much, to be more")
