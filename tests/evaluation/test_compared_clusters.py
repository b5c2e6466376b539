"""Which clips a comparison takes together, and that each command says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made.small_repository import CLIPS, SEEDS, compared, make_repository, said, save_runs

from pipeline.core.git import open_revision
from pipeline.evaluation.clusters import Clusters
from pipeline.evaluation.comparison import MethodComparison, compare_sets
from pipeline.evaluation.saved import read_results
from pipeline.evaluation.significance import Sides, differences

SPEAKERS = [f"s{i % 21:02d}" for i in range(CLIPS)]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    monkeypatch.chdir(make_repository(tmp_path))
    return tmp_path


def change_columns(path: Path, **columns: list[Any] | None) -> None:
    """Of saved predictions; None = the column is not there."""
    table = pq.read_table(path / "predictions.parquet")
    for name, values in columns.items():
        table = table.drop_columns(name)
        if values is not None:
            table = table.append_column(name, pa.array(values, pa.string()))
    pq.write_table(table, path / "predictions.parquet")


def misr(a: str = "before") -> MethodComparison:
    return next(entry for entry in compared(a).entries if entry.title == "misr on mosi")


def by_hand(repository: Path, clusters: Clusters) -> dict[str, float]:
    """p of each metric of misr against its state before."""
    old, new = (
        read_results(open_revision(name, repository), "results/mosi/misr") for name in ("before", None)
    )
    a, b = (np.stack([run.predictions["test"].prediction for run in side]) for side in (old, new))
    sides = Sides(new[0].predictions["test"].label, a, b, clusters, "mmsa")
    return {row.metric: row.p for row in differences(sides, 300)}


def test_videos_are_swapped_whole(repository: Path) -> None:
    save_runs(repository, "misr", SEEDS, 1.4)
    tests = {row.metric: row.test for row in misr().rows if row.test is not None}
    expected = by_hand(repository, Clusters("videos", np.arange(CLIPS) // 2))
    assert {name: test.p for name, test in tests.items()} == expected
    assert expected != by_hand(repository, Clusters.alone(CLIPS))


def test_speakers_are_swapped_whole_where_one_side_knows_them(repository: Path) -> None:
    """The results before did not say who speaks; who it is has not changed."""
    save_runs(repository, "misr", SEEDS, 1.4, speakers=SPEAKERS)
    found = misr()
    assert found.clusters["test"].text_with_clips == "60 clips of 21 speakers"
    tests = {row.metric: row.test.p for row in found.rows if row.test is not None}
    assert tests == by_hand(repository, Clusters("speakers", np.arange(CLIPS) % 21))


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"speaker": [*SPEAKERS[1:], ""]}, "60 clips of 30 videos"),  # one is not known
        ({"speaker": None, "video_id": None}, "60 clips of 30 videos"),  # a file without: from the ids
        ({"video_id": [None] * CLIPS}, "60 clips: no video or speaker known"),
        ({"video_id": [f"v{i}" for i in range(CLIPS)]}, "60 clips: no video has two"),
    ],
)
def test_the_kind_is_said(repository: Path, columns: dict[str, list[Any] | None], words: str) -> None:
    for method, noise in (("misr", 0.5), ("cmir", 1.0)):
        change_columns(save_runs(repository, method, SEEDS, noise), **columns)
    found, _ = compare_sets(["misr-mosi"], ["cmir-mosi"], 100, 0)
    assert found.clusters["test"].text_with_clips == words


@pytest.mark.parametrize(
    "command", [["compare", "before"], ["significance", "misr-mosi", "--against", "cmir-mosi"]]
)
@pytest.mark.parametrize("form", [[], ["--md"], ["--html"]])
def test_commands_say_clusters_and_warn_of_few(
    repository: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    form: list[str],
) -> None:
    code, out, errors = said(capsys, monkeypatch, *command, *form, "--resamples", "100")
    assert (code, errors) == (0, "") and "60 clips of 30 videos" in out and "too few" not in out
    for method, noise in (("misr", 0.5), ("cmir", 1.0)):
        save_runs(repository, method, SEEDS, noise, speakers=[f"s{i % 9}" for i in range(CLIPS)])
    _, out, _ = said(capsys, monkeypatch, *command, *form, "--resamples", "100")
    assert "60 clips of 9 speakers" in out and "9 speakers: too few to trust" in out


def test_json_has_kind_and_number(
    repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("significance", "misr-mosi", "--against", "cmir-mosi", "--json", "--resamples", "100")
    entry = json.loads(said(capsys, monkeypatch, *words)[1])["entry"]
    assert entry["clusters"] == {"test": {"kind": "videos", "count": 30, "clips": 60, "why": ""}}


def test_one_video_alone_is_not_tested(
    repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for method, noise in (("misr", 0.5), ("cmir", 1.0)):
        save_runs(repository, method, SEEDS, noise, speakers=["anna"] * CLIPS)
    code, out, errors = said(capsys, monkeypatch, "significance", "misr-mosi", "--against", "cmir-mosi")
    assert (
        (code, out) == (2, "") and "all 60 clips are from one speaker" in errors and "Traceback" not in errors
    )
    found = misr()
    assert found.paired is None and all(row.test is None for row in found.rows)
    assert "no statistics: all 60 clips are from one speaker" in found.remarks[0]
