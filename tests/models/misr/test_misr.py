"""MISR against the paper's equations, known answers, and the properties that its parts promise."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from made.spoken import spoken_batch
from made.tiny_batch import DIMS, random_batch
from made.tiny_methods import weighted
from made.tiny_misr import MISSING, TINY, tiny, tiny_finetuned
from reference import misr as reference
from torch import Tensor

from models.core.batch import Batch
from models.misr.model import (
    MISR,
    TOKEN_STD,
    MISROutput,
    MISRSettings,
    bounded_logvar,
    environment_variance,
    uncertainty_fusion,
)

PARTS = ("encoding", "encoder", "decoder")


def reached(method: MISR, term: str, batch: object) -> set[str]:
    """Names of the parameters with a gradient from this term alone."""
    method.zero_grad()
    losses = method.losses(batch, method(batch), [term])
    losses[term].backward()
    return {name for name, p in method.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}


def environments_of(method: MISR, output: MISROutput) -> Tensor:
    """Mean over T of f_S of every subset, (8, B, d)."""
    return method.environments(output.joint, output.embedding, output.present, 8)


def output_of(mean: dict[str, float], sigma: dict[str, float], environments: list[float]) -> MISROutput:
    """An output with constant posteriors and one prediction an environment, for a single clip."""
    ones = torch.ones(len(mean), 1, 2, 3, dtype=torch.float64)

    def by_modality(values: Iterable[float]) -> Tensor:
        return torch.tensor(list(values), dtype=torch.float64)[:, None, None, None] * ones

    return MISROutput(
        prediction=torch.tensor(environments[:1], dtype=torch.float64),
        present=torch.ones(len(mean), 1, dtype=torch.bool),
        embedding=ones,
        mean=by_modality(mean.values()),
        logvar=by_modality(2 * math.log(sigma[name]) for name in mean),
        joint=ones[0],
        hidden=ones[0],
        environments=torch.tensor(environments, dtype=torch.float64)[:, None],
        reconstruction=3 * ones,
    )


# -------------------------------------------------------------------------------------------- known answers
def test_prior_and_alignment_of_three_gaussians() -> None:
    batch = replace(random_batch(1), label=torch.zeros(1, dtype=torch.float64))
    mean, sigma = {"text": 0.0, "audio": 1.0, "visual": 0.0}, {"text": 1.0, "audio": 1.0, "visual": 2.0}
    losses = tiny().losses(batch, output_of(mean, sigma, [0.5] * 7 + [0.9]), MISR.TERMS)
    assert losses["prior"].item() == pytest.approx(1.306853, abs=1e-6)
    assert losses["alignment"].item() == pytest.approx(3.875, abs=1e-9)
    assert losses["reconstruction"].item() == pytest.approx(3 * 4, abs=1e-9)
    assert losses["prediction"].item() == pytest.approx(0.5)
    assert losses["invariance"].item() == pytest.approx(0.0175, abs=1e-9)
    equal = output_of(dict.fromkeys(mean, 0.7), dict.fromkeys(mean, 0.3), [1.0] * 8)
    assert tiny().losses(batch, equal, ["alignment"])["alignment"].item() == pytest.approx(0, abs=1e-12)


def test_the_variance_over_environments_is_of_the_population() -> None:
    assert environment_variance(torch.tensor([1.0, 2.0, 3.0])).item() == pytest.approx(2 / 3)
    assert environment_variance(torch.full((8,), 0.5)).item() == 0
    risks = torch.tensor([0.3, 1.0, 0.2, 0.9, 0.4, 0.5, 0.7, 0.1])
    assert environment_variance(risks[torch.randperm(8)]).item() == pytest.approx(
        risks.var(correction=0).item()
    )


def invariance(errors: list[list[float]], over: str) -> float:
    """L_IC of these errors, environments by clips; labels are 0."""
    environments = torch.tensor(errors, dtype=torch.float64)
    batch = random_batch(environments.shape[1], dtype=torch.float64)
    batch = replace(batch, label=torch.zeros_like(batch.label))
    present = torch.ones(3, len(batch.label), dtype=torch.bool)
    output = replace(
        output_of({"text": 0.0}, {"text": 1.0}, [0.0] * 8), environments=environments, present=present
    )
    method = tiny(invariance_over=over)
    return method.losses(batch, output, ["invariance"])["invariance"].item()


def test_two_readings_of_the_invariance() -> None:
    """Errors that change places between clips leave every risk alike, and no clip's error."""
    swapped = [[1.0, 3.0], [3.0, 1.0]] * 4
    assert invariance(swapped, "batch") == 0
    assert invariance(swapped, "clip") == pytest.approx(1.0)
    together = [[1.0, 2.0], [3.0, 4.0]] * 4
    assert invariance(together, "batch") == invariance(together, "clip") == pytest.approx(1.0)
    seven = [[0.5, 0.2]] * 7 + [[0.9, 0.2]]
    assert invariance(seven, "batch") == pytest.approx(0.0175 / 4)
    assert invariance(seven, "clip") == pytest.approx(0.0175 / 2)


