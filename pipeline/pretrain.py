"""What a method learns before its training: `pretrained/<method>-<dataset>/pretrained.json`.

Every train stage depends on this folder. A method without a pretraining says so, and torch is not imported.
"""

from __future__ import annotations

import json
from pathlib import Path

from models import METHODS
from pipeline.errors import MsaError, ParamsError

FILE = "pretrained.json"


def pretrain(method_name: str, dataset: str, out: Path) -> None:
    """Write the folder `out` of a method without a pretraining: `{"none": true}`.

    Raises
    ------
    ParamsError : unknown method
    MsaError : the method has a pretraining
    """
    if method_name not in METHODS:
        raise ParamsError(f"method {method_name!r} is not known (there are: {', '.join(METHODS)})")
    if METHODS[method_name].pretrains:
        raise MsaError(f"{method_name} on {dataset}: this version has no pretraining for it")
    out.mkdir(parents=True, exist_ok=True)
    (out / FILE).write_text(json.dumps({"none": True}) + "\n", encoding="utf-8")
