"""Feature stores compared with a corpus' clips: real stores on disk, some of them spoilt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core.vocabulary import ABSENT, FAILED, OK
from pipeline.corpora.findings import Finding
from pipeline.params.params import Params
from pipeline.store.shard import FeatureRow
from pipeline.store.store import FeatureStore, bucket_of, shard_name
from pipeline.validate.features import FEATURES, StoreSummary, expected, made_by, stores

META: dict[str, Any] = {
    "modality": "visual",
    "encoder": "facemesh",
    "fingerprint": "f1",
    "dim": 2,
    "dtype": "float32",
    "column_names": ["x", "y"],
    "frame_rate": None,
    "params": {"kind": "facemesh"},
    "libraries": {"mediapipe": "0.10.14", "av": "18.1.0"},
    "model": "ab" * 32,
}
NAN = "nan"


def write(project: Path, name: str, clips: Mapping[str, str], shards: int = 3, **meta: Any) -> FeatureStore:
    """A store in which each clip has a status; `nan` is ok with a NaN in its second frame."""
    footer = META | meta

    def compute(asked: list[str]) -> Iterator[FeatureRow]:
        for clip in asked:
            status = OK if clips[clip] == NAN else clips[clip]
            values = np.ones((2, footer["dim"]), footer["dtype"])
            if clips[clip] == NAN:
                values[1, 0] = np.nan
            good = status == OK
            yield FeatureRow(clip, "s", status, "" if good else f"because {clip}", values if good else None)

    store = FeatureStore(project / FEATURES / name)
    store.update(dict.fromkeys(clips, "s"), footer, shards, compute)
    return store


def look(project: Path, name: str, clips: list[str]) -> tuple[StoreSummary, dict[str, Finding]]:
    (summary,), findings = stores([name], clips, project)
    return summary, {finding.check: finding for finding in findings}


def test_every_clip_is_counted_once(tmp_path: Path) -> None:
    rows = {"a": OK, "b": OK, "c": ABSENT, "d": FAILED, "e": NAN, "old": OK, "older": FAILED}
    write(tmp_path, "x/visual-facemesh", rows)
    summary, found = look(tmp_path, "x/visual-facemesh", ["a", "b", "c", "d", "e", "new"])
    assert (summary.ok, summary.absent, summary.failed, summary.lacking) == (3, 1, 1, 1)
    assert (summary.clips, summary.columns, summary.frames) == (6, 2, 6)
    assert sorted(summary.unknown) == ["old", "older"]
    assert summary.not_finite == ["e"]
    assert found["failed features"].rows == ("d: because d",)
    assert found["not finite"].rows == ("e",)
    assert sorted(found["features of unknown clips"].rows) == ["old", "older"]
    assert "1 of 6 clips have no row" in found["clips without features"].message
    assert {finding.level for check, finding in found.items() if check != "features"} == {"warning"}


def test_a_whole_store_is_only_said_to_be_there(tmp_path: Path) -> None:
    write(tmp_path, "x/visual-facemesh", {"a": OK, "b": ABSENT})
    _, found = look(tmp_path, "x/visual-facemesh", ["a", "b"])
    assert set(found) == {"features"}
    assert found["features"].message == (
        "x/visual-facemesh: 1 of 2 clips, 2 columns, made by facemesh, av 18.1.0, mediapipe 0.10.14, "
        "weights abababababab"
    )


def test_sound_is_counted_too(tmp_path: Path) -> None:
    sound = {"dtype": "int16", "dim": 1, "column_names": ["sample"], "modality": "audio"}
    write(tmp_path, "x/audio-waveform16k", {"a": OK, "b": FAILED, "c": OK}, **sound)
    summary, _ = look(tmp_path, "x/audio-waveform16k", ["a", "b", "c"])
    assert (summary.ok, summary.failed, summary.lacking) == (2, 1, 0)


def test_shards_of_two_tools_and_damaged_ones_are_said(tmp_path: Path) -> None:
    clips = {f"clip{number}": OK for number in range(9)}
    store = write(tmp_path, "x/visual-facemesh", clips)
    other = write(tmp_path, "y/visual-facemesh", clips, fingerprint="f2")
    name = shard_name(bucket_of("clip0", 3))
    (store.folder / name).write_bytes((other.folder / name).read_bytes())
    (other.folder / name).write_bytes(b"PAR1 and no more")
    for dataset, reason in (
        ("x", "other settings than its neighbours"),
        ("y", "not a readable Parquet file"),
    ):
        summaries, (finding,) = stores([f"{dataset}/visual-facemesh"], list(clips), tmp_path)
        assert not summaries
        assert (finding.level, finding.check) == ("warning", "damaged features")
        assert reason in finding.message


def test_stores_that_ought_to_be_there(tmp_path: Path) -> None:
    write(tmp_path, "x/audio-old", {"a": OK}, modality="audio")
    (tmp_path / FEATURES / "x" / "visual-imported").mkdir()
    (tmp_path / FEATURES / "x" / "visual-imported" / "none.json").write_text("{}")
    job = {"dataset": "x", "encoder": "minilm", "kind": "hf"}
    chosen = {"dataset": "x", "metrics": "mmsa", "text": "none", "visual": "none", "waveform": "none"}
    params = Params.model_validate(
        {
            "datasets": {"x": {"root": "x"}, "y": {"root": "y"}},
            "jobs": {"text": {"x-minilm": job, "y-minilm": job | {"dataset": "y"}}},
            "assemble": {"x-small": chosen | {"audio": "x/audio-egemaps"}},
        }
    )
    names = expected("x", params, tmp_path)
    assert names == ["x/audio-egemaps", "x/audio-old", "x/text-minilm", "x/visual-imported"]
    summaries, findings = stores(names, ["a"], tmp_path)
    assert [summary.folder for summary in summaries] == ["x/audio-old"]
    (missing,) = [finding for finding in findings if finding.check == "missing features"]
    assert missing.rows == ("x/audio-egemaps", "x/text-minilm")  # an import that has no visual needs none


@pytest.mark.parametrize(
    ("footer", "expected"),
    [
        ({"encoder": "mesh2", "params": {"kind": "facemesh"}, "model": "none"}, "mesh2 (facemesh)"),
        ({"encoder": "mmsa_pickle:a.pkl", "model": "none: imported"}, "mmsa_pickle:a.pkl"),
        ({"encoder": "openface", "model": f"csv:{'c' * 64}"}, "openface, weights csv:cccccccccccc"),
        ({"encoder": "bert", "model": f"google/bert@{'d' * 40}"}, "bert, weights google/bert@dddddddddddd"),
    ],
)
def test_who_made_it(footer: dict[str, Any], expected: str) -> None:
    assert made_by(footer) == expected
