"""TFN against its definition, known answers, and the sizes of MMSA's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made.tiny_batch import DIMS, clips_of, random_batch
from made.tiny_tfn import tiny
from reference import tfn as reference
from reference.text_only import cross_entropy, loss

from models.core.method import Task
from models.tfn.model import TFN, TFNSettings, squashed, tensor_fusion
from pipeline.core.errors import ParamsError


@pytest.mark.parametrize("classes", [0, 5])
@pytest.mark.parametrize("names", [("text", "audio", "visual"), ("text", "visual"), ("audio",)])
def test_forward_and_loss_are_those_of_the_reference(names: tuple[str, ...], classes: int) -> None:
    method = tiny(dims={name: DIMS[name] for name in names}, task=Task(classes), label_scale=2.0).double()
    absent = {(2, "text"), (1, "visual")} if len(names) > 1 else ()
    batch = random_batch(7, dtype=torch.float64, absent=absent, classes=classes)
    output = method(batch)
    weights = {name: value.detach().numpy() for name, value in method.named_parameters()}
    expected = reference.scores(clips_of(batch, names), weights)
    expected = expected if classes else reference.squashed(expected, -2, 2)[:, 0]
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


def test_the_tensor_has_every_product() -> None:
    audio, visual, text = (torch.tensor([[1.0, value]]) for value in (3, 5, 2))
    entries = tensor_fusion([audio, visual, text])
    assert entries.tolist() == [[1, 2, 5, 10, 3, 6, 15, 30]]
    assert entries.sum() == 72
    without = tensor_fusion([torch.tensor([[1.0, 0.0]]), visual, text])
    assert without.tolist() == [[1, 2, 5, 10, 0, 0, 0, 0]]
    assert tensor_fusion([audio]).tolist() == [[1, 3]]


def test_a_score_never_reaches_the_ends() -> None:
    found = squashed(torch.tensor([0.0, 1.0, 2.0, 5.0], dtype=torch.float64), 3.0)
    assert found.tolist() == pytest.approx([0, 1.386351, 2.284782, 2.959843], abs=1e-6)
    extreme = tiny(label_scale=1.0)
    extreme.score.weight.data *= 10
    assert extreme(random_batch(8)).prediction.abs().max() < 1


@pytest.mark.parametrize(
    ("settings", "dims", "tensor", "count"),
    [
        ({}, (768, 5, 20), 140_481, 9_497_043),  # MOSI
        (
            {"hidden": {"text": 128, "audio": 16, "visual": 128}, "text_width": 128, "fusion_width": 16},
            (768, 74, 35),
            282_897,
            5_042_539,
        ),  # MOSEI
        ({"text_width": 256, "fusion_width": 32}, (768, 33, 709), 1_094_049, 35_632_077),  # SIMS
    ],
)
def test_sizes_of_mmsa(settings: dict[str, object], dims: tuple[int, ...], tensor: int, count: int) -> None:
    with torch.device("meta"):
        method = TFN(TFNSettings(**settings), dict(zip(DIMS, dims, strict=True)))
    assert method.inner[1].in_features == tensor
    assert sum(parameter.numel() for parameter in method.parameters()) == count


def test_labels_beyond_all_predictions_are_refused() -> None:
    batch = random_batch(5, unlabeled={1})
    batch = replace(batch, label=torch.tensor([1.0, torch.nan, -3.5, 2.0, 0.5]))
    with pytest.raises(ParamsError, match=r"models\.tfn\.label_scale is 3, .* at 3\.5; set it"):
        tiny().prepare([batch], [])
    tiny(label_scale=3.5).prepare([batch], [])
    tiny(task=Task(7)).prepare([replace(batch, label=torch.full((5,), 6.0))], [])
