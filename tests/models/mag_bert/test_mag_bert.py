"""MAG-BERT against its definition; where its gate sits, and what it shifts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from made.gated import clips_of, counted, sized, spoken_batch, weights_of
from made.tiny_batch import DIMS, random_batch
from made.tiny_mag_bert import tiny, tiny_finetuned
from made.tiny_methods import gradients, losses_of
from made.tiny_models import tiny_bert
from pydantic import ValidationError
from reference import mag_bert as reference
from reference import text_only

from models.core.method import Task
from models.mag_bert.model import MAGBERT, MAGBERTSettings
from pipeline.core.errors import ParamsError


@pytest.mark.parametrize(("classes", "beta"), [(0, 1.0), (0, 0.05), (4, 1.0)])
def test_forward_and_loss_are_those_of_the_reference(classes: int, beta: float) -> None:
    method = tiny(task=Task(classes), beta_shift=beta).double()
    absent = {(1, "audio"), (2, "text"), (3, "visual"), (4, "audio"), (4, "visual")}
    batch = random_batch(6, dtype=torch.float64, absent=absent, classes=classes, unlabeled={5})
    output = method(batch)
    expected = reference.predict(weights_of(method), clips_of(batch), beta=beta)
    found = output.prediction.detach().numpy()
    np.testing.assert_allclose(found, expected if classes else expected[:, 0], atol=1e-10)
    label, known = batch.label.numpy(), batch.labeled.numpy()
    loss = text_only.cross_entropy(expected[known], label[known]) if classes else None
    loss = text_only.loss(expected[:, 0], label, known) if loss is None else loss
    assert method.losses(batch, output, ["prediction"])["prediction"].item() == pytest.approx(loss)
    assert method.losses(batch, output, []) == {}


@pytest.mark.parametrize("settings", [{}, {"inject_layer": 1}, {"pool": "cls"}])
def test_the_text_encoder_reads_the_shifted_words(settings: dict[str, Any]) -> None:
    """Each clip alone through BERT's parts, with the words of the reference; [CLS], [SEP] hear nothing."""
    method = tiny_finetuned(**settings).double().eval()
    batch = spoken_batch()
    tokens, bert, weights = batch.tokens, method.backbone, weights_of(method)
    assert tokens is not None
    for row, (clip, prediction) in enumerate(zip(clips_of(batch), method(batch).prediction, strict=True)):
        layers, after = list(bert.encoder.layer), settings.get("inject_layer", 0)
        states = bert.embeddings(tokens.ids[row][tokens.mask[row]][None])
        for layer in layers[:after]:
            states = layer(states)
        words = states[0].detach().numpy()
        frames = {m: clip[m] for m in ("audio", "visual") if clip[m] is not None}
        said = {m: reference.means(len(words) - 2, x) for m, x in frames.items() if x is not None}
        shifted = np.concatenate(
            [
                reference.adapted(words[:1], {}, weights),
                reference.adapted(words[1:-1], said, weights),
                reference.adapted(words[-1:], {}, weights),
            ]
        )
        states = torch.from_numpy(shifted)[None]
        for layer in layers[after:]:
            states = layer(states)
        pooled = bert.pooler(states) if settings.get("pool") == "cls" else states.mean(dim=1)
        assert prediction.item() == pytest.approx(method.score(pooled).item(), abs=1e-8)


def test_a_clip_without_text_says_what_an_empty_one_does() -> None:
    method = tiny_finetuned().eval()
    batch = random_batch(2, vocabulary=40, absent={(1, "text")})
    quiet = replace(batch, audio=random_batch(2, seed=5).audio)
    assert method(batch).prediction[1] == method(quiet).prediction[1]
    assert method(batch).prediction[0] != method(quiet).prediction[0]
    frozen = tiny().eval()
    without = random_batch(2, absent={(1, "text")})
    assert frozen(without).prediction[1].item() == pytest.approx(frozen.score.bias.item())


@pytest.mark.parametrize(
    ("audio", "visual", "expected"), [(74, 47, 1_370_112), (74, 35, 1_351_680), (5, 20, 1_222_656)]
)
def test_parameters_of_the_gate_on_bert_base(audio: int, visual: int, expected: int) -> None:
    method = sized(MAGBERT, audio=audio, visual=visual)
    assert counted(method.gate) == expected
    assert counted(method) - counted(method.backbone) == expected + 768 + 1


def test_what_the_loss_moves() -> None:
    """The encoder's embeddings and both gates, though words of the start are not shifted."""
    method = tiny_finetuned()
    found = gradients(method, losses_of(method, spoken_batch(torch.float32)))
    assert [name for name, g in found.items() if g is None or not g.any()] == []
    torch.manual_seed(0)
    fresh = MAGBERT(MAGBERTSettings(), DIMS)
    parts = fresh.eval()(random_batch()).parts
    assert all((part == 0).all() for part in parts.values())


@torch.no_grad()
def test_shares_of_a_clip() -> None:
    method = tiny().eval()
    batch = random_batch(1)
    output = method(batch)
    squares = {m: part.square().sum().item() for m, part in output.parts.items()}
    expected = {m: square / sum(squares.values()) for m, square in squares.items()}
    assert method.internals(batch, output)["shift"] == pytest.approx(expected)
    silent = random_batch(1, absent={(0, "audio")})
    assert method.internals(silent, method(silent))["shift"] == {"audio": 0, "visual": 1}


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(ValidationError, match="pool is cls, but text is frozen"):
        MAGBERTSettings(pool="cls")
    with pytest.raises(ParamsError, match=r"MAGBERT needs text.*models\.mag_bert\.base\.text to finetune"):
        MAGBERT(MAGBERTSettings(), {"audio": 5})
    for settings, message in (
        ({"pool": "cls"}, r"models\.mag_bert\.base\.pool is cls"),
        ({"inject_layer": 1}, r"models\.mag_bert\.base\.inject_layer is 1, .* are 1"),
    ):
        with pytest.raises(ParamsError, match=message):
            MAGBERT(MAGBERTSettings(text="finetune", **settings), DIMS, Task(), {"text": tiny_bert()})
