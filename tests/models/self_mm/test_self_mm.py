"""Self-MM against its definitions, known answers, the labels that it makes over epochs, and its rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from made.tiny_batch import DIMS, random_batch, select
from made.tiny_methods import Loop, ready, terms_of
from made.tiny_self_mm import TINY, tiny
from reference import self_mm as reference
from torch import Tensor
from transformers import BertConfig, BertModel

from models.core.batch import Batch
from models.core.method import Task
from models.self_mm.memory import Memory, relative_distance, shifted_label
from models.self_mm.model import SelfMM
from models.self_mm.settings import SelfMMSettings

WIDTHS = {"text": DIMS["text"], **TINY["sequence_width"]}


def fresh(batch: Batch, **settings: object) -> SelfMM:
    """A method that has been told of these clips."""
    torch.manual_seed(0)
    method = ready(SelfMM(SelfMMSettings(**{**TINY, **settings}), DIMS)).double()
    assert isinstance(method, SelfMM)
    method.prepare([batch], [])
    return method


def vectors_of(method: SelfMM, batch: Batch) -> list[reference.Vectors]:
    weights = {name: p.detach().numpy() for name, p in method.named_parameters()}
    found = []
    for row in range(len(batch.clip_ids)):
        sources = {m: getattr(batch, m) for m in DIMS}
        clip = {m: x.values[row][x.mask[row]].numpy() for m, x in sources.items() if x.present[row]}
        found.append(reference.forward(clip, list(DIMS), WIDTHS, weights))
    return found


# -------------------------------------------------------------------------------------------- known answers
def label_of(fused: tuple[float, float], own: tuple[float, float], y: float) -> float:
    """y' of distances to the positive and the negative centre."""
    relative = [relative_distance(*torch.tensor(pair, dtype=torch.float64)) for pair in (own, fused)]
    return shifted_label(*relative, torch.tensor(y, dtype=torch.float64), 3.0).item()


@pytest.mark.parametrize(
    ("fused", "own", "y", "expected"),
    [
        ((1, 2), (2, 1), 1.0, -0.5),
        ((1, 2), (1, 2), 0.7, 0.7),
        ((2, 1), (1, 2), -1.0, 1.25),
        ((1, 2), (1, 3), 0.0, 0.5),
        ((1, 1), (1, 1.1), 1.0, 3.0),  # a fused R of 0 sends the label to its bound
        ((1, 1), (1, 1.1), -1.0, -3.0),
    ],
)
def test_labels_of_distances(
    fused: tuple[float, float], own: tuple[float, float], y: float, expected: float
) -> None:
    assert label_of(fused, own, y) == pytest.approx(expected, abs=1e-6)


def memory_of(positive: float, negative: float, label: float, own: float, visits: int) -> Memory:
    """Of the clip "x" beside two that are the centres, 1-d at these places; no representation of x yet."""
    memory = Memory({"fused": 1, "audio": 1}).double()
    memory.open(["+", "-", "x"], torch.tensor([1.0, -1.0, label], dtype=torch.float64))
    memory.features_fused[:2, 0] = torch.tensor([positive, negative])
    memory.features_audio[:2, 0] = torch.tensor([positive, negative])
    memory.known[:, :2] = True
    memory.labels[0, 2] = own
    memory.visits[2] = visits
    return memory


@pytest.mark.parametrize(
    ("fused", "audio", "label", "own", "visits", "expected"),
    [
        (1.0, 2.0, 1.0, 1.0, 1, 0.0),  # distances (1, 2) and (2, 1), y' = -.5: second epoch
        (1.0, 2.0, 1.0, 0.0, 2, -0.25),  # third epoch
        (2.0, 1.0, -1.0, -1.0, 1, 0.5),
        (1.5, 1.4, 1.0, 1.0, 1, 2.333333),  # y' at its bound
        (1.0, 2.0, 1.0, 1.0, 0, 1.0),  # first epoch
    ],
)
def test_labels_move_by_the_epoch_of_the_clip(
    fused: float, audio: float, label: float, own: float, visits: int, expected: float
) -> None:
    """Centres at 0 and 3, and a clip between them."""
    memory = memory_of(0.0, 3.0, label, own, visits)
    values = torch.tensor([[fused], [audio]], dtype=torch.float64)
    features = dict(zip(("fused", "audio"), values[:, None], strict=True))
    memory.update(["x"], features, torch.tensor([[True]]), torch.tensor([label]).double(), 3.0)
    assert memory.labels[0, 2].item() == pytest.approx(expected, abs=1e-6)
    assert memory.visits[2] == visits + 1
    assert memory.features_audio[2].item() == audio
    assert memory.known.all()


