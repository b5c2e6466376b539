"""MMIM against its definitions, known answers, its memory of a batch, and what its terms move."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from made.tiny_batch import DIMS, random_batch, select
from made.tiny_methods import Loop
from made.tiny_mmim import tiny
from reference import mmim as reference
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from models.core.batch import Batch
from models.core.method import Task
from models.mmim.model import MMIM, Conditional, MMIMSettings, contrast, entropy


def clips_of(batch: Batch) -> list[dict[str, np.ndarray]]:
    found: list[dict[str, np.ndarray]] = []
    for row in range(len(batch.clip_ids)):
        sources = {m: getattr(batch, m) for m in DIMS}
        found.append({m: x.values[row][x.mask[row]].numpy() for m, x in sources.items() if x.present[row]})
    return found


def vectors_of(method: MMIM, batch: Batch) -> list[reference.Vectors]:
    weights = {name: p.detach().numpy() for name, p in method.named_parameters()}
    sizes = (method.config.width, DIMS["text"])
    return [reference.forward(clip, list(DIMS), *sizes, weights) for clip in clips_of(batch)]


# -------------------------------------------------------------------------------------------- known answers
@pytest.mark.parametrize(
    ("variance", "expected"), [(1.0, -2.0), (4.0, -1.193147), (100.0, -2.322585), (math.inf, -2.513475)]
)
def test_the_likelihood_has_its_best_variance(variance: float, expected: float) -> None:
    """y = 2, μ = 0: best is σ² = 4, and the bound keeps it finite."""
    q = Conditional(1, 1, 2)
    for parameter in q.parameters():
        nn.init.zeros_(parameter)
    q.logvar[2].bias.data.fill_(min(math.log(variance), 1e3))
    assert q(torch.zeros(1, 1), torch.tensor([[2.0]])).item() == pytest.approx(expected, abs=1e-5)


def entropy_of(*groups: Tensor) -> float:
    points = torch.cat(groups)
    numbers = [len(group) for group in groups]
    owner = torch.arange(len(groups)).repeat_interleave(torch.tensor(numbers))
    return entropy(points[None], (owner == torch.arange(len(groups))[:, None])[None]).item()


def test_entropies_of_crosses() -> None:
    cross = torch.tensor([[1, 0], [-1, 0], [0, 1], [0, -1]], dtype=torch.float64)
    assert entropy_of(cross.repeat(2, 1), cross.repeat(3, 1)) == pytest.approx(-0.693147, abs=3e-4)
    wider = 2 * cross.repeat(2, 1)
    assert entropy_of(cross.repeat(2, 1), wider) == pytest.approx((-0.693147 + 0.693147) / 2, abs=3e-4)
    assert entropy_of(cross, wider) == pytest.approx(0.693147, abs=3e-4)  # four points are too few
    assert entropy_of(cross, cross) == 0


def test_points_in_a_plane_have_a_finite_entropy_and_gradient() -> None:
    points = torch.randn(1, 6, 4)
    points[..., 2:] = 0
    points.requires_grad_()
    loss = entropy(points, torch.ones(1, 1, 6, dtype=torch.bool)).sum()
    loss.backward()
    assert loss.isfinite()
    assert points.grad is not None and points.grad.isfinite().all()


@pytest.mark.parametrize(("clips", "expected"), [(2, 0.313262), (8, 1.274009)])
def test_contrasts(clips: int, expected: float) -> None:
    rows, there = torch.eye(clips), torch.ones(clips, dtype=torch.bool)
    assert contrast(3 * rows, rows, there).item() == pytest.approx(expected, abs=1e-6)
    if clips == 2:
        assert contrast(rows, rows.flip(0), there).item() == pytest.approx(1.313262, abs=1e-6)
    alike = torch.ones(clips, clips)
    assert contrast(alike, alike, there).item() == pytest.approx(math.log(clips), abs=1e-6)
    few = there.clone()
    few[0] = False
    assert contrast(alike, alike, few).item() == pytest.approx(math.log(clips - 1), abs=1e-6)


@pytest.mark.parametrize(
    ("audio", "visual", "expected"), [(5, 20, 281_673), (35, 74, 292_425), (33, 709, 373_449)]
)
def test_parameters_outside_bert_are_those_of_the_published_modules(
    audio: int, visual: int, expected: int
) -> None:
    with torch.device("meta"):
        bert = BertModel(BertConfig(), add_pooling_layer=False)
        method = MMIM(
            MMIMSettings(text="finetune"), {"audio": audio, "visual": visual}, backbones={"text": bert}
        )
    outside = [p for name, p in method.named_parameters() if not name.startswith("backbone")]
    assert sum(p.numel() for p in outside) == expected


# ----------------------------------------------------------------------------------------------- reference
def test_forward_and_losses_are_those_of_the_reference() -> None:
    """In the second step, whose entropy is of the first one's points too."""
    method = tiny().double()
    first = random_batch(8, seed=1, dtype=torch.float64, absent={(0, "visual"), (3, "audio")})
    batch = random_batch(7, dtype=torch.float64, absent={(1, "audio"), (2, "text")})
    method.remember(first, method(first))
    output = method(batch)
    before, clips = vectors_of(method, first), vectors_of(method, batch)
    prediction = [clip.prediction[0] for clip in clips]
    np.testing.assert_allclose(output.prediction.detach().numpy(), prediction, atol=1e-10)
    losses = method.losses(batch, output, MMIM.TERMS)
    label = batch.label.numpy()
    assert losses["prediction"].item() == pytest.approx(np.abs(prediction - label).mean())
    contrasts = 0.0
    for m in DIMS:
        having = [clip for clip in clips if m in clip.x]
        contrasts += reference.contrast(
            [clip.x[m] for clip in having], [clip.predicted[m] for clip in having]
        )
    assert losses["contrastive"].item() == pytest.approx(contrasts)
    weights = {name: p.detach().numpy() for name, p in method.named_parameters()}
    bound = reference.information(clips, label, before, first.label.numpy(), weights)
    assert losses["information"].item() == pytest.approx(-bound)
    curves = method.diagnostics(batch, output)
    assert sum(value.item() for value in curves.values()) == pytest.approx(bound)
    assert curves["bound/entropy"].item() != 0


