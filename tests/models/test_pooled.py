"""Pooled vectors, and the methods of one modality that read nothing else: audio only and visual only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made.tiny_batch import DIMS, fill_masked, random_batch
from made.tiny_methods import tiny, weights_of
from pydantic import ValidationError
from reference import pooled as reference
from reference.text_only import cross_entropy, loss

from models.core.blocks import std_over_time
from models.core.method import Task
from models.core.pooled import TextlessSettings, pooled, pooled_width
from pipeline.core.errors import ParamsError

OWN = {"audio_only": "audio", "visual_only": "visual"}
alone = pytest.mark.parametrize(("name", "modality"), OWN.items())


# ---------------------------------------------------------------------------------------------- pooled
@pytest.mark.parametrize("modality", DIMS)
def test_the_vector_is_that_of_the_real_steps(modality: str) -> None:
    batch = random_batch(6, dtype=torch.float64, absent={(2, modality)})
    found = pooled(modality, getattr(batch, modality)).numpy()
    assert found.shape == (6, pooled_width(modality, DIMS[modality]))
    np.testing.assert_allclose(found, reference.pooled(batch, modality), atol=1e-12)
    assert (found[2] == 0).all()


def test_one_step_or_none_has_no_spread_and_no_gradient_of_it() -> None:
    values = torch.tensor([[[3.0], [7.0]], [[3.0], [torch.nan]], [[torch.nan], [torch.nan]]])
    values.requires_grad_()
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    spread = std_over_time(values, mask)
    assert spread.tolist() == [[2.0], [0.0], [0.0]]
    (gradient,) = torch.autograd.grad(spread.sum(), values)
    assert gradient[0].flatten().tolist() == [-0.5, 0.5]
    assert (gradient[1:] == 0).all()


# ------------------------------------------------------------------------------------- one modality alone
@alone
@pytest.mark.parametrize("classes", [0, 5])
def test_forward_and_loss_are_those_of_the_reference(name: str, modality: str, classes: int) -> None:
    method = tiny(name, task=Task(classes)).double()
    batch = random_batch(7, dtype=torch.float64, absent={(2, modality), (1, "text")}, classes=classes)
    output = method(batch)
    read, scores = reference.layers(weights_of(method), reference.pooled(batch, modality))
    np.testing.assert_allclose(output.fused.detach(), read, atol=1e-12)
    np.testing.assert_allclose(output.prediction.detach(), scores if classes else scores[:, 0], atol=1e-12)
    label = batch.label.numpy()
    truth = cross_entropy(scores, label) if classes else loss(scores[:, 0], label, np.ones(7, bool))
    assert method.losses(batch, output, ["prediction"])["prediction"].item() == pytest.approx(truth)
    assert method.losses(batch, output, []) == {}
    assert output.present.tolist() == [[True, True, False, True, True, True, True]]


@alone
def test_nothing_else_is_read(name: str, modality: str) -> None:
    batch = random_batch(5)
    others = {other: None for other in DIMS if other != modality}
    method = tiny(name).eval()
    assert torch.equal(method(replace(batch, **others)).prediction, method(batch).prediction)
    assert tuple(method.dims) == method.reading().modalities == (modality,)
    with pytest.raises(ParamsError, match=f"none of {modality}; .* remove the method from models_run"):
        tiny(name, dims=others)


@alone
def test_a_clip_without_it_gets_the_score_of_the_vector_0(name: str, modality: str) -> None:
    """Also in evaluation: a set in which one clip has no face is scored whole."""
    method = tiny(name).eval()
    batch = fill_masked(random_batch(4, absent={(1, modality)}), torch.nan)
    nothing = method.score(method.hidden(torch.zeros(2 * DIMS[modality])))
    assert method(batch).prediction[1].item() == pytest.approx(nothing.item())
    assert method.reading().absent


def test_no_text_encoder_can_be_asked_for() -> None:
    with pytest.raises(ValidationError, match="text"):
        TextlessSettings(text="finetune")


@alone
def test_parameters_at_the_widths_of_the_published_features(name: str, modality: str) -> None:
    """(2 d + 1) 64 + 65, d 33 and 709."""
    dims = {"audio": 33, "visual": 709}
    with torch.device("meta"):
        method = tiny(name, dims=dims, hidden=64)
    assert sum(p.numel() for p in method.parameters()) == (2 * dims[modality] + 1) * 64 + 65
