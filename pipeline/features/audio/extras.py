"""Libraries of the extras that encoders of sound need."""

from __future__ import annotations

import importlib
from typing import Any

from pipeline.core.errors import MissingDependencyError


def import_extra(module: str, needed: str, way_out: str) -> Any:
    """A library of an extra; MissingDependencyError where it does not import.

    Parameters
    ----------
    needed : who needs which library, as the message begins
    way_out : how it is installed, as the message ends
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        raise MissingDependencyError(f"{needed} ({error}): {way_out}") from error
