"""What an importer found, written as our tables and stores: value by value, and what is refused."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made.made_imported import (
    LENGTHS,
    SHARDS,
    STEPS,
    WIDTHS,
    imported,
    padded,
    rows,
    sequences,
    values,
    written,
)

from pipeline.core.errors import ClipError, TooManyFailedError
from pipeline.corpora.clips import facts_of, read_clips
from pipeline.imports.contract import FeatureSequences
from pipeline.imports.convert import discard, summary
from pipeline.imports.survey import survey
from pipeline.store.shard import FeatureRow, Features
from pipeline.store.store import FeatureStore
from pipeline.transcripts.table import read_transcripts


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "foreign.pkl"
    path.write_bytes(b"what the importer is said to have read")
    return path


def stores(project: Path) -> dict[str, Features]:
    folder = project / "data" / "features" / "toy"
    found = {name: FeatureStore(folder / f"{name}-imported").read() for name in WIDTHS}
    return {name: store for name, store in found.items() if store is not None}


def row_of(project: Path, modality: str, clip_id: str) -> FeatureRow:
    return stores(project)[modality].rows[clip_id]


def array(row: FeatureRow) -> np.ndarray:
    assert row.features is not None
    return row.features


def bytes_of(project: Path) -> dict[str, str]:
    files = (path for path in sorted((project / "data").rglob("*")) if path.is_file())
    return {str(path.relative_to(project)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# ------------------------------------------------------------------------------------------- value by value
def test_tables_and_stores_hold_what_was_found(file: Path, tmp_path: Path) -> None:
    written(imported(), file, tmp_path)
    clips = read_clips(tmp_path / "data" / "clips" / "toy.parquet")
    by_id = {row["clip_id"]: row for row in clips.to_pylist()}
    for given in rows():
        found = by_id.pop(given["clip_id"])
        assert {key: found[key] for key in given} == given
        assert found["language"] == "en" and found["status"] == "ok" and found["path"] is None
    assert not by_id
    facts = facts_of(clips)
    assert (facts.dataset, facts.task, facts.label_range, facts.root) == ("toy", "regression", (-3, 3), None)

    spoken = read_transcripts(tmp_path / "data" / "transcripts" / "toy.parquet").to_pylist()
    assert {
        row["clip_id"]: (row["text"], row["source"], row["language"], row["words"]) for row in spoken
    } == {clip_id: (f"said in {clip_id}", "label", "en", None) for clip_id in LENGTHS}
    for modality, store in stores(tmp_path).items():
        assert store.meta["column_names"] == [f"{modality}_{i}" for i in range(WIDTHS[modality])]
        assert store.rows.keys() == LENGTHS.keys()
        for clip_id, row in store.rows.items():
            assert (row.status, row.error, row.times, row.token_ids) == ("ok", "", None, None)
            np.testing.assert_array_equal(array(row), values(modality, clip_id).astype(np.float32))


def test_the_footer_says_where_numbers_come_from(file: Path, tmp_path: Path) -> None:
    bad = padded("audio", "a$_$1")
    bad[0, 0], bad[1, 1], bad[1, 2] = np.nan, np.inf, 1e300
    found = {**imported().modalities, "audio": sequences("audio", {"a$_$1": bad})}
    written(imported(modalities=found), file, tmp_path, settings={"some": "setting"})
    meta = stores(tmp_path)["audio"].meta
    assert meta["encoder"] == "mmsa_pickle:foreign.pkl"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert (
        meta["params"]["files"]["names"] == {"foreign.pkl": digest} and meta["params"]["files"]["count"] == 1
    )
    assert meta["params"]["kind"] == "mmsa_pickle" and meta["params"]["settings"] == {"some": "setting"}
    assert meta["cleaned"] == {"nan": 1, "infinite": 2} and meta["padding"] == "back" and not meta["aligned"]
    assert str(tmp_path) not in json.dumps(meta)
    cleaned = array(row_of(tmp_path, "audio", "a$_$1"))
    assert (cleaned[0, 0], cleaned[1, 1], cleaned[1, 2]) == (0, 0, 0)
    good = np.isfinite(bad[:3]) & (bad[:3] < 1e300)
    np.testing.assert_array_equal(cleaned[good], bad[:3][good].astype(np.float32))


def test_of_many_files_only_the_joint_hash_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(21):
        (folder / f"{number:02d}.csv").write_text(str(number))
    written(imported(), folder, tmp_path / "one")
    meta = stores(tmp_path / "one")["text"].meta
    assert meta["encoder"] == "mmsa_pickle:many"
    assert meta["params"]["files"].keys() == {"count", "sha256"} and meta["params"]["files"]["count"] == 21
    (folder / "20.csv").rename(folder / "21.csv")
    written(imported(), folder, tmp_path / "two")
    assert stores(tmp_path / "two")["text"].meta["fingerprint"] != meta["fingerprint"]


def test_what_a_file_lacks_is_absent_with_its_reason(file: Path, tmp_path: Path) -> None:
    blocks = {"a$_$1": None, "b$_$1": np.zeros((STEPS, 2)), "c$_$1": np.zeros((0, 2))}
    found = {"visual": sequences("visual", blocks), "text": sequences("text")}
    done = written(imported(modalities=found), file, tmp_path)
    states = {clip_id: (row.status, row.error) for clip_id, row in stores(tmp_path)["visual"].rows.items()}
    assert states == {
        "a$_$1": ("absent", "the files have nothing for this clip"),
        "a$_$2": ("ok", ""),
        "b$_$1": ("absent", "all values in the file are 0"),
        "c$_$1": ("absent", "the files have nothing for this clip"),
    }
    assert summary("toy", done) == "toy: 4 clips\n  text: 4 ok\n  visual: 3 absent, 1 ok"
    assert dict(done.survey.lines())["visual"].endswith("2 clips missing, 1 clips all zeros")


def test_what_cannot_be_read_is_a_failed_row_with_its_reason(file: Path, tmp_path: Path) -> None:
    whole = sequences("visual", remark=lambda clip_id: "two faces" if clip_id == "a$_$2" else "")

    def read(clip_id: str) -> Any:
        if clip_id == "b$_$1":
            raise ClipError("1.csv: the file is empty")
        return whole.read(clip_id)

    done = written(imported(modalities={"visual": replace(whole, read=read)}), file, tmp_path)
    states = {clip_id: (row.status, row.error) for clip_id, row in stores(tmp_path)["visual"].rows.items()}
    ok = ("ok", "")
    failed = ("failed", "1.csv: the file is empty")
    assert states == {"a$_$1": ok, "a$_$2": ("ok", "two faces"), "b$_$1": failed, "c$_$1": ok}
    assert done.updates["visual"].failed == {"b$_$1": "1.csv: the file is empty"}
    assert dict(done.survey.lines())["visual"].endswith(", 1 clips unreadable")
    done.survey.check(0.25)
    with pytest.raises(TooManyFailedError, match=r"visual: 1 of 4 clips.*\n  - b\$_\$1: 1\.csv"):
        done.survey.check(0.24)


def test_a_modality_of_no_clip_is_remarked(file: Path, tmp_path: Path) -> None:
    nothing = FeatureSequences(["a"], lambda clip_id: None, list(LENGTHS))
    looked = survey(imported(modalities={"text": sequences("text"), "audio": nothing}), str(file))
    assert [note for note in looked.notes if "audio: it has nothing for any clip" in note]
    assert not [note for note in looked.notes if "text" in note]


def test_a_modality_that_the_files_lack_is_a_note_alone(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "features" / "toy" / "audio-imported"
    written(imported(), file, tmp_path)
    assert len(list(folder.iterdir())) == SHARDS
    for _ in range(2):
        written(imported(modalities={"text": sequences("text")}), file, tmp_path)
        assert [path.name for path in folder.iterdir()] == ["none.json"]
        reason = json.loads((folder / "none.json").read_text())
        assert reason == {"modality": "audio", "reason": "the files of toy have none"}
    written(imported(), file, tmp_path)
    assert len(list(folder.iterdir())) == SHARDS and not (folder / "none.json").exists()


def test_sequences_of_their_own_length_are_not_cut(file: Path, tmp_path: Path) -> None:
    blocks = {"a$_$1": np.array([[0, 0], [1, 1], [0, 0]])}
    found = {"visual": sequences("visual", blocks, padded=False)}
    written(imported(modalities=found), file, tmp_path)
    np.testing.assert_array_equal(array(row_of(tmp_path, "visual", "a$_$1")), blocks["a$_$1"])
    assert len(array(row_of(tmp_path, "visual", "b$_$1"))) == STEPS


def test_lengths_token_ids_and_times_follow_the_steps(file: Path, tmp_path: Path) -> None:
    """The states of pad tokens are no zeros: the attention mask decides. Times are cut alike."""
    ids = np.arange(100, 100 + STEPS)
    times = np.linspace(0.5, 2.5, STEPS)
    blocks = {clip_id: np.full((STEPS, 4), 7.0) for clip_id in LENGTHS}
    text = sequences("text", blocks, lengths=LENGTHS, token_ids=lambda clip_id: ids)
    audio = sequences("audio", times=lambda clip_id: times)
    written(imported(modalities={"text": text, "audio": audio}), file, tmp_path)
    for clip_id, length in LENGTHS.items():
        row = row_of(tmp_path, "text", clip_id)
        assert row.token_ids is not None and row.token_ids.tolist() == ids[:length].tolist()
        assert len(array(row)) == length
        heard = row_of(tmp_path, "audio", clip_id)
        assert heard.times is not None
        np.testing.assert_array_equal(heard.times, times[:length].astype(np.float32))


def test_contradicted_lengths_are_reported_and_the_padding_believed(file: Path, tmp_path: Path) -> None:
    lengths = {**LENGTHS, "a$_$1": 1}
    found = {"audio": sequences("audio", lengths=lengths)}
    done = written(imported(modalities=found), file, tmp_path)
    assert done.survey.modalities["audio"].ignored_lengths == 1
    assert len(array(row_of(tmp_path, "audio", "a$_$1"))) == 3
    everywhere = {"audio": sequences("audio", lengths=dict.fromkeys(LENGTHS, STEPS))}
    done = written(imported(modalities=everywhere), file, tmp_path / "whole")
    assert done.survey.modalities["audio"].ignored_lengths == 4
    assert len(array(row_of(tmp_path / "whole", "audio", "a$_$1"))) == 3


def test_aligned_modalities_keep_one_length(file: Path, tmp_path: Path) -> None:
    """A face that is lost at the end, and a silent clip, do not shorten the words."""
    lost = padded("visual", "a$_$2")
    lost[2:] = 0
    blocks: dict[str, dict[str, Any]] = {
        "visual": {"a$_$2": lost},
        "audio": {"c$_$1": np.zeros((STEPS, 3)), "a$_$1": None},
    }
    found = {name: sequences(name, blocks.get(name)) for name in WIDTHS}
    written(imported(modalities=found, aligned=True), file, tmp_path)
    for modality, store in stores(tmp_path).items():
        for clip_id, row in store.rows.items():
            if (modality, clip_id) not in (("audio", "c$_$1"), ("audio", "a$_$1")):
                assert len(array(row)) == LENGTHS[clip_id], (modality, clip_id)
    np.testing.assert_array_equal(array(row_of(tmp_path, "visual", "a$_$2")), lost.astype(np.float32))


def test_aligned_modalities_padded_in_front(file: Path, tmp_path: Path) -> None:
    turned = {
        name: {
            clip_id: np.roll(padded(name, clip_id), STEPS - LENGTHS[clip_id], axis=0) for clip_id in LENGTHS
        }
        for name in WIDTHS
    }
    turned["visual"]["c$_$1"][: STEPS - 2] = 0  # the face is found late
    found = {name: sequences(name, turned[name]) for name in WIDTHS}
    written(imported(modalities=found, aligned=True), file, tmp_path)
    for modality in WIDTHS:
        for clip_id, length in LENGTHS.items():
            kept = array(row_of(tmp_path, modality, clip_id))
            np.testing.assert_array_equal(
                kept, turned[modality][clip_id][STEPS - length :].astype(np.float32)
            )


def test_positions_words_and_languages_are_kept(file: Path, tmp_path: Path) -> None:
    word = {"text": "said", "start_s": 0.25, "end_s": 0.5, "score": 1.0}
    changed: dict[str, Any] = {
        "a$_$1": {"position": 7, "speaker": "ann", "language": "de"},
        "a$_$2": {"position": 3},
        "b$_$1": {"text": None},
        "c$_$1": {"text": "cafe\u0301"},
    }
    words = {"a$_$1": [word, {**word, "text": "in"}], "b$_$1": [word]}
    done = written(imported(rows(**changed), words=words), file, tmp_path)
    assert dict(done.survey.lines())["texts"] == "3 of 4 clips"
    table = {r["clip_id"]: r for r in read_clips(tmp_path / "data" / "clips" / "toy.parquet").to_pylist()}
    assert [table[clip_id]["position"] for clip_id in LENGTHS] == [7, 3, 0, 0]
    assert table["a$_$1"]["speaker"] == "ann" and table["a$_$1"]["language"] == "de"
    spoken = {
        row["clip_id"]: row
        for row in read_transcripts(tmp_path / "data" / "transcripts" / "toy.parquet").to_pylist()
    }
    assert spoken["a$_$1"]["words"] == words["a$_$1"] and spoken["a$_$1"]["language"] == "de"
    assert spoken["b$_$1"]["text"] is None and spoken["b$_$1"]["words"] is None
    assert spoken["b$_$1"]["source"] is None
    assert spoken["c$_$1"]["text"] == "café"  # composed
    assert table["b$_$1"]["status"] == "ok"  # its text features are there


def test_a_clip_without_text_and_text_features_says_so(file: Path, tmp_path: Path) -> None:
    found = {"audio": sequences("audio")}
    written(imported(rows(**{"b$_$1": {"text": ""}}), modalities=found), file, tmp_path)
    table = read_clips(tmp_path / "data" / "clips" / "toy.parquet").to_pydict()
    assert dict(zip(table["clip_id"], table["status"], strict=True))["b$_$1"] == "empty text"


# ------------------------------------------------------------------------------------------ a second time
def test_the_same_files_give_the_same_bytes(file: Path, tmp_path: Path) -> None:
    written(imported(), file, tmp_path / "one")
    backwards = {name: imported().modalities[name] for name in reversed(WIDTHS)}
    written(imported(rows()[::-1], modalities=backwards), file, tmp_path / "two")
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")


def test_a_second_run_computes_nothing_and_a_changed_file_everything(file: Path, tmp_path: Path) -> None:
    first = written(imported(), file, tmp_path)
    assert {name: update.computed for name, update in first.updates.items()} == dict.fromkeys(WIDTHS, 4)
    before = bytes_of(tmp_path)
    again = written(imported(), file, tmp_path)
    assert {name: (u.kept, u.computed) for name, u in again.updates.items()} == dict.fromkeys(WIDTHS, (4, 0))
    assert bytes_of(tmp_path) == before
    file.write_bytes(b"another version")
    changed = written(imported(), file, tmp_path)
    assert {name: (u.kept, u.computed) for name, u in changed.updates.items()} == dict.fromkeys(
        WIDTHS, (0, 4)
    )


def test_what_was_written_can_be_discarded(file: Path, tmp_path: Path) -> None:
    written(imported(), file, tmp_path)
    other = tmp_path / "data" / "clips" / "other.parquet"
    other.write_bytes(b"")
    discard("toy", tmp_path)
    assert [path for path in (tmp_path / "data").rglob("*") if path.is_file()] == [other]
    discard("toy", tmp_path)


# -------------------------------------------------------------------------------------------------- memory
def test_memory_of_an_import_is_that_of_its_pieces(tmp_path: Path) -> None:
    """A pickle far larger than what an import may hold at once: its arrays stay on disk."""
    measured = Path(__file__).parents[1] / "benchmarks" / "import_memory.py"
    done = subprocess.run(
        [sys.executable, str(measured), str(tmp_path), "40"], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["largest_mb"] == 40
    assert found["above_mb"] < 1.5 * found["largest_mb"]
    assert found["file_mb"] > 3 * found["largest_mb"]
