"""The encoders of TFN and LMF: BatchNorm over those that are there, and where dropout acts."""

from __future__ import annotations

import pytest
import torch
from made.tiny_batch import DIMS, random_batch
from torch import nn

from models.core.subnets import Dropouts, HiddenWidths, PresentBatchNorm, Subnets


@pytest.mark.parametrize("there", [range(6), (0, 2, 5), (1, 4)])
def test_the_norm_is_torchs_of_those_that_are_there(there: range | tuple[int, ...]) -> None:
    mine, theirs = PresentBatchNorm(3).double(), nn.BatchNorm1d(3).double()
    nn.init.normal_(mine.weight)
    theirs.weight.data.copy_(mine.weight)
    present = torch.tensor([row in there for row in range(6)])
    for seed in range(3):
        x = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        found = mine(x.masked_fill(~present[:, None], 0.0), present)
        torch.testing.assert_close(found[present], theirs(x[present]))
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(mine.state_dict()[name], value)
    torch.testing.assert_close(mine.eval()(x, present), theirs.eval()(x))


@pytest.mark.parametrize("there", [(), (2,)])
def test_fewer_than_two_are_normalised_by_what_was_seen_before(there: tuple[int, ...]) -> None:
    norm = PresentBatchNorm(3)
    norm(5 + 2 * torch.randn(8, 3), torch.ones(8, dtype=torch.bool))
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    present = torch.tensor([row in there for row in range(4)])
    x = torch.randn(4, 3).masked_fill(~present[:, None], 0.0).requires_grad_()
    found = norm(x, present)
    torch.testing.assert_close(found, norm.eval()(x, present))
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    (gradient,) = torch.autograd.grad(found.sum(), x)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", DIMS)
def test_dropout_acts_in_the_encoder_that_it_names(name: str) -> None:
    torch.manual_seed(0)
    share = dict.fromkeys(DIMS, 0.0) | {name: 0.5}
    subnets = Subnets(DIMS, HiddenWidths(text=8, audio=8, visual=8), 4, Dropouts(**share))
    batch = random_batch(6)
    inputs = {each: getattr(batch, each) for each in DIMS}
    first, second = subnets(inputs), subnets(inputs)
    assert [each for each in DIMS if not torch.equal(first[each], second[each])] == [name]
    subnets.eval()
    assert all(torch.equal(value, subnets(inputs)[each]) for each, value in subnets(inputs).items())


def test_a_clip_without_a_modality_has_a_one_and_zeros() -> None:
    torch.manual_seed(0)
    subnets = Subnets(DIMS, HiddenWidths(audio=5, visual=4), 3, Dropouts())
    batch = random_batch(3, absent={(1, name) for name in DIMS})
    for name, vector in subnets({each: getattr(batch, each) for each in DIMS}).items():
        assert vector.shape == (3, 1 + {"text": 3, "audio": 5, "visual": 4}[name])
        assert vector[:, 0].tolist() == [1, 1, 1]
        assert (vector[1, 1:] == 0).all() and (vector[0, 1:] != 0).any()
