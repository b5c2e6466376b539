"""Frames, windows and padded batches of encoders of sound, against their definitions and by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made.tiny_audio import CONFIGS, RATE, features, loaded, noise, save_all
from transformers import (
    AutoFeatureExtractor,
    AutoModel,
)

from pipeline.features.audio.hf_audio import AudioStates, FrameGrid
from pipeline.features.encoder import Encoded

REAL = FrameGrid(400, 320)  # of all released models


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return save_all(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def make(folders: dict[str, Path]) -> Callable[..., AudioStates]:
    """A loaded encoder of a kind of checkpoint."""
    return lambda model, **options: loaded(folders[model], **options)


@pytest.fixture(params=list(CONFIGS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# ----------------------------------------------------------------------------------------------------- frames
convolutions = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 6)), min_size=1, max_size=7)


@settings(max_examples=300, deadline=None)
@given(layers=convolutions, samples=st.integers(0, 60_000))
def test_frames_are_those_of_the_convolutions(layers: list[tuple[int, int]], samples: int) -> None:
    length = samples
    for kernel, stride in layers:
        length = max((length - kernel) // stride + 1, 0)
    grid = FrameGrid.of([kernel for kernel, _ in layers], [stride for _, stride in layers])
    assert grid.frames(samples) == length
    if length:
        assert grid.samples(length) <= samples < grid.samples(length + 1)


@settings(max_examples=25, deadline=None)
@given(samples=st.integers(400, 30_000))
def test_frames_of_many_lengths(made: dict[str, AudioStates], samples: int) -> None:
    encoder = made["hubert"]
    (outcome,) = encoder.infer([encoder.prepare_sound(noise(samples), encoder.sources[0])])
    assert isinstance(outcome, Encoded) and outcome.times is not None
    backbone = encoder.backbone(encoder.sources[0])._backbone
    expected = int(backbone._get_feat_extract_output_lengths(torch.tensor(samples)))
    assert len(outcome.features) == len(outcome.times) == expected == 1 + (samples - 400) // 320


@pytest.fixture(scope="module")
def made(make: Any) -> dict[str, AudioStates]:
    return {"hubert": make("hubert")}


def test_a_frame_sees_its_samples_and_no_others(folders: dict[str, Path], make: Any) -> None:
    """One sample after another is changed; a frame's time is the middle of those that change it."""
    encoder = make("hubert_layer")
    assert encoder.grid == REAL and encoder.frame_rate == 50
    extract = AutoModel.from_pretrained(folders["hubert_layer"]).eval().feature_extractor
    sound = torch.from_numpy(noise(2_000))
    with torch.inference_mode():
        changes = 5 * torch.eye(2_000)[395:1_300]  # a row for each of these samples
        seen = (
            (extract(sound + changes) != extract(sound + 0 * changes)).any(dim=1).numpy()
        )  # (samples, frames)
    for frame in (1, 2):
        samples = np.flatnonzero(seen[:, frame]) + 395
        first, last = frame * 320, frame * 320 + 399
        assert (samples.min(), samples.max()) == (max(first, 395), last)
        assert encoder.grid.times(6)[frame] == pytest.approx((first + last) / 2 / RATE)


