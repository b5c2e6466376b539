"""MIRD's settings: the paper's, those that contradict each other, sizes, optimiser groups, text encoders."""

from __future__ import annotations

import pytest
import torch
from made.tiny_batch import DIMS
from made.tiny_mird import BERT, TINY, tiny, tiny_finetuned
from made.tiny_models import tiny_bert
from pydantic import ValidationError
from torch import nn
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

from models.mird.model import MIRD, MIRDSettings
from pipeline.core.errors import ParamsError


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

    monkeypatch.setattr("models.mird.load_text_backbone", load)
    assert MIRDSettings().open_backbones() == {}
    assert list(MIRDSettings(text="finetune").open_backbones()) == ["text"]
    both = MIRDSettings(text="finetune", text_encoder="bert", pool="cls")
    assert list(both.open_backbones(config_only=True)) == ["text", "private"]
    assert asked == [(False, False), (True, True), (True, True)]
    assert MIRD(both, DIMS).private_backbone is not None
