"""The contract of a method: settings, tasks, inputs, optimiser groups."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from made.tiny_batch import DIMS, fill_masked, random_batch
from made.tiny_models import tiny_bert
from pydantic import ValidationError
from scipy.special import expit
from sklearn.metrics import log_loss
from torch import Tensor, nn

from models.core.backbones import load_text_backbone
from models.core.batch import Batch, Reading
from models.core.method import REGRESSION, Method, MethodSettings, Output, Task, Training
from pipeline.core.errors import MsaError, ParamsError
from pipeline.core.section import Section


class OneWeight(Section):
    prediction: float = 1.0


class ProbeSettings(MethodSettings):
    weights: OneWeight = OneWeight()
    training: Training = Training(lr_backbone=2e-5, lr_other=3e-4, weight_decay=0.01)


class Probe(Method):
    """The smallest method: a linear layer on the mean step of the text."""

    TERMS = ("prediction",)
    NEEDS = ("text", "audio")
    Config = ProbeSettings

    def build(self, backbones: dict[str, nn.Module]) -> None:
        self.tokens = nn.Parameter(torch.zeros(2, 3))
        self.positions = nn.Parameter(torch.zeros(2, 3))
        self.norm = nn.LayerNorm(self.dims["text"])
        self.score = nn.Linear(self.dims["text"], self.task.outputs)

    def forward(self, batch: Batch) -> Output:
        text = self.inputs(batch)["text"]
        return Output(self.task.predict(self.score, self.norm(text.values.sum(dim=1))))

    def losses(self, batch: Batch, output: Output, terms: Collection[str]) -> dict[str, Tensor]:
        return {"prediction": self.task.loss(output.prediction, batch.label, batch.labeled)}


BERT = {"num_hidden_layers": 2, "max_position_embeddings": 64}


# ---------------------------------------------------------------------------------------------------- tasks
def scores_and_labels(classes: int, rows: int = 9) -> tuple[Tensor, Tensor]:
    """A head's output (rows, outputs) and labels (rows,), every class among them."""
    generator = np.random.default_rng(classes)
    scores = torch.from_numpy(generator.normal(size=(rows, Task(classes).outputs)))
    label = generator.uniform(-3, 3, rows) if classes == 0 else np.arange(rows) % classes
    return scores, torch.from_numpy(label).double()


@pytest.mark.parametrize(("classes", "outputs"), [(0, 1), (2, 1), (3, 3), (7, 7)])
def test_outputs_of_a_task(classes: int, outputs: int) -> None:
    task = Task(classes)
    assert task.outputs == outputs
    shape = (5,) if outputs == 1 else (5, outputs)
    assert task.shaped(torch.randn(5, outputs)).shape == shape
    assert task.shaped(torch.randn(1, outputs)).shape == (1, *shape[1:])
    assert task.shaped(torch.randn(4, 5, outputs)).shape == (4, *shape)
    assert task.shaped(torch.randn(5, outputs).bfloat16()).dtype == torch.float32
    assert task.shaped(torch.randn(5, outputs).double()).dtype == torch.float64


def test_loss_of_a_regression() -> None:
    scores, label = scores_and_labels(0)
    prediction = REGRESSION.shaped(scores)
    expected = np.abs(prediction.numpy() - label.numpy())
    np.testing.assert_allclose(REGRESSION.errors(prediction, label), expected)
    assert REGRESSION.loss(prediction, label).item() == pytest.approx(expected.mean())


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_loss_of_a_classification(classes: int) -> None:
    task = Task(classes)
    scores, label = scores_and_labels(classes)
    prediction = task.shaped(scores)
    if classes == 2:
        probabilities = np.stack([1 - expit(scores[:, 0]), expit(scores[:, 0])], axis=1)
    else:
        exp = np.exp(scores.numpy())
        probabilities = exp / exp.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(task.probabilities(prediction), probabilities)
    expected = log_loss(label.long(), probabilities, labels=range(classes))
    assert task.loss(prediction, label).item() == pytest.approx(expected)
    errors = task.errors(prediction, label)
    np.testing.assert_allclose(errors, -np.log(probabilities[np.arange(9), label.long()]))
    assert task.decide(prediction).tolist() == probabilities.argmax(axis=1).tolist()
    assert task.errors(prediction.float(), label.float()).dtype == torch.float32


def test_extreme_logits_stay_finite() -> None:
    for classes, prediction in ((2, torch.tensor([1e4, -1e4])), (3, torch.tensor([[1e4, 0, -1e4]] * 2))):
        prediction = prediction.requires_grad_()
        errors = Task(classes).errors(prediction, torch.tensor([0.0, 1.0]))
        assert errors.tolist() == pytest.approx([1e4, 1e4] if classes == 2 else [0, 1e4])
        (gradient,) = torch.autograd.grad(errors.sum(), prediction)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("classes", [0, 2, 7])