# ---------------------------------------------------------------------------------------------------- windows
@settings(max_examples=300, deadline=None)
@given(
    samples=st.integers(400, 200_000),
    window_s=st.floats(1, 5),
    overlap=st.floats(0, 0.5),
)
def test_each_frame_is_from_the_window_whose_middle_is_nearer(
    samples: int, window_s: float, overlap: float
) -> None:
    windows = REAL.windows(samples, window_s, overlap * window_s)
    total = REAL.frames(samples)
    if total <= REAL.frames(round(window_s * RATE)):
        assert [(one.start, one.stop, one.skip, one.keep) for one in windows] == [(0, samples, 0, total)]
        return
    assert {one.stop - one.start for one in windows} == {REAL.samples(REAL.frames(round(window_s * RATE)))}
    assert all(one.start % 320 == 0 for one in windows)
    first = np.array([one.start // 320 for one in windows])
    width = REAL.frames(windows[0].stop)
    assert first[0] == 0 and first[-1] + width == total and windows[-1].stop <= samples
    shared = first[:-1] + width - first[1:]
    assert shared.min() >= 0 and (shared[:-1] == round(overlap * window_s * RATE / 320)).all()
    own = [
        (i, at + one.skip + k)
        for i, (at, one) in enumerate(zip(first, windows, strict=True))
        for k in range(one.keep)
    ]
    assert [frame for _, frame in own] == list(range(total))
    middles = first + (width - 1) / 2
    chosen, frames = np.array(own).T
    assert (chosen == np.abs(frames[:, None] - middles).argmin(axis=1)).all()
    assert ((frames >= first[chosen]) & (frames < first[chosen] + width)).all()


@pytest.mark.parametrize("name", ["hubert", "data2vec"])
def test_long_clips_are_read_in_windows(name: str, folders: dict[str, Path], make: Any) -> None:
    """2.5 s in windows of 1 s that share 0.2 s: begins at 0, 0.8 and 1.5 s (49 frames each, 124 in all)."""
    sound = noise(40_000)
    model = AutoModel.from_pretrained(folders[name]).eval()
    whole = AutoFeatureExtractor.from_pretrained(folders[name])(sound, sampling_rate=RATE).input_values[0]
    states = {}
    for begin in (0, 39, 75):  # frames
        piece = torch.from_numpy(whole[begin * 320 : begin * 320 + 48 * 320 + 400])
        with torch.inference_mode():
            states[begin] = model(piece[None]).last_hidden_state[0].numpy()
    expected = np.stack(
        [states[b][t - b] for t in range(124) for b in [min(states, key=lambda b: abs(t - b - 24))]]
    )
    encoder = make(name, window_s=1, overlap_s=0.2)
    prepared = encoder.prepare_sound(sound, encoder.sources[0])
    assert (prepared.steps, prepared.pieces) == (48 * 320 + 400, 3)
    (found,) = encoder.infer([prepared])
    np.testing.assert_array_equal(found.features, expected.astype(np.float16))
    np.testing.assert_allclose(found.times, np.arange(124) * 0.02 + 199.5 / RATE, atol=1e-6)
    (unbroken,) = features(make(name), sound)
    assert len(unbroken) == 124 and (unbroken != found.features).any()


# ---------------------------------------------------------------------------------------------------- batches
@pytest.mark.parametrize("layers", [[-1], [0, -1]])
def test_a_batch_gives_what_each_clip_gives(name: str, layers: list[int], make: Any) -> None:
    encoder = make(name, layers=layers, window_s=1, overlap_s=0.3)
    sounds = [noise(samples, samples) for samples in (9_000, 400, 16_000, 40_123, 12_345, 719, 9_000)]
    for sound, together in zip(sounds, features(encoder, *sounds), strict=True):
        (alone,) = features(encoder, sound)
        assert together.shape == alone.shape
        np.testing.assert_allclose(together, alone, rtol=1e-3, atol=2e-3)  # steps of float16
    source = encoder.sources[0]
    short = [encoder.prepare_sound(sound, source).content.samples[:16_000] for sound in sounds]
    for sound, together in zip(short, encoder.forward(source, short), strict=True):
        alone = encoder.forward(source, [sound])[0]
        np.testing.assert_allclose(together[: len(alone)], alone, atol=5e-5)


@pytest.mark.parametrize("name", ["hubert", "data2vec"])
def test_padding_alone_would_change_the_frames(name: str, folders: dict[str, Path], make: Any) -> None:
    """What the test above would find if transformers' own mask were all."""
    encoder = make(name)
    sound, longer = noise(9_000), noise(16_000, 1)
    extractor = AutoFeatureExtractor.from_pretrained(folders[name])
    inputs = extractor(
        [sound, longer], sampling_rate=RATE, padding=True, return_attention_mask=True, return_tensors="pt"
    )
    with torch.inference_mode():
        plain = AutoModel.from_pretrained(folders[name]).eval()(**inputs).last_hidden_state[0].numpy()
    (alone,) = features(encoder, sound)
    assert np.abs(plain[: len(alone)] - alone).max() > 0.01


def test_a_batch_is_cut_where_it_has_too_many_samples(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = make("hubert")
    sounds = [noise(samples, samples) for samples in (9_000, 5_000, 8_000, 30_000, 400)]
    expected = [features(encoder, sound)[0] for sound in sounds]
    calls: list[list[int]] = []
    real = encoder.forward
    monkeypatch.setattr("pipeline.features.audio.hf_audio.FORWARD_SAMPLES", 20_000)
    monkeypatch.setattr(
        encoder, "forward", lambda source, some: calls.append([len(s) for s in some]) or real(source, some)
    )
    for found, alone in zip(features(encoder, *sounds), expected, strict=True):
        np.testing.assert_allclose(found, alone, rtol=1e-3, atol=2e-3)
    assert calls == [[400, 5_000], [8_000, 9_000], [30_000]]
