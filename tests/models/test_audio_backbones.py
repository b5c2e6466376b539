"""Encoders of sound against transformers called directly; what is frozen, silenced and masked."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made.tiny_models import save_tiny_bert, save_tiny_data2vec_audio, save_tiny_hubert
from transformers import AutoConfig, AutoModel

from models.core.backbones import load_audio_backbone, load_text_backbone
from models.core.speech import audio_frame_mask
from pipeline.core.errors import FormatError, MissingModelError, ParamsError
from pipeline.media.decode import waveform
from pipeline.params.params import MediaLimits

RATE = 16_000


@pytest.fixture(scope="module")
def data2vec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_data2vec_audio(tmp_path_factory.mktemp("models") / "data2vec")


@pytest.fixture(scope="module")
def hubert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_hubert(tmp_path_factory.mktemp("models") / "hubert")


@pytest.fixture(params=["data2vec", "hubert"])
def folder(request: pytest.FixtureRequest) -> Path:
    return Path(request.getfixturevalue(request.param))


def noise(clips: int, samples: int) -> torch.Tensor:
    return torch.randn(clips, samples, generator=torch.Generator().manual_seed(0))


def states(backbone: Any, samples: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    attended = None if mask is None else mask.long()
    return backbone(samples, attention_mask=attended).last_hidden_state


# ----------------------------------------------------------------------------------------------- same numbers
def test_states_are_those_of_transformers_itself(folder: Path) -> None:
    samples = noise(2, RATE)
    with torch.inference_mode():
        expected = states(AutoModel.from_pretrained(folder).eval(), samples)
        backbone = load_audio_backbone(str(folder))
        assert torch.equal(states(backbone, samples), expected)
    assert not backbone.training
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}


def test_older_names_and_a_head_on_top(hubert: Path, tmp_path: Path) -> None:
    """Files of before weight norm became a parametrisation; files of a model that was fine-tuned for CTC."""
    from safetensors.torch import load_file
    from transformers import HubertForCTC

    expected = load_audio_backbone(str(hubert)).state_dict()
    assert any(name.endswith("original0") for name in expected)
    old = Path(shutil.copytree(hubert, tmp_path / "old"))
    renamed = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): values
        for name, values in load_file(old / "model.safetensors").items()
    }
    (old / "model.safetensors").unlink()
    torch.save(renamed, old / "pytorch_model.bin")
    with_head = HubertForCTC(AutoConfig.from_pretrained(hubert, vocab_size=8))
    with_head.hubert.load_state_dict(expected, strict=False)  # it has a mask vector besides
    with_head.save_pretrained(tmp_path / "head")
    for other in (old, tmp_path / "head"):
        found = load_audio_backbone(str(other)).state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_config_only_reads_no_weights(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "model.safetensors").unlink()
    first = load_audio_backbone(str(copy), config_only=True)
    with torch.device("meta"):
        empty = load_audio_backbone(str(copy), config_only=True)
    assert {parameter.device.type for parameter in empty.parameters()} == {"meta"}
    whole = load_audio_backbone(str(folder))
    assert first.state_dict().keys() == empty.state_dict().keys() == whole.state_dict().keys()
    first.load_state_dict(whole.state_dict())
    with torch.inference_mode():
        assert torch.equal(states(first, noise(1, 2000)), states(whole, noise(1, 2000)))


# ------------------------------------------------------------------------------------------------ in training
def test_convolutions_are_frozen_and_all_else_learns(folder: Path) -> None:
    backbone = load_audio_backbone(str(folder)).train()
    samples = noise(2, 8000)
    states(backbone, samples).square().sum().backward()
    for name, parameter in backbone.named_parameters():
        learns = not name.startswith("feature_extractor.")
        assert parameter.requires_grad == learns, name
        assert (parameter.grad is not None) == learns, name
    assert samples.grad is None  # nothing went back through the convolutions


def test_dropout_is_the_only_noise_of_training(folder: Path) -> None:
    """The saved configs ask for SpecAugment and LayerDrop at rates that would show at once."""
    backbone = load_audio_backbone(str(folder))
    samples = noise(2, RATE)
    quiet = states(backbone, samples)
    assert not torch.equal(states(backbone.train(), samples), quiet)
    for module in backbone.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "dropout", None), float):  # the attention's
            module.dropout = 0.0
    before = np.random.get_state()[1].copy()
    for _ in range(3):
        torch.testing.assert_close(states(backbone, samples), quiet)
    assert (np.random.get_state()[1] == before).all()


# ----------------------------------------------------------------------------------------------------- frames
@pytest.mark.parametrize("samples", [400, 719, 720, 5000, 48_000])
def test_frame_mask_has_the_frames_of_the_encoder(folder: Path, samples: int) -> None:
    backbone = load_audio_backbone(str(folder))
    counts = torch.tensor([samples, samples // 2, 399, 1, 0])
    mask = torch.arange(samples) < counts[:, None]
    frames = audio_frame_mask(backbone, mask)
    with torch.inference_mode():
        assert frames.shape == (5, states(backbone, noise(1, samples)).shape[1])
        for row, count in zip(frames, counts.tolist(), strict=True):
            alone = states(backbone, noise(1, count)).shape[1] if count >= 400 else 0
            assert row.tolist() == [True] * alone + [False] * (len(row) - alone)


def test_six_seconds_are_299_frames(folder: Path) -> None:
    frames = audio_frame_mask(load_audio_backbone(str(folder)), torch.ones(1, 6 * RATE, dtype=torch.bool))
    assert frames.shape == (1, 299) and frames.all()


def test_what_is_masked_changes_no_real_frame(data2vec: Path) -> None:
    """Not so in encoders whose first convolution is normalised over time, as HuBERT base."""
    backbone = load_audio_backbone(str(data2vec))
    samples = noise(2, RATE)
    mask = torch.arange(RATE) < torch.tensor([[RATE], [RATE // 2]])
    other = torch.where(mask, samples, 7.0)
    frames = audio_frame_mask(backbone, mask)
    with torch.inference_mode():
        one, two = states(backbone, samples, mask), states(backbone, other, mask)
    torch.testing.assert_close(one[frames], two[frames], atol=1e-4, rtol=0)


@pytest.mark.shared
def test_real_speech(folder: Path, shared: Path) -> None:
    speech = waveform(shared / "audio/openai__whisper__jfk.flac", MediaLimits(), sample_rate=RATE)
    samples = torch.from_numpy(speech)[None]
    samples = (samples - samples.mean()) / samples.std()
    backbone = load_audio_backbone(str(folder))
    with torch.inference_mode():
        found = states(backbone, samples)
    assert found.isfinite().all()
    assert found.shape == (*audio_frame_mask(backbone, torch.ones_like(samples, dtype=torch.bool)).shape, 32)
    assert found.shape[1] == pytest.approx(50 * len(speech) / RATE, abs=2)


# ------------------------------------------------------------------------------------------------ wrong files
def test_an_encoder_of_the_other_kind(data2vec: Path, tmp_path: Path) -> None:
    bert = save_tiny_bert(tmp_path / "bert")
    with pytest.raises(ParamsError, match=r"audio_backbone is '.*bert', a model of type 'bert'.*hubert"):
        load_audio_backbone(str(bert))
    with pytest.raises(ParamsError, match=r"audio encoder \(data2vec-audio\); expected a text encoder"):
        load_text_backbone(str(data2vec))


def test_missing_files_and_weights(hubert: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    with pytest.raises(MissingModelError, match="no such folder"):
        load_audio_backbone(str(tmp_path / "nothing"))
    copy = Path(shutil.copytree(hubert, tmp_path / "copy"))
    weights = load_file(copy / "model.safetensors")
    kept = {name: values for name, values in weights.items() if "pos_conv_embed" not in name}
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FormatError, match=r"lack 3 parameters of HubertModel.*pos_conv_embed"):
        load_audio_backbone(str(copy))
