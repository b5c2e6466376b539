"""Early fusion against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made.tiny_batch import DIMS, random_batch
from made.tiny_early_fusion import tiny
from made.tiny_methods import weights_of
from reference import pooled as reference
from reference.text_only import cross_entropy, loss

from models.core.method import Task


@pytest.mark.parametrize("classes", [0, 5])
@pytest.mark.parametrize("names", [("text", "audio", "visual"), ("text", "visual"), ("audio",)])
def test_forward_and_loss_are_those_of_the_reference(names: tuple[str, ...], classes: int) -> None:
    method = tiny(dims={name: DIMS[name] for name in names}, task=Task(classes)).double()
    absent = {(2, "text"), (2, "audio"), (1, "visual")} if len(names) == 3 else set()
    batch = random_batch(7, dtype=torch.float64, absent=absent, classes=classes)
    output = method(batch)
    x = np.concatenate([reference.pooled(batch, name) for name in names], axis=1)
    read, scores = reference.layers(weights_of(method), x)
    np.testing.assert_allclose(output.fused.detach(), read, atol=1e-12)
    np.testing.assert_allclose(output.prediction.detach(), scores if classes else scores[:, 0], atol=1e-12)
    label = batch.label.numpy()
    truth = cross_entropy(scores, label) if classes else loss(scores[:, 0], label, np.ones(7, bool))
    assert method.losses(batch, output, ["prediction"])["prediction"].item() == pytest.approx(truth)
    assert output.present.shape == (len(names), 7)


def test_parameters_at_the_widths_of_the_published_features() -> None:
    """(768 + 2 33 + 2 709 + 1) 64 + 65."""
    with torch.device("meta"):
        method = tiny(dims={"text": 768, "audio": 33, "visual": 709}, hidden=64)
    assert sum(p.numel() for p in method.parameters()) == 144_257
