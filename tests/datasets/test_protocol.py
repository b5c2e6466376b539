"""Folds, few-shot shares and label noise, counted over whole corpora."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from made.stored import assemble
from pydantic import ValidationError
from test_assemble import noise, store

from pipeline.core.errors import MsaError
from pipeline.corpora.clips import METADATA_KEY, ClipFacts, clip_table
from pipeline.datasets.assembly.protocol import NOT_CHOSEN, apply
from pipeline.params.assemble import AssembleParams, ProtocolParams

CLASSES = ("sad", "calm", "glad")
SPLITS = ["train"] * 7 + ["valid", "test", "test"]


def corpus(speakers: int = 24, clips: int = 10, classes: tuple[str, ...] = ()) -> pa.Table:
    """Clips of speakers, each in two videos; some unlabeled, some of a second test split, some context."""
    random = np.random.default_rng(3)
    rows: list[dict[str, Any]] = []
    for speaker in range(speakers):
        for number in range(clips):
            rows.append(
                {
                    "clip_id": f"s{speaker}v{number % 2}$_${number}",
                    "video_id": f"s{speaker}v{number % 2}",
                    "speaker": f"s{speaker}",
                    "split": SPLITS[number % len(SPLITS)],
                    "label": float(random.uniform(-3, 3)) if not classes else None,
                    "class_label": int(random.choice(len(classes), p=[0.6, 0.3, 0.1])) if classes else None,
                    "label_text": 1.5,
                    "language": "en",
                    "status": "ok",
                }
            )
    for split in ("unlabeled", "test_ood", "context"):
        labels = {"label": 2.0} if split == "test_ood" and not classes else {}
        rows += [
            {
                **rows[0],
                "clip_id": f"{split}$_${i}",
                "video_id": split,
                "split": split,
                "label": None,
                **labels,
            }
            for i in range(4)
        ]
    facts = ClipFacts("toy", "en", (-3.0, 3.0), "classification" if classes else "regression", classes)
    return clip_table(rows).replace_schema_metadata({METADATA_KEY: facts.to_json()})


def under(table: pa.Table, **params: Any) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Rows by clip id under a protocol, and what is left out."""
    done, left_out = apply(table, ProtocolParams.model_validate(params), "assemble.toy")
    assert done.schema.equals(table.schema, check_metadata=True)
    assert done["clip_id"].to_pylist() == table["clip_id"].to_pylist()
    return {row["clip_id"]: row for row in done.to_pylist()}, left_out


