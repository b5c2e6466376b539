"""Pickles of MMSA, MMSA-FET, CH-SIMS v2 and CIDer, value by value, and in the variants that occur."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import made_mird, made_mmsa, made_multibench, made_word_lists
from made.made_mmsa import write

from pipeline.core.errors import FormatError, ParamsError
from pipeline.core.vocabulary import TEST_OOD, TRAIN, UNLABELED
from pipeline.formats.source import Source
from pipeline.imports import published
from pipeline.imports.contract import Imported
from pipeline.imports.registry import importer
from pipeline.imports.registry import read as read_kind
from pipeline.params.params import ImportParams

KINDS = ("mmsa_pickle", "mird", "multibench", "word_lists")
FACET_41 = (
    "Frametime,Face X,Face Y,Face Width,Face Height,angerEvidence,contemptEvidence,disgustEvidence,"
    "joyEvidence,fearEvidence,negativeEvidence,neutralEvidence,positiveEvidence,sadnessEvidence,"
    "surpriseEvidence,confusionEvidence,frustrationEvidence,angerIntensity,contemptIntensity,"
    "disgustIntensity,joyIntensity,fearIntensity,negativeIntensity,neutralIntensity,positiveIntensity,"
    "sadnessIntensity,surpriseIntensity,confusionIntensity,frustrationIntensity,AU1Evidence,AU2Evidence,"
    "AU4Evidence,AU5Evidence,AU6Evidence,AU7Evidence,AU9Evidence,AU10Evidence,AU12Evidence,AU14Evidence,"
    "AU15Evidence,AU17Evidence,AU18Evidence,AU20Evidence,AU23Evidence,AU24Evidence,AU25Evidence,"
    "AU26Evidence,AU28Evidence"
)


def read(path: Path, **settings: Any) -> Imported:
    params = ImportParams(root=str(path), kind="mmsa_pickle", settings=settings)
    return read_kind("mmsa_pickle", Source(path), params)


def read_tree(folder: Path, tree: Any) -> Imported:
    return read(write(folder / "features.pkl", tree))


def row_of(found: Imported, clip: str) -> dict[str, Any]:
    (row,) = [row for row in found.rows if row["clip_id"] == clip]
    return row


@pytest.mark.parametrize(
    ("maker", "kind"),
    [
        (made_mmsa.make, "mmsa_pickle"),
        (lambda folder: made_mmsa.make(folder, aligned=True), "mmsa_pickle"),
        (made_mmsa.make_sims, "mmsa_pickle"),
        (made_mird.make, "mird"),
        (made_mird.make_unlabeled, "mird"),
        (made_multibench.make, "multibench"),
        (made_multibench.make_humor, "multibench"),
        (made_word_lists.make, "word_lists"),
        (made_word_lists.make_clue, "word_lists"),
    ],
)
def test_every_file_is_of_one_kind(tmp_path: Path, maker: Any, kind: str) -> None:
    source = Source(maker(tmp_path))
    reasons = {name: importer(name).matches(source) for name in KINDS}
    assert [name for name, reason in reasons.items() if not reason] == [kind], reasons


@pytest.mark.parametrize("aligned", [False, True])
def test_values_labels_and_lengths_are_those_of_the_file(tmp_path: Path, aligned: bool) -> None:
    tree = made_mmsa.tree(aligned)
    found = read_tree(tmp_path, tree)
    assert found.aligned is aligned
    assert [row["clip_id"] for row in found.rows] == [c for part in tree.values() for c in part["id"]]
    for name, part in tree.items():
        for index, clip in enumerate(part["id"].tolist()):
            row = row_of(found, clip)
            assert (row["split"], row["video_id"]) == (name, clip.split("$_$")[0])
            assert row["text"] == part["raw_text"][index]
            assert row["label"] == pytest.approx(float(part["regression_labels"][index]), abs=1e-7)
            for modality, key in (("text", "text"), ("audio", "audio"), ("visual", "vision")):
                sequences = found.modalities[modality]
                np.testing.assert_array_equal(sequences.read(clip), part[key][index])
                assert sequences.padded
            text = found.modalities["text"]
            assert text.token_ids is not None
            np.testing.assert_array_equal(text.token_ids(clip), part["text_bert"][index, 0])
            assert text.lengths[clip] == part["text_bert"][index, 1].sum()
            if not aligned:
                assert found.modalities["audio"].lengths[clip] == part["audio_lengths"][index]
                assert found.modalities["visual"].lengths[clip] == part["vision_lengths"][index]
    assert (found.labelling.label_range, found.labelling.language) == ((-3.0, 3.0), "en")


def test_columns_have_the_names_of_the_sources(tmp_path: Path) -> None:
    found = read(made_mmsa.make(tmp_path))
    assert found.modalities["audio"].columns == ["VUV", "QOQ", "MDQ", "MCEP_14", "HMPDM_24"]
    # the list and the indices of CMU-MultimodalSDK's issue 172, as its maintainer wrote them
    plain = [
        name.replace("_", "").replace("AU0", "AU").lower() for name in found.modalities["visual"].columns
    ]
    indices = [0, 2, 5, 10, 11, 12, 14, 17, 20, 21, 22, 24, 25, 29, 30, 31, 32, 36, 37, 40]
    assert plain == [FACET_41.split(",")[index].replace(" ", "").lower() for index in indices]
    assert found.modalities["text"].columns[:2] == ["bert_000", "bert_001"]


def test_unlabeled_clips_of_train_mix_come_once_and_without_labels(tmp_path: Path) -> None:
    tree = made_mmsa.sims_tree()
    found = read_tree(tmp_path, tree)
    splits = [row["split"] for row in found.rows]
    assert (splits.count(TRAIN), splits.count(UNLABELED), len(splits)) == (6, 5, 18)
    unlabeled = [row for row in found.rows if row["split"] == UNLABELED]
    assert all(row["label"] is None and row["label_text"] is None for row in unlabeled)
    for offset, row in enumerate(unlabeled):
        block = found.modalities["audio"].read(row["clip_id"])
        np.testing.assert_array_equal(block, tree["train_mix"]["audio"][6 + offset])
    first = row_of(found, "train-v0$_$1")
    assert first["label_audio"] == tree["train"]["regression_labels_A"][0]
    assert found.labelling.label_range == (-1.0, 1.0)
    assert (found.labelling.language, found.labelling.metrics) == ("zh", "sims")
    assert any("5 clips are unlabeled; of 6 labeled ones 6" in note for note in found.notes)
    del tree["train_mix"]["mask"]
    assert [row["split"] for row in read_tree(tmp_path, tree).rows] == splits
    del tree["train"]
    tree["train_mix"]["mask"] = np.array([[1.0]] * 6 + [[0.0]] * 5)
    again = read_tree(tmp_path, tree)
    assert sorted(row["split"] for row in again.rows) == sorted(splits)


def test_second_test_split(tmp_path: Path) -> None:
    tree = made_mmsa.tree(counts={"train": 4, "valid": 2, "test": 2, "test_OOD": 3})
    assert [row["split"] for row in read_tree(tmp_path, tree).rows].count(TEST_OOD) == 3
    folder = tmp_path / "apart"
    for name, content in tree.items():
        write(folder / f"{name.replace('test', 'test_IID') if name == 'test' else name}.pkl", content)
    apart = read(folder)
    assert (
        sorted(row["split"] for row in apart.rows)
        == ["test"] * 2 + ["test_ood"] * 3 + ["train"] * 4 + ["valid"] * 2
    )


def test_joblib_dump(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    tree = made_mmsa.tree()
    path = tmp_path / "MOSI_unaligned_50.pkl"
    joblib.dump(tree, path)
    found = read(path)
    np.testing.assert_array_equal(found.modalities["audio"].read("train-v0$_$1"), tree["train"]["audio"][0])


# --------------------------------------------------------------------------------------------- odd but right
def objects(values: Any) -> np.ndarray:
    found = np.empty(len(values), object)
    for row, value in enumerate(values):
        found[row] = value
    return found


def ragged(tree: dict[str, Any], box: Any) -> dict[str, Any]:
    """audio as clips with lengths of their own."""
    for part in tree.values():
        part["audio"] = box([part["audio"][row][:n] for row, n in enumerate(part.pop("audio_lengths"))])
    return tree


def plain_lists(blocks: Any) -> list[Any]:
    return [block.tolist() for block in blocks]


@pytest.mark.parametrize("box", [objects, list, plain_lists])
def test_clips_with_lengths_of_their_own(tmp_path: Path, box: Any) -> None:
    tree = made_mmsa.tree()
    lengths = tree["train"]["audio_lengths"]
    found = read_tree(tmp_path, ragged(made_mmsa.tree(), box))
    audio = found.modalities["audio"]
    assert not audio.padded and not found.aligned
    for row, clip in enumerate(tree["train"]["id"].tolist()):
        block = audio.read(clip)
        assert block is not None
        np.testing.assert_allclose(block, tree["train"]["audio"][row][: lengths[row]])


def test_other_types_of_the_same_content(tmp_path: Path) -> None:
    """float64, text_bert as float, labels (n, 1), lengths and ids as lists, ids as bytes, missing keys."""
    tree = made_mmsa.tree()
    plain = read_tree(tmp_path, tree)
    odd = made_mmsa.tree()
    for part in odd.values():
        part["audio"] = part["audio"].astype(np.float64)
        part["text_bert"] = part["text_bert"].astype(np.float32)
        part["regression_labels"] = part["regression_labels"].astype(np.float64)[:, None]
        part["id"] = [clip.encode() for clip in part["id"].tolist()]
        part["raw_text"] = part["raw_text"].tolist()
        part["vision_lengths"] = np.array(part["vision_lengths"], float)[:, None]
        del part["annotations"], part["classification_labels"]
    odd |= {"config": {"audio": {"tool": "librosa"}}}
    other = read(write(tmp_path / "two.pkl", odd, protocol=2))
    assert other.rows == plain.rows
    for modality in ("text", "audio", "visual"):
        assert other.modalities[modality].lengths == plain.modalities[modality].lengths
        for row in plain.rows:
            here, there = (found.modalities[modality].read(row["clip_id"]) for found in (other, plain))
            np.testing.assert_array_equal(here, there)
    ids = other.modalities["text"].token_ids
    assert ids is not None and ids("train-v0$_$1").dtype.kind == "i"  # type: ignore[union-attr]
    assert not any("config" in note for note in other.notes)


def test_missing_modalities_and_labels(tmp_path: Path) -> None:
    tree = made_mmsa.tree()
    for part in tree.values():
        del part["vision"], part["vision_lengths"], part["text"]
    tree["valid"]["regression_labels"][1] = np.nan
    del tree["test"]["audio"]
    found = read_tree(tmp_path, tree)
    assert list(found.modalities) == ["audio"]
    audio = found.modalities["audio"]
    assert audio.read("test-v0$_$1") is None and "test-v0$_$1" not in audio.clips
    assert row_of(found, "valid-v0$_$2")["label"] is None
    assert any("text_bert without text" in note for note in found.notes)


def test_fet_says_that_a_file_is_aligned(tmp_path: Path) -> None:
    tree = made_mmsa.tree()
    assert not read_tree(tmp_path, tree).aligned
    assert read_tree(tmp_path, tree | {"config": {"align": {"tool": "wav2vec"}}}).aligned
    assert read_tree(tmp_path, tree | {"align": {"tool": "wav2vec"}}).aligned


def test_dirty_numbers_are_left_to_whoever_cleans(tmp_path: Path) -> None:
    tree = made_mmsa.tree()
    tree["train"]["audio"][0, 0, :2] = -np.inf, np.nan
    block = read_tree(tmp_path, tree).modalities["audio"].read("train-v0$_$1")
    assert block is not None and np.isneginf(block[0, 0]) and np.isnan(block[0, 1])


def test_annotations_against_labels_are_counted(tmp_path: Path) -> None:
    tree = made_mmsa.tree()
    tree["train"]["regression_labels"][:3] = 1.0, -1.0, 0.0
    tree["train"]["annotations"] = ["Negative", "Negative", "Positive", *tree["train"]["annotations"][3:]]
    assert any(note.startswith("2 annotations contradict") for note in read_tree(tmp_path, tree).notes)
    assert not any("contradict" in note for note in read(made_mmsa.make(tmp_path)).notes)


def test_known_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made_mmsa.make(tmp_path)
    assert not any("published" in note for note in read(path).notes)
    monkeypatch.setitem(published.SIZES, "CMU-MOSI", (6, 4, 3))
    notes = read(path).notes
    assert any("as published for CMU-MOSI" in note for note in notes)
    assert any("not one of the files whose SHA-256" in note for note in notes)
    (digest,) = Source(path).hashes([path]).values()
    monkeypatch.setitem(published.SUMS, digest, "MOSI/Processed/unaligned_50.pkl")
    assert any("is MMSA's MOSI/Processed/unaligned_50.pkl" in note for note in read(path).notes)


def test_sizes_near_the_published_ones_are_told() -> None:
    def about(train: int, valid: int, test: int) -> list[str]:
        splits = ["train"] * train + ["valid"] * valid + ["test"] * test
        return published.about_sizes([{"split": split} for split in splits])

    assert about(1284, 229, 686) == ["1284/229/686 clips, as published for CMU-MOSI"]
    (note,) = about(16265, 1869, 4643)
    assert "CMU-MOSEI" in note and "-61/-2/-16" in note
    assert about(6, 4, 3) == []
    assert len(published.SUMS) == 5 and all(len(digest) == 64 for digest in published.SUMS)


# ------------------------------------------------------------------------------------------------- refusals
def spoil(key: str, change: Any, split: str = "train") -> Any:
    def apply(tree: dict[str, Any]) -> None:
        tree[split][key] = change(tree[split][key])

    return apply


def drop(tree: dict[str, Any]) -> None:
    del tree["train"]["id"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (spoil("audio", lambda a: a[:4]), r"audio has shape \(4, 9, 5\).*same number of clips"),
        (spoil("audio", lambda a: a[:, :, :3]), "3 columns.* 5; expected the same number"),
        (spoil("audio", lambda a: a[:, :, :, None]), r"shape \(6, 9, 5, 1\); expected numbers"),
        (spoil("audio", lambda a: a.astype(str)), "expected numbers of shape"),
        (spoil("text_bert", lambda a: a[:, :2]), r"\(6, 2, 6\), expected \(n, 3, L\)"),
        (spoil("text_bert", lambda a: a[:, :, :4]), r"\(6, 3, 4\), but text has 6 steps"),
        (spoil("audio_lengths", lambda a: [2.5, *a[1:]]), r"train-v0\$_\$1 is 2.5; expected a whole"),
        (spoil("regression_labels", lambda a: [[1, 2], *a[1:]]), "expected one finite number"),
        (spoil("id", lambda a: [a[1], *a[1:]]), r"twice in a split: train-v0\$_\$2"),
        (
            spoil("id", lambda a: ["train-v0$_$1", *a[1:]], "test"),
            r"train-v0\$_\$1 \(train and test",
        ),
        (spoil("id", lambda a: ["a$_$b$_$c", *a[1:]]), "separates video_id from clip_id"),
        (spoil("id", lambda a: ["../a$_$b", *a[1:]]), "must not lead to another folder"),
        (spoil("id", lambda a: ["a\n$_$b", *a[1:]]), "control characters"),
        (drop, "has no id; expected video_id"),
    ],
)
def test_nonsense_is_refused_by_name(tmp_path: Path, damage: Any, said: str) -> None:
    tree = made_mmsa.tree()
    damage(tree)
    with pytest.raises(FormatError, match=said):
        read_tree(tmp_path, tree)


def test_truncated_files_other_files_and_settings(tmp_path: Path) -> None:
    path = made_mmsa.make(tmp_path)
    cut = tmp_path / "cut.pkl"
    cut.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(FormatError, match=r"cut\.pkl"):
        read(cut)
    with pytest.raises(FormatError, match="no split has regression_labels"):
        read(made_mird.make(tmp_path / "mird"))
    with pytest.raises(ParamsError, match="settings"):
        read(path, speed=3)


def test_reading_a_clip_does_not_read_the_file(tmp_path: Path) -> None:
    """Memory: rows come from the file when they are asked for."""
    import tracemalloc

    tree = made_mmsa.tree()
    for name, part in tree.items():
        count = 400 if name == "train" else len(part["id"])
        part.update({key: part[key][:1] for key in part} if name != "train" else {})
        if name == "train":
            part["id"] = made_mmsa.ids_of("train", count)
            part["audio"] = np.ones((count, 500, 74), np.float32)  # 59 MB
            part["audio_lengths"] = [500] * count
            for key in ("vision", "text", "text_bert", "raw_text", "annotations", "classification_labels"):
                del part[key]
            del part["vision_lengths"]
            part["regression_labels"] = np.zeros(count)
        else:
            del part["audio"], part["audio_lengths"]
    path = write(tmp_path / "large.pkl", tree)
    del tree
    tracemalloc.start()
    audio = read(path).modalities["audio"]
    total = sum(float(block.sum()) for clip in audio.clips if (block := audio.read(clip)) is not None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 400 * 500 * 74
    assert peak < 20 << 20
