from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", params=["in memory", "on disk"])
def storage(request: pytest.FixtureRequest) -> Iterator[None]:
    """What is tested holds wherever a set's rows lie."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "on disk":
            patch.setattr("pipeline.datasets.training_set.IN_MEMORY", -1)
        yield
