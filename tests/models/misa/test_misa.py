"""MISA against the paper's equations, known answers, and what its terms move."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made.tiny_batch import DIMS, random_batch
from made.tiny_misa import TINY, tiny
from pydantic import ValidationError
from reference import misa as reference
from torch import Tensor
from transformers import BertConfig, BertModel

from models.core.batch import Batch
from models.misa.model import DIFFERENCE_SCALE, MISA, MISASettings, difference, moment_discrepancy

# of the published modules, less their 4-class classifier, which has no loss
CLASSIFIER = 128 * 4 + 4


def rows(*values: tuple[float, ...]) -> Tensor:
    """(1, B, h): one pair's vectors."""
    return torch.tensor([values], dtype=torch.float64)


def apart(first: Tensor, second: Tensor) -> float:
    return difference(first, second, torch.ones(first.shape[:2], dtype=torch.bool)).item()


def alike(first: Tensor, second: Tensor) -> float:
    return moment_discrepancy(first, second, torch.ones(first.shape[:2], dtype=torch.bool)).item()


def clips_of(batch: Batch) -> list[dict[str, np.ndarray]]:
    found: list[dict[str, np.ndarray]] = []
    for row in range(len(batch.clip_ids)):
        sources = {m: getattr(batch, m) for m in DIMS}
        found.append({m: x.values[row][x.mask[row]].numpy() for m, x in sources.items() if x.present[row]})
    return found


# -------------------------------------------------------------------------------------------- known answers
def test_moment_discrepancies() -> None:
    assert alike(rows((0, 0), (0, 0)), rows((0.3, 0.4), (0.3, 0.4))) == pytest.approx(0.5, abs=1e-5)
    assert alike(rows((0,), (1,)), rows((0.5,), (0.5,))) == pytest.approx(0.3125, abs=1e-5)


def test_a_batch_beside_itself_is_near_nothing_and_has_a_gradient() -> None:
    batch = torch.rand(1, 6, 4, requires_grad=True)
    loss = moment_discrepancy(batch, batch.detach(), torch.ones(1, 6, dtype=torch.bool)).sum()
    loss.backward()
    assert loss.item() < 1e-5
    assert batch.grad is not None and batch.grad.isfinite().all()


def test_differences() -> None:
    """It measures the covariance over clips: orthogonal rows differ by 1 all the same."""
    a, b = rows((1, 0), (-1, 0)), rows((0, 1), (0, -1))
    assert apart(a, b) == apart(a, a) == pytest.approx(1, abs=1e-5)
    signs, others = rows((1,), (-1,), (1,), (-1,)), rows((1,), (1,), (-1,), (-1,))
    assert apart(signs, others) == 0
    assert apart(rows((0.3, 0.8)), rows((0.1, 0.2))) == 0


@pytest.mark.parametrize("times", [2, 4])
def test_the_difference_does_not_depend_on_the_number_of_clips(times: int) -> None:
    first, second = torch.rand(2, 1, 5, 4, dtype=torch.float64)
    repeated = apart(first.repeat(1, times, 1), second.repeat(1, times, 1))
    assert repeated == pytest.approx(apart(first, second))
    public = reference.difference(first[0].repeat(times, 1).numpy(), second[0].repeat(times, 1).numpy())
    assert public == pytest.approx(times**2 * reference.difference(first[0].numpy(), second[0].numpy()))


def test_the_difference_is_the_public_one_at_64_clips_of_width_128() -> None:
    torch.manual_seed(0)
    first, second = torch.rand(2, 1, 64, 128, dtype=torch.float64)
    public = reference.difference(first[0].numpy(), second[0].numpy())
    assert DIFFERENCE_SCALE * apart(first, second) == pytest.approx(public, rel=1e-4)


@pytest.mark.parametrize(
    ("audio", "visual", "published"), [(74, 47, 1_477_969), (5, 20, 1_134_961), (33, 709, 21_661_677)]
)
def test_parameters_outside_bert_are_those_of_the_published_modules(
    audio: int, visual: int, published: int
) -> None:
    with torch.device("meta"):
        bert = BertModel(BertConfig(), add_pooling_layer=False)
        method = MISA(
            MISASettings(text="finetune"), {"audio": audio, "visual": visual}, backbones={"text": bert}
        )
    outside = [p for name, p in method.named_parameters() if not name.startswith("backbone")]
    assert sum(p.numel() for p in outside) == published - CLASSIFIER


# ----------------------------------------------------------------------------------------------- reference
def test_forward_and_losses_are_those_of_the_reference() -> None:
    method = tiny().double()
    batch = random_batch(7, dtype=torch.float64, absent={(1, "audio"), (2, "text"), (2, "visual")})
    output = method(batch)
    weights = {name: p.detach().numpy() for name, p in method.named_parameters()}
    names, heads = list(DIMS), method.config.heads
    expected = [reference.forward(clip, names, weights, heads) for clip in clips_of(batch)]
    prediction = [clip.prediction[0] for clip in expected]
    np.testing.assert_allclose(output.prediction.detach().numpy(), prediction, atol=1e-10)
    truth = reference.losses(expected, names, batch.label.numpy())
    for term, value in method.losses(batch, output, MISA.TERMS).items():
        assert value.item() == pytest.approx(truth[term], abs=2e-5), term


def test_recurrent_matrices_begin_orthogonal() -> None:
    for name, parameter in tiny().named_parameters():
        if "weight_hh" in name:
            torch.testing.assert_close(
                parameter.T @ parameter, torch.eye(parameter.shape[1]), atol=1e-5, rtol=0
            )


# ------------------------------------------------------------------------------------------------ gradients
def test_what_each_term_moves() -> None:
    batch = random_batch(6)
    reached = {}
    for term in MISA.TERMS:
        method = tiny()
        method.losses(batch, method(batch), [term])[term].backward()
        moved = [name for name, p in method.named_parameters() if p.grad is not None and p.grad.any()]
        reached[term] = {name.split(".")[0] for name in moved}
    encoders = {"utterance", "project"}
    assert reached["prediction"] == encoders | {"private", "shared", "fusion", "head"}
    assert reached["difference"] == encoders | {"private", "shared"}
    assert reached["similarity"] == encoders | {"shared"}
    assert reached["reconstruction"] == encoders | {"private", "shared", "decoder"}


def test_one_modality_has_no_pairs() -> None:
    method = tiny(dims={"audio": DIMS["audio"]})
    batch = random_batch(5)
    losses = method.losses(batch, method(batch), MISA.TERMS)
    assert losses["similarity"].item() == 0
    assert losses["difference"].item() > 0
    assert method(batch).fused.shape == (5, 2 * TINY["width"])


def test_a_width_that_the_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValidationError, match="width is 9, which does not divide into 2 heads"):
        MISASettings(width=9)
