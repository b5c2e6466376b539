"""MAG, sparse gates and the cross-modal encoder of methods: known answers, definitions, masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from reference import blocks as reference
from torch import Tensor, nn

from models.core.blocks import (
    CrossModalEncoder,
    MultimodalAdaptationGate,
    SparseGate,
    shift_scale,
    squared_cv,
)
from pipeline.core.errors import ParamsError


def double(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def finite_gradients(value: Tensor, *sources: Tensor) -> list[Tensor]:
    """Gradients of the sum, which must be finite, as all must be on the way to them."""
    with torch.autograd.set_detect_anomaly(True):
        gradients = torch.autograd.grad(value.sum(), sources)
    assert all(gradient.isfinite().all() for gradient in gradients)
    return list(gradients)


# -------------------------------------------------------------------------------------------------- MAG
@pytest.mark.parametrize(
    ("word", "shift", "scale"),
    [(2.0, 10.0, 0.2), (5.0, 2.0, 1.0), (3.0, 0.0, 1.0), (0.0, 4.0, 0.0), (0.0, 0.0, 1.0)],
)
def test_scale_of_a_shift(word: float, shift: float, scale: float) -> None:
    w, h = torch.zeros(2, 1, 1, 3, dtype=torch.float64)
    w[..., 0], h[..., 1] = word, shift
    assert shift_scale(w, h, 1.0).item() == pytest.approx(scale, abs=1e-6)


def mag(**settings: object) -> MultimodalAdaptationGate:
    torch.manual_seed(0)
    return MultimodalAdaptationGate(8, {"audio": 3, "visual": 5}, **settings).double()  # type: ignore[arg-type]


def shifts_of(clips: int, words: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    present = {"audio": torch.ones(clips, dtype=torch.bool), "visual": torch.ones(clips, dtype=torch.bool)}
    return {"audio": double(clips, words, 3, seed=1), "visual": double(clips, words, 5, seed=2)}, present


def test_mag_equals_the_equations() -> None:
    gate, words = mag(), double(2, 4, 8)
    shifts, present = shifts_of(2, 4)
    present["visual"][1] = False
    adapted = (words + gate.shift(words, shifts, present)).detach().numpy()

    def layer(linear: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
        return lambda x: linear(torch.from_numpy(x)).detach().numpy()

    gates = {name: layer(linear) for name, linear in gate.gate.items()}
    projects = {name: layer(linear) for name, linear in gate.project.items()}
    for clip in range(2):
        for step in range(4):
            said = {name: x[clip, step].numpy() for name, x in shifts.items() if present[name][clip]}
            expected = reference.adapted(words[clip, step].numpy(), said, gates, projects)
            np.testing.assert_allclose(adapted[clip, step], expected, atol=1e-12)


@pytest.mark.parametrize("epsilon", [0.1, 1.0])
@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_no_shift_is_longer_than_its_word(activation: str, epsilon: float) -> None:
    gate, words = mag(gate=activation, epsilon=epsilon), 0.1 * double(3, 4, 8)
    shifts, present = shifts_of(3, 4)
    shift = gate.shift(words, {name: 100 * x for name, x in shifts.items()}, present)
    assert (shift.norm(dim=-1) <= epsilon * words.norm(dim=-1) * (1 + 1e-12)).all()
    assert shift.norm(dim=-1).max() > 0


def test_what_is_absent_does_not_shift() -> None:
    gate, words = mag().eval(), double(3, 4, 8).requires_grad_()
    shifts, present = shifts_of(3, 4)
    present = {"audio": torch.tensor([True, False, False]), "visual": torch.tensor([True, True, False])}
    loud = {name: x.masked_fill(~present[name][:, None, None], torch.nan) for name, x in shifts.items()}
    adapted = gate(words, loud, present)
    assert torch.equal(adapted, gate(words, shifts, present))
    torch.testing.assert_close(adapted[2], gate.norm(words[2]), rtol=0, atol=0)  # plain words
    finite_gradients(adapted.square(), words, *gate.parameters())
    only_text = MultimodalAdaptationGate(8, {}).double().eval()
    torch.testing.assert_close(only_text(words, {}, {}), only_text.norm(words), rtol=0, atol=0)


def test_mag_under_autocast_stays_near() -> None:
    gate, words = mag().float(), double(3, 4, 8).float()
    shifts, present = shifts_of(3, 4)
    shifts = {name: x.float() for name, x in shifts.items()}
    exact = gate.shift(words, shifts, present)
    with torch.autocast("cpu", torch.bfloat16):
        rough = gate.shift(words.bfloat16(), shifts, present)
        assert gate(words, shifts, present).dtype == torch.float32
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.05, atol=0.05)


def test_mag_drops_out_after_its_norm() -> None:
    gate, words = mag(dropout=0.5), double(30, 4, 8)
    shifts, present = shifts_of(30, 4)
    dropped = gate(words, shifts, present) == 0
    assert 0.4 < dropped.double().mean() < 0.6
    assert not (gate.eval()(words, shifts, present) == 0).any()


# ----------------------------------------------------------------------------------------------- experts
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


# ------------------------------------------------------------------------------------------- two streams
def streams(clips: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two streams with padding; the first has nothing in the last clip."""
    masks = torch.arange(4) < torch.tensor([[4], [2], [0]]), torch.arange(6) < torch.tensor([[3], [6], [5]])
    first, second = double(3, 4, 12), double(3, 6, 12, seed=1)
    return first[:clips], second[:clips], masks[0][:clips], masks[1][:clips]


