"""What one more clip costs beside sixty, and what nothing new costs: as `dvc repro` is used."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from made import workspace as workspace_module
from made.workspace import FEATURES, Workspace, make_workspace

pytestmark = pytest.mark.benchmark

STAGES = ("text@sample-minilm", "audio@sample-librosa33", "visual@sample-facemesh")


def timed(workspace: Workspace, *targets: str) -> tuple[float, str]:
    """Seconds of a `dvc repro`, and its output."""
    begin = time.perf_counter()
    output = workspace.run("dvc", "repro", *targets)
    return time.perf_counter() - begin, output


def test_one_clip_more_is_one_clip_of_work(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace_module, "VIDEOS", {"train": 12, "valid": 2, "test": 1})
    monkeypatch.setattr(workspace_module, "CLIPS", 4)
    workspace = make_workspace(tmp_path / "project", project)
    all_s, _ = timed(workspace, *STAGES)

    workspace.add_a_clip()
    one_s, output = timed(workspace, *STAGES)
    assert output.count("60 kept, 1 to compute") == len(FEATURES)

    nothing_s, output = timed(workspace, *STAGES)
    assert "Running stage" not in output
    print(
        f"\nextraction by dvc repro: 60 clips {all_s:.1f} s, 1 clip more {one_s:.1f} s "
        f"({one_s / all_s:.2f} of it), nothing new {nothing_s:.1f} s ({nothing_s / all_s:.2f})"
    )
    assert nothing_s < one_s < all_s
