"""What methods show of themselves, against their definitions worked out again and planted answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from made.tiny_runs import COUNTS, OWN_LABELS, made_run, made_set

from pipeline.datasets.splits import Split
from pipeline.datasets.training_set import TrainingSet
from pipeline.evaluation.views import cmir, fused, khar, mird, misa, misr, slad
from pipeline.evaluation.views.view import Bars, Histogram, as_in_training, gather, histogram
from pipeline.training.runs import TrainedRun, open_runs

VIEWS = {
    "misr": misr, "cmir": cmir, "slad": slad, "mird": mird, "khar": khar, "misa": misa, "text_only": fused
}  # fmt: skip
MOODS = ("bad", "middling", "good")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[TrainedRun, dict[str, Split]]]:
    """Each method with the splits that it reads."""
    here = tmp_path_factory.mktemp("views")
    assembled = made_set(here / "set")
    found = {}
    for name in VIEWS:
        own = {"misr": {"predictor_dropout": 0.5}, "slad": {"label_source": "gold"}}
        run = open_runs([made_run(here, name, assembled, **own.get(name, {}))])[0]
        splits = TrainingSet.load(assembled, run.reading, only=("train", "test")).splits
        found[name] = (run, splits)
    return found


def predictions(run: TrainedRun, split: Split) -> np.ndarray:
    return gather(run, split, lambda batch, output: {"p": output.prediction})["p"]


@pytest.mark.parametrize("name", VIEWS)
def test_views_are_whole_and_leave_the_method_as_it_was(
    name: str, opened: dict[str, tuple[TrainedRun, dict[str, Split]]]
) -> None:
    run, splits = opened[name]
    before, terms = predictions(run, splits["test"]), run.method.active_terms
    shown = VIEWS[name].view(run, splits)
    assert not any(part.training for part in run.method.modules())
    assert run.method.active_terms == terms
    np.testing.assert_array_equal(predictions(run, splits["test"]), before)
    assert shown.reading and shown.panels and shown.maps and not shown.notes
    for panel in shown.panels:
        for values in panel.series.values():
            assert len(values) == (len(panel.groups) if isinstance(panel, Bars) else len(panel.edges) - 1)
    for parts in shown.maps.values():
        assert len({part.values.shape[1] for part in parts}) == 1  # one space
        for part in parts:
            assert len(part.values) == len(part.present) == COUNTS["test"]
            expected = 12 if part.modality == "visual" else 14  # every seventh has none
            assert part.present.sum() == expected


def test_misr_trust_and_risks(opened: dict[str, tuple[TrainedRun, dict[str, Split]]]) -> None:
    run, splits = opened["misr"]
    weights, means, risks = misr.view(run, splits).panels
    assert isinstance(weights, Histogram) and isinstance(means, Bars) and isinstance(risks, Bars)
    assert {name: sum(counts) for name, counts in weights.series.items()} == {
        "text": 14,
        "audio": 14,
        "visual": 12,
    }
    # ω sums to 1 in each clip, whichever modalities it has
    clips = {"text": 14, "audio": 14, "visual": 12}
    total = sum(clips[m] * v for m, v in zip(means.groups, means.series["test clips"], strict=True) if v)
    assert total == pytest.approx(14, rel=1e-5)
    assert risks.groups[0] == "joint alone" and len(risks.groups) == 8
    error = np.abs(predictions(run, splits["test"]) - splits["test"].label.numpy()).mean()
    assert risks.series["test clips"][0] == pytest.approx(error, rel=1e-5)
    # those of training itself, with every dropout off
    with as_in_training(run.method, ("invariance",)), torch.inference_mode():
        run.method.config.__dict__["predictor_dropout"] = 0.0
        output = run.forward(batch := splits["test"].batch(torch.arange(14)))
        trained = run.method.diagnostics(batch, output)
    run.method.config.__dict__["predictor_dropout"] = 0.5
    for group, risk in zip(risks.groups, risks.series["test clips"], strict=True):
        known = trained[f"risk/{'joint' if group == 'joint alone' else group}"]
        assert risk == pytest.approx(known.item(), rel=1e-5)


def test_slad_relations_by_hand(opened: dict[str, tuple[TrainedRun, dict[str, Split]]]) -> None:
    run, splits = opened["slad"]
    agreement, held = slad.view(run, splits).panels
    text, audio = (np.array(labels) for labels in OWN_LABELS)
    apart = (np.sign(text) != np.sign(audio)) | (text == 0)
    equal = ~apart & (text == audio)
    expected = [apart.mean(), equal.mean(), (~apart & ~equal).mean()]
    assert isinstance(held, Bars) and isinstance(agreement, Histogram)
    assert held.series["test clips"] == pytest.approx(expected)
    counts = agreement.series["test clips"]
    assert counts[0] >= 2 * apart.sum() and counts[-1] >= 2 * equal.sum() and sum(counts) == 14


def test_slad_maps_of_figure_5(opened: dict[str, tuple[TrainedRun, dict[str, Split]]]) -> None:
    """X'^m as means over the real steps, and what the classifier is given."""
    run, splits = opened["slad"]
    given: list[torch.Tensor] = []
    run.method.classifier.register_forward_pre_hook(lambda _module, values: given.append(values[0]))
    _, text, audio, fused = slad.view(run, splits).maps.values()
    np.testing.assert_allclose(fused[0].values, given[0].numpy(), rtol=1e-6)
    with torch.inference_mode():
        aligned = run.method.aligned(splits["test"].batch(torch.arange(14)))
    for (part,), name in ((text, "text"), (audio, "audio")):
        stream = aligned[name]
        for clip, mask in enumerate(stream.mask):
            mean = stream.values[clip][mask].mean(dim=0).numpy()
            np.testing.assert_allclose(part.values[clip], mean, rtol=1e-4, atol=1e-6)


