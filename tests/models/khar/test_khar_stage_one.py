"""KHaR's stage 1: what it learns, and what stage 2 takes of it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from made.tiny_batch import DIMS, fill_masked, pad_more, random_batch
from made.tiny_khar import FROZEN, settings_of, tiny
from made.tiny_models import save_tiny_bert
from safetensors.torch import save_file, save_model

from models.core.harvest import HarvestPretraining, StageOneEpochs
from models.core.stage_one import UnimodalRegressor
from models.khar.model import KHaR
from pipeline.core.errors import FormatError, MissingModelError, ParamsError


def save_stage_one(folder: Path, method: KHaR, dims: dict[str, int]) -> dict[str, UnimodalRegressor]:
    """What the pretrain stage leaves of untrained stages 1."""
    torch.manual_seed(5)
    regressors = KHaR.pretraining_methods(method.config, dims)
    for name, regressor in regressors.items():
        save_model(regressor, str(folder / f"{name}.safetensors"))
    return regressors


# -------------------------------------------------------------------------------------------------- stage 1
def unimodal(name: str, **pretraining: Any) -> UnimodalRegressor:
    torch.manual_seed(0)
    config = settings_of(pretraining={**FROZEN, **pretraining})
    regressor = KHaR.pretraining_methods(config, {name: DIMS[name]})[name]
    assert isinstance(regressor, UnimodalRegressor)
    return regressor


def test_stage_one_of_the_relative() -> None:
    config = HarvestPretraining()
    assert StageOneEpochs().model_dump() == {"text": 100, "audio": 50, "visual": 100}
    training = config.training("audio")
    assert (training.optimizer, training.lr_backbone, training.lr_other) == ("adamw", 1e-4, 1e-4)
    assert (training.weight_decay, training.batch_size, training.epochs) == (1e-3, 32, 50)
    assert (training.schedule, training.schedule_every, training.warmup) == ("cosine", "epoch", 0.1)
    assert training.patience >= max(StageOneEpochs().model_dump().values())
    torch.manual_seed(0)
    regressor = KHaR.pretraining_methods(settings_of(pretraining={**FROZEN, "width": 32}), DIMS)["audio"]
    assert [part.out_features for part in regressor.classifier[::2]] == [16, 8, 4, 1]
    assert regressor.classifier[0].in_features == 64


@pytest.mark.parametrize("name", list(DIMS))
def test_stage_one_learns_one_modality(name: str) -> None:
    regressor = unimodal(name)
    assert regressor.dims == {name: DIMS[name]}
    assert regressor.TERMS == ("error",) == tuple(regressor.config.weights.model_dump())
    assert regressor.tokenizer is None
    batch = random_batch(5)
    output = regressor(batch)
    loss = regressor.losses(batch, output, ["error"])["error"]
    torch.testing.assert_close(loss, (output.prediction - batch.label).square().mean())
    loss.backward()
    gradients = {key: p.grad for key, p in regressor.named_parameters()}
    assert [key for key, grad in gradients.items() if grad is None or not grad.any()] == []
    assert any(".adapters." in key for key in gradients)
    regressor.eval()
    before = regressor(batch).prediction
    torch.testing.assert_close(regressor(pad_more(batch, 4)).prediction, before, atol=1e-5, rtol=0)
    torch.testing.assert_close(regressor(fill_masked(batch, math.nan)).prediction, before)


def test_stage_one_leaves_out_what_has_no_label_or_no_modality() -> None:
    regressor = unimodal("audio").double()
    batch = random_batch(4, dtype=torch.float64, absent={(1, "audio")}, unlabeled={2})
    batch = replace(batch, label=torch.tensor([1.0, 5.0, math.nan, -1.0], dtype=torch.float64))
    output = regressor(batch)
    error = (output.prediction[[0, 3]] - batch.label[[0, 3]]).square().mean()
    torch.testing.assert_close(regressor.losses(batch, output, ["error"])["error"], error)
    none = replace(batch, label=torch.full((4,), math.nan, dtype=torch.float64))
    loss = regressor.losses(none, regressor(none), ["error"])["error"]
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in regressor.parameters())


def test_stage_one_takes_one_modality() -> None:
    settings = unimodal("audio").config
    with pytest.raises(ParamsError, match="takes one modality, not text, audio, visual"):
        UnimodalRegressor(settings, DIMS)


def test_stage_one_exists_for_pretrained_adapters_alone() -> None:
    for adapters in ("scratch", "none"):
        config = settings_of(pretraining={"adapters": adapters})
        assert KHaR.pretraining_methods(config, DIMS) == {}
        method = tiny(pretraining={"adapters": adapters})
        method.load_pretrained(Path("nowhere"))  # looks for nothing
        assert all(p.requires_grad for p in method.parameters())


def test_fine_tuned_text_has_its_own_encoder_in_stage_one(tmp_path: Path) -> None:
    folder = save_tiny_bert(tmp_path / "bert", width=12, layers=4)
    config = settings_of(
        text="finetune", text_backbone=str(folder), max_tokens=20, pretraining={**FROZEN, "lr": 3e-4}
    )
    method = KHaR(config, {"audio": 5})
    regressors = KHaR.pretraining_methods(config, method.dims)
    assert list(regressors) == ["text", "audio"]
    text, audio = regressors["text"], regressors["audio"]
    assert text.backbone is not None and text.backbone is not method.backbone
    assert audio.backbone is None and audio.tokenizer is None
    assert text.tokenizer is not None and text.reading().max_tokens == 20
    assert {group["lr"] for group in text.parameter_groups()} == {3e-4}
    assert text.classifier[0].in_features == 24
    with torch.no_grad():
        for parameter in text.parameters():
            parameter.add_(0.1)  # it learnt
    for name, regressor in regressors.items():
        save_model(regressor, str(tmp_path / f"{name}.safetensors"))
    assert not torch.equal(
        method.backbone.embeddings.word_embeddings.weight, text.backbone.embeddings.word_embeddings.weight
    )
    method.load_pretrained(tmp_path)
    for key, value in method.state_dict().items():
        if key.startswith(("backbone.", "harvest.text.")):
            assert torch.equal(value, text.state_dict()[key]), key


# ------------------------------------------------------------------------------------- from stage 1 to 2
def test_loading_takes_encoders_and_adapters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    method = tiny(pretraining=FROZEN)
    regressors = save_stage_one(tmp_path, method, DIMS)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method.load_pretrained(tmp_path)
    changed = 0
    for name, value in method.state_dict().items():
        part, modality = name.split(".")[:2]
        if part in ("encoder", "harvest"):
            assert torch.equal(value, regressors[modality].state_dict()[name])
            changed += not torch.equal(value, before[name])
        else:
            assert torch.equal(value, before[name])
    assert changed > 20
    assert capsys.readouterr().err == ""
    assert all(not p.requires_grad for n, p in method.named_parameters() if ".adapters." in n)
    batch = random_batch()
    for name, regressor in regressors.items():  # the same X_m in both stages
        both = (part.eval().harvested(batch)[name].values for part in (method, regressor))
        torch.testing.assert_close(*both)


def test_features_of_another_width_keep_the_first_layer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    method = tiny(pretraining=FROZEN)
    regressors = save_stage_one(tmp_path, method, {**DIMS, "audio": 9})
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method.load_pretrained(tmp_path)
    said = capsys.readouterr().err
    assert "stage 1 saw 9 features of audio, this set has 5" in said
    assert said.count("\n") == 1
    after, saved = method.state_dict(), regressors["audio"].state_dict()
    for name in ("weight", "bias"):
        assert torch.equal(after[f"encoder.audio.project.{name}"], before[f"encoder.audio.project.{name}"])
    for name in after:
        if name.split(".")[1] == "audio" and ".project." not in name and name.startswith(("enc", "harv")):
            assert torch.equal(after[name], saved[name]), name
    assert torch.equal(
        after["encoder.visual.project.weight"],
        regressors["visual"].state_dict()["encoder.visual.project.weight"],
    )


def test_what_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    method = tiny(pretraining=FROZEN)
    with pytest.raises(
        MissingModelError, match=r"text\.safetensors: khar has no pretrained adapters of text"
    ):
        method.load_pretrained(tmp_path)
    save_stage_one(tmp_path, tiny(pretraining={**FROZEN, "layers": 2}), DIMS)
    with pytest.raises(FormatError, match=r"do not fit the settings of khar \(encoder\.text\.layers\.2"):
        method.load_pretrained(tmp_path)
    save_stage_one(tmp_path, tiny(pretraining={**FROZEN, "max_steps": 30}), DIMS)
    with pytest.raises(FormatError, match=r"\(encoder\.text\.positions has another shape"):
        method.load_pretrained(tmp_path)
    save_file({"a": torch.zeros(1)}, tmp_path / "text.safetensors")
    with pytest.raises(FormatError, match="do not fit"):
        method.load_pretrained(tmp_path)
    (tmp_path / "text.safetensors").write_bytes(b"broken")
    with pytest.raises(FormatError, match="cannot be read"):
        method.load_pretrained(tmp_path)


def test_a_run_is_built_again_without_stage_one(tmp_path: Path) -> None:
    method = tiny(pretraining=FROZEN)
    save_stage_one(tmp_path, method, DIMS)
    method.load_pretrained(tmp_path)
    again = tiny(seed=3, pretraining=FROZEN)
    again.load_state_dict(method.state_dict())
    batch = random_batch()
    assert torch.equal(again.eval()(batch).prediction, method.eval()(batch).prediction)
