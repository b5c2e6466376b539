"""Shapley values of modalities: the definition by permutations, of every method; and what is removed."""

from __future__ import annotations

from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from made.tiny_batch import DIMS, random_batch, select
from made.tiny_methods import NAMES, batch_for, leaving_something, tiny, tiny_finetuned
from made.tiny_runs import made_run, made_set

from models.core.batch import Batch, Waveform
from models.core.method import Method, Task
from pipeline.core.errors import FormatError
from pipeline.evaluation.removal import keeping, take, without
from pipeline.evaluation.shapley import baseline_of, scores, shapley
from pipeline.training.runs import open_runs

CLIPS = 3
LACKING = {(1, "audio"), (2, "audio"), (2, "visual")}  # of the clips, so that they have 3, 2 and 1


def by_permutations(method: Method, lacking: set[tuple[int, str]], base: np.ndarray) -> dict[str, np.ndarray]:
    """The mean over all orders of what a modality adds where it joins, of each clip read alone, from batches
    that were made without the others.
    """
    names = list(method.dims)
    values = {name: np.full((CLIPS, len(base)), np.nan) for name in names}
    for clip in range(CLIPS):
        own = [name for name in names if (clip, name) not in lacking]
        worth = {frozenset(): base}
        for size in range(1, len(own) + 1):
            for subset in combinations(own, size):
                absent = lacking | {(clip, name) for name in DIMS if name not in subset}
                one = select(batch_for(method, CLIPS, absent=absent), [clip])
                with torch.no_grad():
                    prediction = method(one).prediction
                shares = method.task.probabilities(prediction) if method.task.classes else prediction[:, None]
                worth[frozenset(subset)] = shares[0].double().numpy()
        for name in own:
            values[name][clip] = 0
        orders = list(permutations(own))
        for order in orders:
            for place, name in enumerate(order):
                before = frozenset(order[:place])
                values[name][clip] += (worth[before | {name}] - worth[before]) / len(orders)
    return values


def check(method: Method, base: np.ndarray) -> None:
    method.eval()
    lacking = leaving_something(method, LACKING)
    batch = batch_for(method, CLIPS, absent=lacking)
    found = shapley(method, batch, base)
    truth = by_permutations(method, lacking, base)
    assert list(found.values) == list(method.dims)
    for name, values in truth.items():
        assert found.values[name] == pytest.approx(values, abs=2e-6, nan_ok=True), name
    if truth:
        total = np.nansum(list(found.values.values()), axis=0)
        assert total == pytest.approx(found.prediction - found.baseline, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_they_are_those_of_the_definition(name: str) -> None:
    torch.set_num_threads(1)
    check(tiny(name), np.array([0.3]))


@pytest.mark.parametrize("name", ["misr", "mag_bert", "slad"])
def test_of_token_ids_and_with_a_context(name: str) -> None:
    check(tiny_finetuned(name), np.array([-0.2]))


@pytest.mark.parametrize("classes", [2, 3])
def test_of_classes_they_are_probabilities(classes: int) -> None:
    check(tiny("late_fusion", Task(classes)), np.full(classes, 1 / classes))


def test_they_take_eight_passes_for_all_clips_and_none_of_an_empty_one() -> None:
    method = tiny("misr").eval()
    seen: list[int] = []
    method.register_forward_pre_hook(lambda _, given: seen.append(len(given[0].clip_ids)))
    nothing = {(0, name) for name in DIMS}
    found = shapley(method, random_batch(CLIPS, absent=nothing), np.array([0.5]))
    assert len(seen) <= 8 and max(seen) == CLIPS - 1  # the empty clip, which it would refuse, is never there
    assert found.prediction[0] == 0.5
    assert all(np.isnan(values[0]).all() for values in found.values.values())


def test_the_empty_clip_is_worth_the_mean_prediction_of_training(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    for classes in ((), ("a", "b", "c")):
        here = tmp_path / str(len(classes))
        run = open_runs([made_run(here, "late_fusion", made_set(here / "tiny", classes), bool(classes))])[0]
        table = pq.read_table(run.folder / "train.predictions.parquet").to_pydict()
        assert len(table["clip_id"]) == 24
        column = table["probability"] if classes else [[score] for score in table["prediction"]]
        assert baseline_of(run) == pytest.approx(np.mean(column, axis=0))
        (run.folder / "train.predictions.parquet").unlink()
        with pytest.raises(FormatError, match="no training predictions"):
            baseline_of(run)


def test_a_constant_moves_nothing() -> None:
    found = shapley(tiny("constant").eval(), random_batch(CLIPS), np.array([0.0]))
    assert found.values == {} and found.prediction.shape == (CLIPS, 1)


# ---------------------------------------------------------------------------------------------------- removal
def test_steps_that_are_left_move_up() -> None:
    batch = random_batch(2)
    assert batch.text is not None
    kept = torch.ones_like(batch.text.mask)
    kept[0, 1] = False
    kept[1] = False
    found = keeping(batch, "text", kept).text
    assert found is not None
    length = int(batch.text.mask[0].sum())
    real = batch.text.values[0][:length]
    assert torch.equal(found.values[0][: length - 1], torch.cat([real[:1], real[2:]]))
    assert found.mask.sum(dim=1).tolist() == [length - 1, 0] and found.present.tolist() == [True, False]
    assert found.values.shape[1] == length - 1 and not found.values[1].any()


def test_what_is_fine_tuned_is_removed_in_its_own_stream() -> None:
    batch = random_batch(2, vocabulary=9, context=True)
    batch.waveform = Waveform(torch.ones(2, 5), torch.ones(2, 5, dtype=torch.bool), torch.ones(2) > 0)
    silent = without(batch, ["audio", "text"])
    assert silent.waveform is not None and silent.tokens is not None and silent.context is batch.context
    assert not silent.waveform.present.any() and not silent.tokens.mask.any()
    assert silent.audio is batch.audio  # not read beside a waveform
    cut = keeping(batch, "audio", torch.arange(5) % 2 == torch.zeros(2, 1)).waveform
    assert cut is not None and cut.mask.sum(dim=1).tolist() == [3, 3]


def test_clips_can_be_taken_twice() -> None:
    batch = random_batch(3, context=True)
    rows = torch.tensor([2, 0, 2])
    found, truth = take(batch, rows), select(batch, rows.tolist())
    assert isinstance(found, Batch) and found.clip_ids == truth.clip_ids
    assert torch.equal(found.label, truth.label) and found.context is not None and truth.context is not None
    for name in DIMS:
        for side, other in ((found, truth), (found.context, truth.context)):
            assert torch.equal(getattr(side, name).values, getattr(other, name).values)
            assert torch.equal(getattr(side, name).mask, getattr(other, name).mask)


def test_scores_are_those_of_a_forward() -> None:
    method, batch = tiny("tfn").eval(), random_batch(CLIPS)
    with torch.no_grad():
        assert scores(method, batch, np.zeros(1))[:, 0] == pytest.approx(method(batch).prediction.numpy())
