"""States of encoders of sound against transformers by hand; what chooses and identifies a checkpoint."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made.media_factory import make_clip, tone
from made.tiny_audio import CONFIGS, NORMALISED, RATE, SIZES, by_hand, features, loaded, noise, save_all
from made.tiny_models import save_tiny_bert
from transformers import (
    AutoModel,
    HubertConfig,
    Wav2Vec2FeatureExtractor,
)

from pipeline.core.errors import AbsentError, ClipError, FormatError, MissingModelError, ParamsError
from pipeline.features.audio.hf_audio import AudioStates
from pipeline.features.encoder import Clip, Encoded
from pipeline.features.registry import build_encoder
from pipeline.features.rows import EncodingTask, encode_row
from pipeline.media.decode import waveform
from pipeline.params.encoders import TransformerAudio
from pipeline.params.params import MediaLimits


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


def wav(folder: Path, sound: np.ndarray, rate: int = RATE) -> Path:
    return make_clip(folder / "sound.wav", sound=sound, rate=rate, audio_codec="pcm_s16le")


# ---------------------------------------------------------------------------------------------------- numbers
@pytest.mark.parametrize("samples", [400, 719, 16_000, 25_001])
def test_states_are_those_of_transformers_itself(
    name: str, samples: int, folders: dict[str, Path], make: Any
) -> None:
    sound = noise(samples)
    (found,) = features(make(name), sound)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, by_hand(folders[name], sound)[-1].astype(np.float16))


@pytest.mark.parametrize("layers", [[0], [1], [-2], [-3, -2, -1], [0, 2]])
def test_layers(name: str, layers: list[int], folders: dict[str, Path], make: Any) -> None:
    states = by_hand(folders[name], noise(8_000))
    (found,) = features(make(name, layers=layers), noise(8_000))
    expected = np.mean([states[layer].astype(np.float64) for layer in layers], axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["hubert", "wavlm"])
def test_a_file_is_read_as_the_checkpoint_asks(
    name: str, folders: dict[str, Path], make: Any, tmp_path: Path
) -> None:
    """Loudness goes where the sound is normalised, over the clip alone; this WavLM is not normalised."""
    encoder = make(name)
    path = wav(tmp_path, noise(48_000), 48_000)
    clip = Clip("a", path, start_s=0.25, end_s=0.75)
    heard = waveform(path, MediaLimits(), sample_rate=RATE, start_s=0.25, end_s=0.75)
    assert len(heard) == 8_000
    encoded = encoder.encode(clip)
    np.testing.assert_array_equal(encoded.features, by_hand(folders[name], heard)[-1].astype(np.float16))
    assert encoded.note == "" and encoded.token_ids is None
    loud, soft = features(encoder, heard)[0], features(encoder, heard * np.float32(0.25))[0]
    apart = np.abs(loud.astype(np.float64) - soft).max()
    assert (apart < 0.01) == NORMALISED[name]


def test_bytes_depend_on_the_clip_alone(name: str, make: Any) -> None:
    sounds = [noise(samples, samples) for samples in (9_000, 16_000, 719)]
    encoder = make(name)
    first = [features(encoder, sound)[0].tobytes() for sound in sounds]
    features(encoder, *sounds)  # a padded batch leaves nothing behind
    torch.set_num_threads(2)
    again = make(name)
    assert torch.get_num_threads() == 1
    for one in (encoder, again):
        assert [features(one, sound)[0].tobytes() for sound in sounds[::-1]] == first[::-1]


def test_bf16_is_close_to_fp32(name: str, make: Any) -> None:
    full = features(make(name), noise(20_000))[0].astype(np.float64)
    other = features(make(name, precision="bf16"), noise(20_000))[0].astype(np.float64)
    norms = np.linalg.norm(full, axis=1) * np.linalg.norm(other, axis=1)
    assert np.median((full * other).sum(axis=1) / norms) > 0.995
    assert (full != other).any()


def test_float16_never_overflows(folders: dict[str, Path], tmp_path: Path) -> None:
    model = AutoModel.from_pretrained(folders["hubert"])
    encoder = AudioStates("mine", TransformerAudio(model=str(tmp_path)), MediaLimits())
    with torch.no_grad():
        model.encoder.layers[-1].final_layer_norm.weight.fill_(1e6)
    model.save_pretrained(tmp_path)
    encoder.load()
    (found,) = features(encoder, noise(9_000))
    assert found.max() == 65504 and found.min() == -65504
    with torch.no_grad():
        model.encoder.layers[-1].final_layer_norm.bias.fill_(float("nan"))
    model.save_pretrained(tmp_path)
    encoder.load()
    (outcome,) = encoder.infer([encoder.prepare_sound(noise(9_000), encoder.sources[0])])
    assert isinstance(outcome, ClipError) and "not finite" in str(outcome)


# ------------------------------------------------------------------------------------- languages and settings
def test_the_language_chooses_the_checkpoint(folders: dict[str, Path], make: Any, tmp_path: Path) -> None:
    model = {"en": str(folders["hubert"]), "zh": str(folders["data2vec"])}
    encoder = AudioStates("both", TransformerAudio(model=model), MediaLimits())
    encoder.load()
    path = wav(tmp_path, noise(9_000))
    for language, alone in (("zh", "data2vec"), ("en", "hubert")):
        found = encoder.encode(Clip("a", path, language=language))
        assert found.features.tobytes() == make(alone).encode(Clip("a", path)).features.tobytes()
    with pytest.raises(ClipError, match=r"'de': audio\.both\.model has en, zh; add audio\.both\.model\.de"):
        encoder.encode(Clip("a", path, language="de"))
    clips = [Clip("a", path, language=language) for language in ("zh", "en", "zh")]
    outcomes = encoder.infer([encoder.prepare(clip) for clip in clips])
    for clip, outcome in zip(clips, outcomes, strict=True):
        assert isinstance(outcome, Encoded)
        np.testing.assert_allclose(outcome.features, encoder.encode(clip).features, rtol=1e-3, atol=2e-3)


def test_fingerprint_follows_the_numbers_not_the_place(folders: dict[str, Path], tmp_path: Path) -> None:
    def fingerprint(**options: Any) -> str:
        return AudioStates("mine", TransformerAudio(**options), MediaLimits()).fingerprint

    here = fingerprint(model=str(folders["hubert"]))
    copied = Path(shutil.copytree(folders["hubert"], tmp_path / "copy"))
    assert fingerprint(model=str(copied)) == here
    for change in ({"window_s": 20.0}, {"overlap_s": 1.0}, {"layers": [-2]}, {"precision": "bf16"}):
        assert fingerprint(model=str(copied), **change) != here
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(copied)
    assert fingerprint(model=str(copied)) != here
    encoder = AudioStates("mine", TransformerAudio(model=str(copied)), MediaLimits())
    assert encoder.provenance["do_normalize"] == {"all": False}
    assert encoder.column_names == [f"h_{i}" for i in range(32)]
    assert (encoder.dtype, encoder.frame_rate) == ("float16", 50.0)
    with pytest.raises(ParamsError, match="expected a commit hash"):
        fingerprint(model="org/name")
    half = AudioStates("mine", TransformerAudio(model={"en": str(copied), "zh": "org/name"}), MediaLimits())
    assert half.model_identity.endswith("zh=unpinned")


def test_without_a_preprocessor_sound_is_normalised(
    folders: dict[str, Path], make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(folders["hubert"], tmp_path / "copy"))
    (copy / "preprocessor_config.json").unlink()
    encoder = AudioStates("mine", TransformerAudio(model=str(copy)), MediaLimits())
    encoder.load()
    assert "copy has no preprocessor_config.json here; sound is normalised" in capsys.readouterr().err
    assert Wav2Vec2FeatureExtractor().do_normalize is True
    np.testing.assert_array_equal(features(encoder, noise(9_000)), features(make("hubert"), noise(9_000)))
    nested = {"feature_extractor": {"do_normalize": False}, "processor_class": "Wav2Vec2Processor"}
    (copy / "processor_config.json").write_text(json.dumps(nested))
    assert not AudioStates("mine", TransformerAudio(model=str(copy)), MediaLimits()).provenance[
        "do_normalize"
    ]["all"]


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "config.json",
            {"model_type": "bert"},
            r"mine\.model: .* of type 'bert', expected an encoder of sound",
        ),
        ("config.json", {"add_adapter": True}, "ends in an adapter"),
        ("preprocessor_config.json", {"sampling_rate": 8_000}, "needs 8000 Hz, expected 16000"),
        ("config.json", {"num_hidden_layers": 1}, r"audio\.mine\.layers has -3; .* has 2 states: 0 to 1"),
    ],
)
def test_checkpoints_that_do_not_fit(
    file: str, change: dict[str, Any], message: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(folders["wav2vec2"], tmp_path / "copy"))
    (copy / file).write_text(json.dumps(json.loads((copy / file).read_text()) | change))
    with pytest.raises(ParamsError, match=message):
        AudioStates("mine", TransformerAudio(model=str(copy), layers=[-3]), MediaLimits()).load()


def test_checkpoints_that_do_not_fit_each_other(folders: dict[str, Path], tmp_path: Path) -> None:
    torch.manual_seed(0)
    other = {**SIZES, "conv_dim": (16,) * 2, "conv_kernel": (10, 3), "conv_stride": (5, 2)}
    AutoModel.from_config(HubertConfig(**other, num_conv_pos_embeddings=16)).save_pretrained(tmp_path)
    model = {"en": str(folders["hubert"]), "zh": str(tmp_path)}
    with pytest.raises(ParamsError, match=r"400 samples, 320 apart, of .* 20, 10 apart"):
        AudioStates("mine", TransformerAudio(model=model), MediaLimits()).load()


def test_files_that_are_not_there_or_broken(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(MissingModelError, match="no such folder"):
        _ = AudioStates("mine", TransformerAudio(model=str(tmp_path / "none")), MediaLimits()).dim
    copy = Path(shutil.copytree(folders["hubert"], tmp_path / "copy"))
    (copy / "preprocessor_config.json").write_text("{")
    with pytest.raises(FormatError, match=r"preprocessor_config\.json: cannot be read as JSON"):
        AudioStates("mine", TransformerAudio(model=str(copy)), MediaLimits()).load()
    bert = save_tiny_bert(tmp_path / "bert")
    with pytest.raises(ParamsError, match="of type 'bert'"):
        AudioStates("mine", TransformerAudio(model=str(bert)), MediaLimits()).load()


# ------------------------------------------------------------------------------------------------------ clips
def test_silence_is_a_row_with_a_note(make: Any, tmp_path: Path) -> None:
    encoded = make("hubert").encode(Clip("a", wav(tmp_path, np.zeros(8_000, np.float32))))
    assert encoded.note.startswith("silent (RMS -200 dBFS")
    assert len(encoded.features) == 24 and np.isfinite(encoded.features).all()
    assert make("hubert").encode(Clip("a", wav(tmp_path, tone(300, 0.5, RATE)))).note == ""


def test_too_short_and_absent(make: Any, tmp_path: Path) -> None:
    encoder = make("hubert")
    with pytest.raises(ClipError, match=r"399 samples of sound at 16000 Hz are less than one frame \(400"):
        encoder.encode(Clip("a", wav(tmp_path, noise(399))))
    assert len(encoder.encode(Clip("a", wav(tmp_path, noise(400)))).features) == 1
    mute = make_clip(tmp_path / "mute.mkv", times=[0.0, 0.04])
    for clip in (Clip("text only"), Clip("a", mute)):
        with pytest.raises(AbsentError):
            encoder.encode(clip)
    row = encode_row(encoder, EncodingTask(Clip("a", mute), "s"))
    assert (row.status, row.features) == ("absent", None)


def test_a_row_of_the_store(make: Any, folders: dict[str, Path], tmp_path: Path) -> None:
    encoder = build_encoder("audio", "mine", TransformerAudio(model=str(folders["wavlm"])), MediaLimits())
    encoder.load()
    row = encode_row(encoder, EncodingTask(Clip("a", wav(tmp_path, noise(16_000))), "s"))
    assert row.status == "ok" and row.features is not None and row.times is not None
    assert (row.features.shape, row.features.dtype) == ((49, 32), np.float16)
    assert row.times.dtype == np.float32 and np.allclose(np.diff(row.times), 0.02, atol=1e-6)


def test_preparing_needs_no_weights_and_travels(folders: Any, make: Any, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(folders["hubert"], bare, ignore=shutil.ignore_patterns("*.safetensors"))
    preparer = AudioStates("mine", TransformerAudio(model=str(bare)), MediaLimits())
    preparer.load_preparer()
    prepared = preparer.prepare(Clip("a", wav(tmp_path, noise(9_000))))
    copy = pickle.loads(pickle.dumps(prepared))
    assert (copy.steps, copy.pieces) == (9_000, 1)
    np.testing.assert_array_equal(copy.content.samples, prepared.content.samples)
    with pytest.raises(MissingModelError, match="the weights"):
        preparer.load()


def test_the_modules_are_light(project: Path) -> None:
    """They import, and encode sound that is there already, where nothing can decode media."""
    code = """
import sys
for name in ("av", "librosa", "soxr", "soundfile", "cv2", "mediapipe"):
    sys.modules[name] = None
import pipeline.features.encoder, pipeline.features.text.hf, pipeline.features.audio.hf_audio
print([name for name in ("torch", "transformers") if name in sys.modules])
"""
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"


@pytest.mark.shared
@pytest.mark.parametrize("clip", ["grid/bbaf2n.mpg", "speech/zh_pexels_funasr.mp4", "awkward/vp9_opus.webm"])
def test_real_speech(clip: str, make: Any, folders: dict[str, Path], shared: Path) -> None:
    path = shared / "clips" / clip
    found = make("hubert").encode(Clip("a", path))
    heard = waveform(path, MediaLimits(), sample_rate=RATE)
    np.testing.assert_array_equal(found.features, by_hand(folders["hubert"], heard)[-1].astype(np.float16))
    assert found.times[-1] < len(heard) / RATE
