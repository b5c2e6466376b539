"""MulT against its definition, known answers, and the sizes of MMSA's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made.tiny_batch import DIMS, clips_of, random_batch
from made.tiny_mult import TINY, tiny
from pydantic import ValidationError
from reference.mult import Model
from reference.text_only import cross_entropy, loss
from torch import Tensor

from models.core.batch import Sequences
from models.core.method import Task
from models.mult.model import CrossModalStack, MulT, MulTSettings, visible


def reference_of(method: MulT) -> Model:
    weights = {name: value.detach().numpy() for name, value in method.named_parameters()}
    config = method.config
    return Model(
        weights,
        tuple(method.dims),
        config.width,
        config.heads,
        TINY["kernels"],
        config.positions,
        config.causal,
    )


@pytest.mark.parametrize(
    ("names", "classes", "settings"),
    [
        (tuple(DIMS), 0, {"layers": 2}),
        (tuple(DIMS), 5, {"causal": False}),
        (("text", "visual"), 0, {"positions": False}),
        (("audio",), 0, {}),
    ],
)
def test_forward_and_loss_are_those_of_the_reference(
    names: tuple[str, ...], classes: int, settings: dict[str, object]
) -> None:
    method = tiny(dims={name: DIMS[name] for name in names}, task=Task(classes), **settings).double()
    for parameter in method.parameters():  # biases begin as 0, norms as 1
        if parameter.dim() == 1:
            parameter.data += 0.3 * torch.randn(parameter.shape, dtype=torch.float64)
    absent = {(2, "text"), (1, "visual"), (3, "audio"), (3, "visual")} if len(names) > 1 else ()
    batch = random_batch(5, dtype=torch.float64, absent=absent, classes=classes)
    output, model = method(batch), reference_of(method)
    rows = zip(*clips_of(batch, names).values(), strict=True)
    expected = np.stack([model.predict(dict(zip(names, row, strict=True))) for row in rows])
    expected = expected if classes else expected[:, 0]
    np.testing.assert_allclose(
        output.prediction.detach().numpy(), expected, atol=1e-6
    )  # positions are in float32
    label = batch.label.numpy()
    truth = cross_entropy(expected, label) if classes else loss(expected, label, np.ones(5, bool))
    assert method.losses(batch, output, ["prediction"])["prediction"].item() == pytest.approx(truth)
    assert method.losses(batch, output, []) == {}


def test_clips_without_a_label_teach_nothing() -> None:
    method = tiny().double()
    batch = random_batch(6, dtype=torch.float64, unlabeled={0, 4})
    output = method(batch)
    found = method.losses(batch, output, method.TERMS)["prediction"].item()
    predicted = output.prediction.detach().numpy()
    assert found == pytest.approx(loss(predicted, batch.label.numpy(), batch.labeled.numpy()))


# ------------------------------------------------------------------------------------------------- the mask
def hidden(steps: int, keys: int, causal: bool = True) -> Tensor:
    """(steps, keys) bool, what no step reads of one clip."""
    bias = visible(torch.ones(1, steps, dtype=torch.bool), torch.ones(1, keys, dtype=torch.bool), causal)
    return bias[0, 0] != 0


@pytest.mark.parametrize(
    ("steps", "keys", "number"), [(3, 5, 3), (5, 3, 0), (4, 4, 6), (46, 371, 1035), (371, 46, 0)]
)
def test_what_the_causal_mask_hides(steps: int, keys: int, number: int) -> None:
    assert hidden(steps, keys).sum() == number
    assert hidden(steps, keys, causal=False).sum() == 0


def test_steps_see_more_from_one_to_the_next() -> None:
    assert (~hidden(3, 5)).sum(dim=1).tolist() == [3, 4, 5]


def test_the_mask_counts_the_steps_of_the_clip_and_not_of_the_array() -> None:
    target = torch.arange(7) < torch.tensor([[3], [4], [0]])
    source = torch.arange(9) < torch.tensor([[5], [0], [2]])
    bias = visible(target, source, causal=True)[:, 0]
    assert torch.equal(bias[0, :3, :5] != 0, hidden(3, 5))
    assert (bias[0, :, 5:] == -torch.inf).all()
    assert (bias[1, :, 0] == 0).all() and (bias[1, :, 1:] == -torch.inf).all()  # one is read of nothing
    assert (bias[2, :, :2] == 0).all()


@pytest.mark.parametrize("positions", [True, False])
def test_the_order_of_a_source_is_known_by_its_positions_alone(positions: bool) -> None:
    torch.manual_seed(0)
    config = MulTSettings(**{**TINY, "causal": False, "positions": positions})
    stack = CrossModalStack(8, 1, 0.0, config)
    target, source = (
        Sequences(torch.randn(1, n, 8), torch.ones(1, n, dtype=torch.bool), torch.ones(1, dtype=torch.bool))
        for n in (4, 6)
    )
    turned = replace(source, values=source.values.flip(1))
    assert torch.allclose(stack(target, source), stack(target, turned), atol=1e-5) != positions


# ------------------------------------------------------------------------------------- layers and settings
@pytest.mark.parametrize(("steps", "left"), [(50, 46), (375, 371), (500, 496), (5, 1), (3, 1)])
def test_windows_lie_in_the_clip(steps: int, left: int) -> None:
    method = tiny(kernels={"text": 5}, dims={"text": 2})
    longest = Sequences(
        torch.randn(2, 500, 2), torch.arange(500) < torch.tensor([[steps], [500]]), torch.ones(2) > 0
    )
    found = method.convolved("text", longest)
    assert found.mask.sum(dim=1).tolist() == [left, 496]
    shortest = Sequences(longest.values[:1, :steps], longest.mask[:1, :steps], longest.present[:1])
    if steps >= 5:
        alone = method.convolved("text", shortest)
        torch.testing.assert_close(found.values[0, :left], alone.values[0])


@pytest.mark.parametrize(
    "place",
    [
        "text_dropout",
        "embedding_dropout",
        "residual_dropout",
        "relu_dropout",
        "output_dropout",
        "attention_dropout",
    ],
)
def test_dropout_is_for_training(place: str) -> None:
    share = dict.fromkeys(DIMS, 0.5) if place == "attention_dropout" else 0.5
    method, batch = tiny(**{place: share}), random_batch()
    assert not torch.equal(method(batch).prediction, method(batch).prediction)
    method.eval()
    assert torch.equal(method(batch).prediction, method(batch).prediction)


def test_dropout_of_attention_is_that_of_what_is_read() -> None:
    method = tiny(attention_dropout={"text": 0.1, "audio": 0.2, "visual": 0.3})
    crossed = {name: stack.layers[0].attention.dropout for name, stack in method.crossed.items()}
    assert crossed["text_reads_audio"] == crossed["visual_reads_audio"] == 0.2
    assert crossed["text_reads_visual"] == 0.3 and crossed["audio_reads_text"] == 0.1
    assert {stack.layers[0].attention.dropout for stack in method.memories.values()} == {0.1}


def test_the_self_attention_has_three_layers_at_least() -> None:
    for layers, memory in ((1, 3), (4, 4)):
        method = tiny(layers=layers)
        assert len(method.crossed["text_reads_audio"].layers) == layers
        assert len(method.memories["text"].layers) == memory


def test_heads_that_do_not_share_the_width_are_refused() -> None:
    with pytest.raises(ValidationError, match="width is 50, which does not divide into 7 heads"):
        MulTSettings(heads=7)


@pytest.mark.parametrize(
    ("settings", "dims", "count"),
    [
        ({}, (768, 5, 20), 2_571_551),  # MOSI
        (
            {"width": 30, "heads": 6, "kernels": {"text": 5, "audio": 1, "visual": 3}},
            (768, 74, 35),
            982_951,
        ),  # MOSEI
        ({"layers": 2, "kernels": {"text": 5, "audio": 1, "visual": 1}}, (768, 33, 709), 1_870_701),  # SIMS
    ],
)
def test_sizes_of_mmsa(settings: dict[str, object], dims: tuple[int, ...], count: int) -> None:
    with torch.device("meta"):
        method = MulT(MulTSettings(**settings), dict(zip(DIMS, dims, strict=True)))
    assert sum(parameter.numel() for parameter in method.parameters()) == count
