"""LMF against the weights on the whole tensor, known answers, and the sizes of MMSA's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made.tiny_batch import DIMS, clips_of, random_batch
from made.tiny_lmf import tiny
from made.tiny_methods import Loop
from reference import lmf as reference
from reference.text_only import cross_entropy, loss
from torch import Tensor

from models.core.method import Task
from models.lmf.model import LMF, LMFSettings, RankSum, low_rank_fusion


@pytest.mark.parametrize("classes", [0, 5])
@pytest.mark.parametrize("names", [("text", "audio", "visual"), ("text", "visual"), ("audio",)])
def test_forward_and_loss_are_those_of_the_reference(names: tuple[str, ...], classes: int) -> None:
    method = tiny(dims={name: DIMS[name] for name in names}, task=Task(classes)).double()
    absent = {(2, "text"), (1, "visual")} if len(names) > 1 else ()
    batch = random_batch(7, dtype=torch.float64, absent=absent, classes=classes)
    torch.nn.init.normal_(method.score.bias)
    output = method(batch)
    weights = {name: value.detach().numpy() for name, value in method.named_parameters()}
    expected = reference.predict(clips_of(batch, names), weights)
    expected = expected if classes else expected[:, 0]
    np.testing.assert_allclose(output.prediction.detach().numpy(), expected, atol=1e-12)
    label = batch.label.numpy()
    truth = cross_entropy(expected, label) if classes else loss(expected, label, np.ones(7, bool))
    assert method.losses(batch, output, ["prediction"])["prediction"].item() == pytest.approx(truth)
    assert method.losses(batch, output, []) == {}


def test_clips_without_a_label_teach_nothing() -> None:
    method = tiny().double()
    batch = random_batch(6, dtype=torch.float64, unlabeled={0, 4})
    output = method(batch)
    found = method.losses(batch, output, method.TERMS)["prediction"].item()
    predicted = output.prediction.detach().numpy()
    assert found == pytest.approx(loss(predicted, batch.label.numpy(), batch.labeled.numpy()))


FACTORS = [
    [(1.0, 0.0), (0.0, 1.0)],
    [(1.0, 1.0), (1.0, -1.0)],
    [(0.0, 1.0), (1.0, 0.0)],
]  # audio, visual, text


def fused(audio: float) -> tuple[Tensor, float]:
    """The terms of both ranks, and the score with w = (1, .5) and b = .1."""
    vectors = [torch.tensor([[1.0, value]]) for value in (audio, 5, 2)]
    terms = low_rank_fusion(vectors, [torch.tensor(factor)[..., None] for factor in FACTORS])
    score = RankSum(2, 1)
    score.weight.data = torch.tensor([[1.0, 0.5]])
    score.bias.data.fill_(0.1)
    return terms, score(terms).item()


def test_two_ranks_by_hand() -> None:
    terms, score = fused(audio=3)
    assert terms.tolist() == [[12, -12]]
    assert score == pytest.approx(6.1)
    assert fused(audio=0)[1] == pytest.approx(12.1)
    table = reference.full_weights([np.array(factor)[..., None] for factor in FACTORS], np.array([1, 0.5]), 0)
    assert table @ reference.tensor([np.array([1, v]) for v in (3, 5, 2)]) + 0.1 == pytest.approx(6.1)


def test_one_rank_is_a_product_of_linear_forms() -> None:
    torch.manual_seed(0)
    vectors = [torch.randn(4, size) for size in (3, 5, 2)]
    factors = [torch.randn(1, size, 1) for size in (3, 5, 2)]
    first, second, third = (x @ factor[0, :, 0] for x, factor in zip(vectors, factors, strict=True))
    torch.testing.assert_close(low_rank_fusion(vectors, factors)[:, 0], first * second * third)


@pytest.mark.parametrize(
    ("settings", "dims", "count"),
    [
        ({}, (768, 5, 20), 505_071),  # MOSI
        ({"rank": 4}, (768, 74, 35), 508_475),  # MOSEI
        ({"hidden": {"text": 64, "audio": 16, "visual": 64}, "rank": 4}, (768, 33, 709), 272_381),  # SIMS
    ],
)
def test_sizes_of_mmsa(settings: dict[str, object], dims: tuple[int, ...], count: int) -> None:
    with torch.device("meta"):
        method = LMF(LMFSettings(**settings), dict(zip(DIMS, dims, strict=True)))
    assert sum(parameter.numel() for parameter in method.parameters()) == count


def test_factors_have_their_own_rate() -> None:
    method = tiny(training={"lr_other": 2e-3, "lr_factors": 5e-4, "weight_decay": 0.01})
    groups = {group["name"]: group for group in method.parameter_groups()}
    assert {name: (group["lr"], group["weight_decay"]) for name, group in groups.items()} == {
        "other": (2e-3, 0.01),
        "other_no_decay": (2e-3, 0.0),
        "factors": (5e-4, 0.01),
    }
    factors = {id(parameter) for parameter in method.factors.values()}
    assert {id(parameter) for parameter in groups["factors"]["params"]} == factors


def test_one_step_moves_every_parameter() -> None:
    """The weights over the ranks and the bias, too, which stay as they begin in public code."""
    method = tiny()
    before = {name: value.detach().clone() for name, value in method.named_parameters()}
    Loop(method, lr=1e-3).step(random_batch(9))
    assert [name for name, value in method.named_parameters() if torch.equal(value, before[name])] == []