def test_mird_bounds_are_the_methods(opened: dict[str, tuple[TrainedRun, dict[str, Split]]]) -> None:
    run, splits = opened["mird"]
    panel, spreads = mird.view(run, splits).panels
    assert isinstance(panel, Bars) and isinstance(spreads, Bars)
    with as_in_training(run.method, ("information",)), torch.inference_mode():
        batch = splits["test"].batch(torch.arange(14))
        trained = run.method.diagnostics(batch, run.forward(batch))
    found = panel.series["test clips"]
    assert panel.groups[5] == "audio, shared" and len(found) == 6
    assert np.mean(found) == pytest.approx(trained["bound/latent"].item(), rel=1e-4)
    for group, spread in zip(spreads.groups, spreads.series["test clips"], strict=True):
        assert spread == pytest.approx(trained[f"std/{group.removeprefix('private ')}"].item(), rel=1e-4)


def test_khar_shares_are_the_methods(opened: dict[str, tuple[TrainedRun, dict[str, Split]]]) -> None:
    run, splits = opened["khar"]
    with torch.inference_mode():
        batch = splits["test"].batch(torch.arange(14))
        trained = run.method.diagnostics(batch, run.forward(batch))
    *experts, spread = khar.view(run, splits).panels
    for panel, kind, total in zip(experts, ("expert", "rows"), (1, 2), strict=True):  # k is 2
        assert isinstance(panel, Bars)
        np.testing.assert_allclose(np.sum(list(panel.series.values()), axis=0), total, rtol=1e-6)
        for place, modality in enumerate(panel.groups):
            for number in range(3):
                share = panel.series[f"expert {number}"][place]
                assert share == pytest.approx(trained[f"{kind}/{modality}/{number}"].item(), rel=1e-4)
    assert isinstance(spread, Bars)
    mean, above = spread.series["test clips"]
    assert mean == pytest.approx(trained["sigma"].item(), rel=1e-4) and above == 0
    planted_sigma = np.array([[0.1, 0.6, 0.9], [0.1, 0.4, 0.9]])
    assert khar._spread(planted_sigma).series["test clips"] == pytest.approx([0.5, 0.5])


def planted(clips: int, seed: int) -> dict[str, np.ndarray]:
    """Invariant halves that tell the label and not the modality; spurious ones the other way round."""
    random = np.random.default_rng(seed)
    label = random.uniform(-3, 3, clips)
    found: dict[str, np.ndarray] = {"label": label}
    for place, name in enumerate(("text", "audio")):
        found[name] = np.ones(clips, bool)
        found[f"invariant/{name}"] = np.stack([label, random.normal(size=clips)], axis=1)
        found[f"spurious/{name}"] = np.stack([np.full(clips, place), random.normal(size=clips)], axis=1)
    return found


