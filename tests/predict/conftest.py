"""Small runs on the sample corpus, for all that predicts with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from made.sample_runs import SampleRuns, make_sample_runs


@pytest.fixture(scope="package")
def sample(tmp_path_factory: pytest.TempPathFactory, project: Path) -> SampleRuns:
    return make_sample_runs(tmp_path_factory.mktemp("predict"), project / "data" / "sample")
