"""KHaR's parts by themselves: the mixture of experts and what replaces it, the contrast, the fusion."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from made.tensors import double, finite_gradients
from made.tiny_batch import DIMS, random_batch
from made.tiny_khar import FUSIONS, tiny
from reference import blocks as reference
from torch import Tensor, nn
from torch.nn import functional as F

from models.khar.contrast import label_pairs, sentiment_contrast
from models.khar.refinement import (
    AttentionRefinement,
    Expert,
    Mixture,
    SparseGate,
    chance_of_choice,
    squared_cv,
)
from pipeline.core.errors import ParamsError

NAMES = tuple(DIMS)


# ------------------------------------------------------------------------------------------- the gate (4)
def mixture(k: int, by_token: bool = True) -> Mixture:
    """Three experts over rows of three numbers, which are the gate's scores."""
    torch.manual_seed(0)
    moe = Mixture(SparseGate(3, 3, k), (Expert(3, 5, 8, 0.0) for _ in range(3)), by_token=by_token)
    torch.nn.init.eye_(moe.gate.score.weight)
    return moe


def test_the_gate_keeps_k_experts() -> None:
    row = torch.tensor([[[2.0, 1.0, 0.0]]])
    mask = torch.ones(1, 1, dtype=torch.bool)
    importance, load, rows = mixture(2)(row, mask)[1]
    assert importance.tolist() == pytest.approx([0.731059, 0.268941, 0], abs=1e-6)
    assert importance[2].item() == 0
    assert load.tolist() == pytest.approx(torch.softmax(row[0, 0], 0).tolist())
    assert rows.tolist() == [1, 1, 0]
    everything, soft, _ = mixture(3)(row, mask)[1]
    torch.testing.assert_close(everything, soft)
    with pytest.raises(ParamsError, match="k = 4 of 3 experts"):
        mixture(4)


