"""What test_method_batches.py and test_method_training.py ask of every method, in MISR's own ways."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from made.tiny_batch import DIMS, random_batch, select
from made.tiny_methods import Loop, weighted
from made.tiny_misr import tiny

from models.misr.model import MISR, kl_between


def test_dropout_is_for_training() -> None:
    method, batch = tiny(dropout=0.3), random_batch()
    assert not torch.equal(method(batch).prediction, method(batch).prediction)
    method.eval()
    assert torch.equal(method(batch).prediction, method(batch).prediction)


# ---------------------------------------------------------------------------------------------- missing
def test_a_clip_without_a_modality_is_predicted_as_by_the_others_alone() -> None:
    """A model whose audio branch is cut off is the same as one that was built without it."""
    both = tiny().eval()
    torch.manual_seed(0)
    without = tiny(dims={"text": DIMS["text"], "visual": DIMS["visual"]}).eval()
    state = {name: value for name, value in both.state_dict().items() if ".audio." not in name}
    without.load_state_dict(state)
    batch = random_batch(absent={(clip, "audio") for clip in range(4)})
    torch.testing.assert_close(without(batch).prediction, both(batch).prediction, atol=1e-6, rtol=0)


@pytest.mark.parametrize("over", ["batch", "clip"])
@pytest.mark.parametrize("lacking", ["modalities", "label"])
def test_a_clip_without_anything_to_learn_leaves_every_mean(
    lacking: str, over: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a modality: losses and gradients of the batch without it. Without a label it has L_DC alone."""
    monkeypatch.setattr(torch, "randn_like", lambda like: torch.full_like(like, 0.3))
    method = tiny(invariance_over=over).double()
    absent = {(2, name) for name in DIMS} if lacking == "modalities" else ()
    unlabeled = (2,) if lacking == "label" else ()
    batch = random_batch(5, dtype=torch.float64, absent=absent, unlabeled=unlabeled)
    terms = MISR.TERMS if lacking == "modalities" else ("prediction", "invariance")
    found = []
    for version in (batch, select(batch, [0, 1, 3, 4])):
        method.zero_grad()
        losses = method.losses(version, method(version), terms)
        weighted(method, losses).backward()
        found.append([*losses.values(), *(p.grad.clone() for p in method.parameters() if p.grad is not None)])
    for mine, without in zip(*found, strict=True):
        assert mine.isfinite().all()
        torch.testing.assert_close(mine, without)


@pytest.mark.parametrize("size", [1, 2])
def test_a_run_without_a_modality(size: int) -> None:
    for names in combinations(DIMS, size):
        method = tiny(dims={name: DIMS[name] for name in names})
        assert len(method.subsets) == 2**size
        batch = random_batch()
        batch = replace(batch, **{name: None for name in DIMS if name not in names})
        losses = method.losses(batch, method(batch), MISR.TERMS)
        assert all(value.isfinite() for value in losses.values())
        assert (losses["alignment"].item() == 0) == (size == 1)
        weighted(method, losses).backward()
        assert all(parameter.grad is not None for parameter in method.parameters())


# ---------------------------------------------------------------------------------------------- precision
def test_representations_are_float32_under_autocast() -> None:
    method, batch = tiny(), random_batch(absent={(1, "audio")})
    torch.manual_seed(1)
    exact = method.losses(batch, method(batch), MISR.TERMS)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        output = method(batch)
    losses = method.losses(batch, output, MISR.TERMS)
    assert {output.prediction.dtype, output.joint.dtype} == {torch.float32}
    assert {output.mean.dtype, output.logvar.dtype} == {torch.float32}
    for term, value in losses.items():
        assert value.item() == pytest.approx(exact[term].item(), rel=0.1, abs=2e-3)


# -------------------------------------------------------------------------------------------------- learning
def test_the_distribution_terms_do_what_they_name() -> None:
    batch = random_batch(16)
    weights = {"prediction": 1.0, "prior": 1.0, "alignment": 1.0, "reconstruction": 1.0, "invariance": 1.0}
    method = tiny(width=32, layers=1, weights=weights)
    loop = Loop(method, lr=2e-3)
    torch.manual_seed(1)
    before, *_, after = [loop.step(batch) for _ in range(60)]
    for term in ("prior", "alignment", "reconstruction"):
        assert after[term] < 0.7 * before[term]


# ------------------------------------------------------------------------------------------------ Gaussians
@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0, 1), (1, 2), 0.443147),
        ((1, 2), (0, 1), 1.306853),
        ((0, 0.5), (0, 2), 0.917544),
        ((0, 2), (0, 0.5), 6.113706),
        ((-1.5, 0.3), (-1.5, 0.3), 0),
    ],
)
def test_kl_between_two(first: tuple, second: tuple, expected: float) -> None:
    (mu1, sigma1), (mu2, sigma2) = first, second
    arguments = (mu1, 2 * math.log(sigma1), mu2, 2 * math.log(sigma2))
    value = kl_between(*(torch.tensor(float(number)) for number in arguments))
    assert value.item() == pytest.approx(expected, abs=1e-6)


def test_kl_between_two_equals_torch_distributions() -> None:
    torch.manual_seed(0)
    mu1, mu2, log1, log2 = torch.randn(4, 50, dtype=torch.float64)
    normal = torch.distributions.Normal
    first, second = normal(mu1, (log1 / 2).exp()), normal(mu2, (log2 / 2).exp())
    expected = torch.distributions.kl_divergence(first, second)
    torch.testing.assert_close(kl_between(mu1, log1, mu2, log2), expected, rtol=1e-12, atol=1e-12)
