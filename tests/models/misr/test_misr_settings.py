"""MISR's settings: what each computes, how large the model is, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made.tiny_batch import DIMS, random_batch
from made.tiny_misr import TINY, tiny, tiny_finetuned
from pydantic import ValidationError
from transformers import BertConfig, BertModel

from models.core.method import Task
from models.misr.model import (
    MISR,
    MISRSettings,
)
from pipeline.core.errors import ParamsError


# ------------------------------------------------------------------------- only what is asked is computed
@pytest.mark.parametrize(
    ("terms", "rows", "decoded"),
    [
        (MISR.TERMS, 8, True),
        (("prediction", "prior", "alignment", "reconstruction"), 1, True),
        (("prediction", "prior", "alignment", "invariance"), 8, False),
        (("prediction",), 1, False),
    ],
)
def test_training_computes_the_active_terms(terms: tuple[str, ...], rows: int, decoded: bool) -> None:
    method, batch = tiny(), random_batch()
    method.active_terms = frozenset(terms)
    output = method(batch)
    assert len(output.environments) == rows
    assert (output.reconstruction is not None) == decoded
    assert set(method.losses(batch, output, terms)) == set(terms)


def test_evaluation_computes_the_prediction_alone() -> None:
    method, batch = tiny().eval(), random_batch()
    output = method(batch)
    assert len(output.environments) == 1
    assert output.reconstruction is None
    with pytest.raises(ValueError, match="invariance needs a forward in training mode"):
        method.losses(batch, output, ["invariance"])
    torch.testing.assert_close(output.prediction, method.train()(batch).prediction)  # no dropout here


@pytest.mark.parametrize("chosen", [("text",), ("audio",), ("visual", "text")])
def test_another_environment_may_predict(chosen: tuple[str, ...]) -> None:
    """Table 8: ŷ is that of H^u with the chosen cues, in training as in evaluation."""
    method, batch = tiny(predict_from=chosen), random_batch(absent={(1, "text")})
    output = method(batch)
    home = method.subsets.index(tuple(name for name in DIMS if name in chosen))
    assert torch.equal(output.prediction, output.environments[home])
    losses = method.losses(batch, output, ["prediction", "invariance"])
    torch.testing.assert_close(losses["prediction"], (output.prediction - batch.label).abs().mean())
    assert torch.isfinite(losses["invariance"])
    torch.testing.assert_close(method.eval()(batch).prediction, output.prediction)
    with pytest.raises(ParamsError, match="predict_from names visual, but the model has text"):
        tiny(dims={"text": 12}, predict_from=["visual"])


def test_averaging_over_environments_asks_for_all_of_them() -> None:
    method, batch = tiny(sp_over_envs="mean"), random_batch()
    method.active_terms = frozenset({"prediction"})
    output = method(batch)
    risks = (output.environments - batch.label).abs().mean(dim=1)
    loss = method.losses(batch, output, ["prediction"])["prediction"]
    assert len(risks) == 8
    torch.testing.assert_close(loss, risks.mean())


def test_predictor_dropout_is_one_mask_for_all_environments() -> None:
    method = tiny(predictor_dropout=0.5)
    same = torch.randn(1, 4, TINY["width"]).expand(8, -1, -1)
    first, second = method.predict(same)[1], method.predict(same)[1]
    torch.testing.assert_close(first, first[:1].expand(8, -1))
    assert not torch.allclose(first, second)
    assert torch.equal(method.eval().predict(same)[1], method.predict(same)[1])


def test_diagnostics_name_the_environments() -> None:
    method, batch = tiny(), random_batch()
    output = method(batch)
    curves = method.diagnostics(batch, output)
    risks = {name: value.item() for name, value in curves.items() if name.startswith("risk/")}
    assert list(risks)[:3] == ["risk/joint", "risk/text", "risk/audio"]
    assert list(risks)[-1] == "risk/text+audio+visual"
    loss = method.losses(batch, output, ["invariance"])["invariance"].item()
    assert np.var(list(risks.values())) == pytest.approx(loss, abs=1e-6)
    assert set(method.eval().diagnostics(batch, method(batch))) == {"risk/joint"}


@pytest.mark.parametrize("settings", [{}, {"invariance_over": "clip"}, {"predictor_dropout": 0.5}])
@pytest.mark.parametrize("classes", [0, 2, 7])
def test_the_share_of_the_invariance_in_the_gradient(classes: int, settings: dict[str, object]) -> None:
    """As autograd has it at the last layer's weights, in a forward pass of its own."""
    method = tiny(task=Task(classes), **settings).double()
    batch = random_batch(6, dtype=torch.float64, classes=classes, absent={(1, "audio")}, unlabeled=(4,))
    output = method(batch)
    losses = method.losses(batch, output, ["prediction", "invariance"])
    wanted, asked = (
        torch.autograd.grad(losses[term], method.score.weight, retain_graph=True)[0].norm()
        for term in ("prediction", "invariance")
    )
    state = torch.get_rng_state()
    share = method.diagnostics(batch, output)["gradient/invariance"]
    torch.testing.assert_close(share, asked / wanted)
    assert torch.equal(torch.get_rng_state(), state)  # no number of a training is another one for it
    assert not share.requires_grad


