"""Ridge against the closed form, the conditions of an optimum, and its known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made.tiny_batch import DIMS, random_batch, select
from made.tiny_methods import weights_of
from made.tiny_ridge import tiny, tiny_finetuned
from reference import pooled as reference
from sklearn import linear_model

from models.core.batch import Batch
from models.core.method import Task
from models.ridge.model import ALPHAS, RARE, Ridge
from pipeline.core.errors import MsaError

ABSENT = {(2, "text"), (5, "audio"), (6, "audio"), (7, "visual")}


def closed_form(x: np.ndarray, y: np.ndarray, alpha: float) -> tuple[np.ndarray, float]:
    """w, b with an intercept that is not penalised, by centring."""
    centred = x - x.mean(axis=0)
    w = np.linalg.solve(centred.T @ centred + alpha * np.eye(x.shape[1]), centred.T @ (y - y.mean()))
    return w, float(y.mean() - x.mean(axis=0) @ w)


def tables(train: Batch, valid: Batch, absent: set[tuple[int, str]]) -> tuple[np.ndarray, np.ndarray]:
    """z-scores of both by the train clips that have the modality; 0 where it is absent."""
    columns = []
    for name in DIMS:
        x, unseen = reference.pooled(train, name), reference.pooled(valid, name)
        has = np.array([(clip, name) not in absent for clip in range(len(x))])
        mean, sd = x[has].mean(axis=0), x[has].std(axis=0)
        columns.append((np.where(has[:, None], (x - mean) / sd, 0.0), (unseen - mean) / sd))
    seen, unseen = (np.concatenate(part, axis=1) for part in zip(*columns, strict=True))
    return seen, unseen


def fitted(classes: int = 0, absent: set[tuple[int, str]] = ABSENT) -> tuple[Ridge, Batch, Batch]:
    method = tiny(task=Task(classes)).double()
    train = random_batch(40, dtype=torch.float64, absent=absent, classes=classes)
    valid = random_batch(15, seed=1, dtype=torch.float64, classes=classes)
    method.prepare([select(train, list(range(25))), select(train, list(range(25, 40)))], [valid])
    return method, train, valid


@pytest.mark.parametrize(
    ("alpha", "slope", "intercept"), [(1e-12, 0.9, -0.1), (1.0, 0.75, 0.125), (5.0, 0.45, 0.575)]
)
def test_known_lines(alpha: float, slope: float, intercept: float) -> None:
    x, y = np.arange(4.0)[:, None], np.array([0.0, 1, 1, 3])
    weight, bias = tiny()._fitted(linear_model, alpha, x, y)
    assert (weight.item(), bias.item()) == pytest.approx((slope, intercept))


def test_the_fit_is_the_closed_form_with_the_alpha_that_validation_chooses() -> None:
    method, train, valid = fitted()
    seen, unseen = tables(train, valid, ABSENT)
    lines = {alpha: closed_form(seen, train.label.numpy(), alpha) for alpha in ALPHAS}
    errors = {alpha: np.abs(unseen @ w + b - valid.label.numpy()).mean() for alpha, (w, b) in lines.items()}
    best = min(errors, key=lambda alpha: errors[alpha])
    assert method.alpha.item() == pytest.approx(best)
    weight, bias = lines[best]
    np.testing.assert_allclose(weights_of(method)["score.weight"][0], weight, atol=1e-6)
    assert weights_of(method)["score.bias"].item() == pytest.approx(bias, abs=1e-6)
    prediction = method.eval()(valid).prediction.detach().numpy()
    np.testing.assert_allclose(prediction, unseen @ weight + bias, atol=1e-6)
    shown = method(train).prediction.detach().numpy()
    np.testing.assert_allclose(shown, seen @ weight + bias, atol=1e-6)  # absent: the mean


@pytest.mark.parametrize("classes", [2, 3])
def test_the_fit_of_classes_is_an_optimum(classes: int) -> None:
    """Gradient of Σ cross-entropy + α/2 |w|²: Xᵀ(p - y) + α w = 0, and Σ (p - y) = 0."""
    method, train, _ = fitted(classes)
    z, alpha = method(train).fused.detach().numpy(), method.alpha.item()
    p = method.task.probabilities(method(train).prediction).detach().numpy()
    away = p - np.eye(classes)[train.label.long().numpy()]
    away = away[:, 1:] if classes == 2 else away  # one logit, of the second
    np.testing.assert_allclose(away.T @ z + alpha * weights_of(method)["score.weight"], 0, atol=2e-2)
    np.testing.assert_allclose(away.sum(axis=0), 0, atol=2e-2)


@pytest.mark.parametrize("missing", [0, 3])
def test_a_class_that_training_lacks_is_never_decided(missing: int) -> None:
    method = tiny(task=Task(4))
    train = random_batch(30, classes=4)
    train.label[train.label == missing] = (missing + 1) % 4
    method.prepare([train], [random_batch(9, seed=1, classes=4)])
    assert method.score.bias[missing] == RARE
    decided = method.task.decide(method.eval()(random_batch(40, seed=2, classes=4)).prediction)
    assert missing not in decided.tolist() and len(set(decided.tolist())) > 1


def test_two_of_three_classes() -> None:
    """One logit of scikit-learn's: the same probabilities."""
    train = random_batch(30, classes=2)
    valid = random_batch(12, seed=1, classes=2)
    two, three = tiny(task=Task(2)), tiny(task=Task(3))
    for method in (two, three):
        method.prepare([train], [valid])
    found = three.task.probabilities(three(valid).prediction)[:, :2]
    expected = two.task.probabilities(two(valid).prediction)
    np.testing.assert_allclose(found.detach(), expected.detach(), atol=2e-3)


def test_clips_of_one_class_are_refused() -> None:
    train = random_batch(5, classes=2)
    train.label[:] = 1
    with pytest.raises(MsaError, match="all 5 training clips are of class 1"):
        tiny(task=Task(2)).prepare([train], [train])


def test_columns_that_never_change_and_clips_without_a_label() -> None:
    train, valid = random_batch(20, unlabeled={3, 4}), random_batch(6, seed=1)
    assert train.audio is not None
    train.audio.values[..., 2] = train.audio.mask * 0.3
    method = tiny()
    method.prepare([train], [valid])
    column = DIMS["text"] + 2
    assert method.scale[column] == 1 and abs(method.score.weight[0, column].item()) < 1e-5
    again = tiny()
    again.prepare([select(train, [row for row in range(20) if row not in (3, 4)])], [valid])
    assert torch.allclose(method.score.weight, again.score.weight, atol=1e-5)


def test_a_text_encoder_stays_and_is_read_without_dropout() -> None:
    method = tiny_finetuned()
    method.backbone.embeddings.dropout.p = 0.5
    before = {key: value.clone() for key, value in method.backbone.state_dict().items()}
    batch = random_batch(12, vocabulary=40)
    method.prepare([batch], [batch])
    first = method.score.weight.clone()
    method.prepare([batch], [batch])
    assert torch.equal(method.score.weight, first) and method.training
    assert all(torch.equal(value, before[key]) for key, value in method.backbone.state_dict().items())


def test_parameters_at_the_widths_of_the_published_features() -> None:
    with torch.device("meta"):
        method = tiny(dims={"text": 768, "audio": 33, "visual": 709})
    assert sum(p.numel() for p in method.parameters()) == 768 + 2 * 33 + 2 * 709 + 1
