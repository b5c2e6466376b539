"""The constant: what it is, and that it reads nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made.tiny_batch import random_batch
from made.tiny_constant import tiny
from pydantic import ValidationError

from models.constant.model import ConstantSettings
from models.core.batch import Batch
from models.core.method import Task


def labelled(*labels: float, classes: int = 0) -> list[Batch]:
    """Two batches with these labels, and an unlabeled clip."""
    batch = random_batch(len(labels) + 1, unlabeled={len(labels)}, classes=classes)
    batch.label[: len(labels)] = torch.tensor(labels)
    other = random_batch(1, unlabeled={0}, classes=classes)
    return [batch, other]


@pytest.mark.parametrize(("value", "expected"), [("median", 0.5), ("mean", 1.0), ("zero", 0.0)])
def test_constants_of_a_regression(value: str, expected: float) -> None:
    method = tiny(value=value)
    method.prepare(labelled(-1.0, 0.0, 1.0, 4.0), labelled(3.0))
    prediction = method.eval()(random_batch(3, seed=4)).prediction
    assert prediction.tolist() == [expected] * 3


def test_the_constant_of_two_classes_is_the_log_odds() -> None:
    method = tiny(task=Task(2))
    method.prepare(labelled(1, 0, 1, 1, classes=2), [])
    assert method(random_batch(2)).prediction.tolist() == pytest.approx([np.log(3)] * 2)


def test_the_constant_of_more_gives_their_frequencies() -> None:
    """A class that is nowhere counts as half a clip, so that its loss is not endless."""
    task = Task(4)
    method = tiny(task=task)
    method.prepare(labelled(2, 0, 2, 2, 1, 0, classes=4), [])
    prediction = method(random_batch(2)).prediction
    shares = np.array([2, 1, 3, 0.5]) / 6.5
    np.testing.assert_allclose(task.probabilities(prediction)[1].detach(), shares, rtol=1e-6)
    assert task.decide(prediction).tolist() == [2, 2]


def test_it_reads_nothing() -> None:
    method = tiny(dims={})
    assert method.dims == {}
    assert method.reading().modalities == ()
    assert method.reading().absent
    assert sum(p.numel() for p in method.parameters()) == 1
    with pytest.raises(ValidationError, match="text"):
        ConstantSettings(text="finetune")


def test_a_prediction_for_use_alone_can_be_taken_as_numbers() -> None:
    """What only looks at a parameter would ask for a gradient even here."""
    with torch.inference_mode():
        assert tiny().eval()(random_batch(2)).prediction.numpy().shape == (2,)
