"""MIRD's losses and estimators: equations, known answers, what they reach, alternating updates."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch
from made.tiny_batch import DIMS, random_batch, select
from made.tiny_methods import Loop, weighted
from made.tiny_mird import MISSING, tiny, tiny_finetuned
from reference import mird as reference
from torch import Tensor

from models.core.batch import Batch, Tokens
from models.core.method import Task
from models.mird.disentangle import log_mean, orthogonality, standardized
from models.mird.model import MIRD, MIRDOutput

UNLABELED = (1, 4)


def case_of(method: MIRD, batch: Batch, output: MIRDOutput) -> reference.Case:
    config = method.config
    sources = {name: getattr(batch, name) or batch.tokens for name in DIMS}
    return reference.Case(
        prediction=output.prediction.numpy(),
        label=batch.label.numpy(),
        labeled=batch.labeled.numpy(),
        z={name: z.numpy() for name, z in output.z.items()},
        pooled={name: x.numpy() for name, x in output.pooled.items()},
        present={name: part.present.numpy() for name, part in sources.items()},
        values={name: (x.ids if isinstance(x, Tokens) else x.values).numpy() for name, x in sources.items()},
        rebuilt={name: x.values.numpy() for name, x in output.reconstruction.items()},
        mask={name: part.mask.numpy() for name, part in sources.items()},
        weights={name: value.numpy() for name, value in method.state_dict().items()},
        pairs=config.mi_pairs,
        use=config.unlabeled_use,
        standardize=config.mi_norm == "batch",
    )


# ---------------------------------------------------------------------------------------------- equations
@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mi_pairs": "nine", "unlabeled_use": "information"},
        {"mi_norm": "none", "unlabeled_use": "reconstruction"},
        {"text": "finetune", "inject_layer": 1, "mi_pairs": "nine"},
    ],
    ids=["frozen", "nine", "as they are", "finetuned"],
)
def test_losses_equal_the_equations(settings: dict[str, object], missing: str) -> None:
    finetuned = "text" in settings
    method = (tiny_finetuned if finetuned else tiny)(**settings).double()
    batch = random_batch(
        6,
        dtype=torch.float64,
        absent=MISSING[missing],
        vocabulary=40 if finetuned else None,
        unlabeled=UNLABELED,
    )
    with torch.no_grad():
        output = method(batch)
        losses = method.losses(batch, output, MIRD.TERMS)
        case = case_of(method, batch, output)
        assert method.estimator_loss(batch, output).item() == pytest.approx(
            math.fsum(reference.estimates(case, likelihood=True)), abs=1e-9
        )
        each = method.bounds(batch, output).tolist()
    assert each == pytest.approx(reference.estimates(case, likelihood=False), abs=1e-9)
    assert {term: value.item() for term, value in losses.items()} == pytest.approx(
        {
            "prediction": reference.regression(case),
            "reconstruction": reference.reconstruction(case),
            "information": math.fsum(each),
            "orthogonality": reference.orthogonality(case),
        },
        abs=1e-9,
    )


@pytest.mark.parametrize("classes", [2, 7])
def test_prediction_of_classes_is_the_logarithm_of_their_cross_entropy(classes: int) -> None:
    method = tiny(task=Task(classes)).double()
    batch = random_batch(6, dtype=torch.float64, classes=classes, unlabeled=UNLABELED)
    with torch.no_grad():
        output = method(batch)
        loss = method.losses(batch, output, ["prediction"])["prediction"].item()
        assert loss == pytest.approx(reference.classification(case_of(method, batch, output)))
    perfect = replace(output, prediction=200 * output.prediction)
    sure = batch.label.clone()
    sure[batch.labeled] = Task(classes).decide(perfect.prediction)[batch.labeled].double()
    floor = method.losses(replace(batch, label=sure), perfect, ["prediction"])["prediction"].item()
    assert floor >= math.log(1e-6) - 1e-9


def test_the_logarithm_of_a_loss() -> None:
    values = torch.tensor([0.5, -0.5, 7.0], dtype=torch.float64, requires_grad=True)
    among = torch.tensor([True, True, False])
    loss = log_mean(values.square(), among)
    assert loss.item() == pytest.approx(-1.386294, abs=1e-6)  # ln 0.25
    (gradient,) = torch.autograd.grad(loss, values)
    (plain,) = torch.autograd.grad(values[:2].square().mean(), values)
    torch.testing.assert_close(gradient, plain / 0.25)
    nothing = log_mean(values.square(), torch.zeros(3, dtype=torch.bool))
    assert nothing.item() == 0
    assert torch.autograd.grad(nothing, values)[0].abs().max() == 0
    zeros = torch.zeros(3, requires_grad=True)
    floor = log_mean(zeros.square(), among)
    assert floor.item() == pytest.approx(math.log(1e-6))
    assert torch.autograd.grad(floor, zeros)[0].isfinite().all()


def test_orthogonality_is_zero_only_where_the_products_are() -> None:
    everyone = torch.ones(3, dtype=torch.bool)
    left, right = torch.zeros(3, 4), torch.zeros(3, 4)
    left[:, :2], right[:, 2:] = torch.randn(3, 2), torch.randn(3, 2)
    assert orthogonality(left, right, everyone, everyone).item() == 0
    right[1, 0] = 1e-2
    expected = (left @ right.T).square().mean()
    torch.testing.assert_close(orthogonality(left, right, everyone, everyone), expected)
    assert expected > 0
    without = torch.tensor([True, False, True])
    assert orthogonality(left, right, everyone, without).item() == 0


# ----------------------------------------------------------------------------------------------- estimators
def test_pairs_and_their_direction() -> None:
    method = tiny(mi_pairs="nine")
    assert method.latent_pairs == reference.PAIRS
    assert method.input_pairs == [(name, "shared") for name in reference.INPUTS]
    assert tiny().input_pairs == []
    assert method.estimators is not None
    assert [layer.in_features for layer in method.estimators.inner] == [8] * 6 + [7, 12, 5]
    batch = random_batch()
    output = method(batch)
    xs, ys, _ = method.paired(batch, output)
    pair = torch.stack([output.z["visual"], output.z["shared"]])
    torch.testing.assert_close([xs[3], ys[3]], [*standardized(pair, torch.ones(2, 4).bool())])  # q(z^S | z^V)
    without = tiny(dims={"text": 12, "visual": 7}, mi_pairs="nine")
    assert without.latent_pairs == [("visual", "text"), ("visual", "shared"), ("text", "shared")]
    assert without.input_pairs == [("visual", "shared"), ("text", "shared")]


def test_a_bound_cannot_fall_by_shrinking() -> None:
    """Neither towards zero nor beside a vector that all clips share."""
    batch = random_batch(6, dtype=torch.float64)
    z = {name: torch.randn(6, 8, dtype=torch.float64) for name in ("shared", *DIMS)}
    found = {}
    for norm in ("none", "batch"):
        method = tiny(mi_norm=norm).double()
        output = method(batch)
        versions = (z, {name: 0.1 * x for name, x in z.items()}, {name: 5 + 0.1 * x for name, x in z.items()})
        found[norm] = [method.bounds(batch, replace(output, z=version)) for version in versions]
    whole, small, beside = found["batch"]
    torch.testing.assert_close(small, whole, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(beside, whole, atol=1e-3, rtol=1e-3)
    assert found["none"][1].abs().max() < 0.2 * found["none"][0].abs().max()


def test_standardized_rows() -> None:
    z, among = 3 + 0.1 * torch.randn(7, 5, dtype=torch.float64), torch.tensor([1, 1, 0, 1, 1, 0, 1]).bool()
    found = standardized(z.masked_fill(~among[:, None], 1e6)[None], among[None])[0]
    expected = (z[among] - z[among].mean(dim=0)) / z[among].std(dim=0, correction=0)
    torch.testing.assert_close(found[among], expected, atol=1e-3, rtol=0)
    assert (found[~among] == 0).all()
    for few in (torch.arange(7) == 3, torch.zeros(7).bool()):  # one clip has no spread, none has no mean
        leaf = z.clone().requires_grad_()
        assert (standardized(leaf[None], few[None]) == 0).all()
        assert torch.autograd.grad(standardized(leaf[None], few[None]).sum(), leaf)[0].isfinite().all()


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_the_bound_of_a_bijection(norm: str) -> None:
    """z of spread 0.1 beside a shared vector, each the others in another order.

    Fitted exactly and with the smallest variance, 1/e, a bound is e/2 · mean_ij (z_j − z_i)² = e · spread² a
    width. Not standardised, the same information reads as a hundredth or less.
    """
    torch.manual_seed(0)
    x = standardized(torch.randn(1, 256, 8), torch.ones(1, 256, dtype=torch.bool))[0]
    z = {name: 3 + 0.1 * x[:, torch.randperm(8)] for name in ("shared", *DIMS)}
    method, batch = tiny(mi_norm=norm, estimator_hidden=32), random_batch(256)
    output = replace(method(batch), z=z)
    assert method.estimators is not None
    optimizer = torch.optim.Adam(method.estimators.parameters(), lr=1e-2)
    for _ in range(400):
        optimizer.zero_grad()
        method.estimator_loss(batch, output).backward()
        optimizer.step()
    with torch.no_grad():
        found = (method.bounds(batch, output) / 8).tolist()
    if norm == "batch":
        assert found == pytest.approx([math.e] * 6, rel=0.15)
    else:
        assert max(found) < 0.01 * math.e


# ------------------------------------------------------------------------------------- who moves, and when
def mark(parameters: Iterable[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256()
    for name, value in parameters:
        digest.update(name.encode() + value.detach().numpy().tobytes())
    return digest.hexdigest()


def test_each_step_moves_its_own_parameters() -> None:
    method, batch = tiny(), random_batch(6, unlabeled=UNLABELED)

    def marks() -> tuple[str, str]:
        named = list(method.named_parameters())
        own = [(name, value) for name, value in named if name.startswith("estimators.")]
        return mark(own), mark((name, value) for name, value in named if not name.startswith("estimators."))

    guess = torch.optim.Adam(method.estimator_groups())
    model = torch.optim.AdamW(method.parameter_groups())
    assert [group["lr"] for group in guess.param_groups] == [1e-3]
    assert method.estimator_steps() == 5
    output, before = method(batch), marks()
    for _ in range(2):
        guess.zero_grad()
        method.estimator_loss(batch, output).backward()
        others = [value.grad for name, value in method.named_parameters() if "estimators" not in name]
        assert all(gradient is None for gradient in others)
        guess.step()
    between = marks()
    assert between[0] != before[0] and between[1] == before[1]
    weighted(method, method.losses(batch, output, MIRD.TERMS)).backward()
    model.step()
    after = marks()
    assert after[0] == between[0] and after[1] != between[1]


def test_the_inputs_of_estimators_are_no_way_to_the_text_encoder() -> None:
    method, batch = tiny_finetuned(), random_batch(5, vocabulary=40)
    assert not any(x.requires_grad for x in method(batch).pooled.values())


def informed(clips: int, seed: int) -> Batch:
    """Random sequences of which each step of each modality tells the label along a direction of its own."""
    batch, generator, told = random_batch(clips, seed=seed), torch.Generator().manual_seed(0), {}
    for name, width in DIMS.items():
        part = getattr(batch, name)
        label = 0.5 * batch.label[:, None, None] * torch.randn(width, generator=generator)
        told[name] = replace(part, values=(part.values + label) * part.mask[..., None])
    return replace(batch, **told)


def test_training_makes_the_information_small() -> None:
    """As the paper's figure 5 has it. Without the term it grows, for all four learn the label."""
    pool, other = [informed(32, seed) for seed in range(20)], informed(256, 99)
    began, ended, left = {}, {}, {}
    for alpha in (1e-9, 1.0):  # 0 would leave the estimators out
        method = tiny(estimator_hidden=32, weights={"information": alpha})
        loop = Loop(method, lr=5e-3)

        def settled(method: MIRD = method, loop: Loop = loop) -> float:
            """Sum of Î, on clips that nothing was learnt from, once the estimators know z as it is."""
            with torch.no_grad():
                outputs = [method(batch) for batch in pool]
            for batch, output in 8 * list(zip(pool, outputs, strict=True)):
                loop.estimators.zero_grad()
                method.estimator_loss(batch, output).backward()
                loop.estimators.step()
            with torch.no_grad():
                return method.bounds(other, method(other)).sum().item()

        began[alpha] = settled()
        course = [loop.step(batch)["information"] for batch in 6 * pool]
        ended[alpha], left[alpha] = float(np.mean(course[-20:])), settled()
    assert ended[1.0] < 0.7 * began[1.0]
    assert ended[1e-9] > 1.5 * began[1e-9]
    assert left[1.0] < 0.6 * left[1e-9]


