"""What a training step launches, and what it costs beside BERT alone: every method at full size.

An operator is one call of ATen that computes, of which a GPU makes a kernel each; views and allocations are
none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from full_size import FRAMES, Trainer, full_size, mosi, narrow, sample_of_batches
from made import tiny_methods
from timing import Rounds
from torch.utils._python_dispatch import TorchDispatchMode

from models.core.batch import Batch
from models.core.method import Method
from pipeline.training.loop.device import reproducible

BATCH = 16
ALONE = "text_only"  # BERT with a linear layer
OWN_OPERATORS = {"misr": 735, "cmir": 790, "mird": 1153, "khar": 1608, "slad": 4645}
COLUMNS = ("operators of BERT alone", "of the method", "CPU s of BERT alone", "of the method", "ratio")

aten = torch.ops.aten
NO_WORK = {aten._unsafe_view, aten.detach, aten.empty, aten.empty_like, aten.new_empty_strided}


class Operators(TorchDispatchMode):
    """Counts those of the forward pass (losses too), of the backward pass, and of the updates."""

    def __init__(self) -> None:
        super().__init__()
        self.number: Counter[str] = Counter()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not (func.is_view or func.overloadpacket in NO_WORK):
            backward, update = torch._C._current_graph_task_id() != -1, not torch.is_grad_enabled()
            self.number["backward" if backward else "update" if update else "forward"] += 1
            self.names[str(func)] += 1
        return func(*args, **kwargs or {})


def operators(trainer: Trainer, batch: Batch, precision: str = "fp32") -> Operators:
    """Of the second step: the first makes the optimisers' states."""
    trainer.step(batch, precision)
    with Operators() as counted:
        trainer.step(batch, precision)
    return counted


def test_it_counts_kernels_and_no_views() -> None:
    weight = torch.ones(3, 3, requires_grad=True)
    with Operators() as counted:
        loss = (weight @ weight.T)[None].sum()  # mm, sum, and the ones that it starts from
        loss.backward()  # two of mm, add
        with torch.no_grad():
            weight.mul_(2)
    assert counted.number == {"forward": 3, "backward": 3, "update": 1}


@pytest.mark.parametrize("name", OWN_OPERATORS)
def test_a_step_takes_no_more_operators(name: str) -> None:
    """In float32, beside those of BERT alone; a change of torch or transformers may move both a little."""

    def number(method: Method) -> int:
        return operators(Trainer(method), tiny_methods.batch_for(method, BATCH)).number.total()

    assert number(narrow(name)) - number(narrow(ALONE)) <= 1.05 * OWN_OPERATORS[name]


# ------------------------------------------------------------------------------------------------ benchmark
@pytest.fixture
def as_in_training() -> Iterator[None]:
    with reproducible(0, torch.device("cpu")):
        yield


@pytest.mark.benchmark
@pytest.mark.shared
@pytest.mark.parametrize("name", OWN_OPERATORS)
def test_a_step_beside_bert_alone(
    name: str, shared: Path, as_in_training: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """16 clips of middling length with tokens of their own text, Adam, clipping; a row of docs/speed.md."""
    trainers = {each: Trainer(full_size(each, FRAMES[each])) for each in (ALONE, name)}
    split = mosi(shared, trainers[name].method, FRAMES[name])
    (rows,) = sample_of_batches(split, BATCH, 1)
    batch = split.batch(rows)
    cells = [name]
    for precision in ("fp32", "bf16"):
        counts = (operators(trainer, batch, precision).number for trainer in trainers.values())
        cells += [f"{number['forward']} + {number['backward']}" for number in counts]
        works = {each: partial(trainer.step, batch, precision) for each, trainer in trainers.items()}
        rounds = Rounds(works).run(2 if name == "slad" else 5)
        cells += [f"{rounds.median(work):.2f}" for work in works] + [f"{rounds.ratio(name, ALONE):.2f}"]
    with capsys.disabled():
        print(
            "\n| method | "
            + " | ".join(f"{p} {column}" for p in ("fp32", "bf16") for column in COLUMNS)
            + " |"
        )
        print(f"| {' | '.join(cells)} |  (others took {rounds.load:.1f} cores)")
