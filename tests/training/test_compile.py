"""`train.compile`: the same losses as without, whole graphs, few shapes, and errors that say how to fix them.

Torch's compiler of CPUs takes minutes, and is asked by `make bench` alone; elsewhere the same graphs run
uncompiled.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from made.tiny_batch import pad_more
from made.tiny_cmir import TINY
from made.tiny_methods import NAMES, Loop, batch_for, tiny
from made.tiny_set import write_tiny_set
from torch._dynamo.utils import counters

from models.core.method import Method
from pipeline.core.errors import MsaError, ParamsError
from pipeline.datasets.splits import LEVELS
from pipeline.datasets.training_set import TrainingSet
from pipeline.params.params import TrainParams
from pipeline.params.run import RunConfig
from pipeline.training.loop import compiling
from pipeline.training.loop.compiling import compiled
from pipeline.training.loop.train import train

CPU = torch.device("cpu")
RECURRENT = ("lmf", "mird", "misa", "mmim", "self_mm", "tfn")
TWO_SHAPES = ("cmir", "slad")
WITHOUT_LSTM = [name for name in NAMES if name not in RECURRENT]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing compiled before, and graphs that are traced and run as they are."""
    monkeypatch.setattr(compiling, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def course(name: str, mode: str, shapes: int = 2) -> list[dict[str, float]]:
    """Ten steps on batches of these shapes; noise that is drawn is the same in all programs."""
    method = tiny(name)
    loop = Loop(method, lr=1e-3)
    loop.model, losses = compiled(method, mode, CPU)
    method.losses = losses  # type: ignore[method-assign]
    batches = [batch_for(method, 8, seed=seed, absent={(1, "audio")}) for seed in range(2)]
    return [loop.step(pad_more(batches[i % 2], 4 * (i % shapes))) for i in range(10)]


def check_ten_steps(name: str, shapes: int = 2) -> None:
    for step, expected in zip(course(name, "default", shapes), course(name, "none", shapes), strict=True):
        assert step == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.fixture
def no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "randn_like", lambda like, **_: torch.full_like(like, 0.3))


@pytest.mark.parametrize("name", WITHOUT_LSTM)
def test_ten_steps_are_those_without_in_whole_graphs(name: str, no_chance: None) -> None:
    shapes = 2 if name in TWO_SHAPES else 1  # to trace takes seconds
    check_ten_steps(name, shapes)
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] <= 2 * shapes + 2  # forward and losses, a shape


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", WITHOUT_LSTM)
def test_ten_steps_are_those_without_by_the_real_compiler(
    name: str, no_chance: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler")
    monkeypatch.setattr(compiling, "BACKEND", "inductor")
    check_ten_steps(name)


def trained(assembled: Path, here: Path, **train_params: Any) -> dict[str, bytes]:
    """The files of a CmIR."""
    settings = {**TINY, "training": {"epochs": 2, "lr_other": 1e-3, "batch_size": 16}}
    run = RunConfig(
        method_name="cmir",
        dataset="tiny",
        seed=3,
        method_params=settings,
        train_params=TrainParams.model_validate(train_params),
        assembled=assembled,
        pretrained=here / "none",
        out=here / "cmir-tiny-3",
    )
    train(run, device="cpu", state_root=here / "state", logs=here / "logs")
    return {file.name: file.read_bytes() for file in run.out.iterdir() if file.is_file()}


def test_a_compiled_run_has_the_same_bytes_again(tmp_path: Path) -> None:
    assembled = write_tiny_set(tmp_path / "set")
    first = trained(assembled, tmp_path / "first", compile="default", precision="bf16")
    assert 0 < counters["stats"]["unique_graphs"] <= 2 * LEVELS
    assert not counters["graph_break"]
    torch._dynamo.reset()
    assert trained(assembled, tmp_path / "second", compile="default", precision="bf16") == first
    assert json.loads(first["config.json"])["train"]["compile"] == "default"


def test_batches_of_few_shapes(tmp_path: Path) -> None:
    """They differ in padding alone, and all streams have the same number of levels."""
    split = TrainingSet.load(write_tiny_set(tmp_path / "set"), only=("train",)).splits["train"]
    generator, shapes = torch.Generator().manual_seed(0), set()
    for size in (1, 1, 2, 4, 8) * 8:
        rows = torch.randperm(len(split), generator=generator)[:size]
        plain, padded = split.batch(rows), split.batch(rows, few_shapes=True)
        widths = []
        for name, part in split.streams.items():
            exact, wider = getattr(plain, name), getattr(padded, name)
            width = exact.values.shape[1]
            widths.append(wider.values.shape[1])
            assert torch.equal(wider.values[:, :width], exact.values)
            assert torch.equal(wider.mask[:, :width], exact.mask)
            assert not wider.mask[:, width:].any() and not wider.values[:, width:].any()
            assert widths[-1] <= int(part.lengths.max())
        shapes.add(tuple(widths))
    assert 1 < len(shapes) <= LEVELS


# ------------------------------------------------------------------------------------ what can go wrong
def test_what_cannot_be_compiled_names_the_way_out() -> None:
    with pytest.raises(ParamsError, match=r"compile is 'reduce-overhead'.*CUDA graphs.*cpu.*default or none"):
        compiled(tiny("misr"), "reduce-overhead", CPU)
    with pytest.raises(ParamsError, match=r"but MIRD has recurrent layers.*set it to none"):
        compiled(tiny("mird"), "default", CPU)


def test_a_compiler_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(graph: Any, inputs: Any) -> Callable[..., Any]:
        raise RuntimeError("no compiler\nhere")

    monkeypatch.setattr(compiling, "BACKEND", failing)
    method: Method = tiny("cmir")
    forward, _ = compiled(method, "default", CPU)
    with pytest.raises(MsaError, match=r"CmIR could not be compiled .*no compiler.*set it to none") as caught:
        forward(batch_for(method))
    assert "\n" not in str(caught.value)
