"""What SLaD's terms reach, what it computes when, its settings and sizes."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from made.tiny_batch import DIMS, random_batch
from made.tiny_models import save_tiny_hubert
from made.tiny_set import COUNTS, write_tiny_set
from made.tiny_slad import TINY, annotated, sounding_batch, tiny, tiny_finetuned, tiny_sounding
from pydantic import ValidationError
from transformers import RobertaConfig, RobertaModel

from models.core.batch import Batch
from models.core.method import REGRESSION, Task
from models.slad.model import LABEL_AWARE, SLaD, SLaDOutput
from models.slad.settings import SLaDSettings
from pipeline.core.errors import ParamsError
from pipeline.evaluation.evaluate import evaluate
from pipeline.params.params import TrainParams
from pipeline.params.run import RunConfig
from pipeline.training.loop.train import train
from pipeline.training.runs import encoder_identities


def reached(method: SLaD, term: str, batch: Batch) -> set[str]:
    """Names of the parameters with a gradient from this term alone."""
    method.zero_grad()
    method.losses(batch, method(batch), [term])[term].backward()
    return {name for name, p in method.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}


# ---------------------------------------------------------------------------------------------- gradients
def agreeing(method: SLaD) -> SLaD:
    """With heads that agree on every clip."""
    for head in method.head.values():
        head[-1].bias.data.fill_(2.0)
    return method


def test_what_each_term_reaches() -> None:
    method, batch = agreeing(tiny_sounding(context=1)), sounding_batch([320, 200, 100], context=True)
    reach = {term: reached(method, term, batch) for term in SLaD.TERMS}
    for term, names in reach.items():
        parts = {name.split(".")[0] for name in names}
        assert {"backbone", "audio_backbone", "project"} <= parts
        assert not any("feature_extractor" in name for name in names)
        assert ("specific" in parts) == (term == "repulsion")
        assert ("head" in parts) == (term == "unimodal")
        assert ("invariant" in parts) == (term in {"prediction", "contrastive", "multilabel"})
        for part in ("invariant_fusion", "aligned_fusion", "classifier", "null_token"):
            assert (part in parts) == (term == "prediction")
    assert {"specific.text.0.weight", "specific.audio.2.weight"} <= reach["repulsion"]


def test_specific_features_need_agreement_and_a_margin() -> None:
    batch = random_batch(4)
    assert any(name.startswith("specific") for name in reached(agreeing(tiny()), "repulsion", batch))
    assert reached(agreeing(tiny(margin=5.1)), "repulsion", batch) == set()
    apart = annotated(batch, [1.0] * 4, [-1.0] * 4)  # every ω is 0
    assert reached(tiny(label_source="gold"), "repulsion", apart) == set()
    assert reached(tiny(label_source="gold"), "contrastive", apart) == set()
    included = tiny(use_specific_in_fusion=True)
    assert any(name.startswith("specific") for name in reached(included, "prediction", batch))


@pytest.mark.parametrize("specific", [False, True])
def test_the_objective_leaves_no_parameter_out(specific: bool) -> None:
    method = agreeing(tiny_sounding(context=1, use_specific_in_fusion=specific))
    batch = sounding_batch([320, 200, 0, 100, 50], context=True)
    torch.stack(list(method.losses(batch, method(batch), SLaD.TERMS).values())).sum().backward()
    for name, parameter in method.named_parameters():
        if "feature_extractor" in name:
            assert not parameter.requires_grad
        elif name != "audio_backbone.encoder.layers.0.attention.k_proj.bias" and "key.bias" not in name:
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


# ------------------------------------------------------------------------- only what is asked is computed
def test_training_computes_the_active_terms() -> None:
    method, batch = tiny(), random_batch()
    for terms, shared, own in [
        (SLaD.TERMS, True, True),
        (("prediction", "unimodal", "contrastive"), True, False),
        (("prediction",), False, False),
    ]:
        method.active_terms = frozenset(terms)
        output = method(batch)
        assert (bool(output.invariant), bool(output.specific)) == (shared, own)
        assert bool(output.unimodal) == shared
        assert set(method.losses(batch, output, terms)) == set(terms)


def test_evaluation_computes_the_prediction_alone() -> None:
    for specific in (False, True):
        method, batch = tiny(use_specific_in_fusion=specific).eval(), random_batch()
        output = method(batch)
        assert not output.unimodal and not output.invariant
        assert set(method.losses(batch, output, ["prediction"])) == {"prediction"}
        for term in SLaD.TERMS[1:]:
            with pytest.raises(ValueError, match=f"{term} needs a forward in training mode"):
                method.losses(batch, output, [term])
        assert method.diagnostics(batch, output) == {}
        torch.testing.assert_close(output.prediction, method.train()(batch).prediction)  # no dropout here


def test_diagnostics() -> None:
    method = tiny(label_scale=1.0, label_source="gold")
    batch = annotated(random_batch(4), [1.0, 0.5, 0.0, -0.4], [1.0, 1.0, 0.0, -0.4])
    curves = {name: value.item() for name, value in method.diagnostics(batch, method(batch)).items()}
    assert curves["omega"] == pytest.approx((1 + 0.303265 + 0 + 1) / 4, abs=1e-6)
    assert [curves[f"relation/R{i}"] for i in (1, 2, 3)] == [0.25, 0.5, 0.25]
    assert 0 <= curves["within_margin"] <= 1
    wide = tiny(label_scale=1.0, label_source="gold", margin=5.1)
    assert wide.diagnostics(batch, wide(batch))["within_margin"].item() == 1


def test_a_ramp_over_the_first_epoch_where_labels_are_predicted() -> None:
    for source, term in product(("pred", "gold"), SLaD.TERMS):
        method = tiny(label_source=source, training={"epochs": 10})
        ramped = term in LABEL_AWARE and source != "gold"
        found = [method.schedule(term, progress) for progress in (0, 0.05, 0.1, 1)]
        assert found == pytest.approx([0, 0.5, 1, 1] if ramped else [1, 1, 1, 1])


# ------------------------------------------------------------------------------------------------ settings
def test_settings() -> None:
    settings = SLaDSettings()
    training = settings.training
    assert (training.lr_backbone, training.lr_other, training.optimizer) == (5e-6, 1e-4, "adamw")
    assert settings.label_source == "pred"
    assert (training.batch_size, training.epochs, training.patience) == (8, 50, 5)
    assert (training.schedule, training.schedule_every) == ("cosine", "step")
    assert tuple(settings.weights.model_dump()) == SLaD.TERMS
    assert tuple(settings.weights.model_dump().values()) == (1, 1, 1, 0.1, 0.1)
    wrong: list[dict[str, object]] = [
        {"rep_target": "none"},
        {"context": -1},
        {"temperature": 0},
        {"weights": {"repulsion": -1}},
        {"waveform_seconds": 0},
        {"label_source": "auto"},
        {"training": {"lr_other": -1}},
    ]
    for values in wrong:
        with pytest.raises(ValidationError):
            SLaDSettings.model_validate(values)
    with pytest.raises(ValidationError, match="width is 100, which does not divide into 12 heads"):
        SLaDSettings(width=100)


@pytest.mark.parametrize(
    ("settings", "rate"),
    [
        ({}, 1e-4),
        ({"training": {"lr_other": None, "epochs": 3}}, 1e-4),
        ({"text": "finetune"}, 5e-6),
        ({"audio": "finetune", "training": {"lr_other": None}}, 5e-6),
        ({"training": {"lr_other": 3e-3}}, 3e-3),
        ({"text": "finetune", "training": {"lr_other": 3e-3}}, 3e-3),
    ],
)
def test_the_rate_is_that_of_what_learns(settings: dict[str, Any], rate: float) -> None:
    found = SLaDSettings.model_validate(settings)
    assert found.training.lr_other == rate
    assert found.training.epochs == settings.get("training", {}).get("epochs", 50)
    assert SLaDSettings.model_validate(found.model_dump()) == found


def course(rate: float | None) -> tuple[float, float]:
    """60 steps on frozen features: how far they move weights, of their size, and what is left of a loss."""
    method, batch = tiny(training={"lr_other": rate}), random_batch(8)
    before = {name: p.detach().clone() for name, p in method.named_parameters() if p.dim() > 1}
    optimizer = torch.optim.AdamW(method.parameter_groups())
    terms = ("prediction", "unimodal")
    method.active_terms = frozenset(terms)
    totals = []
    for _ in range(60):
        totals.append(torch.stack(list(method.losses(batch, method(batch), terms).values())).sum())
        optimizer.zero_grad()
        totals[-1].backward()
        optimizer.step()
    moved = [
        (p - before[name]).norm() / before[name].norm()
        for name, p in method.named_parameters()
        if name in before
    ]
    return torch.stack(moved).mean().item(), (totals[-1] / totals[0]).item()


def test_a_fusion_without_encoders_learns_at_its_own_rate() -> None:
    moved, left = course(None)
    moved_at_the_papers, left_at_the_papers = course(5e-6)
    assert moved > 0.02 and left < 0.93
    assert moved_at_the_papers < 0.003 and left_at_the_papers > 0.98


@pytest.mark.parametrize(("missing", "other"), [("audio", "text"), ("text", "audio")])
def test_both_modalities_are_required(missing: str, other: str) -> None:
    with pytest.raises(ParamsError, match=rf"has no {missing}; name a feature folder under assemble\."):
        tiny(dims={other: 5, "visual": 7})


def test_optimiser_groups() -> None:
    groups = {group["name"]: group for group in tiny_sounding().parameter_groups()}
    assert set(groups) == {"backbone", "backbone_no_decay", "other", "other_no_decay"}
    assert {group["lr"] for group in groups.values()} == {5e-6}
    assert {group["weight_decay"] for group in groups.values()} == {0.01, 0.0}
    undecayed = {id(p) for p in groups["other_no_decay"]["params"]}
    method = tiny_sounding()
    groups = {group["name"]: group for group in method.parameter_groups()}
    undecayed = {id(p) for p in groups["other_no_decay"]["params"]}
    learnt = [p for name, p in method.named_parameters() if "token" in name and "backbone" not in name]
    assert len(learnt) == 6 and {id(p) for p in learnt} <= undecayed
    every = {id(p) for group in groups.values() for p in group["params"]}
    frozen = method.audio_backbone.feature_extractor.parameters()
    assert not every & {id(p) for p in frozen}


def test_the_paper_s_size_builds_without_memory() -> None:
    with torch.device("meta"):
        backbone = RobertaModel(RobertaConfig(), add_pooling_layer=False)
        method = SLaD(SLaDSettings(text="finetune"), {"audio": 33}, REGRESSION, {"text": backbone})
    own = sum(p.numel() for name, p in method.named_parameters() if not name.startswith("backbone"))
    d, feedforward = 768, 3072
    linear = d * d + d
    layer = 2 * (2 * (4 * linear + 2 * d) + 2 * d * feedforward + feedforward + d + 2 * d)
    expected = 2 * (3 * layer + 2 * d)  # fusion
    expected += 2 * (linear + d + 1) + 4 * (linear + 2 * d) + 2 * d + 34 * d  # heads, I and S, null, project
    expected += 8 * d * d + d + d + 1  # of eight summaries, with context
    assert own == expected
    assert isinstance(method.project["text"], torch.nn.Identity)
    assert set(tiny_finetuned(width=12).project["text"].state_dict()) == {"weight", "bias"}
    assert set(DIMS) > set(method.dims)


def test_output_is_of_the_task() -> None:
    for classes, shape in ((0, (4,)), (2, (4,)), (7, (4, 7))):
        method, batch = tiny(task=Task(classes)), random_batch(classes=classes)
        output = method(batch)
        assert isinstance(output, SLaDOutput)
        assert output.prediction.shape == output.unimodal["text"].shape == shape


def test_a_run_on_the_sound_says_which_encoders_it_fine_tuned(tmp_path: Path) -> None:
    """From the assembled set to the results, with context; other weights in the folder are another run."""
    sound = save_tiny_hubert(tmp_path / "hubert")
    settings = {**TINY, "audio": "finetune", "audio_backbone": str(sound), "context": 2}
    settings |= {"waveform_seconds": 0.05, "training": {"epochs": 1}}
    folder = write_tiny_set(tmp_path / "set", dims={"text": 6, "visual": 3})
    for split, count in COUNTS.items():
        samples = [[(7 * i * j) % 999 for j in range(900)] for i in range(count)]
        ids = pq.read_table(folder / f"{split}.parquet")["clip_id"]
        waveform = pa.array(samples, pa.list_(pa.int16()))
        pq.write_table(pa.table({"clip_id": ids, "waveform": waveform}), folder / f"{split}.waveform.parquet")
    stats = json.loads((folder / "stats.json").read_text())
    (folder / "stats.json").write_text(json.dumps({**stats, "waveform": {"sample_rate": 16_000}}))

    def config(name: str) -> dict[str, Any]:
        where = {"state_root": tmp_path / "state", "logs": tmp_path / "logs"}
        run = tmp_path / name
        train(
            RunConfig(
                method_name="slad",
                dataset="tiny",
                seed=1,
                method_params=settings,
                train_params=TrainParams(),
                assembled=folder,
                pretrained=tmp_path,
                out=run,
            ),
            device="cpu",
            **where,
        )
        found: dict[str, Any] = json.loads((run / "config.json").read_text())
        return found

    first = config("run")
    (result,) = evaluate([tmp_path / "run"], folder, tmp_path / "results", "mmsa", device="cpu")["runs"]
    assert result["features"] == {"text": "text-enc", "audio": f"{sound} (fine-tuned)"}
    save_tiny_hubert(sound, seed=1)
    assert config("other")["encoders"].keys() == {"audio"}
    assert config("other")["encoders"] != first["encoders"]


def test_an_encoder_from_a_hub_is_pinned() -> None:
    unpinned = SLaDSettings(audio="finetune", audio_backbone="org/sound")
    wanted = r"models\.slad\.base\.audio_revision: .*None, expected a commit.*`msa-cli fetch org/sound --pin`"
    with pytest.raises(ParamsError, match=wanted):
        encoder_identities("slad", unpinned)
    pinned = unpinned.model_copy(update={"audio_revision": "a" * 40})
    assert encoder_identities("slad", pinned) == {"audio": f"org/sound@{'a' * 40}"}
