"""Test sequences made of rows, and sets in which they take the place of those that were there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.paths import transcript_table
from pipeline.params.assemble import AssembleParams
from pipeline.robustness.media.sets import SplitSequences, set_with
from pipeline.store.shard import FeatureRow
from pipeline.transcripts.stage import Transcript
from pipeline.transcripts.table import TRANSCRIPTS, write_transcripts

NAMES = ["a", "b"]
ENTRY: dict[str, Any] = {
    **{"dim": 2, "columns": NAMES, "max_steps": 3, "shorten": "pool", "normalized": NAMES},
    **{"mean": [1.0, 2.0], "sd": [2.0, 4.0]},
}


def params(**more: Any) -> AssembleParams:
    return AssembleParams.model_validate(
        {"dataset": "made", "text": "none", "audio": "made/audio-x", "visual": "none", "waveform": "none"}
        | {"metrics": "mmsa"}
        | more
    )


def row(features: np.ndarray | None, times: np.ndarray | None = None) -> FeatureRow:
    return FeatureRow("clip", "", "failed" if features is None else "ok", features=features, times=times)


def test_sequences_are_shortened_and_scaled_as_in_training() -> None:
    make = SplitSequences({"dataset": "made", "modalities": {"audio": ENTRY}}, params(), ["clip"])
    features = np.arange(12, dtype=np.float32).reshape(6, 2)
    pooled = features.reshape(3, 2, 2).mean(axis=1)  # six frames, three bins
    expected = (pooled - [1, 2]) / [2, 4]
    np.testing.assert_allclose(make.of("audio", row(features), NAMES), expected, rtol=1e-6)
    assert np.array_equal(make.of("audio", row(None), NAMES), np.zeros((1, 2)))
    assert make.of("waveform", row(np.array([[1], [2]], np.int16)), ["sample"]).tolist() == [1, 2]
    assert make.of("waveform", row(None), ["sample"]).tolist() == [0]


def test_rows_of_words_stay_rows_of_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        {"text": word, "start_s": start, "end_s": start + 0.2, "score": 1.0}
        for word, start in (("so", 0.0), ("good", 0.2))
    ]
    said = [{"clip_id": "clip", "text": "so good", "language": "en", "source": "label", "words": words}]
    transcript_table("made").parent.mkdir(parents=True)
    write_transcripts(pa.Table.from_pylist(said, TRANSCRIPTS), transcript_table("made"))
    aligned = {**ENTRY, "align": "words", "shorten": "cut", "normalized": []}
    chosen = params(align="words", max_steps={"text": 3, "audio": 3, "visual": 3})
    make = SplitSequences({"dataset": "made", "modalities": {"audio": aligned}}, chosen, ["clip"])
    features = np.array([[1, 0], [3, 0], [5, 8], [7, 8]], np.float32)
    times = np.array([0.05, 0.15, 0.25, 0.35], np.float32)  # two frames a word
    assert make.of("audio", row(features, times), NAMES).tolist() == [[2, 0], [6, 8]]
    assert make.of("audio", row(None), NAMES).tolist() == [[0, 0]]
    other = Transcript("clip", None, None, None, "en", "so", "asr:base", words[:1])
    assert make.hearing({"clip": other}, {}).of("audio", row(features, times), NAMES).tolist() == [[2, 0]]
    nothing = replace(other, text=None, words=None)
    assert make.hearing({"clip": nothing}, {}).of("audio", row(features, times), NAMES).tolist() == [[0, 0]]
    assert make.of("audio", row(features, times), NAMES).tolist() == [[2, 0], [6, 8]]  # as before


def test_what_a_clip_lacked_it_lacks_still(tmp_path: Path) -> None:
    kind = pa.list_(pa.list_(pa.float32(), 2))
    old = [[[1.0, 2.0]], None, [[3.0, 4.0], [5.0, 6.0]]]
    table = pa.table({"clip_id": ["x", "y", "z"], "audio": pa.array(old, kind), "text": pa.array(old, kind)})
    sound = pa.table(
        {"clip_id": ["x", "y", "z"], "waveform": pa.array([[1], None, [2, 3]], pa.list_(pa.int16()))}
    )
    folder = tmp_path / "set"
    folder.mkdir()
    table = table.append_column("transcript", pa.array(["so", None, "good"]))
    pq.write_table(table, folder / "test.parquet")
    pq.write_table(sound, folder / "test.waveform.parquet")
    pq.write_table(table, folder / "train.parquet")
    new = {name: np.full((3, 2), i, np.float32) for i, name in enumerate("xyz")}
    heard = {name: np.arange(4, dtype=np.int16) for name in "xyz"}
    with set_with(folder, {"audio": new, "waveform": heard}) as spoilt:
        found = pq.read_table(spoilt / "test.parquet")
        assert found["audio"].to_pylist() == [[[0.0, 0.0]] * 3, None, [[2.0, 2.0]] * 3]
        assert found["audio"].type == kind
        assert found["text"].to_pylist() == old
        waves = pq.read_table(spoilt / "test.waveform.parquet")
        assert waves["waveform"].to_pylist() == [[0, 1, 2, 3], None, [0, 1, 2, 3]]
        assert waves.schema.equals(sound.schema)
        assert pq.read_table(spoilt / "train.parquet").equals(table)
    pq.write_table(table, folder / "context.parquet")
    with set_with(folder, {"audio": {"z": new["z"]}}, {"x": "heard"}) as spoilt:
        assert pq.read_table(spoilt / "test.waveform.parquet").equals(sound)
        found = pq.read_table(spoilt / "context.parquet")
        assert found["audio"].to_pylist() == [[[1.0, 2.0]], None, [[2.0, 2.0]] * 3]
        assert found["transcript"].to_pylist() == ["heard", None, "good"]
    assert pq.read_table(folder / "test.parquet").equals(table)
