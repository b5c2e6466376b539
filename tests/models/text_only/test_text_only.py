"""Text only against its definition, and what it does where a set or a clip has no text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made.tiny_batch import DIMS, random_batch
from made.tiny_methods import weighted, weights_of
from made.tiny_text_only import tiny, tiny_finetuned
from reference import text_only as reference
from torch.nn import functional as F

from models.core.batch import Batch
from models.core.method import Task
from models.text_only.model import TextOnly, TextOnlySettings
from pipeline.core.errors import ParamsError


def clips_of(batch: Batch) -> list[np.ndarray | None]:
    """The real tokens of each clip; None where it has no text."""
    text = batch.text
    assert text is not None
    rows = zip(text.values.numpy(), text.mask.numpy(), text.present.tolist(), strict=True)
    return [values[mask] if present else None for values, mask, present in rows]


@pytest.mark.parametrize("classes", [0, 5])
def test_forward_and_loss_are_those_of_the_reference(classes: int) -> None:
    method = tiny(task=Task(classes)).double()
    batch = random_batch(7, dtype=torch.float64, absent={(2, "text"), (1, "audio")}, classes=classes)
    output = method(batch)
    expected = reference.predict(weights_of(method), clips_of(batch))
    found = output.prediction.detach().numpy()
    np.testing.assert_allclose(found, expected if classes else expected[:, 0], atol=1e-12)
    label = batch.label.numpy()
    truth = (
        reference.cross_entropy(expected, label)
        if classes
        else reference.loss(expected[:, 0], label, np.ones(7, bool))
    )
    assert method.losses(batch, output, ["prediction"])["prediction"].item() == pytest.approx(truth)
    assert method.losses(batch, output, []) == {}


def test_clips_without_a_label_teach_nothing() -> None:
    method = tiny().double()
    batch = random_batch(6, dtype=torch.float64, unlabeled={0, 4})
    output = method(batch)
    loss = method.losses(batch, output, method.TERMS)["prediction"].item()
    found = output.prediction.detach().numpy()
    assert loss == pytest.approx(reference.loss(found, batch.label.numpy(), batch.labeled.numpy()))


def test_the_fine_tuned_text_is_the_mean_of_its_encoders_states() -> None:
    method = tiny_finetuned().eval()
    batch = random_batch(3, vocabulary=40)
    assert batch.tokens is not None
    for row, prediction in enumerate(method(batch).prediction):
        ids = batch.tokens.ids[row][batch.tokens.mask[row]]
        states = method.backbone(input_ids=ids[None]).last_hidden_state[0]
        assert prediction.item() == pytest.approx(method.score(states.mean(dim=0)).item(), abs=1e-5)


def test_voice_and_face_are_not_read() -> None:
    """Whatever they are, no bit of prediction and gradients changes; they need not be there."""
    results = []
    batch = random_batch(5)
    for other in (batch, replace(batch, audio=random_batch(5, seed=9).audio, visual=None)):
        method = tiny()
        output = method(other)
        weighted(method, method.losses(other, output, method.TERMS)).backward()
        results.append([output.prediction, *(p.grad for p in method.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert tuple(tiny().dims) == ("text",)


def test_dropout_is_of_the_mean_in_training_alone() -> None:
    method, batch = tiny(dropout=0.5), random_batch(4)
    torch.manual_seed(3)
    first = method(batch)
    torch.manual_seed(3)
    dropped = F.dropout(first.fused, 0.5)
    torch.testing.assert_close(first.prediction, method.score(dropped).squeeze(-1))
    method.eval()
    output = method(batch)
    torch.testing.assert_close(output.prediction, method.score(output.fused).squeeze(-1))


def test_a_set_without_text_is_refused_with_a_way_out() -> None:
    with pytest.raises(ParamsError, match=r"none of text; .*`assemble`.*`text: finetune`.* from models_run"):
        TextOnly(TextOnlySettings(), {"audio": DIMS["audio"]})
