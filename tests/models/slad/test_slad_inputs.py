"""What SLaD reads: pooling and sound, context, missing text or sound, batches of all kinds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from made.tiny_batch import DIMS, LONGEST, fill_masked, pad_more, random_batch, select
from made.tiny_slad import (
    SECONDS,
    sounding_batch,
    tiny,
    tiny_finetuned,
    tiny_sound_encoder,
    tiny_sounding,
    waveform,
)
from reference import slad as reference

from models.core.batch import Batch, Inputs, Waveform
from models.core.method import Task
from models.core.speech import normalized_waveform
from models.slad import model as slad
from models.slad.model import SLaD, SLaDSettings, pooled_into_bins
from pipeline.core.errors import MsaError, ParamsError

SAMPLES = 320  # of SECONDS
ENCODERS = ("data2vec", "hubert")


def nothing_before(batch: Batch) -> Inputs:
    """A context that no clip has."""
    absent = {(clip, name) for clip in range(len(batch.label)) for name in DIMS}
    empty = random_batch(len(batch.label), absent=absent)
    return Inputs(text=empty.text, audio=empty.audio)


# ------------------------------------------------------------------------------------------------- pooling
@pytest.mark.parametrize("number", [1, 4, 7])
def test_bins_equal_the_formula(number: int) -> None:
    batch = random_batch(6, dtype=torch.float64, absent={(4, "audio")})
    assert batch.audio is not None
    pooled = pooled_into_bins(batch.audio.values, batch.audio.mask, number)
    for clip, mask in enumerate(batch.audio.mask):
        frames = batch.audio.values[clip][mask].numpy()
        expected = reference.bins(frames, number) if len(frames) else np.zeros((number, DIMS["audio"]))
        np.testing.assert_allclose(pooled[clip].numpy(), expected, atol=1e-12)


def test_bins_repeat_frames_that_are_too_few() -> None:
    values = torch.tensor([1.0, 2.0, 3.0])[None, :, None]
    mask = torch.ones(1, 3, dtype=torch.bool)
    assert pooled_into_bins(values, mask, 3).flatten().tolist() == [1, 2, 3]
    assert pooled_into_bins(values, mask, 6).flatten().tolist() == [1, 1, 2, 2, 3, 3]
    assert pooled_into_bins(values, mask, 2).flatten().tolist() == [1.5, 2.5]


def test_aligned_streams_keep_the_text_and_bin_the_sound() -> None:
    method, batch = tiny_finetuned(), random_batch(vocabulary=40)
    aligned = method.aligned(batch)
    assert aligned["text"].values.shape == (4, LONGEST["text"], 16)
    assert aligned["audio"].values.shape == (4, 5, 16)
    assert batch.tokens is not None
    assert torch.equal(aligned["text"].mask, batch.tokens.mask) and aligned["audio"].mask.all()
    torch.testing.assert_close(aligned["text"].values, method.inputs(batch)["text"].values)  # unchanged


def test_frozen_streams_are_projected() -> None:
    method, batch = tiny(), random_batch()
    assert batch.text is not None
    text = method.aligned(batch)["text"]
    torch.testing.assert_close(text.values, method.project["text"](batch.text.values))


def test_pooled_representations_are_means_over_real_steps() -> None:
    method, batch = tiny().double(), random_batch(dtype=torch.float64)
    output, aligned = method(batch), method.aligned(batch)
    for name, stream in aligned.items():
        for clip, mask in enumerate(stream.mask):
            real = stream.values[clip][mask]
            torch.testing.assert_close(output.invariant[name][clip], method.invariant[name](real).mean(dim=0))
            torch.testing.assert_close(output.specific[name][clip], method.specific[name](real).mean(dim=0))
            head = method.head[name](real.mean(dim=0)).squeeze(-1)
            torch.testing.assert_close(output.unimodal[name][clip], head)


# ------------------------------------------------------------------------------------------------- batches
@pytest.mark.parametrize("context", [0, 2])
def test_a_clip_s_result_is_its_own(context: int) -> None:
    method = tiny(context=context).eval()
    batch = random_batch(absent={(2, "text"), (1, "audio")}, context=context > 0)
    alone = method(batch).prediction
    torch.testing.assert_close(method(pad_more(batch, 5)).prediction, alone, atol=1e-5, rtol=0)
    order = [2, 0, 3, 1]
    torch.testing.assert_close(method(select(batch, order)).prediction, alone[order], atol=1e-5, rtol=0)
    single = torch.cat([method(select(batch, [clip])).prediction for clip in range(4)])
    torch.testing.assert_close(single, alone, atol=1e-5, rtol=0)


def test_losses_do_not_depend_on_padding_and_order() -> None:
    method, batch = tiny(), random_batch(5, absent={(2, "text")})
    expected = method.losses(batch, method(batch), SLaD.TERMS)
    for version in (pad_more(batch, 3), select(batch, [4, 2, 0, 3, 1])):
        losses = method.losses(version, method(version), SLaD.TERMS)
        for term, value in losses.items():
            torch.testing.assert_close(value, expected[term], atol=1e-5, rtol=0)


@pytest.mark.parametrize("clips", [1, 2])
@pytest.mark.parametrize("classes", [0, 2, 7])
def test_smallest_batches_train(clips: int, classes: int) -> None:
    for options in ({}, {"ml_items": "2B"}, {"rep_target": "all", "symmetric": True}):
        method = tiny(task=Task(classes), **options)
        batch = random_batch(clips, classes=classes)
        losses = method.losses(batch, method(batch), SLaD.TERMS)
        assert all(loss.isfinite() and loss.shape == () for loss in losses.values())
        torch.stack(list(losses.values())).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())
        if clips == 1 and not options:
            assert [losses[term].item() for term in slad.LABEL_AWARE] == [0, 0, 0]


def test_evaluation_is_deterministic() -> None:
    method, batch = tiny(dropout=0.3).eval(), random_batch()
    assert torch.equal(method(batch).prediction, method(batch).prediction)
    assert not torch.equal(method.train()(batch).prediction, method(batch).prediction)


def test_bf16_forward_gives_finite_float32_losses() -> None:
    method, batch = tiny_sounding(context=1), sounding_batch([320, 200, 0, 100], context=True)
    exact = method.losses(batch, method(batch), SLaD.TERMS)
    with torch.autocast("cpu", torch.bfloat16):
        output = method(batch)
    losses = method.losses(batch, output, SLaD.TERMS)
    assert {x.dtype for x in (output.prediction, *output.invariant.values())} == {torch.float32}
    for term, value in losses.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(exact[term].item(), rel=0.1, abs=0.05)
    torch.stack(list(losses.values())).sum().backward()
    gradients = [p.grad for p in method.parameters() if p.requires_grad]
    assert all(grad is not None and grad.isfinite().all() for grad in gradients)


# ------------------------------------------------------------------------------------------------- missing
MISSING = {
    "complete": set(),
    "one clip without audio": {(1, "audio")},
    "one clip each without text and audio": {(0, "text"), (3, "audio")},
    "no clip has audio": {(clip, "audio") for clip in range(4)},
}


@pytest.mark.parametrize("value", [1e6, math.nan])
@pytest.mark.parametrize("missing", MISSING)
def test_nothing_depends_on_what_is_absent(missing: str, value: float) -> None:
    batch = random_batch(absent=MISSING[missing], context=True)
    results = []
    for version in (batch, fill_masked(batch, value)):
        method = tiny(context=2)
        output = method(version)
        losses = method.losses(version, output, SLaD.TERMS)
        torch.stack(list(losses.values())).sum().backward()
        gradients = [p.grad for p in method.parameters() if p.grad is not None]
        assert all(gradient.isfinite().all() for gradient in gradients)
        results.append([output.prediction, *losses.values(), *gradients])
    for before, after in zip(*results, strict=True):
        assert torch.equal(before, after)


def test_a_learnt_vector_stands_for_what_is_absent() -> None:
    method, batch = tiny(), random_batch(absent={(1, "audio"), (2, "text")})
    aligned = method.aligned(batch)
    for name, clip in (("audio", 1), ("text", 2)):
        stream = aligned[name]
        assert stream.mask[clip].tolist() == [True] + [False] * (stream.mask.shape[1] - 1)
        assert torch.equal(stream.values[clip, 0], method.null_token[name])
        assert not stream.present[clip]


def test_clips_without_one_of_both_leave_the_losses() -> None:
    """Their similarities are those of a batch without them; only their prediction and one head count."""
    method, batch = (
        tiny(label_aware=False, ml_items="2B"),
        random_batch(6, absent={(1, "audio"), (4, "text")}),
    )
    kept = select(batch, [0, 2, 3, 5])
    losses = method.losses(batch, method(batch), slad.LABEL_AWARE)
    expected = method.losses(kept, method(kept), slad.LABEL_AWARE)
    for term, value in losses.items():
        torch.testing.assert_close(value, expected[term], atol=1e-5, rtol=0)
    output = method(batch)
    errors = {name: (y - batch.label).abs() for name, y in output.unimodal.items()}
    wanted = errors["text"][[0, 1, 2, 3, 5]].mean() + errors["audio"][[0, 2, 3, 4, 5]].mean()
    torch.testing.assert_close(method.losses(batch, output, ["unimodal"])["unimodal"], wanted)


def test_a_clip_without_anything_is_refused() -> None:
    with pytest.raises(MsaError, match="clip3: no text, no audio"):
        tiny().eval()(random_batch(absent={(3, "text"), (3, "audio")}))


# ------------------------------------------------------------------------------------------------- context
def test_context_enters_the_prediction_alone() -> None:
    method, batch = tiny(context=2), random_batch(context=True)
    without = replace(batch, context=nothing_before(batch))
    output, other = method(batch), method(without)
    torch.testing.assert_close(output.prediction[0], other.prediction[0], atol=1e-6, rtol=0)  # has none
    assert (output.prediction[1:] - other.prediction[1:]).abs().min() > 1e-4
    for name in ("text", "audio"):
        assert torch.equal(output.invariant[name], other.invariant[name])
        assert torch.equal(output.specific[name], other.specific[name])
        assert torch.equal(output.unimodal[name], other.unimodal[name])
    assert method.classifier[1].in_features == 2 * tiny().classifier[1].in_features


def test_context_is_read_as_a_clip_is() -> None:
    method, batch = tiny(context=2), random_batch(context=True)
    read: list[torch.Tensor] = []
    method.classifier.register_forward_pre_hook(lambda _module, given: read.append(given[0]))
    assert batch.context is not None
    method(batch)
    method(replace(batch, text=batch.context.text, audio=batch.context.audio))
    of_clip, of_context = (summaries.chunk(2, dim=1) for summaries in reversed(read))
    assert torch.equal(of_clip[0], of_context[1])
    assert not torch.equal(of_context[0], of_context[1])


def test_context_trains_through_the_same_layers() -> None:
    method, batch = tiny(context=2), random_batch(context=True)
    assert batch.context is not None and batch.context.audio is not None
    before = batch.context.audio
    values = before.values.clone().requires_grad_()
    context = replace(batch.context, audio=replace(before, values=values))
    method(replace(batch, context=context)).prediction.sum().backward()
    assert values.grad is not None
    assert (values.grad[1:].abs().amax(dim=-1) > 0)[before.mask[1:]].all()
    assert (values.grad[~before.mask] == 0).all()


def test_a_model_with_context_wants_it() -> None:
    with pytest.raises(MsaError, match="the model reads 2 utterances before each clip, but the batch has no"):
        tiny(context=2)(random_batch())


# --------------------------------------------------------------------------------------------------- sound
def test_waveforms_are_standardized_over_their_real_samples() -> None:
    sound = waveform([320, 57, 0, 1], dtype=torch.float64)
    found = normalized_waveform(sound.values, sound.mask)
    for clip, length in enumerate((320, 57, 0, 1)):
        if length:
            expected = reference.normalized_waveform(sound.values[clip, :length].numpy())
            np.testing.assert_allclose(found[clip, :length].numpy(), expected, atol=1e-12)
        assert (found[clip, length:] == 0).all()
    assert torch.equal(
        normalized_waveform(sound.values.masked_fill(~sound.mask, math.nan), sound.mask), found
    )


@pytest.mark.parametrize("kind", ENCODERS)
def test_sound_is_always_of_one_length(kind: str) -> None:
    """Longer than the limit: its first part; shorter: padded. Neighbours and batch padding change nothing."""
    method = tiny_sounding(kind).eval()
    long = waveform([600, 150, 90])
    frames = method.encode_audio(long)
    assert frames.values.shape == (3, 79, 16)  # of 320 samples
    assert frames.mask.sum(dim=1).tolist() == [79, 36, 21]
    cut = Waveform(long.values[:, :SAMPLES], long.mask[:, :SAMPLES], long.present)
    alone = Waveform(long.values[2:, :90], long.mask[2:, :90], long.present[2:])
    torch.testing.assert_close(method.encode_audio(cut).values, frames.values)
    torch.testing.assert_close(method.encode_audio(alone).values, frames.values[2:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ENCODERS)
def test_masked_samples_change_nothing(kind: str) -> None:
    method, batch = tiny_sounding(kind).eval(), sounding_batch([320, 160, 3, 0])
    sound = batch.waveform
    assert sound is not None
    noisy = replace(sound, values=sound.values.masked_fill(~sound.mask, math.nan))
    spoilt = method(replace(batch, waveform=noisy)).prediction
    assert spoilt.isfinite().all()
    torch.testing.assert_close(spoilt, method(batch).prediction, atol=1e-6, rtol=0)


def test_states_are_those_of_the_encoder_itself() -> None:
    method = tiny_sounding().eval()
    sound = waveform([SAMPLES])
    samples = (sound.values - sound.values.mean()) / (sound.values.var(correction=0) + 1e-7).sqrt()
    expected = method.audio_backbone(samples).last_hidden_state
    torch.testing.assert_close(method.encode_audio(sound).values, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ENCODERS)
def test_batches_without_sound(kind: str) -> None:
    method = tiny_sounding(kind)
    batch = sounding_batch([0, 0, 5])  # 5 samples make no frame
    heard: list[torch.Tensor] = []
    method.audio_backbone.register_forward_pre_hook(
        lambda _module, _values, named: heard.append(named["attention_mask"]), with_kwargs=True
    )
    output = method(batch)
    assert heard[0].any(dim=1).all()  # the encoder is never asked to attend to nothing
    assert not output.present["audio"].any()
    losses = method.losses(batch, output, SLaD.TERMS)
    assert [losses[term].item() for term in slad.LABEL_AWARE] == [0, 0, 0]
    torch.stack(list(losses.values())).sum().backward()
    gradients = [p.grad for p in method.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert method.null_token["audio"].grad is not None and method.null_token["audio"].grad.abs().max() > 0


def test_a_batch_without_the_waveform_is_refused() -> None:
    batch = replace(sounding_batch([320]), waveform=None)
    with pytest.raises(MsaError, match="the model was built with audio, but the batch has no audio"):
        tiny_sounding()(batch)


def test_too_short_a_waveform_makes_no_frame() -> None:
    with pytest.raises(ParamsError, match=r"waveform_seconds is 0\.0004, too short for one frame"):
        tiny_sounding(waveform_seconds=0.0004)


# ------------------------------------------------------------------------------------------------- reading
def test_reading() -> None:
    reading = tiny(context=3, context_keep="first", text_case="asis").reading()
    assert (reading.waveform, reading.context, reading.context_keep) == (0, 3, "first")
    assert not reading.sentence_case and reading.max_tokens == 96 and reading.tokenizer is None
    assert tiny().reading().sentence_case
    sounding = SLaDSettings(audio="finetune", width=16, heads=2)
    method = SLaD(sounding, {"text": 5}, backbones={"audio": tiny_sound_encoder()})
    assert method.reading().waveform == 96_000
    assert method.dims == {"text": 5, "audio": 16}
    assert tiny_sounding().samples == round(16_000 * SECONDS)


def test_both_encoders_are_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(model: str, revision: str | None, *, config_only: bool) -> torch.nn.Module:
        asked.append((model, revision, config_only))
        return tiny_sound_encoder()

    monkeypatch.setattr("models.core.speech.load_audio_backbone", load)
    settings = SLaDSettings(text="finetune", audio="finetune", audio_backbone="x/y", audio_revision="0a")
    assert set(settings.open_backbones(config_only=True)) == {"text", "audio"}
    assert asked == [("x/y", "0a", True)]
    assert set(SLaDSettings(audio="finetune").open_backbones()) == {"audio"}
    assert SLaDSettings().open_backbones() == {}
