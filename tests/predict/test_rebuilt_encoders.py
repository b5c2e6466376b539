"""Encoders built again from what a training set says of its features, wherever their models lie now."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from made.tiny_models import save_tiny_bert
from made.tiny_speech import save_tiny_whisper
from made.tiny_vision import save_tiny_vision

from pipeline.core.errors import MissingModelError
from pipeline.features.registry import build_encoder
from pipeline.features.rows import footer
from pipeline.params.encoders import FaceMeshParams, TransformerText, TransformerVision, WhisperAudio
from pipeline.params.params import MediaLimits, Params
from pipeline.predict.encoders import rebuild


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        "text": save_tiny_bert(root / "text"),
        "audio": save_tiny_whisper(root / "audio"),
        "visual": save_tiny_vision(root / "visual", "vit"),
    }


@pytest.mark.parametrize("pool", ["none", "mean_std"])
@pytest.mark.parametrize(
    ("modality", "kind"), [("text", TransformerText), ("audio", WhisperAudio), ("visual", TransformerVision)]
)
def test_checkpoints_in_folders(
    folders: dict[str, Path], tmp_path: Path, modality: str, kind: Any, pool: str
) -> None:
    then = build_encoder(modality, "mine", kind(model=str(folders[modality]), pool=pool), MediaLimits())
    made = footer(then)
    entry = {"encoder": "mine", "fingerprint": made["fingerprint"], "provenance": made}
    elsewhere = shutil.copytree(folders[modality], tmp_path / "elsewhere")
    here = Params(**{modality: {"mine": kind(model=str(elsewhere))}})
    again = rebuild(modality, entry, here)
    assert again.fingerprint == then.fingerprint and again.column_names == then.column_names
    assert (again.dim, again.dtype) == (then.dim, "float16" if pool == "none" else "float32")
    if modality != "text":  # where minilm is looked at, which is another model
        with pytest.raises(MissingModelError, match=rf"--set {modality}\.mine\.model=FOLDER"):
            rebuild(modality, entry, Params(**{modality: {}}))


def test_features_made_before_there_was_a_pool() -> None:
    then = build_encoder("visual", "facemesh", FaceMeshParams(fps=5), MediaLimits())
    made = footer(then)
    assert "pool" not in made["params"]
    entry = {"encoder": "facemesh", "fingerprint": made["fingerprint"], "provenance": made}
    assert rebuild("visual", entry, Params()).fingerprint == then.fingerprint