def test_clips_without_a_label_are_masked(classes: int) -> None:
    task = Task(classes)
    scores, label = scores_and_labels(classes)
    labeled = torch.tensor([True, True, False] * 3)
    expected = task.loss(task.shaped(scores)[labeled], label[labeled])
    scores.requires_grad_()
    loss = task.loss(task.shaped(scores), label.masked_fill(~labeled, torch.nan), labeled)
    assert loss.item() == pytest.approx(expected.item())
    (gradient,) = torch.autograd.grad(loss, scores)
    assert gradient.isfinite().all()
    assert (gradient[~labeled] == 0).all()
    assert (gradient[labeled] != 0).all()
    nothing = task.loss(task.shaped(scores), torch.full_like(label, torch.nan), torch.zeros_like(labeled))
    (gradient,) = torch.autograd.grad(nothing, scores)
    assert nothing.item() == 0
    assert gradient.abs().max() == 0


@pytest.mark.parametrize("classes", [0, 2, 7])
def test_leading_dimensions_of_a_prediction(classes: int) -> None:
    """Such as MISR's environments: one label for all."""
    task = Task(classes)
    scores, label = scores_and_labels(classes)
    stacked = torch.stack([scores, 2 * scores, -scores])
    errors = task.errors(task.shaped(stacked), label)
    assert errors.shape == (3, 9)
    for row, version in zip(errors, stacked, strict=True):
        torch.testing.assert_close(row, task.errors(task.shaped(version), label))
    some = torch.tensor([True, False, True] * 3)
    apart = torch.stack([task.loss(task.shaped(version), label) for version in stacked])
    torch.testing.assert_close(task.loss(task.shaped(stacked), label), apart.mean())
    assert errors[:, some].shape == (3, 6)


# --------------------------------------------------------------------------------------- optimiser groups
def test_groups_split_backbone_and_decay() -> None:
    method = Probe(ProbeSettings(text="finetune"), {"audio": 5}, backbones={"text": tiny_bert(**BERT)})
    groups = {group["name"]: group for group in method.parameter_groups()}
    assert {name: (group["lr"], group["weight_decay"]) for name, group in groups.items()} == {
        "backbone": (2e-5, 0.01),
        "backbone_no_decay": (2e-5, 0.0),
        "other": (3e-4, 0.01),
        "other_no_decay": (3e-4, 0.0),
    }
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    grouped = {name: {names[id(p)] for p in group["params"]} for name, group in groups.items()}
    assert grouped["other"] == {"score.weight"}
    assert grouped["other_no_decay"] == {"tokens", "positions", "norm.weight", "norm.bias", "score.bias"}
    assert "backbone.embeddings.word_embeddings.weight" in grouped["backbone"]
    assert "backbone.embeddings.LayerNorm.weight" in grouped["backbone_no_decay"]
    assert sum(len(group["params"]) for group in groups.values()) == len(names)


def test_an_encoder_of_the_sound_is_a_backbone_too() -> None:
    backbones = {"text": tiny_bert(**BERT), "audio": tiny_bert(hidden_size=6, **BERT)}
    method = Probe(ProbeSettings(text="finetune"), {}, backbones=backbones)
    assert method.dims == {"text": 12, "audio": 6}
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    for group in method.parameter_groups():
        parts = {names[id(p)].split(".")[0].endswith("backbone") for p in group["params"]}
        assert parts == {group["name"].startswith("backbone")}
        assert group["lr"] == (2e-5 if True in parts else 3e-4)


def test_frozen_parameters_and_estimators_are_in_no_group() -> None:
    class Alternating(Probe):
        def estimator_groups(self) -> list[dict[str, Any]]:
            return [{"name": "estimators", "params": [self.tokens], "lr": 1e-3}]

    method = Alternating(ProbeSettings(), DIMS)
    method.score.requires_grad_(False)
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    grouped = {names[id(p)] for group in method.parameter_groups() for p in group["params"]}
    assert grouped == {"positions", "norm.weight", "norm.bias"}


def test_defaults_of_the_contract() -> None:
    method, batch = Probe(ProbeSettings(), DIMS), random_batch()
    assert method.reading() == Reading(tokenizer=None, max_tokens=50, modalities=tuple(method.dims))
    assert method.schedule("prediction", 0.5) == 1
    assert (method.estimator_steps(), method.estimator_groups()) == (0, [])
    assert method.active_terms == {"prediction"}
    with pytest.raises(NotImplementedError, match="Probe has no estimators"):
        method.estimator_loss(batch, method(batch))