def test_cmir_probes_find_what_was_planted() -> None:
    found = {"train": planted(400, 0), "test": planted(200, 1)}
    floor = cmir._floor(found, 0)
    label = found["test"]["label"]
    assert floor == pytest.approx(np.abs(label - np.median(found["train"]["label"])).mean())
    for part in found.values():
        cmir._join(part, ["text", "audio"])
    for name in ("text", "audio", cmir.ALL):
        error, r = cmir._label_scores(found, "invariant", name, 0)
        assert error is not None and error < 0.01 and r == pytest.approx(1, abs=1e-4)
        error, r = cmir._label_scores(found, "spurious", name, 0)
        assert error == pytest.approx(floor, rel=0.05) and r == pytest.approx(0, abs=0.15)
    assert cmir._modality_score(found, "spurious", ["text", "audio"]) == 1
    assert cmir._modality_score(found, "invariant", ["text", "audio"]) == pytest.approx(0.5, abs=0.1)
    for part in found.values():
        part["label"] = (part["label"] > 0).astype(float)
    accuracy, r = cmir._label_scores(found, "invariant", "audio", 2)
    assert accuracy is not None and accuracy > 0.95 and r is None
    assert cmir._floor(found, 2) == pytest.approx((found["test"]["label"] == np.round(
        found["train"]["label"].mean())).mean())  # fmt: skip


def test_cmir_probes_see_what_each_modality_adds() -> None:
    """The label is the sum of what two modalities say; of a clip without one, its place is zero."""
    random = np.random.default_rng(0)
    found = {}
    for name, clips in (("train", 400), ("test", 200)):
        said = random.normal(size=(2, clips))
        present = np.ones(clips, bool)
        present[::4] = False
        part = {"label": said[0] + said[1] * present, "text": np.ones(clips, bool), "audio": present}
        for half in cmir.HALVES:
            part[f"{half}/text"] = said[0][:, None]
            part[f"{half}/audio"] = np.where(present, said[1], 1e6)[:, None]
        cmir._join(part, ["text", "audio"])
        found[name] = part
    error, correlation = cmir._label_probe(found, ["text", "audio", cmir.ALL], 0)
    assert error.groups == correlation.groups == ["text", "audio", "all"]
    assert error.series["invariant"][2] == pytest.approx(0, abs=0.01)
    test = found["test"]
    assert correlation.series["invariant"][0] == pytest.approx(
        np.corrcoef(test["invariant/text"][:, 0], test["label"])[0, 1], abs=1e-6
    )
    assert list(error.references) == ["always the train median"]


@pytest.mark.parametrize("name", VIEWS)
def test_views_of_classes_and_of_ablations(name: str, tmp_path: Path) -> None:
    assembled = made_set(tmp_path / "set", MOODS)
    ablation: dict[str, dict[str, object]] = {
        "mird": {"weights": {"information": 0}},
        "khar": {"refine": "mlp", "fusion": "sum"},
        "cmir": {"weights": {"reconstruction": 0, "invariance": 0}},
    }
    run = open_runs([made_run(tmp_path, name, assembled, classes=True, **ablation.get(name, {}))])[0]
    splits = TrainingSet.load(assembled, run.reading, only=("train", "test")).splits
    shown = VIEWS[name].view(run, splits)
    assert bool(shown.notes) == (name in ("mird", "khar"))
    assert bool(shown.panels) == (name != "khar")
    if name == "misr":
        logits = torch.from_numpy(predictions(run, splits["test"]))
        nats = torch.nn.functional.cross_entropy(logits, splits["test"].label.long())
        assert shown.panels[2].unit == "cross-entropy (nats)"
        assert shown.panels[2].series["test clips"][0] == pytest.approx(nats.item(), rel=1e-5)


def test_histograms_lose_nothing() -> None:
    values = {"a": np.array([0.1, 0.1, 0.9]), "b": np.array([0.5])}
    free, fixed = histogram("t", "u", values), histogram("t", "u", values, (0, 1))
    assert (free.edges[0], free.edges[-1]) == pytest.approx((0.1, 0.9))
    assert (fixed.edges[0], fixed.edges[-1]) == (0, 1)
    for shown in (free, fixed):
        assert {name: sum(counts) for name, counts in shown.series.items()} == {"a": 3, "b": 1}