def test_without_the_term_there_are_no_estimators() -> None:
    method = tiny(weights={"information": 0})
    assert method.estimators is None
    assert method.estimator_groups() == [] and method.estimator_steps() == 0
    batch = random_batch()
    output = method(batch)
    assert output.pooled == {}
    assert method.losses(batch, output, ["information"])["information"].item() == 0
    resting = tiny(mi_pairs="nine")
    resting.active_terms = frozenset({"prediction"})
    assert resting.estimator_steps() == 0
    assert resting(batch).pooled == {}
    with pytest.raises(ValueError, match="information needs a forward in training mode"):
        resting.losses(batch, resting(batch), ["information"])
    with pytest.raises(ValueError, match="reconstruction needs a forward in training mode"):
        resting.losses(batch, resting(batch), ["reconstruction"])


def test_one_clip_has_no_information() -> None:
    method, batch = tiny().double(), random_batch(1, dtype=torch.float64)
    losses = method.losses(batch, method(batch), MIRD.TERMS)
    assert losses["information"].item() == 0
    assert all(value.isfinite() for value in losses.values())
    gradients = torch.autograd.grad(losses["information"], list(method.private.parameters()))
    assert max(gradient.abs().max().item() for gradient in gradients) < 1e-12


# ------------------------------------------------------------------------------------------ unlabeled clips
def gradients_of(method: MIRD, batch: Batch, term: str) -> list[Tensor]:
    method.zero_grad()
    method.losses(batch, method(batch), [term])[term].backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in method.parameters()]


