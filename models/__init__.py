"""The methods: one paper, one file. A name here is what `models_run` may list."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MethodEntry:
    """Where a method lives, and whether it has a pretraining (known without importing torch)."""

    module: str
    class_name: str
    pretrains: bool = False


METHODS = {
    "misr": MethodEntry("models.misr.model", "MISR"),
    "cmir": MethodEntry("models.cmir.model", "CmIR"),
    "slad": MethodEntry("models.slad.model", "SLaD"),
    "mird": MethodEntry("models.mird.model", "MIRD"),
    "khar": MethodEntry("models.khar.model", "KHaR", pretrains=True),
}