def test_the_variance_of_means_is_never_above_the_mean_of_variances() -> None:
    for seed in range(6):
        generator = np.random.default_rng(seed)
        errors = generator.exponential(size=(8, 1 + seed))
        batch, clip = (invariance(errors.tolist(), over) for over in ("batch", "clip"))
        assert batch == pytest.approx(errors.mean(axis=1).var())
        assert clip == pytest.approx(errors.var(axis=0).mean())
        assert batch == pytest.approx(clip) if seed == 0 else batch < clip


def fuse(
    mean: list[float], sigma: list[float], present: list[bool] | None = None
) -> tuple[float, list[float]]:
    shape = (len(mean), 1, 1, 1)
    known = torch.tensor(present or [True] * len(mean)).reshape(-1, 1)
    joint, weights = uncertainty_fusion(
        torch.tensor(mean).reshape(shape), torch.tensor(sigma).reshape(shape), known
    )
    return joint.item(), weights.flatten().tolist()


def test_fusion_weights() -> None:
    assert fuse([0.0, 0.0, 0.0], [0.5, 1.0, 2.0])[1] == pytest.approx(
        [0.628532, 0.231224, 0.140244], abs=1e-6
    )
    assert fuse([0.0, 0.0, 0.0], [0.7, 0.7, 0.7])[1] == pytest.approx([1 / 3] * 3)
    assert fuse([0.0, 1.0, 0.0], [1.0, 1.0, 2.0])[0] == pytest.approx(0.383652, abs=1e-6)
    assert fuse([1.0, 2.0, 3.0], [1e-3, 1.0, 2e-3])[1] == [1, 0, 0]  # e^1000 would be infinite
    joint, weights = fuse([1.0, 5.0, 3.0], [1.0, 0.2, 1.0], [True, False, True])
    assert (joint, weights) == (pytest.approx(2.0), pytest.approx([0.5, 0, 0.5]))


def test_fusion_prefers_the_certain() -> None:
    torch.manual_seed(0)
    mean, sigma = torch.randn(3, 4, 5, 6), 0.1 + 3 * torch.rand(3, 4, 5, 6)
    joint, weights = uncertainty_fusion(mean, sigma, torch.ones(3, 4, dtype=torch.bool))
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(4, 5, 6))
    assert torch.equal(weights.argsort(dim=0), sigma.argsort(dim=0, descending=True))
    assert (joint <= mean.amax(dim=0) + 1e-6).all()
    assert (joint >= mean.amin(dim=0) - 1e-6).all()


def test_the_bound_of_sigma_is_soft() -> None:
    s = torch.tensor([-50.0, -8.0, 0.0, 8.0, 50.0], requires_grad=True)
    sigma = (0.5 * bounded_logvar(s)).exp()
    assert sigma.tolist() == pytest.approx([0.1353, 0.14543, 1.0, 6.8761, 7.389], rel=1e-3)
    (gradient,) = torch.autograd.grad(sigma.sum(), s)
    assert (gradient[1:4] > 1e-3).all()


# ---------------------------------------------------------------------------------------------- equations
@pytest.mark.parametrize("missing", MISSING)
def test_losses_equal_the_equations(missing: str) -> None:
    method = tiny().double()
    batch = random_batch(dtype=torch.float64, absent=MISSING[missing])
    with torch.no_grad():
        output = method(batch)
        losses = method.losses(batch, output, MISR.TERMS)
    assert output.reconstruction is not None
    case = reference.Case(
        embedding=dict(zip(DIMS, output.embedding.numpy(), strict=True)),
        mean=dict(zip(DIMS, output.mean.numpy(), strict=True)),
        sigma=dict(zip(DIMS, np.exp(output.logvar.numpy() / 2), strict=True)),
        reconstruction=dict(zip(DIMS, output.reconstruction.numpy(), strict=True)),
        present={name: ~np.array([(clip, name) in MISSING[missing] for clip in range(4)]) for name in DIMS},
        label=batch.label.numpy(),
        weights={name: value.numpy() for name, value in method.state_dict().items()},
    )
    for clip in range(4):
        np.testing.assert_allclose(output.joint[clip].numpy(), reference.joint(case, clip), atol=1e-9)
    expected = reference.losses(case)
    assert {term: value.item() for term, value in losses.items()} == pytest.approx(expected, abs=1e-9)
    prediction = [
        reference.predict(case, reference.environment(case, clip, ())) for clip in range(len(case.label))
    ]
    np.testing.assert_allclose(output.prediction.numpy(), prediction, atol=1e-9)
    method.config = method.config.model_copy(update={"sp_over_envs": "mean", "invariance_over": "clip"})
    others = method.losses(batch, output, ["prediction", "invariance"])
    assert others["prediction"].item() == pytest.approx(np.mean(reference.risks(case)), abs=1e-9)
    assert others["invariance"].item() == pytest.approx(reference.invariance_of_clips(case), abs=1e-9)


