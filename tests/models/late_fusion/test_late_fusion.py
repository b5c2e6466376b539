"""Late fusion: its heads alone, the weights that it chooses, and what it does without a modality."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made.tiny_batch import DIMS, random_batch
from made.tiny_late_fusion import tiny
from made.tiny_methods import gradients, losses_of, weights_of
from reference import pooled as reference
from torch import Tensor

from models.core.batch import Batch
from models.core.method import Task
from models.late_fusion.model import HeadsOutput, LateFusion, mixed, simplex

# three clips, of which the heads say this
SAID = torch.tensor([[1.0, -1.0, 2.0], [0.2, 0.4, -0.2], [-0.4, 0.1, 0.3]], dtype=torch.float64)  # (M, B)
TRUE = torch.tensor([1.2, -0.8, 1.9], dtype=torch.float64)
ALL = torch.ones(3, 3, dtype=torch.bool)


def mae(weight: list[float]) -> float:
    mean: Tensor = mixed(SAID, ALL, torch.tensor(weight, dtype=torch.float64))
    return (mean - TRUE).abs().mean().item()


class Said(LateFusion):
    """Late fusion whose heads say what is laid in their way."""

    said: HeadsOutput

    def forward(self, batch: Batch) -> HeadsOutput:
        return self.said


def chooser(scores: Tensor, present: Tensor = ALL, **settings: object) -> Said:
    method = tiny(**{"weighting": "valid", **settings})
    method.__class__ = Said
    assert isinstance(method, Said)
    method.said = HeadsOutput(scores[0], scores[0], present, scores)
    return method


def clips(label: Tensor) -> list[Batch]:
    return [replace(random_batch(len(label)), label=label)]


# ------------------------------------------------------------------------------------------- the weighting
def test_known_means() -> None:
    assert mae([1 / 3, 1 / 3, 1 / 3]) == pytest.approx(0.922222, abs=5e-7)
    assert mae([1, 0, 0]) == pytest.approx(1 / 6)
    assert mae([0.9, 0.1, 0]) == pytest.approx(0.153333, abs=5e-7)


def test_the_weights_are_those_of_the_lowest_validation_loss() -> None:
    """Every point of the grid, by hand."""
    tenths = [(t, a, 10 - t - a) for t in range(11) for a in range(11 - t)]
    best = min(tenths, key=lambda w: mae([part / 10 for part in w]))
    assert best == (9, 1, 0) and len(simplex(3)) == len(tenths) == 66
    method = chooser(SAID)
    method.calibrate(clips(TRUE))
    assert method.weight.tolist() == pytest.approx([0.9, 0.1, 0.0])
    assert method.internals(clips(TRUE)[0], method.said)["weight"]["text"] == pytest.approx(0.9)


def test_of_equals_text_has_the_larger_weight() -> None:
    method = chooser(SAID[[0, 0, 0]])
    method.calibrate(clips(TRUE))
    assert method.weight.tolist() == [1, 0, 0]
    method = chooser(torch.stack([-5 + 0 * TRUE, TRUE, TRUE]))  # it is wrong: then of audio
    method.calibrate(clips(TRUE))
    assert method.weight.tolist() == [0, 1, 0]


def test_the_plain_mean_stays() -> None:
    method = chooser(SAID, weighting="mean")
    method.calibrate(clips(TRUE))
    assert method.weight.tolist() == pytest.approx([1 / 3] * 3)


def test_weights_are_of_what_a_clip_has() -> None:
    present = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]).bool()
    said = torch.arange(1.0, 4.0)[:, None].expand(3, 4)
    found = mixed(said, present, torch.tensor([0.5, 0.3, 0.2]))
    assert found.tolist() == pytest.approx([1.7, (0.6 + 0.6) / 0.5, 3.0, 0.0])
    assert mixed(said, present, torch.tensor([1.0, 0.0, 0.0])).tolist() == pytest.approx([1, 2.5, 3, 0])
    logits = torch.stack([said, -said], dim=-1)  # two classes more
    found = mixed(logits, present, torch.tensor([0.5, 0.3, 0.2]))
    assert found.shape == (4, 2) and found[0].tolist() == pytest.approx([1.7, -1.7])


# ---------------------------------------------------------------------------------------------- the heads
def head(method: LateFusion, modality: str) -> dict[str, np.ndarray]:
    """Weights of one head by the names that it has alone."""
    named = {key: w for key, w in weights_of(method).items() if f".{modality}." in key}
    return {key.replace(f".{modality}.", "."): w for key, w in named.items()}


@pytest.mark.parametrize("classes", [0, 4])
def test_the_loss_is_the_sum_of_what_each_head_would_have_alone(classes: int) -> None:
    """Forward against the reference; gradients against those of the other heads' absence."""
    task = Task(classes)
    method = tiny(task=task).double()
    absent = {(0, "audio"), (1, "text"), (2, "visual"), (2, "text")}
    batch = random_batch(6, dtype=torch.float64, absent=absent, classes=classes, unlabeled={5})
    output = method(batch)
    total = 0.0
    for row, name in enumerate(method.dims):
        _, scores = reference.layers(head(method, name), reference.pooled(batch, name))
        np.testing.assert_allclose(
            output.scores[row].detach(), scores if classes else scores[:, 0], atol=1e-12
        )
        among = [clip for clip in range(5) if (clip, name) not in absent]
        errors = task.errors(output.scores[row], batch.label)[among]
        total += errors.mean().item()
    losses = losses_of(method, batch)
    assert losses["prediction"].item() == pytest.approx(total)
    found = gradients(method, losses)
    for name in method.dims:
        alone = random_batch(6, dtype=torch.float64, absent=absent, classes=classes, unlabeled={5})
        for other in set(DIMS) - {name}:
            part = getattr(alone, other)
            part.present[:], part.mask[:] = False, False
        apart = gradients(method, losses_of(method, alone))
        for key, gradient in apart.items():
            assert gradient is not None
            if f".{name}." in key:
                assert torch.equal(gradient, found[key]), key  # type: ignore[arg-type]
            else:
                assert (gradient == 0).all(), key


def test_weights_do_not_reach_the_loss() -> None:
    method, batch = tiny(), random_batch(5)
    before = losses_of(method, batch)["prediction"]
    method.weight.copy_(torch.tensor([0.0, 1.0, 0.0]))
    assert torch.equal(losses_of(method, batch)["prediction"], before)
    assert torch.equal(method(batch).prediction, method(batch).scores[1])
    curves = method.diagnostics(batch, method(batch))
    assert curves["weight_audio"] == 1
    assert sum(curves[name] for name in DIMS).item() == pytest.approx(before.item())


def test_parameters_are_those_of_the_three_alone() -> None:
    """768 + 1, and (2 d + 1) 64 + 65 of 33 and 709."""
    with torch.device("meta"):
        method = tiny(dims={"text": 768, "audio": 33, "visual": 709}, hidden=64)
    assert sum(p.numel() for p in method.parameters()) == 769 + (67 + 1419) * 64 + 2 * 65
