"""Folds by video: every clip is validated on once, by a training that has nothing of its video."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made.tiny_set import write_tiny_set

from models import METHODS, MethodEntry
from pipeline.core.errors import FormatError
from pipeline.datasets.training_set import TrainingSet
from pipeline.params.params import TrainParams
from pipeline.params.run import RunConfig
from pipeline.params.search import Dimension
from pipeline.training.folds import deal, resamples, videos_of, write_fold
from pipeline.training.search import Search
from pipeline.training.tune import Study


@given(sizes=st.lists(st.integers(1, 30), min_size=5, max_size=40), folds=st.integers(2, 5))
def test_videos_stay_whole_and_groups_alike(sizes: list[int], folds: int) -> None:
    videos = {f"{v}-{c}": f"video{v}" for v, size in enumerate(sizes) for c in range(size)}
    group = deal(videos, folds)
    assert group.keys() == videos.keys()
    assert len({(videos[clip], number) for clip, number in group.items()}) == len(sizes)
    counts = [list(group.values()).count(number) for number in range(1, folds + 1)]
    assert sum(counts) == len(videos) and max(counts) - min(counts) <= max(sizes)
    backwards = dict(reversed(videos.items()))
    assert deal(backwards, folds) == group, "the order of the rows decides nothing"


def test_the_deal_of_some_videos_by_hand() -> None:
    videos = {clip: clip[0] for clip in ("a1", "a2", "a3", "b1", "b2", "c1", "c2", "d1")}
    assert {videos[clip]: number for clip, number in deal(videos, 2).items()} == {
        "a": 1,
        "b": 2,
        "c": 2,
        "d": 1,
    }
    with pytest.raises(FormatError, match="5 folds need at least as many videos, and there are 4"):
        deal(videos, 5)


@pytest.fixture(scope="module")
def assembled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny set with sound, videos in train and valid at once, and clips of no video."""
    folder = write_tiny_set(tmp_path_factory.mktemp("assembled") / "tiny", steps=(1, 3))
    for name in ("train", "valid"):
        file = folder / f"{name}.parquet"
        table = pq.read_table(file)
        videos = [None if row % 11 == 3 else video for row, video in enumerate(table["video_id"].to_pylist())]
        place = table.column_names.index("video_id")
        pq.write_table(table.set_column(place, "video_id", pa.array(videos, pa.string())), file)
        sound = [[len(clip), row] for row, clip in enumerate(table["clip_id"].to_pylist())]
        columns = {"clip_id": table["clip_id"], "waveform": pa.array(sound, pa.list_(pa.int16()))}
        pq.write_table(pa.table(columns), folder / f"{name}.waveform.parquet")
    return folder


def test_every_clip_is_validated_on_once_and_no_video_is_on_both_sides(
    assembled: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "set"  # as a search sees it, there is no test split
    shutil.copytree(assembled, bare)
    (bare / "test.parquet").unlink()
    whole = pa.concat_tables(pq.read_table(bare / f"{name}.parquet") for name in ("train", "valid"))
    sound = pa.concat_tables(pq.read_table(bare / f"{name}.waveform.parquet") for name in ("train", "valid"))
    group = deal(videos_of(bare), 4)
    validated: list[str] = []
    for fold in range(1, 5):
        out = tmp_path / f"fold-{fold}"
        write_fold(bare, group, fold, out)
        train, valid = (pq.read_table(out / f"{name}.parquet") for name in ("train", "valid"))
        assert pa.concat_tables([train, valid]).sort_by("clip_id").equals(whole.sort_by("clip_id")), (
            "rows as they were"
        )
        one, other = ({video for video in part["video_id"].to_pylist() if video} for part in (train, valid))
        assert one and other and not one & other
        validated += valid["clip_id"].to_pylist()
        for name, part in (("train", train), ("valid", valid)):
            heard = pq.read_table(out / f"{name}.waveform.parquet")
            assert heard["clip_id"].equals(part["clip_id"])
            where = pc.is_in(sound["clip_id"], value_set=heard["clip_id"].combine_chunks())
            assert heard.equals(sound.filter(where))
        stats = json.loads((out / "stats.json").read_text())
        assert stats["counts"] == {"train": len(train), "valid": len(valid), "test": 25, "unlabeled": 0}
        splits = TrainingSet.load(out, only=("train", "valid", "unlabeled")).splits
        assert [len(splits[name]) for name in splits] == [len(train), len(valid), 0]
        assert {file.name for file in out.iterdir()} == {
            *("stats.json", "unlabeled.parquet", "train.parquet", "valid.parquet"),
            *("train.waveform.parquet", "valid.waveform.parquet"),
        }
    assert len(validated) == 80 and sorted(validated) == sorted(whole["clip_id"].to_pylist())


def test_a_search_on_folds(assembled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each training, and its pretraining, has the set of its fold; one on other labels keeps these."""
    monkeypatch.setitem(METHODS, "tiny", MethodEntry("made.tiny_set"))
    seen: list[RunConfig] = []
    monkeypatch.setattr("pipeline.training.tune.pretrain", lambda run, **options: seen.append(run))
    space = {"training.lr_other": Dimension(low=1e-3, high=1e-1, log=True)}
    settings = {"training": {"epochs": 1}}

    def searched(source: Path) -> Study:
        search = Search(
            "tiny", "tiny", space, (7, 8), settings, TrainParams(), assembled, source, "cpu", folds=3
        )
        study = Study(search, tmp_path / source.parent.name)
        study.run(2, 1)
        return study

    study = searched(assembled)
    names = ["fold-1", "fold-2", "fold-3"]
    assert [trial.losses.keys() for trial in study.finalists] == [{*names}] * 2
    assert [run.assembled.name for run in seen] == [
        "fold-1",
        "fold-1",
        "fold-2",
        "fold-3",
        "fold-2",
        "fold-3",
    ]
    for run in seen:
        assert run.source == run.assembled and run.seed == 7
        assert run.pretrained.name == f"pretrained-{run.assembled.name}"
    for number in (0, 1):  # what was validated on are all clips, each once
        runs = (study.folder / "runs" / f"trial-{number}-{name}" for name in names)
        found = pa.concat_tables(pq.read_table(run / "valid.predictions.parquet") for run in runs)
        assert sorted(found["clip_id"].to_pylist()) == sorted(videos_of(assembled))
    text = study.findings().markdown("x")
    assert (
        "trained on fold-1, the 2 below on fold-2, fold-3 too" in text and "normalised as assembled" in text
    )

    seen.clear()
    other = write_tiny_set(tmp_path / "other" / "tiny")
    searched(other)
    assert {run.source.name for run in seen if run.source} == {"source"}


def test_what_a_search_trains_on() -> None:
    assert [(one.name, one.seed) for one in resamples((7, 8), 0)] == [("seed-7", 7), ("seed-8", 8)]
    assert [(one.name, one.seed) for one in resamples((7, 8), 2)] == [("fold-1", 7), ("fold-2", 7)]
