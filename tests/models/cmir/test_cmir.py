"""CmIR against its equations, known answers, and the properties that its parts promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from made.tiny_batch import DIMS, pad_more, random_batch, select
from made.tiny_cmir import MISSING, OPTIONS, TINY, tiny, tiny_finetuned
from made.tiny_methods import weighted
from reference import cmir as reference
from torch import Tensor

from models.cmir.model import CmIR
from models.cmir.model import decorrelation_penalty as r_dec
from models.cmir.model import invariance_penalty as r_inv
from models.cmir.model import reconstruction_penalty as r_rec
from models.core.batch import Batch
from models.core.method import Task

CONSTRAINTS = {  # and the setting of what is summed
    "invariance": "inv_reduction",
    "decorrelation": "dec_reduction",
    "reconstruction": "rec_reduction",
}


def everyone(number: int) -> Tensor:
    return torch.ones(number, dtype=torch.bool)


def reached(method: CmIR, term: str, batch: Batch) -> set[str]:
    """Names of the parameters with a gradient from this term alone."""
    method.zero_grad()
    method.losses(batch, method(batch), [term])[term].backward()
    return {name for name, p in method.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}


# -------------------------------------------------------------------------------------------- known answers
def test_disagreement_of_three_views() -> None:
    views = torch.tensor([[[0.0, 0.0]], [[1.0, 0.0]], [[1.0, 2.0]]])
    assert r_inv(views, everyone(1), "sum").item() == 12  # ordered pairs; unordered ones give 6
    assert r_inv(views, everyone(1), "mean").item() == 12 / (3 * 2 * 2)
    twice = views.expand(-1, 2, -1)
    assert r_inv(twice, everyone(2), "sum").item() == 12  # a mean over clips
    assert r_inv(twice * torch.tensor([1.0, 50.0])[:, None], torch.tensor([True, False]), "mean").item() == 1
    for reduction in ("sum", "mean"):
        assert r_inv(views, ~everyone(1), reduction).item() == 0
        assert r_inv(views[:1].expand(3, -1, -1), everyone(1), reduction).item() == 0


def test_overlap_of_known_halves() -> None:
    invariant, spurious = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 1.0], [0.0, 3.0]])
    for reduction, expected in (("sum", 1.1), ("mean", 0.55)):  # C = [[0,0],[1,1]]
        assert r_dec(invariant, spurious, everyone(2), 0.1, reduction).item() == pytest.approx(expected)
        assert r_dec(invariant, spurious, torch.tensor([True, False]), 0.1, reduction).item() == 0
        only = r_dec(invariant, spurious, torch.tensor([False, True]), 0.1, reduction)
        assert only.item() == pytest.approx(1)
        louder = torch.tensor([[3.0], [0.2]]) * invariant
        assert r_dec(louder, 7 * spurious, everyone(2), 0.1, reduction).item() == pytest.approx(expected)


def test_cosines_of_one_clip_and_of_two_have_one_unit() -> None:
    """One step of α_off moves the loss by as much of the squared norm in either reduction."""
    torch.manual_seed(0)
    a, b = torch.randn(2, 32, 16, dtype=torch.float64)
    a, b = (rows / rows.norm(dim=1, keepdim=True) for rows in (a, b))
    squares = (a @ b.T).square()
    own = squares.diagonal().sum()
    for reduction, unit in (("sum", 1), ("mean", 32)):
        without = r_dec(a, b, everyone(32), 0.0, reduction)
        assert without.item() == pytest.approx(own.item() / unit)
        every = r_dec(a, b, everyone(32), 0.5, reduction)
        assert (every - without).item() == pytest.approx(0.5 * (squares.sum() - own).item() / unit)


def test_overlap_is_zero_in_orthogonal_subspaces_and_one_on_the_diagonal_of_equal_halves() -> None:
    torch.manual_seed(0)
    z = torch.randn(6, 5, dtype=torch.float64)
    zeros = torch.zeros_like(z)
    halves = torch.cat([z, zeros], dim=1), torch.cat([zeros, z.flip(0)], dim=1)
    assert r_dec(*halves, everyone(6), 0.1, "sum").item() == 0
    unit = z / z.norm(dim=1, keepdim=True)
    off_diagonal = ((unit @ unit.T).square().sum() - 6).item()
    assert r_dec(z, z, everyone(6), 0.1, "sum").item() == pytest.approx(6 + 0.1 * off_diagonal)
    assert r_dec(z, z, everyone(6), 0.1, "mean").item() == pytest.approx(1 + 0.1 * off_diagonal / 6)
    for reduction in ("sum", "mean"):  # one clip: no off-diagonal
        assert r_dec(z[:1], z[:1], everyone(1), 0.1, reduction).item() == pytest.approx(1)


def test_error_of_known_reconstructions() -> None:
    x, rebuilt = torch.tensor([[1.0, 2.0, 3.0], [0, 0, 0]]), torch.tensor([[0.0, 2.0, 5.0], [3, 0, 0]])
    assert r_rec(x, rebuilt, everyone(2), "sum").item() == (5 + 9) / 2  # squared lengths; a mean over clips
    assert r_rec(x, rebuilt, everyone(2), "mean").item() == pytest.approx((5 + 9) / 2 / 3)
    for reduction, unit in (("sum", 1), ("mean", 3)):
        one = r_rec(x, rebuilt, torch.tensor([True, False]), reduction)
        assert one.item() == pytest.approx(5 / unit)
        assert r_rec(x, rebuilt, ~everyone(2), reduction).item() == 0


@pytest.mark.parametrize(
    ("term", "factor"),  # of the sum, for K views, B clips and the widths of TINY
    [
        ("invariance", 3 * 2 * TINY["d_z"]),
        ("decorrelation", 4),
        ("reconstruction", TINY["d_x"]),
    ],
)
def test_sums_are_a_known_multiple_of_means(term: str, factor: int) -> None:
    values = {}
    for reduction in ("sum", "mean"):
        method, batch = tiny(**{CONSTRAINTS[term]: reduction}), random_batch()
        torch.manual_seed(3)
        values[reduction] = method.losses(batch, method(batch), [term])[term].item()
    assert values["sum"] == pytest.approx(factor * values["mean"], rel=1e-5)


def test_rows_of_zeros_are_harmless() -> None:
    z = torch.zeros(3, 4, requires_grad=True)
    other = torch.randn(3, 4, requires_grad=True)
    for loss in (
        r_dec(z, other, everyone(3), 0.1, "sum"),
        r_dec(z, z, everyone(3), 0.1, "mean"),
    ):
        assert loss.item() == 0
        loss.backward()
    assert z.grad is not None and z.grad.isfinite().all()
    assert other.grad is not None and other.grad.isfinite().all()


# ------------------------------------------------------------------------------------------------- equations
@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize("options", [name for name in OPTIONS if name != "noisy frames"])
def test_losses_equal_the_equations(options: str, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method = tiny(**OPTIONS[options]).double()
    batch = random_batch(dtype=torch.float64, absent=MISSING[missing], unlabeled=[3])
    perturbed: list[np.ndarray] = []
    monkeypatch.setattr(method, "noisy", recorded(method.noisy, perturbed))
    with torch.no_grad():
        output = method(batch)
        losses = method.losses(batch, output, CmIR.TERMS)
    config = method.config
    case = reference.Case(
        features={name: value.numpy() for name, value in output.features.items()},
        perturbed=dict(zip(DIMS, perturbed, strict=True)),
        present={name: ~np.array([(clip, name) in MISSING[missing] for clip in range(4)]) for name in DIMS},
        label=batch.label.numpy(),
        weights={name: value.numpy() for name, value in method.state_dict().items()},
        alpha_off=config.alpha_off,
        with_clean=config.include_clean or config.env_mode == "assigned",
        predict_all=config.predict_views == "all",
        means=tuple(term for term, key in CONSTRAINTS.items() if getattr(config, key) == "mean"),
        normalised=config.z_norm == "layernorm",
    )
    expected = reference.losses(case)
    assert {term: value.item() for term, value in losses.items()} == pytest.approx(expected, abs=1e-9)
    predictions = [reference.predict(case, clip)[0] for clip in range(4)]
    np.testing.assert_allclose(output.prediction.numpy(), predictions, atol=1e-9)


def recorded(
    function: Callable[[Tensor], list[Tensor]], results: list[np.ndarray]
) -> Callable[[Tensor], list[Tensor]]:
    def wrapper(values: Tensor) -> list[Tensor]:
        result = function(values)
        results.append(np.stack([copy.numpy() for copy in result]))
        return result

    return wrapper


# ------------------------------------------------------------------------------------ virtual environments
def test_noise_grows_with_the_environment() -> None:
    torch.manual_seed(0)
    x = torch.randn(300, 200)
    noise = torch.stack(tiny(alpha=0.1).noisy(x)) - x
    assert noise.std(dim=(1, 2)).tolist() == pytest.approx([0.1, 0.2, 0.3], rel=0.02)
    correlations = torch.corrcoef(noise.flatten(1))
    assert (correlations - torch.eye(3)).abs().max() < 0.02  # a draw of its own for each
    clips = torch.corrcoef(noise[2, :20])
    assert (clips - torch.eye(20)).abs().max() < 0.35


def test_an_assigned_environment_is_one_for_each_clip() -> None:
    torch.manual_seed(0)
    x = torch.zeros(3000, 50)
    (noise,) = tiny(alpha=0.1, env_mode="assigned").noisy(x)
    environments = (noise.std(dim=1) / 0.1).round()
    shares = [(environments == e).float().mean().item() for e in (1, 2, 3)]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", OPTIONS)
def test_without_noise_the_views_are_equal(options: str, dtype: torch.dtype) -> None:
    method, batch = tiny(**{**OPTIONS[options], "alpha": 0.0}).to(dtype), random_batch(5, dtype=dtype)
    assert method.losses(batch, method(batch), ["invariance"])["invariance"].item() == 0


@pytest.mark.parametrize("options", OPTIONS)
def test_views_differ_in_training_and_are_not_made_in_evaluation(options: str) -> None:
    method, batch = tiny(**OPTIONS[options]), random_batch()
    output, again = method(batch), method(batch)
    config = method.config
    clean = config.include_clean or config.env_mode == "assigned"
    number = (1 if config.env_mode == "assigned" else config.environments) + clean
    for name, views in output.views.items():
        assert views.shape == (number, 4, TINY["d_z"])
        assert r_inv(views[-2:], everyone(4), "sum") > 0
        assert not torch.equal(views[-1], again.views[name][-1])
        assert torch.equal(views[0], output.invariant[name]) is clean
    assert method.losses(batch, output, ["invariance"])["invariance"] > 0
    assert torch.equal(output.prediction, again.prediction)
    output = method.eval()(batch)
    assert (output.views, output.reconstruction, output.noisy_predictions) == ({}, {}, None)
    clean = (output.prediction - batch.label).abs().mean()
    torch.testing.assert_close(method.losses(batch, output, ["prediction"])["prediction"], clean)
    for term in ("invariance", "reconstruction"):
        with pytest.raises(ValueError, match="training mode with the term active"):
            method.losses(batch, output, [term])


def test_noisy_frames_pass_through_the_feature_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch = tiny(noise_site="frame", alpha=0.3), random_batch(absent={(1, "audio")})
    reach = reached(method, "invariance", batch)
    assert {"feature.audio.embed.weight", "feature.text.project.weight"} <= reach
    views = method(batch).views
    assert all(view.isfinite().all() for view in views.values())
    shapes: list[tuple[int, ...]] = []

    def noisy(values: Tensor) -> list[Tensor]:
        shapes.append(tuple(values.shape))
        return [values, values]

    monkeypatch.setattr(method, "noisy", noisy)
    method(pad_more(batch, 3))
    assert shapes == [(4, TINY["d_x"]), (4, 12, 5), (4, 14, 7)]  # text at its feature


# -------------------------------------------------------------------------------------------------- gradients
def test_what_each_term_reaches() -> None:
    method, batch = tiny_finetuned(), random_batch(vocabulary=40)
    reach = {term: reached(method, term, batch) for term in CmIR.TERMS}
    for term, names in reach.items():
        assert any(name.startswith("backbone.") for name in names)
        assert all(f"feature.{m}.project.weight" in names for m in DIMS)
        assert any(name.startswith("predictor.") for name in names) == (term == "prediction")
        assert any(name.startswith("decoder.") for name in names) == (term == "reconstruction")


def test_the_prediction_and_the_views_leave_the_spurious_half_alone() -> None:
    method, batch = tiny(), random_batch()
    z = TINY["d_z"]
    for term in ("prediction", "invariance", "decorrelation", "reconstruction"):
        reached(method, term, batch)
        for name in DIMS:
            gradient = method.encoder[name][2].weight.grad
            assert gradient[:z].abs().max() > 0
            assert (gradient[z:].abs().max() > 0) == (term in ("decorrelation", "reconstruction"))


def test_the_target_of_the_reconstruction_carries_no_gradient() -> None:
    method, batch = tiny(), random_batch()
    for name in DIMS:
        method.encoder[name][0].weight.data.zero_()  # the halves no longer depend on X_m
    reach = reached(method, "reconstruction", batch)
    assert not any(name.startswith("feature.") for name in reach)
    assert any(name.startswith("decoder.") for name in reach)


def test_another_spurious_half_leaves_the_prediction() -> None:
    method, batch = tiny().eval(), random_batch()
    before = method(batch)
    for name in DIMS:
        method.encoder[name][2].weight.data[TINY["d_z"] :].normal_()
    after = method(batch)
    assert not torch.equal(before.spurious["text"], after.spurious["text"])
    assert torch.equal(before.prediction, after.prediction)


@pytest.mark.parametrize("encoder", ["transformer", "bilstm"])
def test_the_objective_leaves_no_parameter_out(encoder: str) -> None:
    method = tiny_finetuned(feature_encoder=encoder, layers=2)
    batch = random_batch(5, vocabulary=40)
    weighted(method, method.losses(batch, method(batch), CmIR.TERMS)).backward()
    flat = [n for n, p in method.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert flat == []


# ---------------------------------------------------------------------------------------- missing modalities
def test_an_absent_modality_is_zero_in_the_predictor() -> None:
    absent = {(1, "audio"), (2, "visual")}
    method, batch = tiny(), random_batch(absent=absent)
    output = method(batch)
    halves = {name: half.clone() for name, half in output.invariant.items()}
    for clip, name in absent:
        assert halves[name][clip].abs().max() > 0
        halves[name][clip] = 0
    slots = torch.cat([halves[name] for name in DIMS], dim=1)
    torch.testing.assert_close(output.prediction, method.predictor(slots).squeeze(-1))


def test_constraints_do_not_see_clips_without_the_modality() -> None:
    absent = {(1, "audio"), (3, "audio")}
    method, batch = tiny(dims={"audio": 5}), random_batch(absent=absent)
    terms = ["decorrelation", "reconstruction"]
    kept = select(batch, [0, 2])
    alone, among = (method.losses(b, method(b), terms) for b in (kept, batch))
    for term in terms:
        torch.testing.assert_close(among[term], alone[term])


def test_a_whole_run_without_a_modality() -> None:
    method, batch = tiny(dims={"audio": 5, "visual": 7}), random_batch()
    output = method(batch)
    assert set(output.features) == set(method.encoder) == set(method.decoder) == {"audio", "visual"}
    assert method.predictor[0].in_features == 2 * TINY["d_z"]
    weighted(method, method.losses(batch, output, CmIR.TERMS)).backward()


# -------------------------------------------------------------------------------------------------- classes
@pytest.mark.parametrize("classes", [2, 7])
def test_classes_change_the_prediction_term_alone(classes: int) -> None:
    method, batch = tiny(task=Task(classes)).double(), random_batch(dtype=torch.float64, classes=classes)
    batch = replace(batch, label=batch.label.clone(), labeled=torch.tensor([True, True, False, True]))
    batch.label[2] = torch.nan
    regression = tiny().double()
    torch.manual_seed(1)
    output = method(batch)
    losses = method.losses(batch, output, CmIR.TERMS)
    torch.manual_seed(1)
    expected = regression.losses(batch, regression(batch), CONSTRAINTS)
    for term in CONSTRAINTS:
        assert losses[term].item() == pytest.approx(expected[term].item(), rel=1e-12)
    logits = output.prediction.detach().numpy()
    assert logits.shape == ((4,) if classes == 2 else (4, 7))
    errors = []
    for clip in (0, 1, 3):
        c = int(batch.label[clip])
        row = np.array([0.0, logits[clip]]) if classes == 2 else logits[clip]
        errors.append(np.log(np.exp(row).sum()) - row[c])
    assert losses["prediction"].item() == pytest.approx(np.mean(errors))