def splits(rows: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {clip_id: row["split"] for clip_id, row in rows.items()}


def folds(table: pa.Table, number: int, by: str, **more: Any) -> list[dict[str, dict[str, Any]]]:
    every = ({"number": number, "fold": fold, "by": by, **more} for fold in range(number))
    return [under(table, folds=one)[0] for one in every]


# --------------------------------------------------------------------------------------------------- folds
@pytest.mark.parametrize("classes", [(), CLASSES])
@pytest.mark.parametrize(
    ("by", "column"), [("speaker", "speaker"), ("video", "video_id"), ("clip", "clip_id")]
)
def test_every_clip_is_tested_once_and_groups_stay_together(
    by: str, column: str, classes: tuple[str, ...]
) -> None:
    table = corpus(classes=classes)
    tested: Counter[str] = Counter()
    for rows in folds(table, 5, by):
        members: dict[str, set[str]] = {}
        for row in rows.values():
            if row["split"] in ("train", "valid", "test"):
                members.setdefault(row["split"], set()).add(row[column])
        assert set(members) == {"train", "valid", "test"}
        assert not members["train"] & members["valid"]
        assert not members["test"] & (members["train"] | members["valid"])
        groups = sum(map(len, members.values()))
        assert len(members["valid"]) == np.ceil(0.1 * (groups - len(members["test"])))
        tested.update(clip_id for clip_id, row in rows.items() if row["split"] == "test")
    dealt = [row["clip_id"] for row in table.to_pylist() if row["split"] in ("train", "valid", "test")]
    assert tested == Counter(dict.fromkeys(dealt, 1))


def test_other_splits_and_all_labels_stay() -> None:
    table = corpus()
    before = {row["clip_id"]: row for row in table.to_pylist()}
    for clip_id, row in folds(table, 5, "speaker")[2].items():
        old = before[clip_id]
        if old["split"] in ("unlabeled", "test_ood", "context"):
            assert row == old
        assert {**row, "split": ""} == {**old, "split": ""}


def test_folds_do_not_depend_on_the_order_of_rows() -> None:
    table = corpus(classes=CLASSES)
    order = np.random.default_rng(0).permutation(len(table))
    for one, other in zip(folds(table, 4, "video"), folds(table.take(order), 4, "video"), strict=True):
        assert splits(one) == splits(other)
    assert splits(folds(table, 4, "video", seed=2)[0]) != splits(folds(table, 4, "video")[0])


def test_folds_have_about_the_same_size_and_classes() -> None:
    table = corpus(speakers=40, classes=CLASSES)
    for rows in folds(table, 5, "speaker"):
        test = [row["class_label"] for row in rows.values() if row["split"] == "test"]
        assert len(test) == pytest.approx(80, rel=0.15)
        shares = np.bincount(test, minlength=3) / len(test)
        np.testing.assert_allclose(shares, [0.6, 0.3, 0.1], atol=0.08)
    table = corpus(speakers=200, clips=1)
    for rows in folds(table, 5, "speaker"):  # 40 clips: drawn blindly, a seventh of them is 5.7 ± 2.2
        test = [row["label"] for row in rows.values() if row["split"] == "test"]
        assert (
            np.ptp(
                np.histogram(test, 7, (-3, 3))[0]
                - np.histogram(table["label"].drop_null(), 7, (-3, 3))[0] / 5
            )
            < 3
        )


def test_clips_without_a_label_are_not_dealt() -> None:
    table = corpus()
    labels = pa.array([None, *table["label"].to_pylist()[1:]], pa.float64())
    table = table.set_column(table.schema.get_field_index("label"), table.schema.field("label"), labels)
    first = table["clip_id"][0].as_py()
    assert {splits(rows)[first] for rows in folds(table, 5, "clip")} == {table["split"][0].as_py()}


def test_folds_that_cannot_be_made() -> None:
    few = corpus(speakers=3)
    with pytest.raises(MsaError, match=r"toy\.protocol\.folds\.number is 5, but there are 3 speakers"):
        folds(few, 5, "speaker")
    unknown = few.set_column(
        few.schema.get_field_index("speaker"), few.schema.field("speaker"), pa.nulls(len(few), pa.string())
    )
    with pytest.raises(
        MsaError, match=r"asks for speakers, but 30 of 30 clips have no speaker, e\.g\. 's0v0"
    ):
        folds(unknown, 2, "speaker")
    empty = few.filter(pa.compute.equal(few["split"], "unlabeled"))
    with pytest.raises(MsaError, match="there are 0 clips"):
        folds(empty, 2, "clip")
    with pytest.raises(ValidationError, match="fold is 5, expected 0 to 4 of 5 folds"):
        under(few, folds={"number": 5, "fold": 5})


def test_three_speakers_in_two_folds() -> None:
    """The fold that tests two of them leaves one, who cannot both teach and validate."""
    good, bad = ({"number": 2, "fold": fold, "by": "speaker"} for fold in (1, 0))
    assert {"train", "valid", "test"} <= set(splits(under(corpus(speakers=3), folds=good)[0]).values())
    with pytest.raises(MsaError, match="fold is 0, which has 20 clips to test with and leaves 1 speakers"):
        under(corpus(speakers=3), folds=bad)


# ------------------------------------------------------------------------------------------- train_fraction
# ---------------------------------------------------------------------------------------------- held back
def without_validation(table: pa.Table) -> pa.Table:
    old = table["split"].to_pylist()
    split = pa.array(["train" if one == "valid" else one for one in old], table.schema.field("split").type)
    return table.set_column(table.schema.get_field_index("split"), table.schema.field("split"), split)


@pytest.mark.parametrize(("by", "column", "groups"), [("speaker", "speaker", 24), ("video", "video_id", 48)])
def test_a_share_of_the_train_groups_validates(by: str, column: str, groups: int) -> None:
    table = without_validation(corpus())
    rows, _ = under(table, held_back={"by": by, "fraction": 0.2})
    before = {row["clip_id"]: row["split"] for row in table.to_pylist()}
    moved = {clip_id for clip_id, split in splits(rows).items() if split != before[clip_id]}
    assert moved == {clip_id for clip_id, row in rows.items() if row["split"] == "valid"}
    assert {before[clip_id] for clip_id in moved} == {"train"}
    validating = {rows[clip_id][column] for clip_id in moved}
    assert len(validating) == np.ceil(0.2 * groups)
    assert not validating & {row[column] for row in rows.values() if row["split"] == "train"}
    order = np.random.default_rng(0).permutation(len(table))
    assert splits(under(table.take(order), held_back={"by": by, "fraction": 0.2})[0]) == splits(rows)
    other = under(table, held_back={"by": by, "fraction": 0.2, "seed": 2})[0]
    assert splits(other) != splits(rows)


def test_what_cannot_be_held_back() -> None:
    with pytest.raises(MsaError, match=r"assemble\.toy\.protocol\.held_back: the corpus has 24 validation"):
        under(corpus(), held_back={})
    with pytest.raises(MsaError, match="are of 1 speakers; expected 2 or more"):
        under(without_validation(corpus(speakers=1)), held_back={"by": "speaker"})
    with pytest.raises(ValidationError, match="remove held_back"):
        ProtocolParams.model_validate({"folds": {"fold": 0}, "held_back": {}})


def test_shares_are_exact_nested_and_seeded() -> None:
    table = corpus()
    train = {row["clip_id"] for row in table.to_pylist() if row["split"] == "train"}
    kept = {}
    for share in (0.001, 0.1, 0.25, 0.5, 1.0):
        rows, left_out = under(table, train_fraction=share)
        assert set(left_out.values()) <= {NOT_CHOSEN} and set(left_out) <= train
        assert list(rows.values()) == table.to_pylist()  # nothing but who is left out
        kept[share] = train - set(left_out)
        assert len(kept[share]) == max(1, round(share * len(train)))
    chain = list(kept.values())
    assert all(small < large for small, large in pairwise(chain))
    other = set(under(table, train_fraction=0.5, seed=2)[1])
    assert other != train - kept[0.5] and len(other) == len(train) - len(kept[0.5])


def test_a_share_stays_when_clips_are_added() -> None:
    """The clips of a few-shot study are the same when the corpus grows, those aside that new ones replace."""
    table = corpus()
    grown = corpus(speakers=25)
    kept, now = (
        {c for c, split in splits(rows).items() if split == "train"} - set(left_out)
        for rows, left_out in (under(table, train_fraction=0.5), under(grown, train_fraction=0.5))
    )
    assert len(kept - now) <= 7  # as many as are new


def test_draws_do_not_depend_on_the_order_of_rows() -> None:
    table = corpus()
    order = np.random.default_rng(1).permutation(len(table))
    settings = {"train_fraction": 0.4, "label_noise": 0.5}
    assert under(table, **settings) == under(table.take(order), **settings)


# ---------------------------------------------------------------------------------------------- label_noise
@pytest.mark.parametrize("rate", [0.1, 0.37, 1.0])
@pytest.mark.parametrize("classes", [(), CLASSES])
def test_exactly_that_share_of_train_labels_is_wrong(rate: float, classes: tuple[str, ...]) -> None:
    table = corpus(classes=classes)
    target = "class_label" if classes else "label"
    before = {row["clip_id"]: row for row in table.to_pylist()}
    train = [row for row in before.values() if row["split"] == "train"]
    for share in (1.0, 0.5):
        rows, left_out = under(table, label_noise=rate, train_fraction=share)
        changed = {clip_id for clip_id, row in rows.items() if row[target] != before[clip_id][target]}
        assert len(changed) == round(rate * round(share * len(train)))
        assert not changed & set(left_out)
        assert {before[clip_id]["split"] for clip_id in changed} == {"train"}
        known = set(range(3)) if classes else {row["label"] for row in train}
        assert {rows[clip_id][target] for clip_id in changed} <= known
        for clip_id, row in rows.items():
            assert {**row, target: None} == {**before[clip_id], target: None}  # unimodal labels, too


def test_more_noise_spoils_the_same_clips_and_more() -> None:
    table = corpus(classes=CLASSES)
    before = {row["clip_id"]: row["class_label"] for row in table.to_pylist()}
    spoilt = []
    for rate in (0.2, 0.4, 0.8):
        rows, _ = under(table, label_noise=rate)
        spoilt.append({(c, row["class_label"]) for c, row in rows.items() if row["class_label"] != before[c]})
    assert spoilt[0] < spoilt[1] < spoilt[2]
    other, _ = under(table, label_noise=0.2, seed=9)
    assert {(c, r["class_label"]) for c, r in other.items() if r["class_label"] != before[c]} != spoilt[0]


def test_every_wrong_class_is_about_as_likely() -> None:
    table = corpus(speakers=60, classes=CLASSES)
    before = {row["clip_id"]: row["class_label"] for row in table.to_pylist()}
    rows, _ = under(table, label_noise=1.0)
    given = Counter(
        row["class_label"] for c, row in rows.items() if before[c] == 0 and row["split"] == "train"
    )
    assert given[0] == 0 and given[1] == pytest.approx(given[2], rel=0.3)


def test_a_regression_with_one_label_has_no_wrong_one() -> None:
    table = corpus()
    ones = pa.array([None if label is None else 1.0 for label in table["label"].to_pylist()], pa.float64())
    table = table.set_column(table.schema.get_field_index("label"), table.schema.field("label"), ones)
    rows, _ = under(table, label_noise=1.0)
    assert list(rows.values()) == table.to_pylist()


# ------------------------------------------------------------------------------------------------ assembled
def assembled(out: Path, **protocol: Any) -> Path:
    table = corpus()
    ids = table["clip_id"].to_pylist()
    texts = pa.table({"clip_id": ids, "text": pa.nulls(len(ids), pa.string())})
    made = {"audio": store("audio", ["a", "b"], {clip_id: noise(2, 2) for clip_id in ids})}
    for row, clip_id in enumerate(ids):
        made["audio"].rows[clip_id].features[:] = row
    settings = {"dataset": "toy", "audio": "toy/audio", **({"protocol": protocol} if protocol else {})}
    assemble(table, texts, made, AssembleParams.model_validate(settings), out, "toy")
    return out


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_a_protocol_of_defaults_changes_no_byte(tmp_path: Path) -> None:
    plain = assembled(tmp_path / "plain")
    defaults = {"folds": None, "train_fraction": 1.0, "label_noise": 0.0, "seed": 1}
    assert hashes(plain) == hashes(assembled(tmp_path / "defaults", **defaults))
    stats = json.loads((plain / "stats.json").read_text())
    assert list(stats) == [
        "format",
        "dataset",
        "task",
        "label_range",
        "class_names",
        "feature_set",
        "counts",
        "left_out",
        "modalities",
    ]


def test_a_protocol_stands_in_the_statistics(tmp_path: Path) -> None:
    folder = assembled(tmp_path / "few", train_fraction=0.25, label_noise=0.1)
    assert hashes(folder) == hashes(assembled(tmp_path / "again", train_fraction=0.25, label_noise=0.1))
    stats = json.loads((folder / "stats.json").read_text())
    expected = {"folds": None, "held_back": None, "train_fraction": 0.25, "label_noise": 0.1, "seed": 1}
    assert stats["protocol"] == expected
    assert stats["counts"]["train"]["clips"] == 42  # a quarter of 24 x 7
    assert stats["counts"]["left_out"] == {NOT_CHOSEN: 126}


def test_statistics_are_those_of_the_fold_s_own_train_clips(tmp_path: Path) -> None:
    folder = assembled(tmp_path / "fold", folds={"number": 3, "fold": 1})
    table = corpus()
    rows, _ = under(table, folds={"number": 3, "fold": 1})
    train = [
        row for row, clip_id in enumerate(table["clip_id"].to_pylist()) if rows[clip_id]["split"] == "train"
    ]
    entry = json.loads((folder / "stats.json").read_text())["modalities"]["audio"]
    np.testing.assert_allclose(entry["mean"], [np.mean(train)] * 2, rtol=1e-6)