def test_eight_environments_with_the_joint_representation_first() -> None:
    method, batch = tiny(), random_batch()
    output = method(batch)
    names = ("text", "audio", "visual")
    assert method.subsets == ((), *((n,) for n in names), *combinations(names, 2), names)
    environments = environments_of(method, output)
    pooled = output.joint.mean(dim=1)
    assert environments.shape == (8, *pooled.shape)
    assert torch.equal(environments[0], pooled)
    assert output.environments.shape == (8, 4)
    assert torch.equal(output.environments[0], output.prediction)
    assert len({tuple(row.tolist()) for row in output.environments}) == 8


def test_the_scale_of_an_embedding_does_not_move_its_environments() -> None:
    method, batch = tiny(), random_batch()
    output = method(batch)
    before = environments_of(method, output)
    louder = 10 * output.embedding
    after = environments_of(method, replace(output, embedding=louder))
    torch.testing.assert_close(after, before, atol=1e-3, rtol=0)


# ---------------------------------------------------------------------------------------------- gradients
def test_what_each_term_reaches() -> None:
    method, batch = tiny_finetuned(), random_batch(vocabulary=40)
    reach = {term: reached(method, term, batch) for term in MISR.TERMS}
    prediction = reach["prediction"]
    for name in DIMS:
        for part in ("project", "tokens", "positions", "stack.layers.1"):
            assert any(key.startswith(f"encoding.{name}.{part}") for key in prediction)
        assert {f"encoder.{name}.mean.weight", f"encoder.{name}.spread.weight"} <= prediction
    assert {"hidden.weight", "score.weight"} <= prediction
    assert any(key.startswith("backbone.") for key in prediction)
    assert not any(key.startswith("decoder.") for key in prediction)
    for term in ("prior", "alignment"):
        assert any(key.startswith("backbone.") for key in reach[term])
        assert not any(key.startswith(("decoder.", "hidden.", "score.")) for key in reach[term])
    for part in PARTS:
        assert any(key.startswith(f"{part}.audio") for key in reach["reconstruction"])
    assert not any(key.startswith(("hidden.", "score.")) for key in reach["reconstruction"])


def test_invariance_reaches_the_embeddings_past_the_posterior() -> None:
    method, batch = tiny(), random_batch()
    for parameter in method.encoder.parameters():
        parameter.data.zero_()  # the posterior no longer depends on H^m
    reach = reached(method, "invariance", batch)
    assert any(key.startswith("encoding.visual") for key in reach)
    assert not any(key.startswith("encoding.") for key in reached(method, "prediction", batch))
    # its detached target leaves L_DR no way to H^m but through the posterior
    assert not any(key.startswith("encoding.") for key in reached(method, "reconstruction", batch))


def test_the_objective_leaves_no_parameter_out() -> None:
    # of an even number of clips the signs of the errors may cancel in the last bias
    method, batch = tiny_finetuned(), random_batch(5, vocabulary=40)
    weighted(method, method.losses(batch, method(batch), MISR.TERMS)).backward()
    gradients = {name: parameter.grad for name, parameter in method.named_parameters()}
    assert [name for name, grad in gradients.items() if grad is None] == []
    flat = [name for name, grad in gradients.items() if grad is not None and grad.abs().max() == 0]
    assert flat == []


def spread_between_clips(method: MISR, batch: Batch) -> float:
    """Share of H^text's variance, over clips and tokens, that lies between clips."""
    with torch.no_grad():
        embedding = method.eval()(batch).embedding[0]  # (B, T, d)
    between, total = embedding.var(dim=0, correction=0).mean(), embedding.var(dim=(0, 1), correction=0).mean()
    return (between / total).item()


def test_embeddings_tell_clips_apart_from_the_start() -> None:
    """Real sentences at full size: .64 to .68 with learnt tokens of std .02, .0001 of std 1."""
    torch.manual_seed(0)
    method, spoken = MISR(MISRSettings(), {"text": 384}), spoken_batch()
    assert spread_between_clips(method, spoken) > 0.5
    encoding = method.encoding["text"]
    for table in (encoding.tokens, encoding.positions):
        table.data /= TOKEN_STD
    assert spread_between_clips(method, spoken) < 0.01


def test_the_tokens_of_a_clip_differ_from_the_start() -> None:
    for embedding in tiny()(random_batch()).embedding:
        for first, second in combinations(range(TINY["num_tokens"]), 2):
            assert (embedding[:, first] - embedding[:, second]).abs().amax(dim=-1).min() > 0.05
