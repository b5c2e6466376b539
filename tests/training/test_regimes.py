"""Training regimes: how much is taken away, drawn when and from what; complete clips change no byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from made.tiny_batch import DIMS, random_batch
from made.tiny_set import write_tiny_set
from made.tiny_training import contents, run

from models.core.batch import Batch
from pipeline.core.errors import ParamsError
from pipeline.params.params import TrainParams, load_params
from pipeline.params.run import RunConfig
from pipeline.training.loop.missing import Blanks
from pipeline.training.loop.regimes import Incomplete, Regime

pytestmark = pytest.mark.usefixtures("tiny_method")

BLANKS = Blanks(
    {name: torch.full((dim,), 9.0) for name, dim in DIMS.items()},
    {name: torch.full((dim,), 7.0) for name, dim in DIMS.items()},
    {name: torch.full((1, dim), 9.0) for name, dim in DIMS.items()},
)


def missing(batch: Batch) -> torch.Tensor:
    """(M, B) bool, modalities that are one blank step."""
    parts = [getattr(batch, name) for name in DIMS]
    return torch.stack([(part.values == 9).all(dim=2).sum(dim=1) == 1 for part in parts])


def dropped(batch: Batch) -> torch.Tensor:
    """(M, B) share of the steps of each modality that are dropped."""
    parts = [getattr(batch, name) for name in DIMS]
    hits = [((part.values == 7).all(dim=2) & part.mask).sum(dim=1) / part.mask.sum(dim=1) for part in parts]
    return torch.stack(hits)


def test_dropout_leaves_every_clip_something() -> None:
    batch, regime = random_batch(4000), Incomplete("dropout", 3, BLANKS)
    gone = missing(regime.seen(batch, 0, 0))
    assert not gone.all(dim=0).any()
    rate = 0.3 - 0.3**3 / 3  # all three are drawn in 2.7 % of the clips, and one of them stays
    assert gone.double().mean(dim=1).tolist() == pytest.approx([rate] * 3, abs=0.025)
    pairs = (gone[0] & gone[1]).double().mean().item()
    assert pairs == pytest.approx(0.3**2 - 0.3**3 * 2 / 3, abs=0.02)


def test_lnln_drops_nothing_or_a_uniform_share() -> None:
    batch, regime = random_batch(4000), Incomplete("lnln", 3, BLANKS)
    found = regime.seen(batch, 0, 0)
    shares = dropped(found)
    # none drawn, or a share so small that none of up to n steps was hit: 1/2 + 1/2 · 1/(n + 1)
    for row, name in enumerate(DIMS):
        lengths = getattr(batch, name).mask.sum(dim=1).double()
        expected = (0.5 + 0.5 / (lengths + 1)).mean().item()
        assert (shares[row] == 0).double().mean().item() == pytest.approx(expected, abs=0.025)
        assert shares[row].double().mean().item() == pytest.approx(0.25, abs=0.02)
        assert torch.equal(getattr(found, name).mask, getattr(batch, name).mask)


@pytest.mark.parametrize("name", ["dropout", "lnln"])
def test_draws_are_those_of_seed_epoch_and_batch(name: Regime) -> None:
    batch = random_batch(50, context=True)
    regime = Incomplete(name, 3, BLANKS)
    first = regime.seen(batch, 2, 1)
    for again, same in (
        (regime.seen(batch, 2, 1), True),
        (regime.seen(batch, 3, 1), False),
        (regime.seen(batch, 2, 2), False),
        (Incomplete(name, 4, BLANKS).seen(batch, 2, 1), False),
    ):
        assert first.audio is not None and again.audio is not None
        alike = first.audio.values.shape == again.audio.values.shape
        assert (alike and torch.equal(first.audio.values, again.audio.values)) == same
    assert first.context is not None and batch.context is not None
    assert first.context.audio is not None and batch.context.audio is not None
    assert not torch.equal(first.context.audio.values, batch.context.audio.values)
    assert torch.equal(first.label, batch.label) and first.clip_ids == batch.clip_ids


def test_what_a_clip_lacks_stays_absent() -> None:
    batch = random_batch(60, absent={(row, "audio") for row in range(30)})
    for name in ("dropout", "lnln"):
        found = Incomplete(name, 3, BLANKS).seen(batch, 0, 0)
        assert found.audio is not None and batch.audio is not None
        assert torch.equal(found.audio.present, batch.audio.present)
        assert not found.audio.mask[:30].any()


# ------------------------------------------------------------------------------------------------- training
def test_complete_runs_are_those_from_before_there_were_regimes(tmp_path: Path) -> None:
    old = {"precision": "fp32", "gradient_clip": 1.0, "compile": "none", "pool_batches": 50}
    assert TrainParams().model_dump(mode="json") == old == TrainParams(regime="complete").model_dump()
    assembled = write_tiny_set(tmp_path / "set")
    for here, params in (("a", TrainParams()), ("b", TrainParams(regime="complete"))):
        run(assembled, tmp_path / here, {"training": {"epochs": 1}}, train_params=params)
    one, other = (contents(tmp_path / here / "runs") for here in "ab")
    assert one == other and json.loads(one["tiny-tiny-7/config.json"])["train"] == old


@pytest.mark.parametrize("name", ["dropout", "lnln"])
def test_a_regime_is_in_the_runs_config_and_its_weights(name: Regime, tmp_path: Path) -> None:
    assembled = write_tiny_set(tmp_path / "set")
    params = TrainParams(regime=name)
    assert TrainParams.model_validate(params.model_dump()) == params
    for here, chosen in (("a", TrainParams()), ("b", params), ("c", params)):
        run(assembled, tmp_path / here, {"training": {"epochs": 2}}, train_params=chosen)
    plain, taught, again = (contents(tmp_path / here / "runs/tiny-tiny-7") for here in "abc")
    assert taught == again
    assert json.loads(taught["config.json"])["train"]["regime"] == name
    assert taught["model.safetensors"] != plain["model.safetensors"]


def test_a_run_as_a_file_has_its_regime(project: Path, tmp_path: Path) -> None:
    params = load_params(project / "params.yaml", ["train.regime=lnln"])
    whole = RunConfig(
        method_name="misr",
        dataset="sample",
        seed=1,
        method_params={},
        train_params=params.train,
        assembled=tmp_path,
        pretrained=tmp_path,
        out=tmp_path,
    )
    assert RunConfig.model_validate_json(whole.model_dump_json()).train_params.regime == "lnln"
    with pytest.raises(ParamsError, match=r"train\.regime is 'drop'"):
        load_params(project / "params.yaml", ["train.regime=drop"])
