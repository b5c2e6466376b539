"""KHaR's encoders and adapters: the harvest against its equations, widths, what is frozen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from made.tiny_batch import DIMS, random_batch
from made.tiny_khar import FROZEN, PRETRAINING, TINY, settings_of, tiny, tiny_finetuned
from made.tiny_methods import weighted
from made.tiny_models import tiny_bert
from pydantic import ValidationError
from reference import khar as reference
from torch import Tensor

from models.core.batch import Batch
from models.core.harvest import Adapters, Harvester, HarvestPretraining, text_states
from models.khar.model import KHaR
from pipeline.core.errors import ParamsError


def adapters_of(method: Harvester) -> dict[str, Tensor]:
    return {name: value for name, value in method.state_dict().items() if ".adapters." in name}


def train(method: KHaR, batch: Batch, steps: int) -> None:
    optimizer = torch.optim.Adam(method.parameter_groups(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        weighted(method.train(), method.losses(batch, method(batch), KHaR.TERMS)).backward()
        optimizer.step()


# --------------------------------------------------------------------------------------------- the harvest
def test_states_that_text_adapters_read() -> None:
    assert text_states(12) == (3, 6, 9, 11)
    assert text_states(24) == (6, 12, 18, 22)
    assert text_states(6) == (2, 3, 5, 6)
    assert text_states(4) == (1, 2, 3, 4)
    assert text_states(1) == (1,)
    for layers in range(4, 40):
        assert len(set(text_states(layers))) == 4
        assert min(text_states(layers)) >= 1 and max(text_states(layers)) <= layers


def test_features_are_harvested_as_the_equations_say() -> None:
    method = tiny(pretraining={"layers": 4}).double()
    batch = random_batch(dtype=torch.float64)
    with torch.no_grad():
        harvested = method.harvested(batch)
    weights = {name: value.numpy() for name, value in method.state_dict().items()}
    for name in DIMS:
        source = getattr(batch, name)
        for clip in range(4):
            real = source.mask[clip]
            states = reference.encoder_states(weights, name, source.values[clip][real].numpy(), heads=2)
            assert len(states) == 5
            expected = reference.harvest(weights, name, states, [1, 2, 3], heads=2, norm_last=True)
            np.testing.assert_allclose(harvested[name].values[clip][real], expected, atol=1e-9)


def test_fine_tuned_text_is_harvested_as_the_equations_say() -> None:
    method = tiny_finetuned().double()
    batch = random_batch(dtype=torch.float64, vocabulary=40)
    tokens = batch.tokens
    assert tokens is not None
    with torch.no_grad():
        harvested = method.harvested(batch)["text"]
    weights = {name: value.numpy() for name, value in method.state_dict().items()}
    for clip in range(4):
        real = tokens.mask[clip]
        with torch.no_grad():  # alone and without padding
            encoded = method.backbone(input_ids=tokens.ids[clip][None, real], output_hidden_states=True)
        states = [state[0].numpy() for state in encoded.hidden_states]
        expected = reference.harvest(weights, "text", states, [1, 2, 3, 4], heads=2, norm_last=False)
        np.testing.assert_allclose(harvested.values[clip][real], expected, atol=1e-9)
        np.testing.assert_allclose(expected[:, 12:], encoded.last_hidden_state[0].numpy())  # O_m


def test_positions_start_at_zero_and_do_not_decay() -> None:
    method = tiny(training={"weight_decay": 0.1})
    groups = {group["name"]: group for group in method.parameter_groups()}
    assert groups["other"]["weight_decay"] == 0.1
    apart = {id(p) for p in groups["other_no_decay"]["params"]}
    for name in DIMS:
        positions = method.encoder[name].positions
        assert not positions.any()
        assert id(positions) in apart


def test_widths_without_adapters() -> None:
    with_them, without = tiny_finetuned(), tiny_finetuned(pretraining={"adapters": "none"})
    batch = random_batch(5, vocabulary=40)
    for method, audio, text, shared in ((with_them, 32, 24, 32), (without, 16, 12, 16)):
        harvested = method.harvested(batch)
        assert harvested["audio"].values.shape[2] == audio
        assert harvested["text"].values.shape[2] == text
        assert method.narrow is not None and method.narrow.out_features == shared
        assert {method.refine[name].gate.score.in_features for name in DIMS} == {shared}
    assert adapters_of(without) == {}
    last = method.backbone(batch.tokens.ids, batch.tokens.mask.long()).last_hidden_state
    harvested, mask = without.harvested(batch)["text"], batch.tokens.mask
    torch.testing.assert_close(harvested.values[mask], last[mask])
    weighted(without, without.losses(batch, without(batch), KHaR.TERMS)).backward()
    assert all(p.grad is not None and p.grad.any() for p in without.parameters())


def test_heads_must_divide_widths() -> None:
    for wrong in ({"heads": 3}, {"adapter_heads": 3}):
        with pytest.raises(ParamsError, match=r"does not divide into 3 heads; change .*base\.pretraining"):
            tiny(pretraining=wrong)


# ------------------------------------------------------------------------------------------ frozen adapters
@pytest.mark.parametrize("build", [tiny, tiny_finetuned])
def test_pretrained_adapters_are_frozen_from_the_start(build: Callable[..., KHaR]) -> None:
    method = build(pretraining=FROZEN)
    vocabulary = None if method.backbone is None else 40
    batch = random_batch(5, vocabulary=vocabulary)
    frozen = {name for name, p in method.named_parameters() if not p.requires_grad}
    assert frozen == set(adapters_of(method)) != set()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    train(method, batch, 10)
    after = method.state_dict()
    for name in frozen:
        assert before[name].numpy().tobytes() == after[name].numpy().tobytes()
    learnt = {name for name, p in method.named_parameters() if p.requires_grad}
    assert [name for name in learnt if torch.equal(before[name], after[name])] == []
    assert {f"harvest.{name}.norm.weight" for name in DIMS} <= learnt  # the LayerNorm that O_m shares


def test_gradients_pass_through_frozen_adapters() -> None:
    method, batch = tiny_finetuned(pretraining=FROZEN), random_batch(vocabulary=40)
    for name in DIMS:
        method.refine[name].gate.score.weight.data.zero_()
    enhanced = method.harvested(batch)["text"].values[..., :12]  # A_m alone
    enhanced.square().sum().backward()
    touched = {name for name, p in method.named_parameters() if p.grad is not None and p.grad.any()}
    assert any(name.startswith("backbone.encoder.layer.0.") for name in touched)
    assert not any(".adapters." in name for name in touched)


def test_frozen_adapters_stay_in_eval_mode() -> None:
    method = tiny(pretraining={**FROZEN, "adapter_dropout": 0.5})
    for _ in range(2):
        parts = [part for part in method.modules() if isinstance(part, Adapters)]
        assert len(parts) == 3
        for part in parts:
            assert not any(module.training for module in part.modules())
        assert method.training and method.predictor.training
        method.eval().train()
    batch = random_batch()
    first, second = (method.harvested(batch)["audio"].values for _ in range(2))
    assert torch.equal(first, second)
    learning = tiny(pretraining={"adapter_dropout": 0.5})
    first, second = (learning.harvested(batch)["audio"].values for _ in range(2))
    assert not torch.equal(first, second)
    assert all(p.requires_grad for p in learning.parameters())


def test_only_the_adapters_setting_decides_what_is_frozen() -> None:
    frozen, scratch = tiny(pretraining=FROZEN), tiny()
    assert set(frozen.state_dict()) == set(scratch.state_dict())
    assert {group["name"] for group in frozen.parameter_groups()} == {"other", "other_no_decay"}
    learnt = sum(p.numel() for group in frozen.parameter_groups() for p in group["params"])
    every = sum(p.numel() for p in frozen.parameters())
    assert learnt == every - sum(value.numel() for value in adapters_of(frozen).values())


def test_built_on_the_meta_device() -> None:
    with torch.device("meta"):
        backbone = tiny_bert(num_hidden_layers=4)
        config = settings_of(text="finetune", pretraining=FROZEN)
        method = KHaR(config, DIMS, backbones={"text": backbone})
    assert all(p.is_meta for p in method.parameters())


def test_settings_of_the_section() -> None:
    assert HarvestPretraining().model_dump(exclude={"epochs"}) == {
        "adapters": "pretrained",
        "width": 128,
        "max_steps": 512,
        "layers": 4,
        "heads": 8,
        "feedforward": 0.5,
        "dropout": 0.2,
        "adapter_width": 0.5,
        "adapter_layers": 2,
        "adapter_heads": 4,
        "adapter_feedforward": 0.25,
        "adapter_dropout": 0.1,
        "lr": 1e-4,
        "weight_decay": 1e-3,
        "batch_size": 32,
        "warmup": 0.1,
        "patience": 100,
    }
    paper = KHaR(
        settings_of(pretraining={**HarvestPretraining().model_dump(), "adapters": "scratch"}), {"audio": 33}
    )
    layer, adapter = paper.encoder["audio"].layers[0], paper.harvest["audio"].adapters[0]
    assert (layer.self_attn.num_heads, layer.linear1.out_features, layer.dropout.p) == (8, 64, 0.2)
    assert len(paper.encoder["audio"].layers) == 4 and len(paper.harvest["audio"].adapters) == 3
    inner = adapter.layers[0]
    assert (adapter.down.out_features, inner.self_attn.num_heads, inner.linear1.out_features) == (64, 4, 32)
    assert len(adapter.layers) == 2 and inner.dropout.p == 0.1
    assert set(PRETRAINING) <= set(HarvestPretraining.model_fields) and set(TINY).isdisjoint(PRETRAINING)
    for wrong in ({"dropout": 1.0}, {"adapter_width": 0}, {"lr": -1}):
        with pytest.raises(ValidationError):
            HarvestPretraining.model_validate(wrong)
