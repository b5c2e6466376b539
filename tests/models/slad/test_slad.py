"""SLaD against the paper's equations and known answers, and where its sub-modal labels come from."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from made.tiny_batch import random_batch
from made.tiny_slad import annotated, tiny
from reference import slad as reference
from torch import Tensor

from models.core.method import Task
from models.slad.model import SLaD
from models.slad.submodal import (
    contrastive_loss,
    hardest_negative,
    label_similarity,
    multilabel_loss,
    overlap_weight,
    related,
    relations,
    repulsion_loss,
)

TEXT = torch.tensor([[1, 0], [0, 1], [0.5**0.5, 0.5**0.5]], dtype=torch.float64)
S = 5 * TEXT @ TEXT[[0, 2, 1]].T  # of 4.8.2: i^a = rows 0, 2, 1
ALL = torch.ones(3, dtype=torch.bool)
OMEGA = torch.tensor([1, 0.303265, 0], dtype=torch.float64)
Y = torch.tensor([[0.8, 0.4], [0.4, 0.8], [-0.5, 0.2]], dtype=torch.float64)[..., None]


def omega(text: float, audio: float) -> float:
    return label_similarity(torch.tensor([[text]]), torch.tensor([[audio]]), 0.5).item()


# ------------------------------------------------------------------------------------------ known answers
@pytest.mark.parametrize(
    ("text", "audio", "expected"),
    [
        (1, 1, 1),
        (1, -1, 0),
        (0.5, 1, 0.303265),
        (0, 0.3, 0),
        (0, 0, 0),
        (-0.4, -0.4, 1),
        (0.2, 0.8, 0.146026),
        (-1, -0.2, 0.072290),
        (0.99, 1, 0.891822),
    ],
)
def test_label_similarity(text: float, audio: float, expected: float) -> None:
    assert omega(text, audio) == pytest.approx(expected, abs=1e-6)
    assert omega(audio, text) == pytest.approx(expected, abs=1e-6)


def test_label_similarity_is_a_constant_between_0_and_1() -> None:
    text, audio = (2 * torch.rand(2, 500, 1) - 1).requires_grad_()
    similarity = label_similarity(text, audio, 0.5)
    assert not similarity.requires_grad
    assert similarity.min() >= 0 and similarity.max() <= 1
    first, second = relations(text, audio)
    assert not (first & second).any()
    assert (similarity[first] == 0).all()
    zero = torch.zeros(1, 1)
    assert [x.item() for x in relations(zero, zero)] == [True, False]  # both hold; R1 comes first


def test_label_similarity_of_classes() -> None:
    text = torch.tensor([[0.7, 0.2, 0.1], [1, 0, 0], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    audio = torch.tensor([[0.2, 0.7, 0.1], [1, 0, 0], [0.4, 0.3, 0.3], [0.1, 0.8, 0.1]])
    structure = 0.1 + 0.8 * 0.4 / 0.5
    expected = [0, 1, structure * math.exp(-(0.1**2) / 0.5), 1]
    assert label_similarity(text, audio, 0.5).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("top_k", "expected"), [(1, 0.573654), (2, 0.436793), (9, 0.436793)])
def test_contrastive_loss(top_k: int, expected: float) -> None:
    assert contrastive_loss(S, OMEGA, ALL, top_k, 0.2).item() == pytest.approx(expected, abs=1e-6)


def test_contrastive_loss_of_each_clip() -> None:
    for clip, (pull, push) in enumerate(
        zip((0.213448, 1.677914, 1.844547), (3.564260, 5.006715, 5.006715), strict=True)
    ):
        alone = torch.zeros(3, dtype=torch.float64)
        alone[clip] = 3.0
        expected = pull + 0.196485 * push
        assert contrastive_loss(S, alone, ALL, 1, 0.2).item() == pytest.approx(
            expected, abs=4e-6
        )  # of six digits each


@pytest.mark.parametrize(("margin", "expected"), [(1, 2.876310), (4, 0.232696), (5, 0.0)])
def test_repulsion_loss(margin: float, expected: float) -> None:
    loss = repulsion_loss(hardest_negative(S, ALL, "offdiag"), OMEGA, margin)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_targets_of_repulsion() -> None:
    assert hardest_negative(S, ALL, "diag").tolist() == pytest.approx(S.diagonal().tolist())
    assert hardest_negative(S, ALL, "all").tolist() == pytest.approx([5, 5, 5], abs=1e-6)
    assert hardest_negative(S, ALL, "offdiag").tolist() == pytest.approx([3.53553, 5, 5], abs=1e-5)


def test_equal_features_leave_the_logarithm_of_the_batch_size() -> None:
    similarity = torch.full((8, 8), 5.0)
    rows, ones = torch.ones(8, dtype=torch.bool), torch.ones(8)
    push = 0.2 * torch.sigmoid(torch.tensor(5.0)) * torch.nn.functional.softplus(torch.tensor(5.0))
    loss = contrastive_loss(similarity, ones, rows, 3, 0.2) - push
    assert loss.item() == pytest.approx(2.079442, abs=1e-5)


def test_no_agreement_gives_no_loss_and_no_gradient() -> None:
    similarity = S.clone().requires_grad_()
    nothing = torch.zeros(3, dtype=torch.float64)
    loss = contrastive_loss(similarity, nothing, ALL, 3, 0.2)
    loss = loss + repulsion_loss(hardest_negative(similarity, ALL, "offdiag"), nothing, 0.0)
    loss.backward()
    assert loss.item() == 0
    assert similarity.grad is not None and (similarity.grad == 0).all()


def test_multilabel_loss() -> None:
    weight = overlap_weight(Y.clone().requires_grad_())
    assert not weight.requires_grad
    assert weight.diagonal().tolist() == pytest.approx([1, 1, 1], abs=1e-6)
    found = [weight[i, j].item() for i, j in ((0, 1), (0, 2), (2, 0))]
    assert found == pytest.approx([0.476190, 0.083333, 0.190476], abs=1e-6)
    off_diagonal = related(Y) & ~torch.eye(3, dtype=torch.bool)
    assert off_diagonal.nonzero().tolist() == [[0, 1], [1, 0]]
    assert torch.equal(related(7 * Y), related(Y))
    assert multilabel_loss(S, Y, ALL).item() == pytest.approx(0.799276, abs=1e-6)
    apart = torch.tensor([[0.5, 0.5], [-0.5, -0.2], [0.0, 0.0]])[..., None]
    assert multilabel_loss(S.float(), apart, ALL).item() == 0


def test_hard_negatives_are_other_clips() -> None:
    similarity = torch.diag(torch.full((5,), 4.0)) - 1  # each its own nearest
    rows, ones = torch.ones(5, dtype=torch.bool), torch.ones(5)
    pull = math.log(1 + 4 * math.exp(-4))
    push = 0.2 * (1 / (1 + math.exp(-3))) * math.log(1 + math.exp(-1))
    for top_k in (1, 3, 5, 50):
        assert contrastive_loss(similarity, ones, rows, top_k, 0.2).item() == pytest.approx(pull + push)
    alone = contrastive_loss(similarity[:1, :1], ones[:1], rows[:1], 3, 0.2)
    assert alone.item() == 0


# ----------------------------------------------------------------------------------------------- equations
OPTIONS: tuple[dict[str, object], ...] = (
    {},
    {"label_aware": False},
    {"symmetric": True, "top_k": 2, "temperature": 0.5},
    {"rep_target": "diag", "margin": -1.5},
    {"rep_target": "all", "bandwidth": 1.3},
    {"ml_items": "2B", "margin": 1.0},
    {"intersection": "crisp"},
    {"ml_items": "2B", "intersection": "crisp", "symmetric": True},
)
MISSING = ((), {(1, "audio")}, {(0, "text"), (3, "audio")}, {(i, "audio") for i in range(6)})


@pytest.mark.parametrize("source", ["pred", "gold"])
@pytest.mark.parametrize("classes", [0, 2, 4])
@pytest.mark.parametrize("number", range(len(OPTIONS)))
def test_losses_equal_the_equations(number: int, classes: int, source: str) -> None:
    options = OPTIONS[number]
    for missing in MISSING:
        method = tiny(seed=number, task=Task(classes), label_source=source, **options).double()
        for head in method.head.values():  # as they start, the heads agree on one sign or class
            head[-1].weight.data *= 30
        batch = random_batch(6, dtype=torch.float64, absent=missing, classes=classes, seed=number)
        other = random_batch(6, dtype=torch.float64, classes=classes, seed=number + 1).label
        batch = replace(batch, label_text=other if number % 2 else batch.label, label_audio=batch.label)
        with torch.no_grad():
            output = method(batch)
            losses = method.losses(batch, output, SLaD.TERMS)
        gold = [(batch.label_text[i].item(), batch.label_audio[i].item()) for i in range(6)]
        heads = [tuple(output.unimodal[m][i].numpy() for m in ("text", "audio")) for i in range(6)]
        turn = reference.gold_label if source == "gold" else reference.submodal_label
        names = {"alpha": "bandwidth", "tau": "temperature"}
        case = reference.Case(
            invariant={name: value.numpy() for name, value in output.invariant.items()},
            specific={name: value.numpy() for name, value in output.specific.items()},
            labels=[
                tuple(turn(y, classes, 3.0) for y in pair) for pair in (gold if source == "gold" else heads)
            ],
            rows=[i for i in range(6) if not {(i, "text"), (i, "audio")} & set(missing)],
            **{key: options[names.get(key, key)] for key in _fields() if names.get(key, key) in options},
        )
        expected = {
            "contrastive": reference.contrastive(case),
            "repulsion": reference.repulsion(case),
            "multilabel": reference.multilabel(case),
            "prediction": _task_loss(output.prediction, batch.label, classes, range(6)),
            "unimodal": sum(
                _task_loss(y, getattr(batch, f"label_{m}"), classes, _having(m, missing))
                for m, y in output.unimodal.items()
            ),
        }
        assert {t: x.item() for t, x in losses.items()} == pytest.approx(expected, abs=1e-9)


def _fields() -> list[str]:
    return list(reference.Case.__dataclass_fields__)[4:]


def _having(modality: str, missing: object) -> list[int]:
    return [i for i in range(6) if (i, modality) not in missing]


def _task_loss(prediction: Tensor, label: Tensor, classes: int, rows: object) -> float:
    costs = []
    for i in rows:
        y, p = label[i].item(), prediction[i].numpy()
        if classes == 0:
            costs.append(abs(p - y))
        elif classes == 2:
            costs.append(math.log(1 + math.exp(-p if y == 1 else p)))
        else:
            costs.append(-math.log(np.exp(p)[int(y)] / np.exp(p).sum()))
    return float(np.mean(costs)) if costs else 0.0


def test_weight_of_the_negatives_has_no_gradient() -> None:
    similarity = S.clone().requires_grad_()
    (moving,) = torch.autograd.grad(contrastive_loss(similarity, OMEGA, ALL, 1, 0.2), similarity)
    fixed = S.clone().requires_grad_()
    pull = fixed.logsumexp(dim=1) - fixed.diagonal()
    push = torch.nn.functional.softplus(torch.stack([fixed[0, 1], fixed[1, 2], fixed[2, 1]]))
    (expected,) = torch.autograd.grad((OMEGA * (pull + 0.19648518 * push)).mean(), fixed)
    torch.testing.assert_close(moving[:2], expected[:2], atol=1e-6, rtol=0)


# ------------------------------------------------------------------------------------------- label sources
def test_targets_of_the_heads() -> None:
    method, batch = tiny(), random_batch(3)
    assert torch.equal(method.target(batch, "text"), batch.label)
    own = annotated(batch, [1.0, math.nan, -2.0], [0.5, 0.5, 0.5])
    assert method.target(own, "text").tolist() == [1.0, batch.label[1].item(), -2.0]


@pytest.mark.parametrize(("source", "gold"), [("gold", True), ("pred", False)])
def test_source_of_the_labels(source: str, gold: bool) -> None:
    method = tiny(label_source=source, label_scale=1.0)
    batch = annotated(random_batch(3), [0.6, 0.0, -2.0], [0.6, 0.4, 0.2])
    output = method(batch)
    labels, rows = method.submodal_labels(batch, output)
    predicted = torch.stack(list(output.unimodal.values())).detach().clamp(-1, 1)
    expected = torch.tensor([[0.6, 0.0, -1.0], [0.6, 0.4, 0.2]]) if gold else predicted
    torch.testing.assert_close(labels[..., 0], expected)
    assert rows.all() and not labels.requires_grad


def test_annotated_labels_are_the_joint_one_where_there_is_no_other() -> None:
    method, batch = tiny(label_source="gold"), random_batch(3, absent={(1, "audio")})
    partly = annotated(batch, [0.6, math.nan, 0.3], [0.6, 0.4, math.nan])
    labels, rows = method.submodal_labels(partly, method(partly))
    joint = partly.label[2].item() / 3
    assert labels[0, :, 0].tolist() == pytest.approx([0.2, partly.label[1].item() / 3, 0.1])
    assert labels[1, :, 0].tolist() == pytest.approx([0.2, 0.4 / 3, joint])
    assert rows.tolist() == [True, False, True]


def test_predictions_steer_also_where_labels_are_annotated() -> None:
    """The paper's text, and the default: SIMS has labels of text and sound alone, for the heads to learn."""
    method = tiny()
    batch = random_batch(4)
    own = annotated(batch, [1.0, -1.0, 0.5, 0.2], [-1.0, 1.0, 0.5, 0.2])
    output, terms = method(batch), ("contrastive", "repulsion", "multilabel")
    assert method.losses(own, output, terms) == method.losses(batch, output, terms)
    assert method.losses(own, output, ["unimodal"]) != method.losses(batch, output, ["unimodal"])


@pytest.mark.parametrize("source", ["pred", "gold"])
def test_clips_without_a_label(source: str) -> None:
    method, batch = tiny(label_source=source), random_batch(5, unlabeled={1, 4})
    output = method(batch)
    losses = method.losses(batch, output, SLaD.TERMS)
    kept = [0, 2, 3]
    expected = (output.prediction - batch.label)[kept].abs().mean()
    torch.testing.assert_close(losses["prediction"], expected)
    heads = sum((y - batch.label)[kept].abs().mean() for y in output.unimodal.values())
    torch.testing.assert_close(losses["unimodal"], heads)
    assert all(loss.isfinite() for loss in losses.values())
    assert method.submodal_labels(batch, output)[1].sum() == (3 if source == "gold" else 5)
