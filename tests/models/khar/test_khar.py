"""KHaR's losses and parts against the paper's equations, known answers, and what each term reaches."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from made.tiny_batch import DIMS, random_batch
from made.tiny_khar import FUSIONS, MISSING, REFINEMENTS, settings_of, tiny, tiny_finetuned
from made.tiny_methods import weighted
from pydantic import ValidationError
from reference import khar as reference
from torch import nn
from torch.nn import functional as F

from models.core.batch import Batch
from models.core.method import Task
from models.khar.model import KHaR, KHaROutput, KHaRSettings
from pipeline.core.errors import ParamsError

NAMES = tuple(DIMS)


def reached(method: KHaR, term: str, batch: Batch) -> set[str]:
    """Names of the parameters with a gradient from this term alone."""
    method.zero_grad()
    method.losses(batch, method(batch), [term])[term].backward()
    return {name for name, p in method.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}


def starting(names: set[str], *prefixes: str) -> set[str]:
    return {name for name in names if name.startswith(prefixes)}


def output_of(mean: list[float], sigma: list[float], **parts: Any) -> KHaROutput:
    """An output for a single clip with this posterior."""
    everything = {
        "prediction": torch.zeros(1, dtype=torch.float64),
        "present": {},
        "refined": {},
        "importance": {},
        "load": {},
        "rows": {},
        "mean": torch.tensor([mean], dtype=torch.float64),
        "sigma": torch.tensor([sigma], dtype=torch.float64),
    }
    return KHaROutput(**{**everything, **parts})


# ------------------------------------------------------------------------------------------- known answers
def test_squared_variation() -> None:
    parts = {(4, 4, 4): 0, (6, 3, 3): 0.1875, (12, 0, 0): 3.0, (2, 1, 0): 1.0}
    for sums, expected in parts.items():
        used = {"text": torch.tensor(sums, dtype=torch.float64)}
        output = output_of([0], [1], importance=used, load={"text": torch.ones(3, dtype=torch.float64)})
        loss = tiny().losses(random_batch(1), output, ["balance"])["balance"]
        assert loss.item() == pytest.approx(expected, abs=1e-9)


def test_divergence_from_the_prior() -> None:
    batch = random_batch(1, dtype=torch.float64)
    for mean, sigma, expected in (
        ([1, 0], [1, 0.5], 0.409074),
        ([0, 0], [1, 1], 0),
        ([0, 1e-3], [1, 1], 2.5e-7),
    ):
        output = output_of(mean, sigma)
        loss = tiny().losses(batch, output, ["compression"])["compression"]
        assert loss.item() == pytest.approx(expected, abs=1e-6 if expected > 0.1 else 1e-12)
        summed = tiny(kl_reduction="sum").losses(batch, output, ["compression"])["compression"]
        torch.testing.assert_close(summed, 2 * loss)
    collapsed = tiny().losses(batch, output_of([0, 0], [0, 0]), ["compression"])["compression"]
    assert collapsed.isfinite()


def test_sigma_starts_small() -> None:
    bottleneck = tiny().bottleneck
    assert bottleneck is not None
    assert F.softplus(torch.tensor(-5.0)).item() == pytest.approx(0.006715, abs=1e-6)
    for parameter in bottleneck.spread.parameters():
        parameter.data.zero_()
    _, sigma = bottleneck(torch.randn(4, 12))
    torch.testing.assert_close(sigma, torch.full((4, 8), 0.006715), atol=1e-6, rtol=0)


def test_more_weight_on_compression_shrinks_the_divergence() -> None:
    ends = []
    for weight in (0.0, 1.0):
        method, batch = tiny(weights={"compression": weight}), random_batch()
        optimizer = torch.optim.Adam(method.parameters(), lr=3e-2)
        for _ in range(12):
            optimizer.zero_grad()
            weighted(method, method.losses(batch, method(batch), KHaR.TERMS)).backward()
            optimizer.step()
        ends.append(method.losses(batch, method(batch), ["compression"])["compression"].item())
    assert ends[1] < 0.5 * ends[0]


def test_the_error_counts_twice() -> None:
    batch = random_batch(dtype=torch.float64)
    bare = {"compression": 0, "balance": 0, "contrastive": 0}
    for task_weight in (1, 0):
        method = tiny(weights={**bare, "task": task_weight}).double()
        output = method(batch)
        total = weighted(method, method.losses(batch, output, KHaR.TERMS))
        mae = (output.prediction - batch.label).abs().mean()
        torch.testing.assert_close(total, (1 + task_weight) * mae)


# ----------------------------------------------------------------------------------------------- equations
@pytest.mark.parametrize("level", ["token", "utterance"])
@pytest.mark.parametrize("noisy", [True, False])
@pytest.mark.parametrize("missing", MISSING)
def test_losses_equal_the_equations(missing: str, noisy: bool, level: str) -> None:
    method = tiny(moe_level=level, noisy_gate=noisy, load="smooth" if noisy else "softmax").double()
    for name, parameter in method.named_parameters():
        if "gate.noise" in name:  # 0 at the start
            nn.init.normal_(parameter, std=0.2)
    batch = random_batch(dtype=torch.float64, absent=MISSING[missing], unlabeled={3})
    label = torch.tensor([0.5, 0.8, -1.0, math.nan], dtype=torch.float64)
    batch = replace(batch, label=label)
    with torch.no_grad():
        output = method.eval()(batch)
        losses = method.losses(batch, output, KHaR.TERMS)
    assert output.mean is not None and output.sigma is not None
    weights = {name: value.numpy() for name, value in method.state_dict().items()}
    rows: dict[str, list[np.ndarray | None]] = {name: [] for name in NAMES}
    for clip in range(4):
        slots = []
        for name in NAMES:
            source = getattr(batch, name)
            values = source.values[clip][source.mask[clip]].numpy()
            if len(values) == 0:
                rows[name].append(None)
                slots.append(np.zeros(6))
                continue
            states = reference.encoder_states(weights, name, values, heads=2)
            rows[name].append(reference.harvest(weights, name, states, [1, 2], heads=2, norm_last=True))
            slots.append(reference.refined(weights, name, rows[name][-1], k=2, level=level))
            np.testing.assert_allclose(output.refined[name][clip], slots[-1], atol=1e-9)
        mean, sigma = reference.bottleneck(weights, slots)
        np.testing.assert_allclose(output.mean[clip], mean, atol=1e-9)
        np.testing.assert_allclose(output.sigma[clip], sigma, atol=1e-9)
        np.testing.assert_allclose(output.prediction[clip], reference.predict(weights, mean)[0], atol=1e-9)
    case = reference.Case(
        weights=weights,
        rows={name: rows[name] for name in NAMES if any(row is not None for row in rows[name])},
        refined={name: value.numpy() for name, value in output.refined.items() if output.present[name].any()},
        mean=output.mean.numpy(),
        sigma=output.sigma.numpy(),
        prediction=output.prediction.numpy(),
        label=label.numpy(),
        labeled=batch.labeled.numpy(),
        level=level,
    )
    expected = reference.losses(case)
    assert {term: value.item() for term, value in losses.items()} == pytest.approx(expected, abs=1e-7)
    assert expected["contrastive"] > 0.1 and expected["balance"] > 0.01


def test_z_is_drawn_in_training_alone() -> None:
    method, batch = tiny(), random_batch()  # z alone is drawn
    drawn = [method(batch).prediction for _ in range(2)]
    assert not torch.equal(*drawn)
    torch.manual_seed(1)
    output = method(batch)
    torch.manual_seed(1)
    z = output.mean + output.sigma * torch.randn_like(output.sigma)
    torch.testing.assert_close(method.predictor(z).squeeze(-1), output.prediction)
    certain = method.eval()(batch)
    assert torch.equal(certain.prediction, method(batch).prediction)
    torch.testing.assert_close(method.predictor(certain.mean).squeeze(-1), certain.prediction)


@pytest.mark.parametrize("classes", [2, 7])
def test_class_labels(classes: int) -> None:
    method, batch = tiny(task=Task(classes)).double(), random_batch(8, dtype=torch.float64, classes=classes)
    output = method(batch)
    losses = method.losses(batch, output, KHaR.TERMS)
    logits, target = output.prediction, batch.label
    if classes == 2:
        assert logits.shape == (8,)
        error = F.binary_cross_entropy_with_logits(logits, target)
    else:
        assert logits.shape == (8, classes)
        error = F.cross_entropy(logits, target.long())
    torch.testing.assert_close(losses["task"], error)
    torch.testing.assert_close(losses["bottleneck_error"], error)
    case = reference.Case(
        weights={},
        rows={name: [np.ones(1)] * 8 for name in NAMES},
        refined={name: value.detach().numpy() for name, value in output.refined.items()},
        mean=np.zeros(1),
        sigma=np.ones(1),
        prediction=np.zeros(8),
        label=target.numpy(),
        labeled=np.ones(8, dtype=bool),
        kappa=0.5,  # of indices: the same class
    )
    assert losses["contrastive"].item() == pytest.approx(reference.contrast(case), abs=1e-9)


def test_kappa_belongs_to_scores() -> None:
    with pytest.raises(ParamsError, match=r"models\.khar\.kappa is 0\.4, but with 3 classes"):
        tiny(task=Task(3), kappa=0.4)
    with pytest.raises(ParamsError, match=r"models\.khar\.kappa is null"):
        tiny(kappa=None)


# ----------------------------------------------------------------------------------------------- gradients
def test_what_each_term_reaches() -> None:
    method, batch = tiny_finetuned(), random_batch(5, vocabulary=40)
    reach = {term: reached(method, term, batch) for term in KHaR.TERMS}
    assert reach["task"] == reach["bottleneck_error"]
    encoders = ("backbone.", "encoder.audio.", "encoder.visual.", "harvest.text.", "narrow.")
    for term, names in reach.items():
        for prefix in encoders:
            assert starting(names, prefix), (term, prefix)
        gates = {f"refine.{name}.gate.score.weight" for name in NAMES}
        assert gates <= names
    head = ("fusion.", "bottleneck.", "predictor.")
    for prefix in (*head, "bottleneck.spread."):
        assert starting(reach["task"], prefix)
    assert not starting(reach["compression"], "predictor.")
    assert starting(reach["compression"], "bottleneck.spread.", "fusion.")
    assert not starting(reach["contrastive"], *head)
    assert starting(reach["contrastive"], "refine.text.experts.")
    assert not starting(reach["balance"], *head)
    assert not any(".experts." in name for name in reach["balance"])


def test_experts_that_no_row_chose_get_no_gradient() -> None:
    method, batch = tiny(), random_batch()
    for name in NAMES:
        score = method.refine[name].gate.score.weight
        method.harvest[name].norm.weight.data.zero_()  # O_m = 1, so that the sum of its weights is the score
        method.harvest[name].norm.bias.data.fill_(1.0)
        score.data.zero_()
        score.data[:2, 16:] = 1.0  # experts 0 and 1 are ahead of 2 in every row
    method.zero_grad()
    weighted(method, method.losses(batch, method(batch), KHaR.TERMS)).backward()
    for name in NAMES:
        unused, used = method.refine[name].experts[2], method.refine[name].experts[1]
        assert all((p.grad == 0).all() for p in unused.parameters())
        assert all((p.grad != 0).any() for p in used.parameters())


@pytest.mark.parametrize("refine", REFINEMENTS)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_objective_leaves_no_parameter_out(refine: str, fusion: str) -> None:
    # of an even number of clips the signs of the errors may cancel in the last bias
    method, batch = tiny_finetuned(refine=refine, fusion=fusion), random_batch(5, vocabulary=40)
    weighted(method, method.losses(batch, method(batch), KHaR.TERMS)).backward()
    gradients = {name: parameter.grad for name, parameter in method.named_parameters()}
    flat = [name for name, grad in gradients.items() if grad is None or grad.abs().max() == 0]
    assert flat == []


def test_ablations_leave_their_terms_out() -> None:
    batch = random_batch()
    for refine in REFINEMENTS:
        method = tiny(refine=refine)
        output = method(batch)
        losses = method.losses(batch, output, KHaR.TERMS)
        assert (losses["balance"].item() == 0) == (refine != "moe")
        assert {value.shape for value in output.refined.values()} == {(4, 6)}
    for fusion in FUSIONS:
        method = tiny(fusion=fusion)
        losses = method.losses(batch, method(batch), KHaR.TERMS)
        for term in ("bottleneck_error", "compression"):
            assert (losses[term].item() == 0) == (fusion != "mib")
        assert losses["task"] > 0


# ----------------------------------------------------------------------------------------------- the rest
def test_only_what_is_asked_is_given() -> None:
    method, batch = tiny(), random_batch()
    output = method(batch)
    for terms in ((), ("task",), ("balance", "contrastive"), KHaR.TERMS):
        assert set(method.losses(batch, output, terms)) == set(terms)


def test_noise_of_the_gate_is_of_training_and_an_option() -> None:
    method, batch = tiny(), random_batch()
    assert torch.equal(method(batch).importance["text"], method(batch).importance["text"])
    method = tiny(noisy_gate=True, load="smooth")
    first, second = (method(batch).importance["text"] for _ in range(2))
    assert not torch.equal(first, second)
    method.eval()
    assert torch.equal(method(batch).importance["text"], method(batch).importance["text"])


def test_diagnostics_are_the_shares_of_the_experts() -> None:
    method, batch = tiny(), random_batch(absent={(clip, "audio") for clip in range(4)})
    curves = method.diagnostics(batch, method(batch))
    assert list(curves)[:3] == ["expert/text/0", "expert/text/1", "expert/text/2"]
    for kind, each in (("expert", 1), ("rows", 2)):  # every row goes to two
        for name in NAMES:
            total = sum(value.item() for key, value in curves.items() if key.startswith(f"{kind}/{name}/"))
            assert total == pytest.approx(0 if name == "audio" else each)
    assert set(tiny(refine="cnn").diagnostics(batch, tiny(refine="cnn")(batch))) == {"sigma"}
    method = tiny(refine="cnn", fusion="sum")
    assert method.diagnostics(batch, method(batch)) == {}


def test_an_expert_that_serves_every_row_has_all_of_them() -> None:
    method, batch = tiny(), random_batch()
    gate = method.refine["audio"].gate
    method.harvest["audio"].norm.weight.data.zero_()
    method.harvest["audio"].norm.bias.data.fill_(1.0)
    gate.score.weight.data.zero_()
    gate.score.weight.data[0, 16:] = 1.0
    curves = method.diagnostics(batch, method(batch))
    assert curves["rows/audio/0"].item() == pytest.approx(1)
    assert curves["rows/audio/1"].item() + curves["rows/audio/2"].item() == pytest.approx(1)


def test_the_mean_sigma_is_a_curve() -> None:
    method, batch = tiny(), random_batch()
    output = method(batch)
    assert method.diagnostics(batch, output)["sigma"].item() == pytest.approx(output.sigma.mean().item())


def test_settings() -> None:
    settings = KHaRSettings()
    training = settings.training
    assert (training.optimizer, training.lr_backbone, training.lr_other) == ("adamw", 3e-5, 3e-5)
    assert (training.schedule, training.schedule_every, training.epochs) == ("linear", "step", 70)
    assert settings.weights.model_dump() == {
        "task": 1.0,
        "bottleneck_error": 1.0,
        "compression": 1e-3,
        "balance": 1e-2,
        "contrastive": 0.05,
    }
    assert tuple(settings.weights.model_dump()) == KHaR.TERMS
    assert settings_of(weights={"task": 0}).weights.bottleneck_error == 1
    for wrong in (
        {"fusion": "mean"},
        {"experts": 1},
        {"temperature": 0},
        {"pretraining": {"adapters": "frozen"}},
        {"pretraining": {"epochs": {"video": 3}}},
        {"fusion": "sum", "weights": {"task": 0}},
        {"load": "smooth", "noisy_gate": False},
    ):
        with pytest.raises(ValidationError):
            KHaRSettings.model_validate(wrong)
