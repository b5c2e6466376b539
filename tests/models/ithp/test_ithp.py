"""ITHP against its definition; what it reads, what it learns from, and what it does not read."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from made.gated import clips_of, counted, sized, spoken_batch
from made.tiny_batch import DIMS, random_batch
from made.tiny_ithp import tiny, tiny_finetuned
from made.tiny_methods import gradients, losses_of
from reference import ithp as reference
from reference import text_only

from models.core.batch import Batch
from models.core.blocks import kl_to_prior
from models.core.method import Task
from models.ithp.model import ITHP, ITHPSettings, ITHPWeights
from pipeline.core.errors import ParamsError


def state_of(method: ITHP) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in method.state_dict().items()}


@pytest.fixture
def noise(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(torch, "randn_like", lambda like: torch.full_like(like, 0.3))
    return 0.3


@pytest.mark.parametrize("settings", [{}, {"beta_shift": 0.5, "pool": "cls"}])
@pytest.mark.parametrize("classes", [0, 4])
def test_forward_and_losses_are_those_of_the_reference(
    classes: int, settings: dict[str, Any], noise: float
) -> None:
    method = tiny(task=Task(classes), **settings).double()
    absent = {(1, "audio"), (3, "visual"), (4, "audio"), (4, "visual")}
    batch = random_batch(6, dtype=torch.float64, absent=absent, classes=classes, unlabeled={5})
    method.prepare([batch], [])
    output = method(batch)
    expected, terms = reference.predict(state_of(method), clips_of(batch), noise, **settings)
    found = output.prediction.detach().numpy()
    np.testing.assert_allclose(found, expected if classes else expected[:, 0], atol=1e-10)
    losses = method.losses(batch, output, method.TERMS)
    label, known = batch.label.numpy(), batch.labeled.numpy()
    if classes:
        loss = text_only.cross_entropy(expected[known], label[known])
    else:
        loss = text_only.loss(expected[:, 0], label, known)
    assert losses["prediction"].item() == pytest.approx(loss)
    for name in ("audio", "visual"):
        assert losses[f"compression_{name}"].item() == pytest.approx(np.mean(terms.compression[name]))
        assert losses[f"relevance_{name}"].item() == pytest.approx(np.mean(terms.relevance[name]))
    assert method.losses(batch, output, []) == {}


def test_in_evaluation_b_is_its_mean() -> None:
    method, batch = tiny().double().eval(), random_batch(4, dtype=torch.float64, absent={(2, "text")})
    expected, _ = reference.predict(state_of(method), clips_of(batch))
    np.testing.assert_allclose(method(batch).prediction.detach().numpy(), expected[:, 0], atol=1e-10)


def test_known_divergences() -> None:
    for (mean, logvar), expected in {
        (0.0, 0.0): 0.0,
        (1.0, 0.0): 0.5,
        (0.0, math.log(4)): 0.806853,
        (1.0, math.log(0.25)): 0.818147,
    }.items():
        assert reference.divergence(mean, logvar) == pytest.approx(expected, abs=1e-6)
        found = kl_to_prior(torch.tensor(mean), torch.tensor(logvar)).item()
        assert found == pytest.approx(expected, abs=1e-6)


def test_weights_are_those_of_the_code() -> None:
    """KL₀ .1, MSE₀ .02, KL₁ .2, MSE₁ .01 make IB .416 and, scaled, .0208."""
    weights = ITHPWeights()
    values = {"compression": (0.1, 0.2), "relevance": (0.02, 0.01)}
    total = sum(
        getattr(weights, f"{term}_{modality}") * value
        for term, pair in values.items()
        for modality, value in zip(("audio", "visual"), pair, strict=True)
    )
    assert total == pytest.approx(2 / (8 + 32) * 0.416)


@pytest.mark.parametrize(("audio", "visual", "expected"), [(74, 47, 1_052_154), (74, 35, 1_049_070)])
def test_parameters_outside_bert_base(audio: int, visual: int, expected: int) -> None:
    method = sized(ITHP, audio=audio, visual=visual)
    assert counted(method) - counted(method.backbone) == expected


@pytest.mark.parametrize("training", [True, False])
def test_the_prediction_does_not_depend_on_sound_and_sight(training: bool, noise: float) -> None:
    method = tiny().train(training)
    batch = random_batch(4)
    assert batch.audio is not None and batch.visual is not None
    for part in (batch.audio, batch.visual):
        part.values.requires_grad_()
    prediction = method(batch).prediction
    grads = torch.autograd.grad(
        prediction.sum(), [batch.audio.values, batch.visual.values], allow_unused=True
    )
    assert grads == (None, None)
    other = random_batch(4, seed=7, absent={(1, "audio"), (2, "visual")})
    assert torch.equal(prediction, method(replace(batch, audio=other.audio, visual=other.visual)).prediction)


def test_what_each_term_moves(noise: float) -> None:
    """Relevance of the second level goes through the first; no term but the task's reaches the head."""
    method, batch = tiny(), random_batch(5)
    losses = losses_of(method, batch)
    named = dict(method.named_parameters())
    moved: dict[str, set[str]] = {}
    for term, loss in losses.items():
        found = torch.autograd.grad(loss, list(named.values()), allow_unused=True, retain_graph=True)
        moved[term] = {name for name, g in zip(named, found, strict=True) if g is not None and g.any()}
    first, second = ({n for n in named if n.startswith(f"levels.{m}.encoder")} for m in ("audio", "visual"))
    heads = {m: {n for n in named if n.startswith(f"levels.{m}.head")} for m in ("audio", "visual")}
    assert moved["compression_audio"] == first
    assert moved["relevance_audio"] == first | heads["audio"]
    assert moved["compression_visual"] == first | second
    assert moved["relevance_visual"] == first | second | heads["visual"]
    assert moved["prediction"] == set(named) - heads["audio"] - heads["visual"]
    tuned = tiny_finetuned()
    grads = gradients(tuned, losses_of(tuned, spoken_batch(torch.float32)))
    assert [name for name, g in grads.items() if g is None or not g.any()] == []


