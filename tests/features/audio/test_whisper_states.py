"""States of Whisper's encoder against its layers called by hand, on librosa's spectrogram; windows."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from made.media_factory import make_clip
from made.tiny_audio import RATE, noise
from made.tiny_models import save_tiny_bert
from made.tiny_speech import save_tiny_whisper
from transformers import WhisperModel

from pipeline.core.errors import AbsentError, ClipError, FormatError, MissingModelError, ParamsError
from pipeline.features.audio.whisper import WhisperStates
from pipeline.features.encoder import Clip, Encoded
from pipeline.features.registry import build_encoder
from pipeline.features.rows import EncodingTask, encode_row
from pipeline.media.decode import waveform
from pipeline.params.encoders import WhisperAudio
from pipeline.params.params import MediaLimits

WINDOW_S = 6  # of the tiny one
LIMITS = MediaLimits()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_whisper(tmp_path_factory.mktemp("whisper"), seconds=WINDOW_S)


@pytest.fixture(scope="module")
def make(tiny: Path) -> Callable[..., WhisperStates]:
    def get(**options: Any) -> WhisperStates:
        encoder = build_encoder("audio", "mine", WhisperAudio(model=str(tiny), **options), LIMITS)
        assert isinstance(encoder, WhisperStates)
        encoder.load()
        return encoder

    return get


def wav(folder: Path, sound: np.ndarray) -> Clip:
    name = f"{len(sound)}-{abs(float(sound.sum())):.6f}.wav"
    return Clip("a", make_clip(folder / name, sound=sound, rate=RATE, audio_codec="pcm_s16le"))


def heard(clip: Clip) -> np.ndarray:
    assert clip.path is not None
    return waveform(clip.path, LIMITS, sample_rate=RATE)


def spectrogram(sound: np.ndarray) -> np.ndarray:
    """Whisper's log-mel of a window by librosa, (80, 100 a second): OpenAI's own formula."""
    filled = np.pad(sound, (0, WINDOW_S * RATE - len(sound)))
    mel = librosa.feature.melspectrogram(
        y=filled, sr=RATE, n_fft=400, hop_length=160, n_mels=80, pad_mode="reflect", fmax=8_000
    )[:, :-1]
    log = np.log10(np.maximum(mel, 1e-10))
    return ((np.maximum(log, log.max() - 8) + 4) / 4).astype(np.float32)


def by_hand(folder: Path, sound: np.ndarray) -> list[np.ndarray]:
    """States before the first layer and after each, the last one normalised: (all of the window, D)."""
    model = WhisperModel.from_pretrained(folder).encoder.eval()
    with torch.inference_mode():
        mel = torch.from_numpy(spectrogram(sound))[None]
        x = torch.nn.functional.gelu(model.conv1(mel))
        x = torch.nn.functional.gelu(model.conv2(x)).transpose(1, 2) + model.embed_positions.weight
        states = [x]
        for layer in model.layers:
            states.append(layer(states[-1], None))
        states[-1] = model.layer_norm(states[-1])
    return [state[0].numpy() for state in states]


# ---------------------------------------------------------------------------------------------------- numbers
@pytest.mark.parametrize("samples", [1, 320, 321, 25_001, WINDOW_S * RATE])
def test_states_are_cut_to_the_clip(tiny: Path, make: Any, tmp_path: Path, samples: int) -> None:
    clip = wav(tmp_path, noise(samples, samples))
    found = make().encode(clip)
    expected = by_hand(tiny, heard(clip))[-1]
    assert len(expected) == 50 * WINDOW_S
    frames = -(-samples // 320)
    assert found.features.shape == (frames, 16) and found.features.dtype == np.float16
    np.testing.assert_allclose(found.features, expected[:frames], atol=0.01)
    np.testing.assert_allclose(found.times, np.arange(frames) * 0.02, atol=1e-6)
    assert found.times[-1] < samples / RATE


@pytest.mark.parametrize("layers", [[0], [1], [-2], [-3, -2, -1]])
def test_layers(tiny: Path, make: Any, tmp_path: Path, layers: list[int]) -> None:
    clip = wav(tmp_path, noise(16_000))
    states = by_hand(tiny, heard(clip))
    found = make(layers=layers).encode(clip)
    expected = np.mean([states[layer].astype(np.float64) for layer in layers], axis=0)[:50]
    np.testing.assert_allclose(found.features, expected, rtol=2e-3, atol=0.01)


def test_a_sound_is_where_its_state_is(make: Any, tmp_path: Path) -> None:
    """A click moves the input of layer 1 at its own time, and nowhere else."""
    quiet = np.full(32_000, 1e-3, np.float32) * np.random.default_rng(0).normal(size=32_000).astype(
        np.float32
    )
    quiet[100] = 0.5  # so that the loudest band is the same
    click = quiet.copy()
    click[16_000:16_010] = 0.4
    encoder = make(layers=[0])
    first, other = (encoder.encode(wav(tmp_path, sound)) for sound in (quiet, click))
    moved = np.flatnonzero(np.abs(first.features.astype(float) - other.features).max(axis=1) > 0.05)
    assert len(moved) <= 5 and first.times[moved].mean() == pytest.approx(1.0, abs=0.02)


def test_long_clips_are_read_in_windows(tiny: Path, make: Any, tmp_path: Path) -> None:
    """13 s in windows of 6 s that share 2 s or more: from 0, 4 and 7 s on; each frame from the nearer one."""
    clip = wav(tmp_path, noise(13 * RATE))
    found = make().encode(clip)
    assert len(found.features) == 650
    starts = [0, 200, 350]  # frames
    states = {at: by_hand(tiny, heard(clip)[at * 320 : (at + 300) * 320])[-1] for at in starts}
    expected = [
        states[at][t - at] for t in range(650) for at in [min(starts, key=lambda a: abs(t - a - 149.5))]
    ]
    np.testing.assert_allclose(found.features, np.stack(expected), atol=0.01)


def test_bytes_depend_on_the_clip_alone(make: Any, tmp_path: Path) -> None:
    clips = [wav(tmp_path, noise(samples, samples)) for samples in (9_000, 110_000, 1)]
    encoder = make()
    first = [encoder.encode(clip).features.tobytes() for clip in clips]
    together = encoder.infer([encoder.prepare(clip) for clip in clips])
    assert [one.features.tobytes() for one in together if isinstance(one, Encoded)] == first
    torch.set_num_threads(2)
    again = build_encoder("audio", "other", encoder.params, LIMITS)
    again.load()
    assert torch.get_num_threads() == 1
    assert [again.encode(clip).features.tobytes() for clip in clips[::-1]] == first[::-1]
    apart = make(precision="bf16").encode(clips[0]).features.astype(np.float64) - np.frombuffer(
        first[0], np.float16
    ).reshape(-1, 16)
    assert 0 < np.abs(apart).mean() < 0.05


# ------------------------------------------------------------------------------------- clips and checkpoints
def test_silence_and_absence(make: Any, tmp_path: Path) -> None:
    silent = make().encode(wav(tmp_path, np.zeros(8_000, np.float32)))
    assert (
        silent.note.startswith("silent") and np.isfinite(silent.features).all() and len(silent.features) == 25
    )
    mute = make_clip(tmp_path / "mute.mkv", times=[0.0, 0.04])
    for clip in (Clip("text only"), Clip("a", mute)):
        with pytest.raises(AbsentError):
            make().encode(clip)
    row = encode_row(make(), EncodingTask(Clip("a", mute), "s"))
    assert (row.status, row.features) == ("absent", None)


def test_the_language_chooses_the_checkpoint(tiny: Path, make: Any, tmp_path: Path) -> None:
    other = save_tiny_whisper(tmp_path / "zh", seconds=2, seed=1)
    params = WhisperAudio(model={"en": str(tiny), "zh": str(other)})
    encoder = build_encoder("audio", "both", params, LIMITS)
    encoder.load()
    clip = wav(tmp_path, noise(9_000))
    assert encoder.encode(clip).features.tobytes() == make().encode(clip).features.tobytes()
    alone = build_encoder("audio", "zh", WhisperAudio(model=str(other)), LIMITS)
    alone.load()
    found = encoder.encode(Clip("a", clip.path, language="zh"))
    assert (
        found.features.tobytes()
        == alone.encode(clip).features.tobytes()
        != make().encode(clip).features.tobytes()
    )
    with pytest.raises(ClipError, match=r"'de': audio\.both\.model has en, zh"):
        encoder.encode(Clip("a", clip.path, language="de"))


def test_fingerprint(tiny: Path, tmp_path: Path) -> None:
    def fingerprint(**options: Any) -> str:
        return build_encoder("audio", "mine", WhisperAudio(**options), LIMITS).fingerprint

    copied = Path(shutil.copytree(tiny, tmp_path / "copy"))
    here = fingerprint(model=str(tiny))
    assert fingerprint(model=str(copied)) == here
    (copied / "tokenizer.json").unlink(missing_ok=True)
    assert fingerprint(model=str(copied)) == here, "nothing is recognised"
    for change in ({"layers": [0]}, {"precision": "bf16"}, {"pool": "mean"}):
        assert fingerprint(model=str(copied), **change) != here
    encoder = build_encoder("audio", "mine", WhisperAudio(model=str(tiny)), LIMITS)
    assert (encoder.dim, encoder.dtype, encoder.frame_rate) == (16, "float16", 50.0)


def test_checkpoints_that_will_not_do(tiny: Path, tmp_path: Path) -> None:
    def load(folder: Path) -> None:
        build_encoder("audio", "mine", WhisperAudio(model=str(folder)), LIMITS).load()

    with pytest.raises(ParamsError, match=r"audio\.mine\.model: .* is of type 'bert', expected a Whisper"):
        load(save_tiny_bert(tmp_path / "bert"))
    bare = Path(shutil.copytree(tiny, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors")))
    with pytest.raises(MissingModelError, match="the weights"):
        load(bare)
    (bare / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(FormatError, match=r"cannot be read as those of a whisper"):
        load(bare)
    other_engine = tmp_path / "ctranslate2"
    other_engine.mkdir()
    (other_engine / "config.json").write_text(json.dumps({"alignment_heads": [[1, 1]], "suppress_ids": []}))
    with pytest.raises(FormatError, match="not the config of a model type"):
        load(other_engine)


# ----------------------------------------------------------------------------------------------- the real one
@pytest.mark.shared
def test_the_decoder_reads_the_words_from_real_states(shared: Path) -> None:
    """Whisper's own decoder, given nothing but the stored float16 states of the clip's length."""
    from transformers import WhisperForConditionalGeneration, WhisperTokenizerFast
    from transformers.modeling_outputs import BaseModelOutput

    folder = Path(os.environ.get("MSA_REAL_MODELS", ""), "whisper-base-hf")
    if not (folder / "config.json").is_file():
        pytest.skip("MSA_REAL_MODELS names no folder with whisper-base-hf (get.sh whisper FOLDER fills one)")
    encoder = build_encoder("audio", "base", WhisperAudio(model=str(folder)), LIMITS)
    encoder.load()
    found = encoder.encode(Clip("a", shared / "clips/speech/en_pexels_jfk.mp4"))
    states = torch.from_numpy(found.features.astype(np.float32))[None]
    whole = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    ids = whole.generate(
        encoder_outputs=BaseModelOutput(states), language="en", task="transcribe", max_new_tokens=60
    )
    text = WhisperTokenizerFast.from_pretrained(folder).decode(ids[0], skip_special_tokens=True)
    assert "ask not what your country can do for you" in text.lower()
