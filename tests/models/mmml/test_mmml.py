"""MMML against a reference, its sizes, what its three losses train, and the sound itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made.tiny_batch import random_batch
from made.tiny_mmml import TINY, tiny
from made.tiny_models import tiny_bert
from made.tiny_slad import SECONDS, sounding_batch, tiny_sound_encoder
from reference import mmml as reference

from models.core.batch import Batch, Inputs
from models.core.crossmodal import CrossModalEncoder, CrossModalLayer
from models.core.method import Task
from models.core.speech import audio_frame_mask
from models.mmml.model import MMML, MMMLOutput, MMMLSettings
from pipeline.core.errors import MsaError

ABSENT = {(1, "audio"), (2, "text")}


def clips_of(inputs: Inputs, clips: int) -> list[reference.Clip]:
    """The real steps of each clip."""
    found: list[reference.Clip] = [{} for _ in range(clips)]
    for name in MMML.NEEDS:
        part = getattr(inputs, name)
        for clip, values, mask in zip(found, part.values.numpy(), part.mask.numpy(), strict=True):
            clip[name] = values[mask] if mask.any() else None
    return found


def losses_of(method: MMML, batch: Batch) -> tuple[MMMLOutput, dict[str, float]]:
    output = method(batch)
    return output, {term: loss.item() for term, loss in method.losses(batch, output, method.TERMS).items()}


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("classes", [0, 5])
def test_forward_and_losses_are_those_of_the_reference(classes: int, context: int) -> None:
    method = tiny(task=Task(classes), context=context, fusion_layers=2).double()
    options = {"absent": ABSENT, "classes": classes, "unlabeled": {4}, "context": context > 0}
    batch = random_batch(5, dtype=torch.float64, unimodal=not classes, **options)
    output, losses = losses_of(method, batch)
    weights = {name: value.detach().numpy() for name, value in method.named_parameters()}
    before = clips_of(batch.context, 5) if batch.context is not None else [None] * 5
    clips = zip(clips_of(batch, 5), before, strict=True)
    expected = [reference.predict(weights, *clip, layers=2, heads=2) for clip in clips]
    known = {"prediction": [0, 1, 2, 3], "unimodal_text": [0, 1, 3], "unimodal_audio": [0, 2, 3]}
    for (term, rows), part in zip(known.items(), ("fused", "text", "audio"), strict=True):
        truth = np.stack([clip[part] for clip in expected])
        found = output.prediction if part == "fused" else output.unimodal[part]
        np.testing.assert_allclose(found.detach(), truth if classes else truth[:, 0], atol=1e-10)
        label = (batch.label if part == "fused" or classes else getattr(batch, f"label_{part}")).numpy()
        if classes:
            errors = [np.log(np.exp(truth[row]).sum()) - truth[row, int(label[row])] for row in rows]
        else:
            errors = [abs(truth[row, 0] - label[row]) for row in rows]
        assert losses[term] == pytest.approx(np.mean(errors)), term


def test_the_three_losses_add_up() -> None:
    method, batch = tiny(), random_batch(1)
    three = {m: torch.tensor([value]) for m, value in {"text": 0.0, "audio": 2.0}.items()}
    output = MMMLOutput(torch.ones(1), torch.zeros(1, 32), torch.ones(2, 1) > 0, three)
    losses = method.losses(replace(batch, label=torch.tensor([1.5])), output, method.TERMS)
    assert sum(losses.values()).item() == 0.5 + 1.5 + 0.5


def test_the_fused_loss_alone_leaves_the_heads_of_one_modality() -> None:
    """The text's loss does not reach what is the sound's, nor the other way round."""
    reached = {}
    for term in MMML.TERMS:
        method, batch = tiny(), random_batch(5)  # of an even number the signs may cancel in a bias
        method.losses(batch, method(batch), [term])[term].backward()
        reached[term] = {name for name, p in method.named_parameters() if p.grad is not None and p.grad.any()}
    assert not [name for name in reached["prediction"] if name.startswith(("head.", "pooler."))]
    assert all(".audio" not in name and "fusion" not in name for name in reached["unimodal_text"])
    assert reached["unimodal_audio"] == {
        f"{part}.{kind}" for part in ("project.audio", "head.audio.1") for kind in ("weight", "bias")
    }


def test_parameter_counts_of_the_code() -> None:
    def count(module: torch.nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    with torch.device("meta"):
        layer = CrossModalLayer(768, 12, 3072, 0.3)
        base = CrossModalEncoder(768, 5, 12, 3072, 0.3)
        large = CrossModalEncoder(1024, 5, 16, 4096, 0.3)
        method = MMML(MMMLSettings(), {"text": 768, "audio": 768})
    assert count(layer) == 18_903_552
    assert count(base.layers) == 94_517_760
    assert count(large.layers) == 167_966_720
    assert count(method.predictor) == 1536 * 768 + 768 + 768 * 512 + 512 + 512 + 1
    assert count(method.head) == 2 * 769


# --------------------------------------------------------------------------------------------------- sound
def sounding(context: int = 0) -> MMML:
    """Both encoders learn."""
    torch.manual_seed(0)
    own = {"audio": "finetune", "waveform_seconds": SECONDS, "context": context}
    config = MMMLSettings(text="finetune", **TINY, **own)
    return MMML(config, {}, backbones={"text": tiny_bert(hidden_size=16), "audio": tiny_sound_encoder()})


def test_the_sound_s_encoder_learns_and_its_convolutions_do_not() -> None:
    method, batch = sounding(context=1), sounding_batch([320, 200, 0], context=True)
    output = method(batch)
    assert output.present.tolist() == [[True] * 3, [True, True, False]]
    torch.stack(list(method.losses(batch, output, method.TERMS).values())).sum().backward()
    backbone = method.audio_backbone
    assert all(p.grad is None for p in backbone.feature_extractor.parameters())
    assert backbone.encoder.layers[0].attention.q_proj.weight.grad.any()
    groups = {group["name"]: group["lr"] for group in method.parameter_groups()}
    assert groups["backbone"] == 5e-6 and groups["other"] == 1e-4


def test_six_seconds_are_299_frames() -> None:
    from transformers import Data2VecAudioConfig, Data2VecAudioModel

    with torch.device("meta"):
        backbone = Data2VecAudioModel(Data2VecAudioConfig(num_hidden_layers=1))
        method = MMML(MMMLSettings(), {"text": 3, "audio": 3})
    assert audio_frame_mask(backbone, torch.ones(1, method.samples, dtype=torch.bool)).shape == (1, 299)


def test_faces_are_not_read() -> None:
    batch, results = random_batch(), []
    for other in (batch, replace(batch, visual=random_batch(seed=9).visual)):
        output, losses = losses_of(tiny(), other)
        results.append([output.prediction.tolist(), losses])
    assert results[0] == results[1]


def test_a_context_that_is_not_there_is_named() -> None:
    with pytest.raises(MsaError, match=r"reads 2 utterances before each clip.*under models\.mmml in params"):
        tiny(context=2)(random_batch())
