"""MISR while it learns: the objective can be met, its course is pinned, and Fabric changes nothing.

The pinned course (golden/misr.json) is written anew, after a wanted change of the numbers, by

    MSA_UPDATE_GOLDEN=1 python -m pytest tests/test_misr_training.py -k course
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_batch import DIMS, random_batch
from tiny_misr import TINY, weighted

from models.misr import MISR, MISRSettings
from pipeline.batches import Batch

GOLDEN = Path(__file__).parent / "golden" / "misr.json"


def adam(method: MISR, factor: float = 1.0) -> torch.optim.Adam:
    groups = method.parameter_groups()
    for group in groups:
        group["lr"] *= factor
    return torch.optim.Adam(groups)


# --------------------------------------------------------------------------------------------- pinned course
def set_parameters(method: MISR) -> None:
    """Values that depend on NumPy's generator alone, not on torch's initialisation or the processor."""
    generator = np.random.default_rng(2025)
    for name, parameter in method.named_parameters():
        values = generator.normal(size=parameter.shape)
        if name.endswith("norm.weight") or name.endswith("feedforward.0.weight"):
            values = 1 + 0.1 * values
        elif parameter.dim() > 1 and not name.endswith("positions"):
            values = values / parameter.shape[-1] ** 0.5
        parameter.data.copy_(torch.from_numpy(values))


def course(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, float]]:
    """The five terms in each of ten steps on one batch, a clip of which has no audio."""
    generator = np.random.default_rng(1111)
    monkeypatch.setattr(
        torch, "randn_like", lambda like: torch.from_numpy(generator.normal(size=like.shape)).to(like)
    )
    method = MISR(MISRSettings(**TINY, dropout=0.0), DIMS).to(dtype)
    set_parameters(method)
    batch = random_batch(6, seed=3, dtype=dtype, absent={(4, "audio")})
    optimizer = adam(method, factor=10)
    steps = []
    for _ in range(10):
        losses = method.losses(batch, method(batch), MISR.TERMS)
        steps.append({term: value.item() for term, value in losses.items()})
        optimizer.zero_grad()
        weighted(method, losses).backward()
        torch.nn.utils.clip_grad_norm_(method.parameters(), 1.0)
        optimizer.step()
    return steps


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-3)])
def test_the_course_of_ten_steps(
    dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = course(dtype, monkeypatch)
    if os.environ.get("MSA_UPDATE_GOLDEN") and dtype == torch.float64:
        GOLDEN.write_text(json.dumps(steps, indent=1) + "\n", encoding="utf-8")
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert len(steps) == len(golden) == 10
    for step, expected in zip(steps, golden, strict=True):
        assert step == pytest.approx(expected, rel=tolerance, abs=tolerance)


# -------------------------------------------------------------------------------------------------- learning
def fit(weights: dict[str, float], batch: Batch, steps: int) -> MISR:
    torch.manual_seed(0)
    settings = {**TINY, "width": 32, "dropout": 0.0, "layers": 1, "weights": weights}
    method = MISR(MISRSettings.model_validate(settings), DIMS)
    terms = [term for term in MISR.TERMS if weights[term] > 0]
    method.active_terms = frozenset(terms)
    optimizer = adam(method, factor=20)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    for _ in range(steps):
        losses = method.losses(batch, method(batch), terms)
        optimizer.zero_grad()
        weighted(method, losses).backward()
        optimizer.step()
        schedule.step()
    return method.eval()


def mae(method: MISR, batch: Batch) -> float:
    with torch.no_grad():
        return (method(batch).prediction - batch.label).abs().mean().item()


def test_the_prediction_term_alone_learns_32_clips_by_heart() -> None:
    batch = random_batch(32, absent={(5, "audio"), (6, "text"), (7, "visual")})
    alone = {"prediction": 1.0, "prior": 0.0, "alignment": 0.0, "reconstruction": 0.0, "invariance": 0.0}
    assert mae(fit(alone, batch, steps=200), batch) < 0.1


def test_the_distribution_terms_do_what_they_name() -> None:
    batch = random_batch(16)
    settings = {"prediction": 1.0, "prior": 1.0, "alignment": 1.0, "reconstruction": 1.0, "invariance": 1.0}
    untrained, trained = fit(settings, batch, steps=0), fit(settings, batch, steps=60)
    values = []
    for method in (untrained, trained):
        torch.manual_seed(1)
        with torch.no_grad():
            losses = method.losses(batch, method.train()(batch), MISR.TERMS)
        values.append({term: value.item() for term, value in losses.items()})
    before, after = values
    for term in ("prior", "alignment", "reconstruction"):
        assert after[term] < 0.7 * before[term]


# ---------------------------------------------------------------------------------------------------- Fabric
def test_training_under_fabric_and_deterministic_algorithms() -> None:
    from lightning.fabric import Fabric

    batch = random_batch(absent={(1, "audio")})

    def losses_of_the_third_step(precision: str) -> dict[str, float]:
        fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
        torch.manual_seed(0)
        method = MISR(MISRSettings(**TINY), DIMS)
        model, optimizer = fabric.setup(method, adam(method))
        for _ in range(3):
            losses = method.losses(batch, model(batch), MISR.TERMS)
            optimizer.zero_grad()
            fabric.backward(weighted(method, losses))
            optimizer.step()
        assert all(value.dtype == torch.float32 for value in losses.values())
        return {term: value.item() for term, value in losses.items()}

    torch.use_deterministic_algorithms(True)
    try:
        exact = losses_of_the_third_step("32-true")
        assert losses_of_the_third_step("32-true") == exact
        rough = losses_of_the_third_step("bf16-mixed")
    finally:
        torch.use_deterministic_algorithms(False)
    assert rough == pytest.approx(exact, rel=0.1, abs=2e-3)