def cross_modal(dropout: float = 0.0) -> CrossModalEncoder:
    torch.manual_seed(0)
    return CrossModalEncoder(12, layers=2, heads=3, feedforward=16, dropout=dropout).double()


def test_cross_modal_encoder_equals_its_definition() -> None:
    encoder, (first, second, mask1, mask2) = cross_modal(), streams()
    found = [state.detach().numpy() for state in encoder(first, second, mask1, mask2)]
    weights = {name: value.numpy() for name, value in encoder.state_dict().items()}
    for clip in range(3):
        real = first[clip][mask1[clip]].numpy(), second[clip][mask2[clip]].numpy()
        expected = reference.cross_modal(*real, weights, layers=2, heads=3)
        for state, truth in zip(found, expected, strict=True):
            np.testing.assert_allclose(state[clip], truth, atol=1e-10)


def test_cross_modal_encoder_does_not_see_padding() -> None:
    encoder, (first, second, mask1, mask2) = cross_modal(), streams()
    loud = torch.where(mask1[..., None], first, 1e6), torch.where(mask2[..., None], second, -1e6)
    for state, expected in zip(
        encoder(*loud, mask1, mask2), encoder(first, second, mask1, mask2), strict=True
    ):
        torch.testing.assert_close(state, expected, atol=1e-10, rtol=0)


def test_cross_modal_encoder_with_empty_rows_trains() -> None:
    encoder, (first, second, mask1, mask2) = cross_modal(), streams()
    states = encoder(first.requires_grad_(), second, torch.zeros_like(mask1), torch.zeros_like(mask2))
    (gradient, *_) = finite_gradients(torch.cat(states).square(), first, *encoder.parameters())
    assert gradient.abs().max() == 0
    both = torch.cat(encoder(first, second, mask1, mask2))
    gradients = finite_gradients(both * double(6, 12, seed=3), *encoder.parameters())
    names = [name for name, _ in encoder.named_parameters()]
    assert [n for n, g in zip(names, gradients, strict=True) if g.abs().max() == 0] == []


def test_cross_modal_encoder_drops_out_in_training_only() -> None:
    encoder, inputs = cross_modal(dropout=0.3), streams()
    assert not torch.equal(encoder(*inputs)[0], encoder(*inputs)[0])
    encoder.eval()
    assert torch.equal(encoder(*inputs)[0], encoder(*inputs)[0])
    with torch.autocast("cpu", torch.bfloat16):
        rough = encoder.float()(*(x.float() if x.is_floating_point() else x for x in inputs))[0]
    torch.testing.assert_close(rough.double(), encoder.double()(*inputs)[0], atol=0.1, rtol=0.1)
