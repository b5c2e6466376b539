"""Evidence against what it is by definition: clips without the places, and what a linear model adds up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made.tiny_batch import DIMS, random_batch
from made.tiny_methods import NAMES, batch_for, tiny, tiny_finetuned
from made.tiny_runs import made_run, made_set

from models.core.batch import Batch, Sequences
from models.core.method import Method, Task
from pipeline.core.errors import MsaError
from pipeline.datasets.training_set import TrainingSet
from pipeline.evaluation.removal import stream_of
from pipeline.evaluation.shapley import scores
from pipeline.explain.evidence import WINDOWS, ReadClip, evidence, gradients, occlusion
from pipeline.explain.explain import Contributions
from pipeline.explain.faithfulness import POINTS, faithfulness
from pipeline.explain.places import Place
from pipeline.training.runs import open_runs

BASE = np.array([0.25])
JUMPING = ("mag_bert", "wsa_bert")  # they divide a word by its own length: no path from zero is smooth


def clip_of(method: Method, batch: Batch, base: np.ndarray = BASE, column: int = 0) -> ReadClip:
    """With a place a step, the last of them two steps long."""
    places = {}
    for name in method.dims:
        found = stream_of(batch, name)
        assert found is not None
        length = int(found[1].mask.sum())
        places[name] = [Place(i, i + 1, str(i)) for i in range(length - 2)] + [
            Place(length - 2, length, "end")
        ]
    return ReadClip(method, batch, base, column, places)


def one(method: Method, seed: int = 3) -> Batch:
    return batch_for(method, 1, seed=seed)


def test_occlusion_is_the_clip_without_the_window() -> None:
    """Batches that are built of the steps that are left, by hand."""
    method = tiny("misr").eval()
    clip = clip_of(method, one(method))
    whole = scores(method, clip.batch, BASE)[0, 0]
    found = occlusion(clip)
    for modality, places in clip.places.items():
        part = getattr(clip.batch, modality)
        real = part.values[:, part.mask[0]]
        width, lost = WINDOWS[modality], {}
        for start in range(1 - width, len(places)):
            gone = [p for i, p in enumerate(places) if start <= i < start + width]
            steps = [t for t in range(real.shape[1]) if not any(p.first <= t < p.last for p in gone)]
            left = real[:, steps]
            some = torch.tensor([bool(steps)])
            shape = left if steps else torch.zeros(1, 1, real.shape[2])
            mask = torch.full(shape.shape[:2], bool(steps))
            rest = replace(clip.batch, **{modality: Sequences(shape, mask, some)})
            lost[start] = whole - scores(method, rest, BASE)[0, 0]
        truth = [
            np.mean([value for start, value in lost.items() if start <= i < start + width])
            for i in range(len(places))
        ]
        assert found[modality] == pytest.approx(truth, abs=1e-5)


def test_what_is_all_that_a_clip_has_is_worth_the_difference_from_the_mean() -> None:
    method = tiny("text_only").eval()
    batch = random_batch(1)
    assert batch.text is not None
    length = int(batch.text.mask.sum())
    clip = ReadClip(method, batch, BASE, 0, {"text": [Place(0, length, "all")]})
    assert occlusion(clip)["text"] == pytest.approx(scores(method, batch, BASE)[0] - BASE)


def test_gradients_of_a_linear_method_are_its_terms() -> None:
    """text_only is a Linear of the mean over the steps: a step has its share of the sum."""
    method = tiny("text_only").eval()
    batch = random_batch(1)
    clip = clip_of(method, batch)
    assert batch.text is not None
    real = batch.text.values[0][batch.text.mask[0]]
    zero = replace(batch, text=replace(batch.text, values=torch.zeros_like(batch.text.values)))
    with torch.no_grad():
        bias = float(method(zero).prediction)
        alone = [Sequences(step[None, None], torch.ones(1, 1) > 0, torch.ones(1) > 0) for step in real]
        terms = [float(method(replace(batch, text=step)).prediction) - bias for step in alone]
    shares = np.array(terms) / len(real)
    truth = [shares[place.first : place.last].sum() for place in clip.places["text"]]
    assert gradients(clip)["text"] == pytest.approx(truth, abs=1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("constant", *JUMPING)])
def test_gradients_add_up_from_zeros(name: str) -> None:
    """To the prediction minus that of zeros; kinks cost the sum of 32 points something."""
    method = tiny(name).eval()
    batch = one(method)
    zeros = {
        m: replace(part, values=torch.zeros_like(part.values)) for m in DIMS if (part := getattr(batch, m))
    }
    with torch.no_grad():
        gap = float(method(batch).prediction - method(replace(batch, **zeros)).prediction)
    total = sum(values.sum() for values in gradients(clip_of(method, batch)).values())
    assert total == pytest.approx(gap, abs=0.02 + 0.05 * abs(gap))


def test_gradients_of_words_that_are_fine_tuned_add_up_over_their_embeddings() -> None:
    method = tiny_finetuned("text_only").eval()
    batch = one(method)
    clip = clip_of(method, batch)
    table = method.backbone.get_input_embeddings()
    hook = table.register_forward_hook(lambda _, __, found: torch.zeros_like(found))
    with torch.no_grad():
        zero = float(method(batch).prediction)
        hook.remove()
        gap = float(method(batch).prediction) - zero
    assert sum(gradients(clip)["text"]) == pytest.approx(gap, abs=0.02 + 0.05 * abs(gap))
    slad = tiny_finetuned("slad").eval()  # which reads utterances before, with the same encoder
    clip = clip_of(slad, one(slad))
    with pytest.raises(MsaError, match="use occlusion"):
        gradients(clip)


def test_of_classes_it_is_the_probability_of_one() -> None:
    method = tiny("late_fusion", Task(3)).eval()
    batch, base = one(method), np.full(3, 1 / 3)
    found = [evidence(clip_of(method, batch, base, column), "occlusion") for column in range(3)]
    for modality in found[0]:
        assert np.sum([own[modality] for own in found], axis=0) == pytest.approx(0, abs=1e-6)


# ----------------------------------------------------------------------------------------------- faithfulness
class Sum(torch.nn.Module):
    """ŷ = the sum of the real steps' first features: what a step carries is known, whatever the order."""

    def __init__(self) -> None:
        super().__init__()
        self.dims, self.task = {"text": DIMS["text"], "audio": DIMS["audio"]}, Task()

    def forward(self, batch: Batch) -> object:
        parts = [getattr(batch, name) for name in self.dims]
        total = sum((part.values[..., 0] * part.mask).sum(dim=1) for part in parts)
        return type("Made", (), {"prediction": total})


