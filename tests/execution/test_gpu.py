"""Batches for a model on a GPU: what is cut together, what does not fit. The device here is the CPU."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import MissingModelError
from pipeline.execution import gpu
from pipeline.execution.gpu import Budget, Prepared, padded_steps
from pipeline.execution.local import TaskFailure

ROOM = 40


@given(st.lists(st.integers(1, 500), min_size=1, max_size=60), st.integers(1, 4000))
def test_batches_keep_to_the_budget_and_lose_no_clip(lengths: list[int], steps: int) -> None:
    waiting = [(i, Prepared(None, n)) for i, n in enumerate(sorted(lengths))]
    budget = Budget("cpu")
    budget.steps = steps
    seen: list[int] = []
    while waiting:
        batch = budget.batch(waiting)
        assert len(batch) == 1 or padded_steps(batch) <= steps
        seen += [i for i, _ in batch]
        del waiting[-len(batch) :]
    assert sorted(seen) == list(range(len(lengths)))


class Model:
    """A model that has room for so many padded steps, and gives back what was prepared."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def __call__(self, batch: list[Prepared]) -> list[int]:
        self.calls.append([one.steps for one in batch])
        if padded_steps([(None, one) for one in batch]) > ROOM:
            raise torch.OutOfMemoryError
        return [one.content for one in batch]


def preparer() -> Callable[[int], Prepared | str]:
    """What makes a number ready: 0 needs no model."""
    return lambda number: Prepared(number, number) if number else "nothing"


def in_this_process(make: Any, items: list[Any], **_: Any) -> Iterator[tuple[Any, Any]]:
    work = make()
    yield from ((item, work(item)) for item in items)


def results(model: Model, items: list[int]) -> Iterator[tuple[int, Any]]:
    return gpu.run(preparer, items, model, device="cpu", workers=1, timeout_s=9)


def test_what_does_not_fit_is_tried_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu.local, "run", in_this_process)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    model = Model()
    found = dict(results(model, [3, 13, 5, 8, 2, 41, 20, 0]))
    failure = found.pop(41)
    assert isinstance(failure, TaskFailure) and "fails on this clip alone" in failure.reason
    assert found == {3: 3, 13: 13, 5: 5, 8: 8, 2: 2, 20: 20, 0: "nothing"}
    fitted = [call for call in model.calls if len(call) * max(call) <= ROOM]
    assert max(map(len, fitted)) > 1, "batches, not item by item"


def test_workers_prepare() -> None:
    assert dict(results(Model(), [3, 5, 0])) == {3: 3, 5: 5, 0: "nothing"}


def test_failures_of_workers_and_useless_models(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(make: Any, items: list[Any], **_: Any) -> Iterator[tuple[Any, Any]]:
        yield items[0], TaskFailure("its worker was killed")
        raise MissingModelError("no weights")

    monkeypatch.setattr(gpu.local, "run", killed)
    found = results(Model(), [1, 2])
    assert next(found)[1] == TaskFailure("its worker was killed")
    with pytest.raises(MissingModelError, match="no weights"):
        next(found)


@pytest.mark.gpu
def test_the_budget_grows_with_what_the_device_has() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    budget = Budget("cuda")
    batch = [(i, Prepared(None, 1000)) for i in range(60)]
    block = torch.zeros(60_000 * 64, device="cuda")
    budget.learn(batch)
    assert budget.steps > gpu.FIRST_STEPS
    del block


def test_the_module_needs_no_media_libraries() -> None:
    code = "import sys, pipeline.execution.gpu; print({'av', 'librosa', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