def test_of_classes_there_is_an_entropy_each() -> None:
    method = tiny(task=Task(3))
    batch = random_batch(24, classes=3)
    points = method(batch).points
    groups = [points[0][batch.label == c].double().detach().numpy() for c in range(3)]
    found = method.entropies(batch, method(batch))[0].item()
    assert found == pytest.approx(reference.entropy(groups), abs=1e-4)


# --------------------------------------------------------------------------------------------------- memory
def test_the_memory_is_of_the_last_batch_alone() -> None:
    method = tiny()
    loop = Loop(method, lr=1e-3)
    assert method.memory_label.isnan().all()
    loop.step(random_batch(12, seed=1))
    batch = random_batch(9, seed=2, absent={(4, "audio")})
    points = method(batch).points.detach()
    loop.step(batch)
    audio, visual = method.memory_label
    torch.testing.assert_close(visual[:9], batch.label)
    assert visual[9:].isnan().all()
    assert audio.isnan().nonzero().flatten()[0] == 4
    torch.testing.assert_close(method.memory[:, :9], points)
    assert not method.memory.requires_grad


def test_a_batch_larger_than_the_memory_is_kept_in_part() -> None:
    method = tiny(training={"batch_size": 5})
    batch = random_batch(8)
    method.remember(batch, method(batch))
    torch.testing.assert_close(method.memory_label[0], batch.label[:5])


def test_evaluation_remembers_nothing() -> None:
    method, batch = tiny().eval(), random_batch(8)
    method.remember(batch, method(batch))
    assert method.memory_label.isnan().all()


# ------------------------------------------------------------------------------------------------ gradients
def test_what_each_term_moves() -> None:
    batch = random_batch(17)
    reached = {}
    for term in MMIM.TERMS:
        method = tiny()
        method.losses(batch, method(batch), [term])[term].backward()
        moved = [name for name, p in method.named_parameters() if p.grad is not None and p.grad.any()]
        reached[term] = {name.split(".")[0] for name in moved}
    assert reached["prediction"] == {"sequence", "fusion", "score"}
    assert reached["contrastive"] == {"sequence", "fusion", "decoder"}
    assert reached["information"] == {"sequence", "entropy", "estimators"}


def test_estimators_learn_apart() -> None:
    """Their step moves them alone, and that of the model all else."""
    method = tiny()
    loop, batch = Loop(method, lr=1e-3), random_batch(17)
    apart = {id(p) for group in method.estimator_groups() for p in group["params"]}
    theirs = {name for name, p in method.named_parameters() if id(p) in apart}
    assert {name.split(".")[0] for name in theirs} == {"estimators"}
    method.estimator_loss(batch, method(batch)).backward()
    assert {name for name, p in method.named_parameters() if p.grad is not None} == theirs
    kept = {name: p.detach().clone() for name, p in method.named_parameters()}
    loop.estimators = torch.optim.SGD(method.estimator_groups(), lr=0.0)
    for group in loop.estimators.param_groups:
        group["lr"] = 0.0
    loop.step(batch)
    moved = {name for name, p in method.named_parameters() if not torch.equal(p, kept[name])}
    assert moved == set(kept) - theirs


def test_the_first_state_or_the_mean_of_all_stands_for_the_text() -> None:
    batch = random_batch(5, absent={(3, "text")})
    vectors = tiny()(batch).vectors["text"]
    assert batch.text is not None
    torch.testing.assert_close(vectors, batch.text.values[:, 0])
    assert not vectors[3].any()
    means = tiny(text_pooling="mean")(batch).vectors["text"]
    torch.testing.assert_close(means[0], batch.text.values[0][batch.text.mask[0]].mean(dim=0))


def test_without_text_there_is_no_bound() -> None:
    method = tiny(dims={m: DIMS[m] for m in ("audio", "visual")})
    batch = select(random_batch(6), [0, 1, 2, 3])
    losses = method.losses(batch, method(batch), MMIM.TERMS)
    assert losses["information"].item() == 0
    assert method.estimator_groups() == [] and method.estimator_steps() == 0