def test_curves_of_a_sum_are_known() -> None:
    """Deleting the largest first is the steepest way down, and its area that of the sorted sums."""
    method, batch = Sum(), random_batch(1, seed=1)
    clip = clip_of(method, batch, np.array([-100.0]))  # type: ignore[arg-type]
    worth = {
        name: np.array([getattr(batch, name).values[0, p.first : p.last, 0].sum() for p in places])
        for name, places in clip.places.items()
    }
    for name, values in occlusion(replace(clip, places={"text": clip.places["text"]})).items():
        assert values == pytest.approx(worth[name], abs=1e-5)
    score = faithfulness(clip, worth)
    assert score is not None
    each = np.concatenate(list(worth.values()))
    whole, count = each.sum(), len(each)
    taken = np.unique(np.linspace(0, count, 1 + min(POINTS, count)).round().astype(int))
    falling = np.array([whole - np.sort(each)[::-1][:k].sum() for k in taken])
    falling[-1] = -100.0  # nothing is left: the clip is worth the mean prediction
    assert score.deletion == pytest.approx(falling, abs=1e-5)
    rising = np.array([np.sort(each)[::-1][:k].sum() for k in taken])
    rising[0] = -100.0
    assert score.insertion == pytest.approx(rising, abs=1e-5)
    assert score.deletion_area > 0 and score.insertion_area > 0
    worst = faithfulness(clip, {name: -values for name, values in worth.items()})
    assert worst is not None and worst.deletion_area < 0 and worst.insertion_area < 0


def test_random_evidence_is_no_better_than_chance() -> None:
    method, batch = Sum(), random_batch(1, seed=1)
    clip = clip_of(method, batch, np.array([0.0]))  # type: ignore[arg-type]
    drawn = np.random.default_rng(1)
    areas = []
    for _ in range(60):
        values = {name: drawn.normal(size=len(places)) for name, places in clip.places.items()}
        score = faithfulness(clip, values)
        assert score is not None
        areas.append(score.deletion_area)
    deviation = np.std(areas)
    bias = deviation / 10**0.5  # of the mean of the ten random orders, the same in all of them
    assert abs(np.mean(areas)) < 4 * bias


def test_a_prediction_below_the_mean_is_followed_downwards() -> None:
    method, batch = Sum(), random_batch(1, seed=1)
    clip = clip_of(method, batch, np.array([100.0]))  # type: ignore[arg-type]
    score = faithfulness(clip, occlusion(clip))
    assert score is not None and score.deletion[0] == pytest.approx(-scores(method, batch, BASE)[0, 0])  # type: ignore[arg-type]
    alone = ReadClip(method, batch, BASE, 0, {"text": [Place(0, 1, "one")]})  # type: ignore[arg-type]
    assert faithfulness(alone, {"text": np.ones(1)}) is None


# ------------------------------------------------------------------------------------------------- test split
def test_contributions_of_classes_are_of_the_predicted_one(tmp_path: Path) -> None:
    """They add up to its probability minus its mean probability; a constant has none."""
    assembled = made_set(tmp_path / "tiny", ("a", "b", "c"))
    run = open_runs([made_run(tmp_path, "late_fusion", assembled, True)])[0]
    split = TrainingSet.load(assembled, run.reading, only=("test",)).splits["test"]
    test = Contributions.of(run, split)
    total = np.sum([np.nan_to_num(values) for values in test.values.values()], axis=0)
    chosen = test.prediction.argmax(axis=1)
    wanted = test.prediction[np.arange(len(chosen)), chosen] - test.baseline[chosen]
    assert len(test.clip_ids) == 14 and total == pytest.approx(wanted, abs=1e-12)
    constant = open_runs([made_run(tmp_path, "constant", assembled, True)])[0]
    empty = TrainingSet.load(assembled, constant.reading, only=("test",)).splits["test"]
    none = Contributions.of(constant, empty)
    assert none.values == {} and none.means() == {} and not none.telling.any()