def test_the_weights_of_clips_and_the_mean_over_all() -> None:
    """Labels 0, 1 and 2 apart, errors of .5: a mean over clips, not over their weights."""
    batch = random_batch(3, dtype=torch.float64)
    method = fresh(batch)
    assert method.memory is not None
    output = method(batch)
    method.memory.labels[1:] = batch.label  # audio and visual have nothing to say
    method.memory.labels[0] = batch.label + torch.tensor([0.0, 1.0, 2.0])
    output.unimodal["text"] = method.memory.labels[0] + 0.5
    loss = method.losses(batch, output, ["unimodal"])["unimodal"].item()
    assert loss == pytest.approx(0.5 * (0.761594 + 0.964028) / 3, abs=1e-6)
    assert loss == pytest.approx(0.2876, abs=1e-4)


def test_unimodal_losses_of_the_first_epoch_are_nothing() -> None:
    batch = random_batch(6, dtype=torch.float64)
    method = fresh(batch)
    loss = method.losses(batch, method(batch), ["unimodal"])["unimodal"]
    loss.backward()
    assert loss.item() == 0
    assert not [name for name, p in method.named_parameters() if p.grad is not None and p.grad.any()]


@pytest.mark.parametrize(
    ("audio", "visual", "settings", "expected"),
    [
        (5, 20, {}, 159_332),
        (74, 35, {}, 165_668),
        (
            33,
            709,
            {
                "hidden": {"audio": 16, "visual": 64},
                "sequence_width": {"audio": 16, "visual": 32},
                "width": {"text": 64},
            },
            381_380,
        ),
    ],
)
def test_parameters_outside_bert_are_those_of_the_published_modules(
    audio: int, visual: int, settings: dict[str, object], expected: int
) -> None:
    dims = {"audio": audio, "visual": visual}
    with torch.device("meta"):
        bert = BertModel(BertConfig(), add_pooling_layer=False)
        config = SelfMMSettings(text="finetune", **settings)
        method = SelfMM(config, dims, backbones={"text": bert})
    outside = [p for name, p in method.named_parameters() if not name.startswith("backbone")]
    assert sum(p.numel() for p in outside) == expected


# ----------------------------------------------------------------------------------------------- reference
def test_epochs_are_those_of_the_reference() -> None:
    """Predictions, losses and labels of eight clips in two batches, two of which lack something."""
    everyone = random_batch(8, seed=4, dtype=torch.float64, absent={(1, "audio"), (5, "text")})
    method = fresh(everyone)
    label = dict(zip(everyone.clip_ids, everyone.label.tolist(), strict=True))
    memory, loop = reference.Memory(label, 3.0), Loop(method, lr=1e-2)
    moved = 0.0
    for epoch in range(4):
        for rows in ([0, 2, 4, 6, 1], [3, 5, 7]) if epoch % 2 else ([5, 1, 0], [7, 6, 4, 3, 2]):
            batch = select(everyone, rows)
            clips, y = vectors_of(method, batch), batch.label.tolist()
            targets = {m: [memory.target(clip, m) for clip in batch.clip_ids] for m in DIMS}
            prediction = [clip.predictions["fused"] for clip in clips]
            np.testing.assert_allclose(method(batch).prediction.detach().numpy(), prediction, atol=1e-9)
            values = loop.step(batch)
            assert values["prediction"] == pytest.approx(np.abs(np.array(prediction) - y).mean())
            assert values["unimodal"] == pytest.approx(reference.unimodal_loss(clips, y, targets), abs=1e-9)
            memory.step(dict(zip(batch.clip_ids, clips, strict=True)))
            found = method.targets(batch)
            for number, m in enumerate(DIMS):
                expected = [memory.target(clip, m) for clip in batch.clip_ids]
                np.testing.assert_allclose(found[number].numpy(), expected, atol=1e-7)
            moved = max(moved, (found - batch.label).abs().max().item())
    assert moved > 0.1
    absent = method.targets(select(everyone, [1]))[1]
    assert absent.item() == everyone.label[1].item()  # of the audio that the clip has not