# ------------------------------------------------------------------------------------------------- sizes
@pytest.mark.parametrize(
    ("large", "pooler", "total"), [(False, False, 114.74), (False, True, 115.33), (True, True, 341.02)]
)
def test_parameter_count_of_the_paper(large: bool, pooler: bool, total: float) -> None:
    sizes = {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    }
    # MMSA's MOSI has at most 375 audio and 500 visual steps; two tables of their mean are as large
    settings = MISRSettings(text="finetune", max_steps=437)
    with torch.device("meta"):
        backbone = BertModel(BertConfig(**(sizes if large else {})), add_pooling_layer=pooler)
        method = MISR(settings, {"audio": 5, "visual": 20}, backbones={"text": backbone})
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in method.named_children()}
    own = sum(p.numel() for p in method.parameters()) - count["backbone"]
    assert own / 1e6 == pytest.approx(5.85, abs=0.1)
    assert (own + count["backbone"]) / 1e6 == pytest.approx(total, abs=0.005)


def test_optimiser_groups() -> None:
    groups = {group["name"]: group for group in tiny_finetuned().parameter_groups()}
    assert {name: group["lr"] for name, group in groups.items()} == {
        "backbone": 5e-6,
        "backbone_no_decay": 5e-6,
        "other": 1e-4,
        "other_no_decay": 1e-4,
    }


# ------------------------------------------------------------------------------------------------- edges
def test_settings() -> None:
    settings = MISRSettings.model_validate({"training": {"epochs": 3}, "weights": {"invariance": 0}})
    assert (settings.training.lr_backbone, settings.training.lr_other) == (5e-6, 1e-4)
    assert settings.weights.model_dump() == {
        "prediction": 1.0,
        "prior": 0.4,
        "alignment": 0.4,
        "reconstruction": 0.4,
        "invariance": 0.0,
    }
    assert tuple(settings.weights.model_dump()) == MISR.TERMS
    for wrong in ({"env_fusion": "sum"}, {"widht": 3}, {"weights": {"prior": -1}}, {"layers": 0}):
        with pytest.raises(ValidationError):
            MISRSettings.model_validate(wrong)


def test_too_long_a_sequence_names_the_keys() -> None:
    method = tiny(max_steps=10)
    with pytest.raises(
        ParamsError, match=r"visual has 11 steps, but models\.misr takes at most 10; lower assemb"
    ):
        method(random_batch())
    long_text = tiny_finetuned(max_tokens=5)
    with pytest.raises(ParamsError, match=r"text has 6 steps, but models\.misr takes at most 5"):
        long_text(random_batch(vocabulary=40))
