"""Every method while it learns: it can learn clips by heart, its course is pinned, bf16 is near.

The pinned courses (golden/<name>.json) are written anew, after a wanted change of the numbers, by

    MSA_UPDATE_GOLDEN=1 python -m pytest tests/test_method_training.py -k course
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from made.tiny_methods import (
    FITTED,
    NAMES,
    Loop,
    batch_for,
    leaving_something,
    terms_of,
    tiny,
    tiny_finetuned,
)
from torch import nn

from models.core.batch import Batch
from models.core.method import Method, Task

CLIPS = {"audio_only": 12, "visual_only": 12, "late_fusion": 5}  # by heart, of as few pooled features
GOLDEN = Path(__file__).parents[1] / "golden"

pytestmark = pytest.mark.parametrize("name", NAMES)


# --------------------------------------------------------------------------------------------- pinned course
def set_parameters(method: Method) -> None:
    """Values that depend on NumPy's generator alone, not on torch's initialisation or the processor."""
    generator = np.random.default_rng(2025)
    norms = {id(part.weight) for part in method.modules() if isinstance(part, nn.LayerNorm)}
    for name, parameter in method.named_parameters():
        values = generator.normal(size=parameter.shape)
        if id(parameter) in norms:
            values = 1 + 0.1 * values
        elif parameter.dim() > 1 and not name.endswith("positions"):
            values = values / parameter[0].numel() ** 0.5
        parameter.data.copy_(torch.from_numpy(values))


def course(name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, float]]:
    """The terms in each of ten steps on one batch, a clip of which has no audio."""
    generator = np.random.default_rng(1111)
    monkeypatch.setattr(
        torch, "randn_like", lambda like: torch.from_numpy(generator.normal(size=like.shape)).to(like)
    )
    method = tiny(name).to(dtype)
    set_parameters(method)
    batch = batch_for(method, 6, seed=3, dtype=dtype, absent={(4, "audio")}, unimodal=True)
    loop = Loop(method, lr=1e-3)
    return [loop.step(batch) for _ in range(10)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-3)])
def test_the_course_of_ten_steps(
    name: str, dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, file = course(name, dtype, monkeypatch), GOLDEN / f"{name}.json"
    if os.environ.get("MSA_UPDATE_GOLDEN") and dtype == torch.float64:
        file.write_text(json.dumps(steps, indent=1) + "\n", encoding="utf-8")
    golden = json.loads(file.read_text(encoding="utf-8"))
    assert len(steps) == len(golden) == 10
    for step, expected in zip(steps, golden, strict=True):
        assert step == pytest.approx(expected, rel=tolerance, abs=tolerance)


# -------------------------------------------------------------------------------------------------- learning
def correct(method: Method, batch: Batch) -> bool:
    """Whether all clips are predicted: a mean absolute error below 0.1, or the right classes."""
    method.eval()
    with torch.no_grad():
        prediction = method(batch).prediction
    method.train()
    if method.task.classes == 0:
        return (prediction - batch.label).abs().mean().item() < 0.1
    return bool((method.task.decide(prediction) == batch.label).all())


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_the_task_alone_learns_32_clips_by_heart(name: str, classes: int) -> None:
    if name in FITTED:
        pytest.skip("no step is to move it")
    weights = dict.fromkeys(tiny(name).TERMS[1:], 0.0)  # the first is the task's
    # what reads the mean of few features of the text alone cannot
    build = tiny_finetuned if name in ("text_only", "ithp") else tiny
    method = build(name, task=Task(classes), weights=weights)
    assert terms_of(method) == [method.TERMS[0]]
    absent = leaving_something(method, {(5, "audio"), (6, "text"), (7, "visual")})
    batch = batch_for(method, CLIPS.get(name, 32), absent=absent)
    loop, steps, chunk = Loop(method, lr=6e-3), 500, 20
    for done in range(0, steps, chunk):
        for group in loop.optimizer.param_groups:
            group["lr"] = 6e-3 * (1 - done / steps)
        for _ in range(chunk):
            loop.step(batch)
        if correct(method, batch):
            return
    pytest.fail(f"{steps} steps did not do")


def test_the_objective_falls(name: str) -> None:
    """All terms together, on clips that one of them may lack."""
    method = tiny(name)
    batch = batch_for(method, 16, absent={(5, "audio"), (6, "text"), (7, "visual")})
    loop = Loop(method, lr=2e-3)
    weights = {term: getattr(method.config.weights, term) for term in terms_of(method)}
    totals = []
    for _ in range(40):
        values = loop.step(batch)
        totals.append(sum(weight * values[term] for term, weight in weights.items()))
    assert np.mean(totals[-5:]) < np.mean(totals[:5])


# ------------------------------------------------------------------------------------------------- precision
def test_training_in_bf16_and_by_deterministic_algorithms(name: str) -> None:
    def third_step(half: bool) -> dict[str, float]:
        method = tiny(name)
        batch = batch_for(method, absent={(1, "audio")})
        loop = Loop(method, lr=1e-3)
        loop.model = torch.autocast("cpu", torch.bfloat16, enabled=half)(method)
        torch.manual_seed(1)  # of the noise
        return [loop.step(batch) for _ in range(3)][-1]

    torch.use_deterministic_algorithms(True)
    try:
        exact = third_step(half=False)
        assert third_step(half=False) == exact
        rough = third_step(half=True)
    finally:
        torch.use_deterministic_algorithms(False)
    # at random, SLaD finds other hardest negatives in a batch of few
    assert rough == pytest.approx(exact, rel=0.2, abs=5e-2)