@pytest.mark.parametrize("use", ["both", "information", "reconstruction"])
def test_what_unlabeled_clips_join(use: str) -> None:
    method = tiny(unlabeled_use=use).double()
    batch = random_batch(6, dtype=torch.float64, unlabeled=UNLABELED)
    assert batch.visual is not None and batch.audio is not None
    unlabeled = ~batch.labeled[:, None, None]
    values = torch.where(unlabeled & batch.visual.mask[..., None], 0.5, batch.visual.values)
    other = replace(batch, visual=replace(batch.visual, values=values))
    joined = {term for term in ("information", "reconstruction") if use in ("both", term)}
    for term in ("prediction", "information", "reconstruction", "orthogonality"):
        pairs = zip(gradients_of(method, batch, term), gradients_of(method, other, term), strict=True)
        same = all(torch.allclose(a, b, rtol=0, atol=1e-13) for a, b in pairs)
        asked = "information" if term == "orthogonality" else term
        assert same == (asked not in joined)
    kept = select(batch, [row for row in range(6) if row not in UNLABELED])
    first, second = method(batch), method(kept)
    loss = [method.losses(b, o, ["prediction"]) for b, o in ((batch, first), (kept, second))]
    torch.testing.assert_close(loss[0], loss[1])
    for name, z in second.z.items():  # dropping unlabeled clips gives the same widths
        assert z.shape == (4, first.z[name].shape[1])


