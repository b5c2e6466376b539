"""`msa-cli predict`: what it prints and writes, of folders and of classes, and mistakes of use."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from made.media_factory import make_clip, tone
from made.sample_runs import CLASSES, SampleRuns
from typer.testing import CliRunner

import pipeline as msa
from pipeline.cli.app import app
from pipeline.core.errors import MsaError

VALID = ("video_0002$_$0001", "video_0002$_$0002")

pytestmark = pytest.mark.filterwarnings("ignore:SymbolDatabase.GetPrototype")


def test_a_folder_with_a_broken_clip(
    sample: SampleRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "clips", tmp_path / "out"
    folder.mkdir()
    shutil.copy(sample.videos[VALID[0]], folder / "=SUM(1).mp4")
    (folder / "=SUM(1).txt").write_text("-1 was given", encoding="utf-8")
    (folder / "broken.mp4").write_bytes(b"no video" * 100)
    shutil.copy(sample.videos[VALID[0]], folder / b"caf\xe9.mp4".decode(errors="surrogateescape"))
    make_clip(folder / "mute.mkv", times=[i / 25 for i in range(10)], sound=tone(200, 0.5, 16_000))
    monkeypatch.chdir(tmp_path)
    arguments = ["predict", "--video", "clips", "--json", "--out", "out", "--plot", "pictures"]
    runs = [str(sample.run("misr")), str(sample.run("khar"))]
    done = CliRunner().invoke(app, [*arguments, "--run", *runs])
    assert done.exit_code == 1, done.output
    tree = json.loads(done.stdout)
    assert [run["method"] for run in tree["runs"]] == ["misr", "khar"]
    assert tree["label_range"] == [-3.0, 3.0] and tree["task"] == "regression"
    good, broken, unnamed, mute = tree["clips"]
    assert [one["status"] for one in tree["clips"]] == ["ok", "failed", "failed", "ok"]
    assert unnamed["clip_id"] == r"caf\udce9" and "rename the file" in unnamed["reason"]
    assert broken["reason"].count("not a media file") == 1 and "prediction" not in broken
    assert "audio, visual: failed: broken.mp4" in broken["reason"]
    assert "note" not in {one["kind"] for one in broken["warnings"]}  # of the text: the same once more
    assert good["text"] == "-1 was given" and good["text_source"] == "sidecar"
    assert good["prediction"] == pytest.approx(np.mean(list(good["runs"].values())), abs=1e-6)
    assert good["methods"]["khar"]["runs"] == 1
    assert "no_face" in {one["kind"] for one in mute["warnings"]}
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["=SUM(1).png", "mute.png"]

    table = pq.read_table(out / "predictions.parquet").to_pylist()
    assert [one["clip_id"] for one in table] == ["=SUM(1)", "broken", r"caf\udce9", "mute"]
    assert table[0]["prediction"] == pytest.approx(good["prediction"], abs=1e-6)
    assert table[1]["prediction"] is None
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    assert [one["clip_id"] for one in cells] == ["'=SUM(1)", "broken", r"caf\udce9", "mute"]
    assert cells[0]["text"] == "'-1 was given"
    assert float(cells[0]["prediction"]) == table[0]["prediction"]  # numbers stay numbers, also negative ones
    assert cells[1]["prediction"] == ""
    assert all(cell[:1] not in "=+@" or not cell for one in cells for cell in one.values())
    assert str(tmp_path) not in (out / "predictions.csv").read_text()


def test_what_holds_for_every_clip_is_said_once(sample: SampleRuns, tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_clip(tmp_path / f"{name}.mkv", times=[i / 25 for i in range(10)], sound=tone(200, 0.5, 16_000))
    (tmp_path / "b.txt").write_text("so so", encoding="utf-8")
    arguments = ["--video", str(tmp_path), "--run", str(sample.run("misr"))]
    done = CliRunner().invoke(app, ["predict", *arguments], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "no face found" not in done.stdout and done.stderr.count("no face found in 100%") == 1
    assert done.stdout.count("no transcript") == 1 and "no transcript" not in done.stderr


def test_mistakes_of_use_are_messages(sample: SampleRuns, tmp_path: Path) -> None:
    clip, run = str(sample.videos[VALID[0]]), str(sample.run("misr"))
    for arguments, message in (
        (["--text", "a", "--text-file", "b.txt"], "were both given"),
        (["--plot", "picture.jpg"], "expected a file that ends in .png"),
        (["--video", str(sample.videos[VALID[1]]), "--text", "a"], "belong to one clip"),
        (["nowhere"], "nowhere: no such file or folder"),
        (["--video", clip], "is given twice"),
        (["--out", f"{clip}/out"], "cannot be created (Not a directory)"),
        (["--plot", f"{clip}/a.png"], "cannot be created (File exists)"),
    ):
        done = CliRunner().invoke(app, ["predict", "--video", clip, "--run", run, *arguments])
        assert isinstance(done.exception, MsaError) and message in str(done.exception)


def test_classes_in_the_table_and_in_json(sample: SampleRuns, tmp_path: Path) -> None:
    run = str(sample.run("misr", classes=True))
    arguments = ["predict", "--video", str(sample.videos[VALID[0]]), "--text", "so so", "--run", run]
    done = CliRunner().invoke(app, [*arguments, "--json", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    (clip,) = json.loads(done.stdout)["clips"]
    assert math.fsum(clip["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert (
        clip["in_words"]
        == CLASSES[clip["prediction"]]
        == max(clip["probabilities"], key=clip["probabilities"].get)
    )
    (row,) = pq.read_table(tmp_path / "predictions.parquet").to_pylist()
    assert (row["prediction"], row["in_words"]) == (clip["prediction"], clip["in_words"])
    shown = CliRunner().invoke(app, arguments)
    assert f"probability of {clip['in_words']}" in shown.stdout


def test_clips_by_place_and_runs_as_their_results_are_called(
    sample: SampleRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also from Python, where torch has its threads again afterwards."""
    clip_id, video = next(iter(sample.videos.items()))
    for seed in (1, 2):
        (tmp_path / "runs/misr-sample").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"runs/misr-sample/{seed}").symlink_to(sample.run("misr", seed=seed))
    monkeypatch.chdir(tmp_path)
    words = ["predict", str(video), "--text", sample.texts[clip_id], "--json", "--run"]

    def values(*runs: str) -> dict[str, list[float]]:
        done = CliRunner().invoke(app, [*words, *runs])
        assert done.exit_code == 0, done.output
        (clip,) = json.loads(done.stdout)["clips"]
        found: dict[str, list[float]] = clip["runs"]
        return found

    both = values("misr-sample")
    assert len(both) == 2
    assert values("runs/misr-sample/1", "runs/misr-sample/2") == both  # as a shell writes runs/misr-sample/*
    assert values("misr-sample/2").items() <= both.items()

    torch.set_num_threads(2)
    predictions = msa.predict(video, "misr-sample", text=sample.texts[clip_id])
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert predictions[video.stem].value == pytest.approx(np.mean(list(both.values())), abs=1e-6)
    frame = predictions.frame()
    assert frame["status"].tolist() == ["ok"] and frame["runs"].tolist() == [2]
    loaded = msa.load_run("misr-sample/1")
    assert loaded.config["seed"] == 1 and not loaded.method.training
    with pytest.raises(MsaError, match="has runs of the seeds 1, 2; give one of them"):
        msa.load_run("misr-sample")
    with pytest.raises(MsaError, match="text belongs to one clip, 2 were given"):
        msa.predict(list(sample.videos.values())[:2], "misr-sample", text="one")
