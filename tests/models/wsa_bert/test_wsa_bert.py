"""WSA-BERT against its definition; what its words find, sharply or softly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from made.gated import clips_of, counted, sized, spoken_batch, weights_of
from made.tensors import double
from made.tiny_batch import DIMS, fill_masked, random_batch
from made.tiny_mag_bert import tiny as tiny_mag_bert
from made.tiny_methods import gradients, losses_of
from made.tiny_wsa_bert import tiny, tiny_finetuned
from reference import mag_bert as shared
from reference import text_only
from reference import wsa_bert as reference
from reference.blocks import sparsemax

from models.core.batch import Sequences
from models.core.method import Task
from models.core.sparse_attention import WordwiseSparseAttention
from models.wsa_bert.model import WSABERT

NORMALIZERS: dict[str, Any] = {"sparsemax": sparsemax, "softmax": reference.softmax}


@pytest.mark.parametrize("classes", [0, 4])
@pytest.mark.parametrize("scale", [1.0, None])
@pytest.mark.parametrize("attention", NORMALIZERS)
def test_forward_and_loss_are_those_of_the_reference(
    attention: str, scale: float | None, classes: int
) -> None:
    method = tiny(task=Task(classes), attention=attention, score_scale=scale).double()
    absent = {(1, "audio"), (2, "text"), (3, "visual"), (4, "audio"), (4, "visual")}
    batch = random_batch(6, dtype=torch.float64, absent=absent, classes=classes, unlabeled={5})
    output = method(batch)
    finding = reference.finding(scale or DIMS["text"] ** -0.5, NORMALIZERS[attention])
    expected = shared.predict(weights_of(method), clips_of(batch), finding)
    found = output.prediction.detach().numpy()
    np.testing.assert_allclose(found, expected if classes else expected[:, 0], atol=1e-10)
    label, known = batch.label.numpy(), batch.labeled.numpy()
    if classes:
        loss = text_only.cross_entropy(expected[known], label[known])
    else:
        loss = text_only.loss(expected[:, 0], label, known)
    assert method.losses(batch, output, ["prediction"])["prediction"].item() == pytest.approx(loss)


@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_the_text_encoder_reads_the_shifted_words(pool: str) -> None:
    """Each clip alone through BERT's parts; all tokens find something, special ones too."""
    method = tiny_finetuned(pool=pool).double().eval()
    batch = spoken_batch()
    tokens, bert, weights = batch.tokens, method.backbone, weights_of(method)
    assert tokens is not None
    for row, (clip, prediction) in enumerate(zip(clips_of(batch), method(batch).prediction, strict=True)):
        words = bert.embeddings(tokens.ids[row][tokens.mask[row]][None])[0].detach().numpy()
        found = reference.finding(1.0)({"text": words, **clip}, weights)
        states = bert.encoder(torch.from_numpy(shared.adapted(words, found, weights))[None])[0]
        pooled = bert.pooler(states) if pool == "cls" else states.mean(dim=1)
        assert prediction.item() == pytest.approx(method.score(pooled).item(), abs=1e-8)


def test_one_frame_alone_is_on_every_word() -> None:
    """Then the method is MAG-BERT."""
    method, other = tiny().double().eval(), tiny_mag_bert().double().eval()
    other.load_state_dict({k: v for k, v in method.state_dict().items() if not k.startswith("attention")})
    batch = random_batch(4, dtype=torch.float64)
    for part in (batch.audio, batch.visual):
        assert part is not None
        part.mask[:, 1:] = False
    torch.testing.assert_close(method(batch).prediction, other(batch).prediction)
    assert (method(random_batch(4, dtype=torch.float64)).prediction != other(batch).prediction).all()


@pytest.mark.parametrize(
    ("normalizer", "scale", "expected"),
    [
        ("sparsemax", 1.0, [1, 0, 0]),
        ("sparsemax", 768**-0.5, [0.4656, 0.4296, 0.1048]),
        ("softmax", 1.0, [0.7310, 0.2689, 0.0000332]),
    ],
)
def test_known_weights(normalizer: Any, scale: float, expected: list[float]) -> None:
    """A word with the scores 10, 9, 0: how much it takes of each frame; padded ones never."""
    attention = WordwiseSparseAttention(4, 4, scale, normalizer)
    with torch.no_grad():
        attention.key.weight.copy_(torch.eye(4))
        attention.key.bias.zero_()
    frames = Sequences(torch.eye(4)[None], torch.tensor([[True] * 3 + [False]]), torch.tensor([True]))
    found = attention(torch.tensor([[[10.0, 9.0, 0.0, 50.0]]]), frames)
    assert found[0, 0].tolist() == pytest.approx([*expected, 0], abs=5e-5)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_a_clip_without_frames_says_nothing(normalizer: Any) -> None:
    attention = WordwiseSparseAttention(3, 5, 1.0, normalizer).double()
    mask = torch.tensor([[True, True], [False, False]])
    frames = Sequences(double(2, 2, 3).masked_fill(~mask[..., None], 0.0), mask, mask.any(dim=1))
    words = double(2, 4, 5).requires_grad_()
    found = attention(words, frames)
    assert (found[1] == 0).all() and found[0].all()
    gradient = torch.autograd.grad(found.square().sum(), words)[0]
    assert gradient.isfinite().all() and not gradient[1].any()


def test_softmax_reads_nothing_absent() -> None:
    method = tiny(attention="softmax").eval()
    batch = random_batch(4, absent={(1, "audio"), (2, "visual")})
    assert torch.equal(method(batch).prediction, method(fill_masked(batch, torch.nan)).prediction)


@pytest.mark.parametrize(
    ("audio", "visual", "expected"), [(5, 20, 1_243_392), (74, 35, 1_436_928), (33, 709, 2_895_360)]
)
def test_parameters_on_bert_base(audio: int, visual: int, expected: int) -> None:
    method = sized(WSABERT, audio=audio, visual=visual)
    assert counted(method.gate) + counted(method.attention) == expected
    assert counted(method) - counted(method.backbone) == expected + 768 + 1


def test_what_the_loss_moves() -> None:
    """Embeddings, gates and keys; scaled, for an argmax has no gradient."""
    method = tiny_finetuned(score_scale=None)
    found = gradients(method, losses_of(method, spoken_batch(torch.float32)))
    assert [name for name, g in found.items() if g is None or not g.any()] == []