def test_padding_has_no_importance() -> None:
    torch.manual_seed(0)
    rows, mask = torch.randn(2, 6, 3), torch.arange(6) < torch.tensor([[6], [2]])
    outcome, usage = mixture(2)(rows, mask)
    assert [used.sum().item() for used in usage] == pytest.approx([8, 8, 16], abs=1e-5)
    other, after = mixture(2)(rows.masked_fill(~mask[..., None], 1e3), mask)
    assert torch.equal(outcome, other)
    assert all(torch.equal(a, b) for a, b in zip(usage, after, strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_the_balance_term_balances(seed: int) -> None:
    torch.manual_seed(seed)
    moe = Mixture(SparseGate(16, 3, 2), (Expert(16, 2, 4, 0.0) for _ in range(3)), by_token=True)
    torch.nn.init.normal_(moe.gate.score.weight, std=0.25)
    rows = torch.randn(256, 1, 16) + 0.3 * torch.randn(16)  # off centre, for an uneven start
    mask = torch.ones(256, 1, dtype=torch.bool)
    optimizer = torch.optim.Adam(moe.gate.parameters(), lr=1e-2)
    for step in range(500):
        importance, load, _ = moe(rows, mask)[1]
        if step == 0:
            assert squared_cv(importance) > 1e-3
        optimizer.zero_grad()
        (squared_cv(importance) + squared_cv(load)).backward()
        optimizer.step()
    assert squared_cv(moe(rows, mask)[1][0]) < 1e-3


def test_ablated_refinements() -> None:
    """The three of table 3 for one clip, from what they are said to be."""
    batch = random_batch(1, dtype=torch.float64)
    taken = {}
    for refine in ("mlp", "attention", "cnn"):
        method = tiny(refine=refine).double().eval()
        x = method.harvested(batch)["audio"]
        rows, part = x.values[:, x.mask[0]], method.refine["audio"]
        taken[refine], _ = part(x.values, x.mask)
        if refine == "mlp":
            expected = part.expert(rows).mean(dim=1)
        elif refine == "attention":
            expected = part.out(part.attention(rows, rows, rows)[0].mean(dim=1))
        else:
            expected = part.convolution(rows.transpose(1, 2)).mean(dim=2)
        torch.testing.assert_close(taken[refine], expected)


# ------------------------------------------------------------------------------------ pairs and contrast
def contrast(
    refined: dict[str, Tensor], label: list[float], kappa: float | None = 0.4, temperature: float = 0.1
) -> Tensor:
    """L_CL where every clip has all modalities and a label."""
    known = torch.ones(len(label), dtype=torch.bool)
    present = dict.fromkeys(refined, known)
    target = torch.tensor(label, dtype=torch.float64)
    return sentiment_contrast(refined, present, target, known, kappa, temperature)


def pairs_of(label: list[float], kappa: float | None = 0.4) -> tuple[set[tuple[int, int]], ...]:
    known = torch.ones(len(label), dtype=torch.bool)
    both = label_pairs(torch.tensor(label), known, kappa)
    for found in both:
        assert torch.equal(found, found.T)
        assert not found.diagonal().any()
    return tuple({(i, j) for i, j in found.nonzero().tolist() if i < j} for found in both)


def test_pairs() -> None:
    assert pairs_of([0, 0.4, 0.8]) == ({(0, 1), (1, 2)}, {(0, 2)})
    assert pairs_of([1, 1.3, 2]) == ({(0, 1)}, {(0, 2), (1, 2)})
    for close in ([0.2, 0.6], [2.6, 3.0], [1.0, 1.4], [-0.2, 0.2]):  # some are farther apart in float32
        assert pairs_of(close) == ({(0, 1)}, set())
    assert pairs_of([0, 1, 1], kappa=None) == ({(1, 2)}, {(0, 1), (0, 2)})  # classes


def test_unlabeled_clips_are_in_no_pair() -> None:
    label = torch.tensor([0.0, math.nan, 0.1])
    positive, negative = label_pairs(label, torch.tensor([True, False, True]), 0.4)
    assert positive.nonzero().tolist() == [[0, 2], [2, 0]]
    assert not negative.any()


@pytest.mark.parametrize("temperature", [0.03, 0.1, 1.0])
def test_contrast_of_constant_features(temperature: float) -> None:
    same = {name: torch.ones(3, 6, dtype=torch.float64) for name in NAMES}
    loss = contrast(same, [0, 0.4, 0.8], temperature=temperature)
    assert loss.item() == pytest.approx(0.373077, abs=1e-6)
    assert loss.item() == pytest.approx(2 / 3 * 0.559616, abs=1e-6)
    assert contrast(same, [0.1, 0.2, 0.3], temperature=temperature).item() == pytest.approx(0, abs=1e-12)


def test_contrast_looks_at_directions_alone() -> None:
    torch.manual_seed(0)
    features = {name: torch.randn(3, 6, dtype=torch.float64) for name in NAMES}
    label = [0.0, 0.1, 2.0]
    loss = contrast(features, label)
    louder = {name: torch.tensor([[3.0], [0.1], [7.0]]) * value for name, value in features.items()}
    torch.testing.assert_close(contrast(louder, label), loss)
    closer = {name: value.clone() for name, value in features.items()}
    for name in NAMES:
        closer[name][1] = 0.5 * features[name][1] + 0.5 * features[name][0]
    assert contrast(closer, label) < loss


def test_contrast_of_one_clip_is_zero_with_zero_gradients() -> None:
    for names in (NAMES, ("text",)):
        features = {name: torch.randn(1, 6, requires_grad=True) for name in names}
        loss = contrast(features, [0.7])
        loss.backward()
        assert loss.item() == 0
        for value in features.values():
            torch.testing.assert_close(value.grad, torch.zeros(1, 6), atol=1e-6, rtol=0)


def test_a_clip_without_a_positive_does_not_count() -> None:
    features = {"text": torch.ones(3, 6, dtype=torch.float64)}  # one modality: no pairs within a clip
    assert contrast(features, [0, 0.1, 2]).item() == pytest.approx(math.log(2))  # of clips 0 and 1


# ---------------------------------------------------------------------------------------------- the fusion
def test_fusion_of_an_absent_modality() -> None:
    refined = torch.randn(2, 3, 6)
    present = torch.tensor([[True, True, True], [True, False, True]])
    refined = refined.masked_fill(~present[..., None], 0.0)
    for fusion in FUSIONS:
        part = tiny(fusion=fusion).fusion
        whole = part(refined, present)
        two = refined[1, present[1]]
        expected = {
            "mib": refined[1].flatten(),
            "concat": refined[1].flatten(),
            "sum": two.sum(dim=0),
            "product": two.prod(dim=0),
            "attention": part.attention
            and part.attention(two[None], two[None], two[None])[0].mean(dim=(0, 1)),
        }[fusion]
        torch.testing.assert_close(whole[1], F.relu(part.out(expected)), msg=fusion)


def test_heads_that_do_not_divide_the_width_are_a_message() -> None:
    with pytest.raises(ParamsError, match=r"X_m's width of 6 does not divide into its 4 heads"):
        AttentionRefinement(6, 5)


# ----------------------------------------------------------------------------------------------- gates
def gate_of(scores: list[float], k: int) -> tuple[list[float], list[float]]:
    gate = SparseGate(len(scores), len(scores), k).double()
    gate.score.weight.data.copy_(torch.eye(len(scores)))
    gates, soft = gate(torch.tensor(scores, dtype=torch.float64))
    return gates.tolist(), soft.tolist()


def test_known_gates() -> None:
    gates, soft = gate_of([2, 1, 0], k=2)
    assert gates == pytest.approx([0.731059, 0.268941, 0], abs=1e-6)
    assert soft == pytest.approx(torch.tensor([2.0, 1, 0]).softmax(0).tolist(), abs=1e-6)
    everything, soft = gate_of([2, 1, 0], k=3)
    assert everything == pytest.approx(soft, abs=1e-12)
    assert gate_of([0.3, 2, -1], k=1)[0] == [0, 1, 0]


@pytest.mark.parametrize("k", [1, 2, 4])
def test_gates_equal_their_definition(k: int) -> None:
    torch.manual_seed(0)
    gate, x = SparseGate(6, 4, k).double(), double(3, 5, 6)
    gates, soft = gate(x)
    assert ((gates != 0).sum(dim=-1) == k).all()
    torch.testing.assert_close(gates.sum(dim=-1), torch.ones(3, 5, dtype=torch.float64))
    scores = (x @ gate.score.weight.T).detach().reshape(15, 4).numpy()
    expected = [reference.top_gates(row, k) for row in scores]
    np.testing.assert_allclose(gates.detach().reshape(15, 4).numpy(), expected, atol=1e-12)
    torch.testing.assert_close(soft, torch.from_numpy(scores).reshape(3, 5, 4).softmax(dim=-1))


def test_the_gate_starts_small_and_untied() -> None:
    torch.manual_seed(0)
    weight = SparseGate(200, 50, 2).score.weight
    assert weight.std().item() == pytest.approx(1e-2, rel=0.05)
    assert SparseGate(4, 3, 2).score.bias is None


def test_the_gate_chooses_in_float32_under_autocast() -> None:
    torch.manual_seed(0)
    gate, x = SparseGate(16, 3, 2), torch.randn(100, 16)
    with torch.autocast("cpu", torch.bfloat16):
        gates, soft = gate(x)
    assert {gates.dtype, soft.dtype} == {torch.float32}
    assert torch.equal(gates, gate(x)[0])
    assert gate(x.bfloat16())[0].dtype == torch.float32


def test_noise_is_for_training() -> None:
    torch.manual_seed(0)
    gate, x = SparseGate(16, 3, 2, noisy=True), torch.randn(50, 16)
    first, second = gate(x)[0], gate(x)[0]
    assert not torch.equal(first, second)
    assert ((first != 0).sum(dim=-1) == 2).all()
    first.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in gate.parameters())
    assert torch.equal(gate.eval()(x)[0], gate(x)[0])
    quiet = SparseGate(16, 3, 2)
    assert torch.equal(quiet(x)[0], quiet(x)[0])


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_the_chance_of_choice_is_how_often_new_noise_chooses(k: int) -> None:
    """40 000 draws of one expert's noise, the others' as they were; of 4 experts, all, all are chosen."""
    random = np.random.default_rng(k)
    clean, spread = random.normal(size=(6, 4)), random.uniform(0.2, 1.5, (6, 4))
    drawn = clean + spread * random.normal(size=(6, 4))
    found = chance_of_choice(*(torch.from_numpy(part) for part in (clean, drawn, spread)), k).numpy()
    for row in range(6):
        for expert in range(4):
            scores = np.tile(drawn[row], (40_000, 1))
            scores[:, expert] = clean[row, expert] + spread[row, expert] * random.normal(size=40_000)
            better = (scores > scores[:, [expert]]).sum(axis=1)
            assert found[row, expert] == pytest.approx((better < k).mean(), abs=0.01)  # 4 standard errors


def test_the_smooth_load_is_of_the_scores_that_were_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """In training under noise; in evaluation under the noise that there would be. It reaches both weights."""
    torch.manual_seed(0)
    gate, x = SparseGate(5, 3, 2, noisy=True, smooth=True).double(), double(7, 5)
    assert gate.noise is not None
    nn.init.normal_(gate.noise.weight)
    noise = double(7, 3)
    monkeypatch.setattr(torch, "randn_like", lambda _: noise)
    clean, spread = x @ gate.score.weight.T, F.softplus(x @ gate.noise.weight.T) + 0.01
    torch.testing.assert_close(gate(x)[1], chance_of_choice(clean, clean + noise * spread, spread, 2))
    for part in gate.parameters():
        (gradient,) = torch.autograd.grad(squared_cv(gate(x)[1].sum(dim=0)), part)
        assert gradient.abs().max() > 0
    torch.testing.assert_close(gate.eval()(x)[1], chance_of_choice(clean, clean, spread, 2))


def test_the_smooth_load_expects_the_rows_of_each_expert() -> None:
    """Over many draws of all noise its mean is the mean count: what (6) calls the frequency of use."""
    torch.manual_seed(0)
    gate, x = SparseGate(5, 3, 2, noisy=True, smooth=True), torch.randn(1, 5).expand(50_000, 5)
    nn.init.normal_(gate.score.weight, std=0.5)
    with torch.no_grad():
        gates, load = gate(x)
    torch.testing.assert_close(load.mean(dim=0), (gates > 0).float().mean(dim=0), atol=0.01, rtol=0)


@pytest.mark.parametrize("k", [0, 4])
def test_a_gate_needs_as_many_experts_as_it_chooses(k: int) -> None:
    with pytest.raises(ParamsError, match=f"k = {k} of 3 experts; k must be 1 to 3"):
        SparseGate(4, 3, k)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([4, 4, 4], 0), ([6, 3, 3], 0.1875), ([12, 0, 0], 3), ([2, 1, 0], 1), ([5], 0), ([0, 0, 0], 0)],
)
def test_squared_cv(values: list[float], expected: float) -> None:
    tensor = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    value = squared_cv(tensor)
    assert value.item() == pytest.approx(expected, abs=1e-9)
    finite_gradients(value, tensor)


@pytest.mark.parametrize("seed", [0, 1])
def test_balance_alone_evens_out_the_experts(seed: int) -> None:
    """KHaR's importance and smooth load on fixed rows, from an uneven start."""
    torch.manual_seed(seed)
    rows = torch.randn(256, 16) + torch.randn(16)
    gate = SparseGate(16, 3, 2)
    nn.init.normal_(gate.score.weight, std=0.1)
    optimizer = torch.optim.Adam(gate.parameters(), lr=1e-2)
    with torch.no_grad():
        assert squared_cv(gate(rows)[0].sum(dim=0)) > 1e-2
    for _ in range(500):
        gates, soft = gate(rows)
        optimizer.zero_grad()
        (squared_cv(gates.sum(dim=0)) + squared_cv(soft.sum(dim=0))).backward()
        optimizer.step()
    with torch.no_grad():
        importance = gate(rows)[0].sum(dim=0)
    assert squared_cv(importance) < 1e-3
    assert all(80 < total < 91 for total in importance.tolist())