def test_reading_asks_for_unlabeled_clips() -> None:
    assert tiny().reading().unlabeled == 0
    assert tiny(unlabeled_ratio=3).reading().unlabeled == 3


def test_a_batch_without_labels_has_no_prediction_loss() -> None:
    method, batch = tiny(), random_batch(3, unlabeled=range(3))
    loss = method.losses(batch, method(batch), ["prediction"])["prediction"]
    assert loss.item() == 0
    loss.backward()
    assert all(p.grad is None or p.grad.abs().max() == 0 for p in method.parameters())


# ---------------------------------------------------------------------------------------------- diagnostics
def test_diagnostics() -> None:
    method, batch = tiny(mi_pairs="nine"), random_batch(6, absent={(1, "audio"), (4, "audio")})
    output = method(batch)
    curves = method.diagnostics(batch, output)
    z = output.z["audio"].detach()[[0, 2, 3, 5]].numpy()
    assert curves["std/audio"].item() == pytest.approx(z.std(axis=0).mean(), rel=1e-5)
    assert {name for name in curves if name.startswith("std/")} == {f"std/{name}" for name in output.z}
    information = method.losses(batch, output, ["information"])["information"].item()
    total = 6 * curves["bound/latent"].item() + 3 * curves["bound/inputs"].item()
    assert total == pytest.approx(information, abs=1e-6)
    assert not any(value.requires_grad for value in curves.values())
    assert set(tiny().diagnostics(batch, tiny()(batch))) >= {"bound/latent"}
    assert all(np.isfinite(value.item()) for value in curves.values())
    assert set(method.eval().diagnostics(batch, method(batch))) == {f"std/{name}" for name in output.z}
