"""The libraries in an encoder's fingerprint: all whose code runs while a clip is encoded, watched."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from made.tiny_audio import save_all
from made.tiny_speech import save_tiny_whisper
from made.tiny_vision import save_tiny_vision

from pipeline.features.encoder import Clip, Encoder
from pipeline.features.registry import build_encoder
from pipeline.params.encoders import Librosa33Params, TransformerAudio, TransformerVision, WhisperAudio
from pipeline.params.params import Params, load_params

CARRIERS = {
    "msa-pipeline",  # ours: the hash of its code counts
    "pytest",  # keeps what mediapipe says
    "hypothesis",  # listens to the garbage collector
    "protobuf",  # holds the floats of mediapipe's landmarks
}
JUST_IN_TIME = {"numba": {"llvmlite"}}  # what makes the machine code that runs under another's name


def called_by(work: Callable[[], Any]) -> set[str]:
    """Distributions of which a function is called, compiled or not."""
    modules: set[str] = set()

    def see(frame: Any, event: str, called: Any) -> None:
        if event == "call":
            modules.add(frame.f_globals.get("__name__") or "")
        elif event == "c_call":
            owner = getattr(called, "__self__", None)
            of_type = getattr(owner, "__name__", None) or type(owner).__module__
            modules.add(getattr(called, "__module__", None) or of_type)

    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(None)
    known = packages_distributions()
    found = {name for module in modules for name in known.get(module.partition(".")[0], ())}
    return found.union(*(JUST_IN_TIME.get(name, ()) for name in found))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tiny")
    return {
        "hubert": save_all(root)["hubert"],
        "whisper": save_tiny_whisper(root / "whisper", seconds=4),
        "vit": save_tiny_vision(root / "vit", "vit"),
    }


def encoders(models: dict[str, Path]) -> dict[str, Encoder]:
    params = Params()
    known = {
        f"{modality} {name}": build_encoder(modality, name, getattr(params, modality)[name], params.media)
        for modality, name in (
            ("text", "minilm"),
            ("audio", "waveform16k"),
            ("visual", "facemesh"),
            ("visual", "facecrops"),
        )
    }
    settings: dict[str, Any] = {f"audio {f0}": Librosa33Params(f0=f0) for f0 in ("pyin", "yin", "zcr")}
    settings["audio hubert"] = TransformerAudio(model=str(models["hubert"]))
    settings["audio whisper"] = WhisperAudio(model=str(models["whisper"]))
    vision = {"picture": "frame", "model": str(models["vit"])}
    known |= {
        "visual frames": build_encoder("visual", "mine", TransformerVision(**vision), params.media),
        "visual faces": build_encoder(
            "visual", "mine", TransformerVision(**{**vision, "picture": "face"}), params.media
        ),
    }
    return known | {name: build_encoder("audio", "mine", one, params.media) for name, one in settings.items()}


@pytest.mark.parametrize(
    "name",
    [
        "text minilm",
        *("audio waveform16k", "audio pyin", "audio yin", "audio zcr", "audio hubert", "audio whisper"),
        *("visual facemesh", "visual facecrops", "visual frames", "visual faces"),
    ],
)
def test_what_computes_a_row_is_in_its_fingerprint(project: Path, models: dict[str, Path], name: str) -> None:
    encoder = encoders(models)[name]
    clip = Clip("a", min((project / "data/sample/Raw").rglob("*.mp4")), text="so it goes")
    encoder.load()
    encoder.encode(clip)  # what libraries import and compile at first is not of a row
    ran = called_by(lambda: encoder.encode(clip)) - CARRIERS
    assert "numpy" in ran and ran <= set(encoder.LIBRARIES)
    assert set(encoder.provenance["libraries"]) == set(encoder.LIBRARIES)


def test_sound_that_no_gpu_computes(project: Path) -> None:
    """The stage takes one process for an encoder on a GPU, and one a core for others."""
    params = load_params(project / "params.yaml")
    names = [
        *(("audio", name) for name in ("egemaps", "fbank", "librosa33", "waveform16k")),
        ("text", "minilm"),
    ]
    built = [build_encoder(*name, params.encoder(*name), params.media, "cuda") for name in names]
    assert [one.device for one in built] == [*["cpu"] * 4, "cuda"]
