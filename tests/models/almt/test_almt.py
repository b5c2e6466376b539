"""ALMT against a reference, its known answers and sizes, and what reaches what."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made.tiny_almt import tiny, tiny_finetuned
from made.tiny_batch import DIMS, random_batch
from reference import almt as reference
from torch.nn import functional as F
from transformers import BertConfig, BertModel

from models.almt.model import ALMT, ALMTSettings
from models.core.batch import Batch
from models.core.method import Task
from pipeline.core.errors import ParamsError
from pipeline.training.loop.optimizers import rate_factor

ABSENT = {(1, "audio"), (2, "text"), (3, "audio"), (3, "visual")}


def clips_of(batch: Batch) -> list[reference.Clip]:
    """The real steps of each clip."""
    clips: list[reference.Clip] = [{} for _ in batch.clip_ids]
    for name in DIMS:
        part = getattr(batch, name)
        for clip, values, mask in zip(clips, part.values.numpy(), part.mask.numpy(), strict=True):
            clip[name] = values[mask] if mask.any() else None
    return clips


@pytest.mark.parametrize("classes", [0, 5])
def test_forward_and_loss_are_those_of_the_reference(classes: int) -> None:
    method = tiny(task=Task(classes), fusion_layers=2).double()
    batch = random_batch(5, dtype=torch.float64, absent=ABSENT, classes=classes, unlabeled={0})
    output = method(batch)
    weights = {name: value.detach().numpy() for name, value in method.named_parameters()}
    expected = np.stack([reference.predict(weights, clip, heads=2) for clip in clips_of(batch)])
    found = output.prediction.detach().numpy()
    np.testing.assert_allclose(found, expected if classes else expected[:, 0], atol=1e-10)
    loss = method.losses(batch, output, method.TERMS)["prediction"].item()
    known, label = expected[1:], batch.label.numpy()[1:]
    if classes:
        own = known[np.arange(4), label.astype(int)]
        assert loss == pytest.approx((np.log(np.exp(known).sum(axis=1)) - own).mean())
    else:
        assert loss == pytest.approx(np.abs(known[:, 0] - label).mean())


@pytest.mark.parametrize(
    ("layers", "text", "audio", "visual", "total"),
    [
        (2, 50, (375, 5), (500, 20), 2_603_649),
        (4, 50, (500, 74), (500, 35), 3_223_041),
        (4, 39, (400, 33), (55, 709), 3_232_897),
    ],
    ids=["mosi", "mosei", "sims"],
)
def test_parameter_counts_of_the_code(
    layers: int, text: int, audio: tuple[int, int], visual: tuple[int, int], total: int
) -> None:
    """Its tables of positions are as long as its arrays."""
    with torch.device("meta"):
        backbone = BertModel(BertConfig(), add_pooling_layer=False)
        config = ALMTSettings(text="finetune", fusion_layers=layers, max_tokens=text)
        method = ALMT(config, {"audio": audio[1], "visual": visual[1]}, backbones={"text": backbone})
    own = sum(p.numel() for name, p in method.named_parameters() if not name.startswith("backbone."))
    longer = 2 * config.max_steps - audio[0] - visual[0]
    assert own - longer * config.width == total


def test_the_rate_of_each_epoch() -> None:
    settings = ALMTSettings().training
    rates = {epoch: rate_factor(epoch - 1, 200, settings) for epoch in (1, 2, 20, 21, 110, 200)}
    known = {1: 0.05, 2: 0.1, 20: 1.0, 21: 1.0, 110: 0.508726, 200: 0.000076}
    assert rates == pytest.approx(known, abs=1e-6)


def test_a_layer_adds_to_the_normalised_hyper_modality() -> None:
    method, layer = tiny(), tiny().hyper[0]
    text, audio, visual, hyper = torch.randn(4, 2, 3, 16)
    sources, present = (
        {"audio": audio, "visual": visual},
        dict.fromkeys(("audio", "visual"), torch.ones(2) > 0),
    )
    full = layer(hyper, text, sources, present)
    shuffled = layer(hyper, text, sources | {"audio": audio[:, [2, 0, 1]]}, present)
    torch.testing.assert_close(shuffled, full)  # the tokens that answer have no order
    for parameter in layer.out.parameters():
        torch.nn.init.zeros_(parameter)
    torch.testing.assert_close(layer(hyper, text, sources, present), F.layer_norm(hyper, (16,)))
    assert method.fusion.text_positions.shape == method.fusion.hyper_positions.shape == (4, 16)


def prediction_gradients(method: ALMT, batch: Batch) -> dict[str, float]:
    """Largest gradient of the predictions in each modality's values."""
    parts = {name: getattr(batch, name).values.requires_grad_() for name in DIMS}
    found = torch.autograd.grad(method(batch).prediction.sum(), list(parts.values()))
    return {name: gradient.abs().max().item() for name, gradient in zip(parts, found, strict=True)}


def test_every_modality_reaches_the_prediction() -> None:
    """Voice and face through their values alone; text even where nobody answers."""
    method = tiny()
    assert min(prediction_gradients(method, random_batch()).values()) > 1e-4
    for layer in method.hyper:
        torch.nn.init.zeros_(layer.value["audio"].weight)
    found = prediction_gradients(method, random_batch())
    assert found["audio"] == 0 and found["visual"] > 1e-4
    mute = random_batch(absent={(clip, name) for clip in range(4) for name in ("audio", "visual")})
    found = prediction_gradients(method, mute)
    assert found["text"] > 1e-2 and found["audio"] == found["visual"] == 0
    predictions = method.eval()(mute).prediction
    assert len(set(predictions.tolist())) == 4  # the code's token alone would give all of them one


def test_every_token_of_the_text_is_read() -> None:
    """Of the fused states all count alike."""
    method = tiny().eval()
    states = []
    hook = method.fusion.layers[-1].register_forward_hook(lambda *found: states.append(found[-1]))
    output = method(random_batch())
    hook.remove()
    torch.testing.assert_close(output.fused, states[0].mean(dim=1))
    torch.testing.assert_close(output.prediction, method.score(output.fused).squeeze(-1))


def test_too_long_a_sequence_names_the_keys() -> None:
    with pytest.raises(
        ParamsError, match=r"visual has 11 steps, but models\.almt takes at most 10; lower assemb"
    ):
        tiny(max_steps=10)(random_batch())
    with pytest.raises(ParamsError, match=r"text has 6 steps, but models\.almt takes at most 5"):
        tiny_finetuned(max_tokens=5)(random_batch(vocabulary=40))
