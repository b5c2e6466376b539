"""Packed rows of a text encoder: the same states and gradients as a clip a row, and no room wasted."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from made.tiny_methods import NAMES, batch_for, terms_of, tiny_finetuned, weighted
from torch import Tensor
from transformers import AutoConfig, AutoModel

from models.core.packing import PACKED, PackedRows, TextRows, packing, text_rows

LENGTHS = (9, 1, 4, 12, 3, 3, 5, 12, 2)


def encoder(kind: str, attention: str) -> Any:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=50, max_position_embeddings=40, pad_token_id=1, **sizes)
    return AutoModel.from_config(config, attn_implementation=attention).double().eval()


def batch(lengths: tuple[int, ...] = LENGTHS) -> tuple[Tensor, Tensor]:
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    ids = torch.randint(5, 50, mask.shape, generator=torch.Generator().manual_seed(1))
    return ids.masked_fill(~mask, 1), mask


@pytest.mark.parametrize(
    ("kind", "attention"),  # transformers has no sdpa of mpnet
    [pair for pair in product(PACKED, ("sdpa", "eager")) if pair != ("mpnet", "sdpa")],
)
def test_states_and_gradients_are_those_of_a_clip_a_row(kind: str, attention: str) -> None:
    backbone = encoder(kind, attention)
    ids, mask = batch()

    def found(rows: TextRows) -> tuple[Tensor, list[Tensor]]:
        states = rows.unpack(backbone(**rows.inputs).last_hidden_state).masked_fill(~mask[..., None], 0.0)
        weights = [p for name, p in backbone.named_parameters() if "pooler" not in name]
        return states, list(torch.autograd.grad(states.square().sum(), weights))

    plain, packed = found(TextRows(ids, mask)), found(PackedRows(ids, mask, backbone.config))
    torch.testing.assert_close(packed, plain, rtol=0, atol=1e-9)


def test_each_token_has_one_place_and_clips_are_not_cut() -> None:
    _, mask = batch()
    places, tokens, owners = packing(mask)
    taken = places[mask]
    assert len(set(taken.tolist())) == sum(LENGTHS)
    for clip, length in enumerate(LENGTHS):
        first = places[clip, 0]
        assert places[clip, :length].tolist() == list(range(first, first + length))
        assert first // mask.shape[1] == places[clip, length - 1] // mask.shape[1]
    assert (owners.flatten()[taken] == mask.nonzero()[:, 0]).all()
    assert (tokens.flatten()[taken] == mask.flatten().nonzero().flatten()).all()
    assert (owners >= 0).sum() == sum(LENGTHS)


def test_values_come_back() -> None:
    _, mask = batch()
    rows = PackedRows(*batch(), encoder("bert", "sdpa").config)
    values = torch.randn(*mask.shape, 3)
    assert rows.pack(values).shape == (5, 12, 3)  # 51 tokens in rows of 12
    torch.testing.assert_close(rows.unpack(rows.pack(values))[mask], values[mask], rtol=0, atol=0)


def test_only_training_on_a_cpu_is_packed_and_only_encoders_that_were_seen() -> None:
    ids, mask = batch()
    config = encoder("bert", "sdpa").config
    assert isinstance(text_rows(config, ids, mask, training=True), PackedRows)
    assert type(text_rows(config, ids, mask, training=False)) is TextRows
    meta = [x.to("meta") for x in (ids, mask)]
    assert type(text_rows(config, *meta, training=True)) is TextRows
    other = AutoConfig.for_model("deberta-v2")
    assert type(text_rows(other, ids, mask, training=True)) is TextRows


@pytest.mark.parametrize("name", NAMES)
def test_methods_learn_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The objective and the gradient at the text encoder's embeddings, without dropout."""
    found: list[list[Tensor | None]] = []
    packed: list[PackedRows] = []

    class Spied(PackedRows):
        def __init__(self, *arguments: Any):
            super().__init__(*arguments)
            packed.append(self)

    monkeypatch.setattr("models.core.packing.PackedRows", Spied)
    for packs in (True, False):
        with monkeypatch.context() as patch:
            if not packs:
                for module in ("core.method", "core.harvest", "core.injection"):
                    patch.setattr(
                        f"models.{module}.text_rows", lambda _config, ids, mask, _: TextRows(ids, mask)
                    )
            method = tiny_finetuned(name)
            if method.backbone is None:
                pytest.skip("no text encoder learns with it")
            batch = batch_for(method, clips=6)
            torch.manual_seed(0)  # of the noise
            losses = method.losses(batch, method(batch), terms_of(method))
            loss = weighted(method, losses)
            loss.backward()
            found.append([loss.detach(), method.backbone.get_input_embeddings().weight.grad])
    assert packed
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)
