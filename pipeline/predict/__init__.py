"""Trained runs on new clips."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    """`pipeline.predict(...)` predicts, though importing this package gives its name to the package."""

    def __call__(self, *given: Any, **named: Any) -> Any:
        return import_module("pipeline.api.runs").predict(*given, **named)


sys.modules[__name__].__class__ = _Room
