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
    "misr": MethodEntry("models.misr", "MISR"),
    "cmir": MethodEntry("models.cmir", "CmIR"),
    "slad": MethodEntry("models.slad", "SLaD"),
    "mird": MethodEntry("models.mird", "MIRD"),
    "khar": MethodEntry("models.khar", "KHaR", pretrains=True),
}