# -------------------------------------------------------------------------------------------------- targets
def values_of(*clips: list[list[float]]) -> Batch:
    """Clips of one word each frame, with the given audio."""
    batch = random_batch(len(clips), dtype=torch.float64)
    assert batch.audio is not None and batch.text is not None
    for part in (batch.audio, batch.text):
        part.mask[:] = torch.arange(part.mask.shape[1]) < len(clips[0])
    for row, frames in enumerate(clips):
        batch.audio.values[row, : len(frames)] = torch.tensor(frames, dtype=torch.float64)
    return batch


def test_targets_are_scaled_by_the_train_split() -> None:
    """The spec's columns: with its batch row 1 is (0, .25, .5), alone it would be (0, .5, 1)."""
    rows = [[0.0, 2, 4, 0, 0], [1, 3, 8, 0, 0]]
    method = tiny().double()
    together = [[[v] * 5 for v in rows[0][:3]], [[v] * 5 for v in rows[1][:3]]]
    method.prepare([values_of(*together)], [])
    assert method.levels["audio"].low.tolist() == [0] * 5 and method.levels["audio"].high.tolist() == [8] * 5
    target = method(values_of(together[0])).levels["audio"].target
    assert target[0, :3, 0].tolist() == [0, 0.25, 0.5]
    beyond = method(values_of([[-3.0] * 5, [16.0] * 5, [4.0] * 5])).levels["audio"].target
    assert beyond[0, :3, 0].tolist() == [0, 1, 0.5]


def test_the_scale_is_that_of_words_in_all_batches() -> None:
    """Padding, absent clips and their values do not count; what no clip has keeps [0, 1]."""
    method = tiny().double()
    batches = [random_batch(3, seed=s, dtype=torch.float64, absent={(1, "audio")}) for s in (1, 2)]
    for batch in batches:
        assert batch.audio is not None and batch.visual is not None
        batch.audio.values[~batch.audio.mask] = 1e6
        batch.visual.present[:] = False
    method.prepare(batches, [])
    beside = [
        row
        for batch in batches
        for clip in clips_of(batch)
        if clip["audio"] is not None and clip["text"] is not None
        for row in reference.means(len(clip["text"]), clip["audio"])
    ]
    audio, visual = method.levels["audio"], method.levels["visual"]
    np.testing.assert_allclose(audio.low.numpy(), np.min(beside, axis=0))
    np.testing.assert_allclose(audio.high.numpy(), np.max(beside, axis=0))
    assert visual.low.tolist() == [0] * 7 and visual.high.tolist() == [1] * 7
    assert method.state_dict()["levels.audio.low"] is not None


def test_a_feature_that_never_changes_is_zero() -> None:
    method = tiny().double()
    batch = values_of([[2.0] * 5, [2.0] * 5])
    method.prepare([batch], [])
    assert (method(batch).levels["audio"].target == 0).all()


def test_special_tokens_are_squeezed_but_told_nothing() -> None:
    method, batch = tiny_finetuned().double(), spoken_batch()
    output = method(batch)
    assert output.real.sum(dim=1).tolist() == [6, 4, 3]
    assert output.levels["visual"].known.sum(dim=1).tolist() == [4, 2, 1]
    assert output.levels["audio"].known.sum(dim=1).tolist() == [4, 0, 1]


def test_one_level_alone() -> None:
    """Of its own width; the terms of the other are 0. Without text a message."""
    method = tiny(dims={"text": 12, "visual": 7})
    assert method.levels["visual"].encoder[0].in_features == 12
    batch = replace(random_batch(3), audio=None)
    losses = method.losses(batch, method(batch), method.TERMS)
    assert losses["compression_audio"] == losses["relevance_audio"] == 0
    assert losses["compression_visual"] > 0 and losses["relevance_visual"] > 0
    with pytest.raises(ParamsError, match=r"ITHP needs text.*models\.ithp\.base\.text to finetune"):
        ITHP(ITHPSettings(), {name: DIMS[name] for name in ("audio", "visual")})