def test_frozen_text_has_no_backbone_group_and_no_tokenizer() -> None:
    method = Probe(ProbeSettings(), DIMS)
    assert {group["name"] for group in method.parameter_groups()} == {"other", "other_no_decay"}
    assert method.tokenizer is None
    assert method.dims == {"text": 12, "audio": 5}  # visual is not among its needs


def test_bundled_encoder_and_its_tokenizer() -> None:
    with torch.device("meta"):
        backbone = load_text_backbone("minilm", config_only=True)
    method = Probe(ProbeSettings(text="finetune"), {}, backbones={"text": backbone})
    assert method.dims["text"] == 384
    assert method.tokenizer is not None
    assert len(method.tokenizer.encode(["a good film"], 50)[0]) == 5
    assert method.tokenizer is method.tokenizer


def test_token_limit_of_the_backbone() -> None:
    with pytest.raises(
        ParamsError, match=r"max_tokens is 65, but the text encoder 'minilm' has positions for at most 64"
    ):
        Probe(ProbeSettings(text="finetune", max_tokens=65), {}, backbones={"text": tiny_bert(**BERT)})


def test_no_modality_at_all() -> None:
    with pytest.raises(ParamsError, match=r"Probe: the training set has none of text, audio"):
        Probe(ProbeSettings(), {"visual": 3})


def test_settings_name_unknown_keys() -> None:
    with pytest.raises(ValidationError, match="lr_others"):
        Training(lr_backbone=1e-5, lr_others=1e-4)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        Training(lr_backbone=1e-5, lr_other=1e-4, epochs=0)


@pytest.mark.parametrize(
    ("value", "finetune"), [(1e6, False), (math.nan, False), (1e6, True), (math.nan, True)]
)
def test_what_is_masked_or_absent_does_not_matter(value: float, finetune: bool) -> None:
    torch.manual_seed(0)
    if finetune:
        method = Probe(ProbeSettings(text="finetune"), DIMS, backbones={"text": tiny_bert(**BERT)}).eval()
    else:
        method = Probe(ProbeSettings(), DIMS).eval()
    batch = random_batch(absent={(1, "text"), (2, "audio")}, vocabulary=40 if finetune else None)
    inputs = method.inputs(batch)
    loud = method.inputs(fill_masked(batch, value))
    for name in ("text", "audio"):
        assert torch.equal(inputs[name].values, loud[name].values)
        assert (inputs[name].values[~inputs[name].mask] == 0).all()
    assert inputs["text"].present.tolist() == [True, False, True, True]
    method(fill_masked(batch, value)).prediction.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())


def test_a_clip_without_steps_is_absent_whatever_the_flag_says() -> None:
    batch = random_batch(absent={(1, "text")})
    assert batch.text is not None
    batch = replace(batch, text=replace(batch.text, present=torch.ones(4, dtype=torch.bool)))
    assert Probe(ProbeSettings(), DIMS).inputs(batch)["text"].present.tolist() == [True, False, True, True]


def test_a_clip_without_any_modality_is_refused() -> None:
    method = Probe(ProbeSettings(), DIMS).eval()
    batch = random_batch(absent={(1, "text"), (1, "audio"), (3, "text"), (3, "audio")})
    with pytest.raises(MsaError, match=r"clip1, clip3: no text, no audio"):
        method(batch)


def test_a_batch_without_the_modality_is_refused() -> None:
    with pytest.raises(MsaError, match=r"built with audio, but the batch has no audio"):
        Probe(ProbeSettings(), DIMS)(replace(random_batch(), audio=None))


@pytest.mark.parametrize("finetune", [False, True])
def test_utterances_before_a_clip_are_read_alike(finetune: bool) -> None:
    """A clip may have none of them, also in evaluation."""
    config = ProbeSettings(text="finetune" if finetune else "frozen")
    method = Probe(config, DIMS, backbones={"text": tiny_bert(**BERT)} if finetune else {}).eval()
    batch = random_batch(context=True, vocabulary=40 if finetune else None)
    assert batch.context is not None
    for version in (batch, fill_masked(batch, math.nan)):
        assert version.context is not None
        for before in (method.inputs(version.context), method.sources(version.context)):
            assert set(before) == {"text", "audio"}
            assert before["text"].present.tolist() == [False, True, True, True]
        states = method.inputs(version.context)["text"]
        assert torch.equal(states.values, method.inputs(batch.context)["text"].values)
        assert (states.values[0] == 0).all()
