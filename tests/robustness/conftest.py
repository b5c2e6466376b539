from __future__ import annotations

from collections.abc import Iterator

import pytest

from models import METHODS, MethodEntry


@pytest.fixture(scope="module")
def tiny_method() -> Iterator[None]:
    """`tiny` is a method, that of made/tiny_set.py."""
    METHODS["tiny"] = MethodEntry("made.tiny_set")
    yield
    del METHODS["tiny"]
