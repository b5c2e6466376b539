"""Real pretrained weights, for tests that run where somebody has brought them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def real_model(name: str) -> Path:
    """A folder of MSA_REAL_MODELS; skips where there is none."""
    folder = Path(os.environ.get("MSA_REAL_MODELS") or "nowhere", name)
    if not folder.is_dir():
        pytest.skip(
            f"MSA_REAL_MODELS names no folder with {name}: `real_models/get.sh` of the shared "
            "material fills one"
        )
    return folder
