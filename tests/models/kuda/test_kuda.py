"""KuDA against a reference and its known answers; what is pretrained stays; nothing reads a label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made.tiny_batch import DIMS, random_batch
from made.tiny_kuda import settings_of, tiny, tiny_finetuned
from made.tiny_methods import Loop
from reference import kuda as reference
from safetensors.torch import save_model
from torch.nn import functional as F

from models.core.batch import Batch
from models.core.method import Task
from models.kuda.model import KuDA, contrast, dominance
from pipeline.core.errors import ParamsError

ABSENT = {(1, "audio"), (2, "text"), (3, "audio"), (3, "visual")}


def clips_of(batch: Batch) -> list[reference.Clip]:
    """The real steps of what each clip has."""
    clips: list[reference.Clip] = [{} for _ in batch.clip_ids]
    for name in DIMS:
        part = getattr(batch, name)
        for clip, values, mask in zip(clips, part.values.numpy(), part.mask.numpy(), strict=True):
            clip.update({name: values[mask]} if mask.any() else {})
    return clips


@pytest.mark.parametrize("classes", [0, 5])
@pytest.mark.parametrize("evaluation", [False, True])
def test_forward_and_losses_are_those_of_the_reference(classes: int, evaluation: bool) -> None:
    method = tiny(task=Task(classes), layers=2, sharpness=5.0).double().train(not evaluation)
    for head in method.classifier.values():
        head[-1].weight.data.mul_(30)  # so that the modalities differ in what they say
    batch = random_batch(6, dtype=torch.float64, absent=ABSENT, classes=classes, unlabeled={0})
    output = method(batch)
    weights = {name: value.detach().numpy() for name, value in method.named_parameters()}
    clips = clips_of(batch)
    found = [reference.predict(weights, clip, [1, 2], 2, 5.0) for clip in clips]
    truth = np.stack([prediction for prediction, *_ in found])
    np.testing.assert_allclose(output.prediction.detach(), truth if classes else truth[:, 0], atol=1e-10)
    for row, name in enumerate(DIMS):
        ratios = [ratio.get(name, 0.0) for _, _, ratio, _ in found]
        np.testing.assert_allclose(output.ratio[row].detach(), ratios, atol=1e-10)
    assert output.ratio.std() > 0.05
    losses = method.losses(batch, output, method.TERMS)
    rows = {name: [row for row, clip in enumerate(clips) if name in clip] for name in DIMS}
    parts = [
        reference.contrast(
            *(np.stack(x) for x in ([found[r][3][m] for r in own], [found[r][1] for r in own]))
        )
        for m, own in rows.items()
    ]
    assert losses["contrastive"].item() == pytest.approx(sum(parts))
    if not classes:
        errors = np.abs(truth[1:, 0] - batch.label[1:].numpy())
        assert losses["prediction"].item() == pytest.approx(errors.mean())


def test_known_answers_of_the_ratio() -> None:
    """Of three predictions and a score that they are measured against; then of their own mean."""
    unimodal, present = torch.tensor([[1.0, 3.0], [0.0, -3.0], [-1.0, 0.0]]), torch.ones(3, 2) > 0
    ratio = dominance(unimodal, torch.tensor([1.0, 3.0]), present, 0.1)
    known = torch.tensor([[0.388326, 0.697402], [0.351372, 0.019056], [0.260303, 0.283542]])
    torch.testing.assert_close(ratio, known, atol=1e-6, rtol=0)
    method = tiny()
    ratio = method.ratio(unimodal.detach(), present)[:, 0]  # around 0: the middle one dominates
    torch.testing.assert_close(ratio[1] / ratio[0], torch.tensor(0.1).exp())
    assert ratio[0] == ratio[2]
    present[1, 0] = False
    assert method.ratio(unimodal, present)[:, 0].tolist() == [0.5, 0, 0.5]
    assert method.ratio(unimodal, torch.zeros(3, 2) > 0).tolist() == [[0, 0]] * 3


def test_the_ratio_weighs_what_is_read_in_training_and_evaluation() -> None:
    """The public formula, the factor before a norm, hardly depends on it, and is another in evaluation."""

    def norm(x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, (4,))

    c = torch.eye(4)[:3] * torch.tensor([4.0, 1.0, 0.1])[:, None]
    ratios = torch.tensor([[0.388326, 0.351372, 0.260303], [1 / 3] * 3])
    public = [norm(norm((1 + ratio[:, None]) * c).sum(dim=0)) for ratio in ratios]
    printed = torch.tensor([[0.5786, 0.5786, 0.5748, -1.732], [0.5785, 0.5785, 0.5751, -1.732]])
    torch.testing.assert_close(torch.stack(public), printed, atol=2e-4, rtol=0)
    evaluated = torch.tensor([1.6813, -0.1697, -0.7250, -0.7867])
    torch.testing.assert_close(norm(c.sum(dim=0)), evaluated, atol=1e-4, rtol=0)
    ours = [norm(((1 + ratio[:, None]) * norm(c)).sum(dim=0)) for ratio in ratios]
    assert (ours[0] - ours[1]).abs().max() > 100 * (public[0] - public[1]).abs().max()
    method, batch = tiny(), random_batch()
    weights = torch.tensor([[1.0, 2.0], [1.5, 1.5], [2.0, 1.0]])
    fused, *parts = torch.randn(4, 2, 4, 16)
    read = [
        method.layers[0](fused, dict(zip(DIMS, parts, strict=True)), w) for w in (weights, weights.flip(1))
    ]
    assert (read[0] - read[1]).abs().max() > 1e-2
    torch.testing.assert_close(method(batch).prediction, method.eval()(batch).prediction)


def test_known_answers_of_the_contrast() -> None:
    for clips, answer in ((2, 0.313262), (8, 1.274009)):
        vectors, rows = torch.eye(clips), torch.ones(clips) > 0
        assert contrast(3 * vectors, vectors, rows).item() == pytest.approx(answer, abs=1e-6)
    assert contrast(torch.eye(2), torch.eye(2).flip(0), rows[:2]).item() == pytest.approx(1.313262, abs=1e-6)
    constant = torch.ones(8, 4)
    assert contrast(constant, constant, rows).item() == pytest.approx(2.079442, abs=1e-6)
    assert contrast(constant, constant, ~rows).item() == 0


# ------------------------------------------------------------------------------------------------ stage one
def test_the_pretrained_parts_are_taken_and_stay(tmp_path: Path) -> None:
    method = tiny()
    torch.manual_seed(5)
    stages = KuDA.pretraining_methods(method.config, DIMS)
    for name, stage in stages.items():
        save_model(stage, str(tmp_path / f"{name}.safetensors"))
    method.load_pretrained(tmp_path)
    batch = random_batch()
    output = method(batch)
    alone = torch.stack([stages[name](batch).prediction for name in DIMS])
    torch.testing.assert_close(output.ratio, dominance(alone, alone.mean(dim=0), output.present, 0.1))
    frozen = {name: p.clone() for name, p in method.named_parameters() if not p.requires_grad}
    assert all(".adapters." in name or name.startswith("classifier.") for name in frozen)
    assert {name.split(".")[0] for name in frozen} == {"harvest", "classifier"}
    loop = Loop(method, lr=1e-2)
    for _ in range(10):
        loop.step(batch)
    after = dict(method.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in frozen.items())
    assert not torch.equal(method(batch).ratio, output.ratio)  # the encoders below learn


@pytest.mark.parametrize("adapters", ["scratch", "none"])
def test_without_a_pretraining_all_modalities_count_alike(adapters: str) -> None:
    method = tiny(pretraining={"adapters": adapters})
    assert KuDA.pretraining_methods(method.config, DIMS) == {} and not method.classifier
    batch = random_batch(absent={(1, "audio")})
    output = method(batch)
    assert output.ratio[:, 1].tolist() == [0.5, 0, 0.5]
    torch.testing.assert_close(output.ratio[:, 0], torch.full((3,), 1 / 3))
    torch.stack(list(method.losses(batch, output, method.TERMS).values())).sum().backward()
    assert all(p.grad is not None for p in method.parameters())
    method.load_pretrained(Path("nowhere"))  # reads nothing


# --------------------------------------------------------------------------------------------------- inputs
def test_no_prediction_reads_a_label() -> None:
    batch = random_batch(6, unimodal=True)
    other = replace(batch, label=-batch.label, label_text=batch.label + 1, label_audio=-batch.label)
    for method in (tiny(), tiny().eval()):
        assert torch.equal(method(batch).prediction, method(other).prediction)


def test_the_dominance_of_a_clip() -> None:
    method, batch = tiny().eval(), random_batch(1, absent={(0, "audio")})
    output = method(batch)
    shares = method.internals(batch, output)["dominance"]
    assert list(shares) == list(DIMS) and sum(shares.values()) == pytest.approx(1) and shares["audio"] == 0
    curves = method.diagnostics(batch, output)
    assert {name: curve.item() for name, curve in curves.items()} == pytest.approx(
        {f"ratio/{name}": share for name, share in shares.items()}
    )


def test_widths_and_lengths_are_those_of_the_code() -> None:
    """256 of voice and face, 1536 of BERT-base's text; 232 + 925 steps to 50."""
    own = {"steps": 50, "width": 256, "predictor_widths": (64, 32)}
    with torch.device("meta"):
        method = KuDA(settings_of({"width": 128, "max_steps": 925}, **own), {"text": 768, "audio": 33})
        finetuned = tiny_finetuned(**own)
    assert method.alignment["audio"].project.weight.shape == (256, 256)
    assert method.alignment["audio"].time.weight.shape == (50, 925)
    assert finetuned.alignment["text"].project.weight.shape == (256, 2 * finetuned.dims["text"])
    assert finetuned.alignment["text"].time.weight.shape == (50, finetuned.config.max_tokens)
    assert [part.out_features for part in method.predictor[::2]] == [64, 32, 1]
    assert [part.out_features for part in method.classifier["audio"][::2]] == [64, 32, 16, 1]


def test_too_long_a_sequence_names_the_keys() -> None:
    with pytest.raises(
        ParamsError, match=r"visual has 11 steps, but its encoder takes at most 10; lower assem"
    ):
        tiny(pretraining={"max_steps": 10})(random_batch())
    with pytest.raises(ParamsError, match=r"text has 6 steps, but models\.kuda takes at most 5"):
        tiny_finetuned(max_tokens=5)(random_batch(vocabulary=40))
