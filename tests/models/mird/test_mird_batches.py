"""MIRD with other settings than test_method_batches.py has, on batches of all kinds; missing modalities."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from made.tiny_batch import DIMS, pad_more, random_batch, select
from made.tiny_methods import check_absent_is_unread, weighted
from made.tiny_mird import BERT, MISSING, TINY, VARIANTS, tiny, tiny_finetuned, variant
from made.tiny_models import tiny_bert
from pydantic import ValidationError
from torch import nn
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

from models.mird.model import MIRD
from models.mird.settings import MIRDSettings
from pipeline.core.errors import ParamsError

OTHERS = [name for name in VARIANTS if name not in ("frozen", "finetuned")]


# ---------------------------------------------------------------------------------------------------- missing
@pytest.mark.parametrize("value", [1e6, math.nan])
@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize("name", OTHERS)
def test_nothing_depends_on_what_is_absent(name: str, missing: str, value: float) -> None:
    method, needs = variant(name)
    batch = random_batch(absent=MISSING[missing], **needs)
    check_absent_is_unread(lambda: method, batch, value)


def test_a_clip_without_text_says_only_special_tokens() -> None:
    method = tiny_finetuned().eval()
    assert method.tokenizer is not None
    silent = method.tokenizer.encode([""], 50)[0].tolist()
    assert method.shared.reader.no_words.tolist() == silent and len(silent) == 2
    batch = random_batch(vocabulary=40, absent={(1, "text")})
    tokens = batch.tokens
    assert tokens is not None
    ids, mask = tokens.ids.clone(), tokens.mask.clone()
    ids[1, :2], mask[1, :2] = torch.tensor(silent), True
    said = replace(batch, tokens=replace(tokens, ids=ids, mask=mask, present=torch.ones(4).bool()))
    absent, present = method(batch), method(said)
    torch.testing.assert_close(absent.z["shared"], present.z["shared"])
    assert (absent.z["text"][1] == 0).all() and (present.z["text"][1] != 0).any()
    alone = select(batch, [1])  # where the whole batch has a single step of padding for text
    assert alone.tokens is not None
    short = replace(
        alone, tokens=replace(alone.tokens, ids=alone.tokens.ids[:, :1], mask=alone.tokens.mask[:, :1])
    )
    torch.testing.assert_close(method(short).prediction, absent.prediction[1:2])


def test_an_absent_modality_leaves_its_terms() -> None:
    method = tiny().double()
    batch = random_batch(dtype=torch.float64, absent={(clip, "audio") for clip in range(4)})
    output = method(batch)
    losses = method.losses(batch, output, MIRD.TERMS)
    without = tiny(dims={"text": 12, "visual": 7}).double()
    state = {name: value for name, value in method.state_dict().items() if name in without.state_dict()}
    kept = {name: value for name, value in state.items() if value.shape == without.state_dict()[name].shape}
    without.load_state_dict(kept, strict=False)
    alone = without(batch)
    for name, z in alone.z.items():
        torch.testing.assert_close(z, output.z[name])
    fewer = without.losses(batch, alone, ["reconstruction"])["reconstruction"]
    torch.testing.assert_close(fewer, losses["reconstruction"])
    bounds = dict(zip(method.latent_pairs, method.bounds(batch, output), strict=False))
    assert all((bound == 0) == ("audio" in pair) for pair, bound in bounds.items())


@pytest.mark.parametrize("size", [0, 1])
def test_a_run_without_a_modality(size: int) -> None:
    for others in combinations(("audio", "visual"), size):
        names = ("text", *others)
        method, batch = tiny(dims={name: DIMS[name] for name in names}), random_batch(5)
        batch = replace(batch, **{name: None for name in DIMS if name not in names})
        losses = method.losses(batch, method(batch), MIRD.TERMS)
        assert all(value.isfinite() for value in losses.values())
        weighted(method, losses).backward()
        assert all(parameter.grad is not None for parameter in method.parameters())
        assert len(method.latent_pairs) == (1 if size == 0 else 3)
        assert method.regressor[0].in_features == (1 + len(names)) * TINY["width"]


def test_a_run_without_text_is_refused() -> None:
    with pytest.raises(ParamsError, match="MIRD needs text, whose words carry its shared repr"):
        tiny(dims={"audio": 5, "visual": 7})


# ----------------------------------------------------------------------------------------------- every batch
@pytest.mark.parametrize("clips", [1, 2])
@pytest.mark.parametrize("name", OTHERS)
def test_smallest_batches_train(name: str, clips: int) -> None:
    method, needs = variant(name)
    batch = random_batch(clips, **needs)
    output = method(batch)
    assert output.prediction.shape == (clips,)
    losses = method.losses(batch, output, MIRD.TERMS)
    assert all(value.isfinite() and value.shape == () for value in losses.values())
    if method.estimator_steps():
        assert method.estimator_loss(batch, output).isfinite()
    weighted(method, losses).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())


@pytest.mark.parametrize("name", OTHERS)
def test_clips_do_not_see_each_other(name: str) -> None:
    method, needs = variant(name)
    method.eval()
    batch = random_batch(absent={(2, "text"), (0, "visual")}, **needs)
    whole, order = method(batch).prediction, [2, 0, 3, 1]
    torch.testing.assert_close(method(select(batch, order)).prediction, whole[order], atol=1e-5, rtol=0)
    torch.testing.assert_close(method(pad_more(batch, 5)).prediction, whole, atol=1e-5, rtol=0)
    alone = torch.cat([method(select(batch, [clip])).prediction for clip in range(4)])
    torch.testing.assert_close(alone, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", OTHERS)
def test_bf16_forward_gives_finite_float32_losses(name: str) -> None:
    method, needs = variant(name)
    batch = random_batch(5, absent={(1, "audio")}, **needs)
    exact = method.losses(batch, method(batch), MIRD.TERMS)
    with torch.autocast("cpu", torch.bfloat16):
        output = method(batch)
    assert {output.prediction.dtype, *(z.dtype for z in output.z.values())} == {torch.float32}
    losses = method.losses(batch, output, MIRD.TERMS)
    for term, value in losses.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(exact[term].item(), rel=0.1, abs=2e-2)
    weighted(method, losses).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())


@pytest.mark.parametrize(("pool", "total"), [("cls", 121.07), ("mean", 120.47)])
def test_parameter_count_of_the_paper(pool: str, total: float) -> None:
    settings = MIRDSettings(text="finetune", pool=pool)
    with torch.device("meta"):
        backbone = BertModel(BertConfig(), add_pooling_layer=pool == "cls")
        method = MIRD(settings, {"audio": 33, "visual": 709}, backbones={"text": backbone})
    count = sum(p.numel() for name, p in method.named_parameters() if not name.startswith("estimators."))
    assert count / 1e6 == pytest.approx(total, abs=0.1)


def test_optimiser_groups() -> None:
    method = tiny_finetuned(text_encoder="bert", training={"lr_backbone": 1e-5, "lr_other": 2e-5})
    groups = {group["name"]: group for group in method.parameter_groups()}
    assert {name: group["lr"] for name, group in groups.items()} == {
        "backbone": 1e-5,
        "backbone_no_decay": 1e-5,
        "other": 2e-5,
        "other_no_decay": 2e-5,
    }
    own = {id(parameter) for group in groups.values() for parameter in group["params"]}
    assert method.private_backbone is not None
    assert all(id(parameter) in own for parameter in method.private_backbone.parameters())
    assert method.estimators is not None
    apart = {id(p) for p in method.estimators.parameters()}
    assert {id(p) for group in method.estimator_groups() for p in group["params"]} == apart
    assert not own & apart


def test_settings_of_the_paper() -> None:
    settings = MIRDSettings()
    assert settings.weights.model_dump() == {
        "prediction": 1.0,
        "reconstruction": 1.0,
        "information": 0.1,
        "orthogonality": 0.0,
    }
    assert tuple(settings.weights.model_dump()) == MIRD.TERMS
    training = settings.training
    assert (training.optimizer, training.lr_backbone, training.lr_other) == ("adamw", 1e-5, 1e-5)
    assert (training.batch_size, training.epochs, training.warmup) == (32, 100, 0.1)
    assert (settings.width, settings.estimator_hidden, settings.estimator_steps) == (64, 32, 5)
    for wrong in ({"mi_pairs": "five"}, {"widht": 3}, {"unlabeled_ratio": -1}, {"decoder_steps": {"tex": 3}}):
        with pytest.raises(ValidationError):
            MIRDSettings.model_validate(wrong)


def test_settings_that_contradict_each_other() -> None:
    with pytest.raises(ValidationError, match="text_encoder is bert, but text is frozen; set text to finet"):
        MIRDSettings(text_encoder="bert")
    match = "leaves nothing for reconstruction, information; set weights.reconstruction and weights.informat"
    with pytest.raises(ValidationError, match=match):
        MIRDSettings(private=False)


def test_layers_to_shift_words_at() -> None:
    with pytest.raises(ParamsError, match=r"inject_layer is 2, but models\.mird\.base\.frozen_layers is 2;"):
        tiny(inject_layer=2)
    with pytest.raises(ParamsError, match=r"inject_layer is 2, but the layers of the text encoder .* are 2"):
        tiny_finetuned(inject_layer=2)
    settings = MIRDSettings(text="finetune", **TINY)
    with pytest.raises(ParamsError, match=r"pool is cls, but the text encoder 'minilm' has no pooler"):
        MIRD(settings.model_copy(update={"pool": "cls"}), DIMS, backbones={"text": tiny_bert(**BERT)})
    other = DistilBertModel(DistilBertConfig(vocab_size=120, dim=12, hidden_dim=16, n_heads=2, n_layers=2))
    deeper = settings.model_copy(update={"inject_layer": 1})
    with pytest.raises(ParamsError, match="is not built like BERT and RoBERTa"):
        MIRD(deeper, DIMS, backbones={"text": other})


def test_the_backbones_that_settings_open(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[bool, bool]] = []

    def load(_model: str, _revision: str | None, *, pooler: bool, config_only: bool) -> nn.Module:
        asked.append((pooler, config_only))
        return tiny_bert(pooler=pooler, **BERT)

    monkeypatch.setattr("models.mird.settings.load_text_backbone", load)
    assert MIRDSettings().open_backbones() == {}
    assert list(MIRDSettings(text="finetune").open_backbones()) == ["text"]
    both = MIRDSettings(text="finetune", text_encoder="bert", pool="cls")
    assert list(both.open_backbones(config_only=True)) == ["text", "private"]
    assert asked == [(False, False), (True, True), (True, True)]
    assert MIRD(both, DIMS).private_backbone is not None
