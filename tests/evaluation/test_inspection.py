"""The file of views: worst clips by the saved predictions, maps that keep neighbours, equal bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made.tiny_runs import made_run, made_set

from pipeline.core.errors import FormatError
from pipeline.evaluation import inspect as inspection
from pipeline.evaluation.evaluate import evaluate
from pipeline.evaluation.inspect import WORST, lay_out
from pipeline.evaluation.saved import read_views


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an assembled set and a run of SLaD."""
    here = tmp_path_factory.mktemp("inspection")
    made_run(here, "slad", made_set(here / "set"))
    return here


def inspect(
    place: Path, out: Path, assembled: Path | None = None, transcripts: bool = False
) -> dict[str, Any]:
    """The views that evaluate writes of the run."""
    assembled = assembled or place / "set"
    evaluate([place / "slad-run"], assembled, out, "mmsa", device="cpu", transcripts=transcripts)
    return read_views(out / "views.json")[1]


def test_worst_clips_are_those_of_the_saved_predictions(place: Path, tmp_path: Path) -> None:
    views = inspect(place, tmp_path, transcripts=True)
    saved = pq.read_table(tmp_path / "predictions.parquet").to_pandas().set_index("clip_id")
    saved = saved.rename(columns={"prediction_1": "prediction"})
    errors = (saved["prediction"] - saved["label"]).abs().sort_values(ascending=False)
    assert [clip["clip_id"] for clip in views["worst"]] == list(errors.index[:WORST])
    said = pq.read_table(place / "set" / "test.parquet").to_pandas().set_index("clip_id")["transcript"]
    for clip in views["worst"]:
        row = saved.loc[clip["clip_id"]]
        for name in ("label", "prediction"):
            assert clip[name] == pytest.approx(row[name], abs=2e-6)
        assert clip["error"] == pytest.approx(errors[clip["clip_id"]], abs=2e-6)
        assert clip["transcript"] == said[clip["clip_id"]]


def test_maps_hold_every_point_with_its_label(place: Path, tmp_path: Path) -> None:
    views = inspect(place, tmp_path)
    drawn, *single = views["maps"]
    assert [entry["name"] for entry in drawn["parts"]] == [
        "invariant text",
        "invariant audio",
        "specific text",
        "specific audio",
    ]
    assert [entry["shared"] for entry in drawn["parts"]] == [True, True, False, False]
    labels = pq.read_table(place / "set" / "test.parquet")["label"].to_numpy()
    np.testing.assert_allclose(drawn["label"], np.tile(labels, 4), atol=1e-6)
    assert drawn["part"] == [part for part in range(4) for _ in range(14)]
    assert [one["parts"][0]["name"] for one in single] == ["aligned text", "aligned audio", "fused"]
    for one in single:
        assert one["part"] == [0] * 14
        np.testing.assert_allclose(one["label"], labels, atol=1e-6)
    places = np.stack([drawn["x"], drawn["y"]], axis=1)
    np.testing.assert_allclose(places.mean(axis=0), 0, atol=2e-3)
    assert np.linalg.norm(places, axis=1).max() == pytest.approx(1, abs=2e-3)


def test_equal_runs_have_equal_bytes(place: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        inspect(place, tmp_path / name)
    files = [(tmp_path / name / "views.json").read_bytes() for name in ("a", "b")]
    assert files[0] == files[1]
    text = files[0].decode()
    assert str(place) not in text
    assert len(text) < 10_000


def test_groups_stay_together_in_a_map() -> None:
    random = np.random.default_rng(0)
    group = np.repeat([0, 1, 2], 40)
    values = random.normal(size=(120, 10)) + 8 * np.eye(10)[group]
    places = lay_out(values)
    distance = np.linalg.norm(places[:, None] - places, axis=2) + np.diag(np.full(120, np.inf))
    assert (group[distance.argmin(axis=1)] == group).all()
    np.testing.assert_array_equal(places, lay_out(values))


@pytest.mark.parametrize("values", [np.ones((6, 4)), np.arange(5.0)[:, None]], ids=["constant", "one column"])
def test_maps_of_little(values: np.ndarray) -> None:
    places = lay_out(values)
    assert places.shape == (len(values), 2) and np.isfinite(places).all()


def test_a_large_split_is_thinned(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "POINTS", 24)  # six clips of four parts
    drawn = inspect(place, tmp_path)["maps"][0]
    assert len(drawn["x"]) == 24
    monkeypatch.setattr(inspection, "FEWEST", 100)
    views = inspect(place, tmp_path)
    assert views["maps"] == [] and "fewer than 100 points" in views["notes"][0]


def test_texts_stay_out_where_nobody_lets_them_in(place: Path, tmp_path: Path) -> None:
    """git tracks the file."""
    inspect(place, tmp_path)
    texts = pq.read_table(place / "set" / "test.parquet")["transcript"].to_pylist()
    written = (tmp_path / "views.json").read_text(encoding="utf-8")
    assert any(texts) and not [text for text in texts if text and text in written]
    assert "transcript" not in written


def test_long_transcripts_are_cut(place: Path, tmp_path: Path) -> None:
    assembled = made_set(tmp_path / "set")
    path = assembled / "test.parquet"
    table = pq.read_table(path)
    column = table.schema.get_field_index("transcript")
    texts = pa.array(["word " * 200] * 13 + [None], pa.string())
    pq.write_table(table.set_column(column, "transcript", texts), path)
    worst = inspect(place, tmp_path, assembled, transcripts=True)["worst"]
    assert {len(clip["transcript"]) for clip in worst} <= {300, 0}
    assert worst[0]["transcript"].endswith("…") or worst[1]["transcript"].endswith("…")


def test_files_of_views(tmp_path: Path) -> None:
    path = tmp_path / "views.json"
    assert read_views(path) == {}
    path.write_text("{")
    with pytest.raises(FormatError, match=r"views\.json: not the views of runs"):
        read_views(path)
    path.write_text(json.dumps({"format": 1}))
    with pytest.raises(FormatError, match="views of format 1, but this version reads 2"):
        read_views(path)
    path.write_text(json.dumps({"format": 2, "seeds": {"1": {"reading": ""}}}))
    with pytest.raises(FormatError, match=r"terms, panels, maps, worst, notes of seed 1 is missing"):
        read_views(path)
