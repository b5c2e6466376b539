"""The gate that shifts words (MAG)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from made.tensors import double, finite_gradients
from made.tiny_mird import shift_words
from reference import blocks as reference
from torch import Tensor, nn

from models.core.gate import MultimodalAdaptationGate, shift_scale


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
    gate = MultimodalAdaptationGate(8, {"audio": 3, "visual": 5}, **settings)  # type: ignore[arg-type]
    shift_words(gate)
    return gate.double()


def shifts_of(clips: int, words: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    present = {"audio": torch.ones(clips, dtype=torch.bool), "visual": torch.ones(clips, dtype=torch.bool)}
    return {"audio": double(clips, words, 3, seed=1), "visual": double(clips, words, 5, seed=2)}, present


def adapt(
    gate: MultimodalAdaptationGate, words: Tensor, beside: dict[str, Tensor], known: dict[str, Tensor]
) -> Tensor:
    adapted: Tensor = gate(words, gate.parts(words, beside, known))
    return adapted


def shift(
    gate: MultimodalAdaptationGate, words: Tensor, beside: dict[str, Tensor], known: dict[str, Tensor]
) -> Tensor:
    return gate.shift(words, gate.parts(words, beside, known))


def test_mag_equals_the_equations() -> None:
    gate, words = mag(), double(2, 4, 8)
    shifts, present = shifts_of(2, 4)
    present["visual"][1] = False
    adapted = (words + shift(gate, words, shifts, present)).detach().numpy()

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
    moved = shift(gate, words, {name: 100 * x for name, x in shifts.items()}, present).norm(dim=-1)
    assert (moved <= epsilon * words.norm(dim=-1) * (1 + 1e-12)).all()
    assert moved.max() > 0


def test_at_the_start_no_word_is_shifted() -> None:
    """And all of the gate learns within two steps; where a shift is 0, its length has no gradient of NaN."""
    torch.manual_seed(0)
    gate, words = MultimodalAdaptationGate(8, {"audio": 3, "visual": 5}).double().eval(), double(2, 4, 8)
    shifts, present = shifts_of(2, 4)
    assert (shift(gate, words, shifts, present) == 0).all()
    assert torch.equal(adapt(gate, words, shifts, present), gate.norm(words))
    optimizer, before = (
        torch.optim.SGD(gate.parameters(), lr=0.1),
        {k: v.clone() for k, v in gate.state_dict().items()},
    )
    for _ in range(2):
        optimizer.zero_grad()
        adapt(gate, words, shifts, present).pow(3).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in gate.parameters())
        optimizer.step()
    assert [name for name, value in gate.state_dict().items() if torch.equal(value, before[name])] == []


def test_what_is_absent_does_not_shift() -> None:
    gate, words = mag().eval(), double(3, 4, 8).requires_grad_()
    shifts, present = shifts_of(3, 4)
    present = {"audio": torch.tensor([True, False, False]), "visual": torch.tensor([True, True, False])}
    loud = {name: x.masked_fill(~present[name][:, None, None], torch.nan) for name, x in shifts.items()}
    adapted = adapt(gate, words, loud, present)
    assert torch.equal(adapted, adapt(gate, words, shifts, present))
    torch.testing.assert_close(adapted[2], gate.norm(words[2]), rtol=0, atol=0)  # plain words
    finite_gradients(adapted.square(), words, *gate.parameters())
    only_text = MultimodalAdaptationGate(8, {}).double().eval()
    torch.testing.assert_close(only_text(words, {}), only_text.norm(words), rtol=0, atol=0)


def test_mag_under_autocast_stays_near() -> None:
    gate, words = mag().float(), double(3, 4, 8).float()
    shifts, present = shifts_of(3, 4)
    shifts = {name: x.float() for name, x in shifts.items()}
    exact = shift(gate, words, shifts, present)
    with torch.autocast("cpu", torch.bfloat16):
        rough = shift(gate, words.bfloat16(), shifts, present)
        assert adapt(gate, words, shifts, present).dtype == torch.float32
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.05, atol=0.05)


def test_mag_drops_out_after_its_norm() -> None:
    gate, words = mag(dropout=0.5), double(30, 4, 8)
    shifts, present = shifts_of(30, 4)
    dropped = adapt(gate, words, shifts, present) == 0
    assert 0.4 < dropped.double().mean() < 0.6
    assert not (adapt(gate.eval(), words, shifts, present) == 0).any()
