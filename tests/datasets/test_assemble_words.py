"""Training sets whose rows are words (`align: words`): the same words in every modality."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from made.stored import assemble
from test_assemble import FACE, noise, read, toy, transcripts_of  # noqa: F401  (toy: a fixture)

from pipeline.core.errors import FormatError, MsaError, ParamsError
from pipeline.params.assemble import AssembleParams
from pipeline.store.shard import FeatureRow
from pipeline.transcripts.table import TRANSCRIPTS


def word_times(*edges: float) -> list[dict[str, Any]]:
    """Words a, b, c ... that follow each other at these seconds."""
    return [
        {"text": chr(ord("a") + i), "start_s": begin, "end_s": end, "score": None}
        for i, (begin, end) in enumerate(itertools.pairwise(edges))
    ]


@pytest.fixture
def spoken(toy: dict[str, Any]) -> dict[str, Any]:  # noqa: F811
    """The toy with frames a tenth of a second apart, and the words of `a b c`; one clip has no word times."""
    ids = [clip_id for clip_id in toy["clips"]["clip_id"].to_pylist() if clip_id != "v4$_$1"]
    words = [None if clip_id == "v1$_$2" else word_times(0.0, 0.25, 0.45, 0.8) for clip_id in ids]
    table = transcripts_of(dict.fromkeys(ids, "a b c"))
    toy["transcripts"] = table.append_column("words", pa.array(words, TRANSCRIPTS.field("words").type))
    for modality in ("audio", "visual"):
        for row in toy["features"][modality].rows.values():
            if row.features is not None:
                row.times = (np.arange(len(row.features)) / 10).astype(np.float32)
    for row in toy["features"]["text"].rows.values():
        if row.features is not None:  # [CLS], then a, b, c and [SEP], as many as there are
            row.features = noise(5, 4).astype(np.float16)
            row.char_start = np.array([-1, 0, 2, 4, -1], np.int32)
            row.char_end = np.array([-1, 1, 3, 5, -1], np.int32)
    toy["params"] = AssembleParams.model_validate(
        toy["params"].model_dump()
        | {
            "align": "words",
            "max_steps": {"text": 5, "audio": 5, "visual": 5},
            "shorten": {"text": "cut", "audio": "cut", "visual": "cut"},
            "normalize": [],
        }
    )
    return toy


def test_aligned_rows_are_words(spoken: dict[str, Any], tmp_path: Path) -> None:
    report = assemble(**spoken, out=tmp_path / "set")
    rows = {modality: store.rows for modality, store in spoken["features"].items()}
    text, audio = (read(tmp_path / "set", "valid", modality)["v3$_$1"] for modality in ("text", "audio"))
    np.testing.assert_array_equal(text, rows["text"]["v3$_$1"].features[1:4])
    frames = rows["audio"]["v3$_$1"].features
    by_hand = [frames[0:3].mean(axis=0), frames[3:5].mean(axis=0), frames[5:8].mean(axis=0)]
    np.testing.assert_allclose(audio, by_hand, rtol=1e-5)
    lost = read(tmp_path / "set", "train", "visual")["v2$_$1"]  # the face is lost after six frames
    assert lost is not None
    frames = rows["visual"]["v2$_$1"].features
    np.testing.assert_allclose(lost[2], frames[5], rtol=1e-6)
    assert lost[:, FACE.index("success")].tolist() == [1, 1, 1]
    assert report.left_out["v1$_$2"] == "not aligned: no word times"
    assert report.counts["left_out"]["not aligned"] == 2  # v4, which has no text either
    stats = json.loads((tmp_path / "set/stats.json").read_text())
    assert [entry["align"] for entry in stats["modalities"].values()] == ["words"] * 3


def test_aligned_modalities_have_as_many_rows(spoken: dict[str, Any], tmp_path: Path) -> None:
    """A text that was cut takes its words from the other modalities, too; a word without a face is zero."""
    row = spoken["features"]["text"].rows["v3$_$1"]
    row.features, row.char_start, row.char_end = row.features[:3], row.char_start[:3], row.char_end[:3]
    spoken["features"]["visual"].rows["v3$_$1"].features[:3, 1] = 0
    spoken["features"]["audio"].rows["v5$_$1"] = FeatureRow("v5$_$1", "0", "absent", "no track")
    assemble(**spoken, out=tmp_path / "set")
    text, audio, visual = (read(tmp_path / "set", "valid", m)["v3$_$1"] for m in ("text", "audio", "visual"))
    assert len(text) == len(audio) == len(visual) == 2  # type: ignore[arg-type]
    assert visual is not None
    assert (visual[0] == 0).all() and visual[1, 1] == 1
    assert read(tmp_path / "set", "unlabeled", "audio")["v5$_$1"] is None
    alone = read(tmp_path / "set", "unlabeled", "text")["v5$_$1"]
    assert alone is not None and len(alone) == 3


def test_alignment_is_part_of_the_feature_set(spoken: dict[str, Any], tmp_path: Path) -> None:
    aligned = assemble(**spoken, out=tmp_path / "set").feature_set
    spoken["params"] = spoken["params"].model_copy(update={"align": "none"})
    assert assemble(**spoken, out=tmp_path / "set").feature_set != aligned
    assert "align" not in (tmp_path / "set/stats.json").read_text()


def test_alignment_that_cannot_be(spoken: dict[str, Any], tmp_path: Path) -> None:
    def refused(error: type[MsaError], message: str, **changes: Any) -> None:
        with pytest.raises(error, match=message):
            assemble(**(spoken | changes), out=tmp_path / "set")

    settings = spoken["params"].model_dump()
    for change in ({"max_steps": {"text": 5, "audio": 6, "visual": 5}}, {"shorten": {"text": "cut"}}):
        params = AssembleParams.model_validate(settings | change)
        refused(ParamsError, r"assemble\.toy\.align is `words`.*max_steps", params=params)
    table = spoken["transcripts"]
    nothing = pa.nulls(table.num_rows, TRANSCRIPTS.field("words").type)
    unknown = table.set_column(2, "words", nothing)
    refused(MsaError, r"none of \d+ clips can be aligned .*transcribe\.align\.model", transcripts=unknown)
    other = table.set_column(1, "text", pa.array(["x y z"] * table.num_rows))
    refused(MsaError, r"'a', is not in its transcript", transcripts=other)
    spoken["features"]["audio"].rows["v3$_$1"].times = None
    refused(FormatError, r"clip 'v3\$_\$1': its audio features have no times")