# --------------------------------------------------------------------------------------------------- memory
def test_a_memory_is_of_names_and_of_training_clips_alone() -> None:
    batch = random_batch(6, dtype=torch.float64)
    first, second = fresh(batch), fresh(select(batch, [3, 1, 5, 0, 4, 2]))
    for method in (first, second):
        for rows in ([0, 1, 2], [3, 4, 5]) * 3:
            part = select(batch, rows)
            method.remember(part, method(part))
    for name, buffer in first.named_buffers():
        assert torch.equal(buffer, second.get_buffer(name)), name
    other = random_batch(4, seed=7, dtype=torch.float64)
    other.clip_ids = [f"another{row}" for row in range(4)]
    kept = {name: buffer.clone() for name, buffer in first.named_buffers()}
    first.remember(other, first(other))
    assert all(torch.equal(first.get_buffer(name), values) for name, values in kept.items())
    assert torch.equal(first.targets(other), other.label.expand(3, -1))
    first.eval()
    first.remember(batch, first(batch))
    assert all(torch.equal(first.get_buffer(name), values) for name, values in kept.items())


def test_a_side_without_clips_generates_nothing() -> None:
    batch = random_batch(6, dtype=torch.float64)
    batch.label = batch.label.abs()
    method = fresh(batch)
    for _ in range(3):
        method.remember(batch, method(batch))
    assert torch.equal(method.targets(batch), batch.label.expand(3, -1))


def test_a_state_brings_its_number_of_clips() -> None:
    batch = random_batch(6, dtype=torch.float64)
    method = fresh(batch)
    method.remember(batch, method(batch))
    other = SelfMM(SelfMMSettings(**TINY), DIMS).double()
    other.load_state_dict(method.state_dict())
    for name, buffer in method.named_buffers():
        assert torch.equal(buffer, other.get_buffer(name)), name


def test_curves_say_how_far_labels_go_and_how_many_to_their_bound() -> None:
    batch = random_batch(12, dtype=torch.float64)
    method = fresh(batch, label_scale=0.2)
    curves = method.diagnostics(batch, method(batch))
    assert set(curves) == {f"{what}/{m}" for what in ("shift", "bound") for m in DIMS}
    assert all(value.item() == 0 for value in curves.values())
    for _ in range(2):
        method.remember(batch, method(batch))
    curves = method.diagnostics(batch, method(batch))
    for number, m in enumerate(DIMS):
        shift = (method.targets(batch)[number] - batch.label).abs().mean().item()
        assert curves[f"shift/{m}"].item() == pytest.approx(shift)
        assert shift > 0
        assert 0 < curves[f"bound/{m}"].item() <= 1


# ------------------------------------------------------------------------------------------ classes, groups
def test_of_classes_each_modality_learns_the_class() -> None:
    method = tiny(task=Task(3))
    batch = random_batch(7, classes=3, absent={(2, "audio")})
    output = method(batch)
    expected = sum(
        torch.nn.functional.cross_entropy(found[there], batch.label[there].long()).item()
        for found, there in zip(output.unimodal.values(), output.present, strict=True)
    )
    assert method.losses(batch, output, ["unimodal"])["unimodal"].item() == pytest.approx(expected, rel=1e-5)
    assert method.memory is None


def test_rates_by_part() -> None:
    training = {"lr_other": 0.1, "lr_audio": 0.2, "lr_visual": 0.3, "weight_decay": 0.5}
    method = tiny(training=training)
    rate = {id(p): g["lr"] for g in method.parameter_groups() for p in g["params"]}
    decay = {id(p): g["weight_decay"] for g in method.parameter_groups() for p in g["params"]}
    for name, parameter in method.named_parameters():
        part = name.split(".")[1] if name.startswith("sequence") else "other"
        assert rate[id(parameter)] == {"audio": 0.2, "visual": 0.3, "other": 0.1}[part], name
        assert decay[id(parameter)] == (0.5 if parameter.dim() > 1 else 0.0)


def test_what_each_term_moves() -> None:
    batch = random_batch(8)
    reached: dict[str, set[str]] = {}
    for term in SelfMM.TERMS:
        method = tiny()
        method.losses(batch, method(batch), [term])[term].backward()
        moved = [name for name, p in method.named_parameters() if p.grad is not None and p.grad.any()]
        reached[term] = {".".join(name.split(".")[:2]) for name in moved}
    sequences = {"sequence.audio", "sequence.visual"}
    assert reached["prediction"] == sequences | {"representation.fused", "head.fused"}
    own = {f"{part}.{m}" for part in ("representation", "head") for m in DIMS}
    assert reached["unimodal"] == sequences | own
    assert math.isfinite(sum(p.sum().item() for p in method.parameters()))


def test_without_its_second_term_it_has_no_heads_of_modalities() -> None:
    method = tiny(weights={"unimodal": 0.0})
    assert terms_of(method) == ["prediction"]
    assert list(method.head) == ["fused"]
    assert method.memory is None
    found: Tensor = method(random_batch(3)).prediction
    assert found.isfinite().all()
