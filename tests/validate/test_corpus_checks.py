"""What two splits share, and how long clips are: by definition, on made rows of the clip table."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpora.findings import Finding, has_errors, percent, worst_first
from pipeline.params.params import MediaLimits
from pipeline.validate.corpus import SHARED_S, clip_seconds, leaks, media

LONG = "one thing I really liked about this film was how it ended"


def row(clip: str, split: str, **columns: Any) -> dict[str, Any]:
    """A row whose clip id is `video$_$number`."""
    return {
        "clip_id": clip,
        "video_id": clip.split("$_$")[0],
        "split": split,
        "status": "ok",
        "text": None,
    } | columns


def checks(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({}, None),
        ({"duration_s": 3.0}, 3.0),
        ({"start_s": 1.0, "end_s": 2.5}, 1.5),
        ({"start_s": 1.0, "end_s": 2.5, "duration_s": 2.0}, 1.0),  # the file ends before the clip
        ({"start_s": 1.0, "end_s": None, "duration_s": 4.0}, 3.0),
        ({"start_s": 5.0, "end_s": None, "duration_s": 4.0}, 0.0),
    ],
)
def test_length_of_a_clip(times: dict[str, float | None], expected: float | None) -> None:
    assert clip_seconds(times) == expected


def test_the_part_of_a_long_file_is_what_counts() -> None:
    facts = {"path": "a.mp4", "duration_s": 900.0, "has_audio": True, "width": 64}
    rows = [
        row("a$_$1", "train", start_s=0.0, end_s=4.0, **facts),
        row("a$_$2", "train", start_s=5.0, end_s=5.2, **facts),
        row("a$_$3", "train", start_s=6.0, end_s=700.0, **facts),
    ]
    found = checks(media(rows, ["a.mp4"], MediaLimits(max_seconds=600)))
    assert {check: finding.rows for check, finding in found.items()} == {
        "short clip": ("a$_$2",),
        "long clip": ("a$_$3",),
    }


def test_speakers_and_videos_in_two_splits() -> None:
    rows = [
        row("a$_$1", "train", speaker="Ann"),
        row("b$_$1", "test", speaker="Ann"),
        row("c$_$1", "test", speaker="Bob"),
        row("c$_$2", "test_ood", speaker="Bob"),
        row("d$_$1", "valid", speaker=None),
        row("d$_$c0", "context", speaker="Ann"),  # of its clip's video, in whatever split
    ]
    found = checks(leaks(rows))
    assert set(found) == {"videos in two splits", "speakers in two splits"}
    assert found["videos in two splits"].rows == ("c (test, test_ood)",)
    assert found["speakers in two splits"].rows == ("Ann (train, test)", "Bob (test, test_ood)")
    assert found["speakers in two splits"].message.startswith("2 of 2 speakers")


spans = st.lists(
    st.tuples(
        st.sampled_from(["train", "valid", "test"]),
        st.integers(0, 40).map(lambda tenths: tenths / 4),
        st.one_of(st.none(), st.integers(1, 20).map(lambda tenths: tenths / 4)),
    ),
    max_size=12,
)


@given(spans)
def test_shared_seconds_are_those_of_every_pair(clips: list[tuple[str, float, float | None]]) -> None:
    rows = [
        row(
            f"v$_${i:02d}",
            split,
            path="v.mp4",
            start_s=start,
            end_s=None if length is None else start + length,
        )
        for i, (split, start, length) in enumerate(clips)
    ]

    def end(clip: dict[str, Any]) -> float:
        return 1e9 if clip["end_s"] is None else clip["end_s"]

    expected = {
        frozenset((one["clip_id"], other["clip_id"]))
        for one, other in combinations(rows, 2)
        if one["split"] != other["split"]
        and min(end(one), end(other)) - max(one["start_s"], other["start_s"]) > SHARED_S
    }
    finding = checks(leaks(rows)).get("times in two splits")
    named = (
        [frozenset(word for word in line.split() if "$_$" in word) for line in finding.rows]
        if finding
        else []
    )
    assert set(named) == expected and len(named) == len(expected)


def test_clips_of_different_files_share_no_seconds() -> None:
    rows = [
        row(f"{name}$_$1", split, path=f"{name}.mp4", start_s=0.0, end_s=9.0)
        for name, split in (("a", "train"), ("b", "test"))
    ]
    assert leaks(rows) == []


def test_the_same_bytes_and_the_same_part_of_a_file() -> None:
    rows = [
        row("a$_$1", "train", path="a.mp4", sha256="1"),
        row("b$_$1", "test", path="b.mp4", sha256="1"),
        row("c$_$1", "train", path="c.mp4", sha256="2", start_s=0.0, end_s=1.0),
        row("c$_$2", "train", path="c.mp4", sha256="2", start_s=0.0, end_s=1.0),
        row("d$_$1", "train", path="d.mp4", sha256="3", start_s=0.0, end_s=1.0),
        row("d$_$2", "train", path="d.mp4", sha256="3", start_s=1.0, end_s=2.0),
    ]
    finding = checks(leaks(rows))["duplicate media"]
    assert finding.rows == ("a$_$1 (train) = b$_$1 (test)", "c$_$1 (train) = c$_$2 (train)")
    assert finding.message == "2 media file(s) occur more than once, 1 of them in several splits"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (LONG, LONG.upper() + "!", True),
        ("这部电影我真的非常喜欢看了三遍", "这部电影，我真的非常喜欢：看了三遍。", True),
        (LONG, LONG[:-5], False),
        ("I do not know", "I do not know", False),  # everybody says so
        (None, None, False),
    ],
)
def test_long_texts_that_are_the_same(one: str | None, other: str | None, same: bool) -> None:
    rows = [
        row("a$_$1", "train", text=one),
        row("b$_$1", "test", text=other),
        row("c$_$1", "test", text=LONG[::-1]),
    ]
    assert ("text in two splits" in checks(leaks(rows))) == same
    within = [row("a$_$1", "train", text=one), row("b$_$1", "train", text=other)]
    assert leaks(within) == []  # nothing is learnt that is tested


def test_two_test_splits_of_the_same_clips() -> None:
    """The defect of CLUE's files for MOSI, known by features, by media and by texts; ids may differ."""
    for columns, digests in (
        ({"sha256": True}, False),
        ({"text": True}, False),
        ({}, True),
    ):
        rows, known = [], {}
        for split in ("test", "test_ood"):
            for number in range(3):
                clip = row(f"{split}{number}$_$0", split, path=f"{split}{number}.mp4")
                clip |= {"sha256": str(number)} if columns.get("sha256") else {}
                clip |= {"text": f"{LONG} {'abc'[number]}"} if columns.get("text") else {}
                known |= {clip["clip_id"]: number} if digests else {}
                rows.append(clip)
        finding = checks(leaks(rows, known))["test splits"]
        assert "test and test_ood are the same clips (100% of test_ood)" in finding.message
        assert finding.rows == ("test_ood0$_$0", "test_ood1$_$0", "test_ood2$_$0")
        partly = checks(leaks(rows[:-1], known))["test splits"]
        assert "share 2 clips" in partly.message
    apart = [row("a$_$0", "test", sha256="1", path="a"), row("b$_$0", "test_ood", sha256="2", path="b")]
    assert leaks(apart) == []


def test_equal_features_are_one_clip() -> None:
    rows = [row("a$_$1", "train"), row("b$_$1", "valid"), row("c$_$1", "train")]
    finding = checks(leaks(rows, {"a$_$1": "x", "b$_$1": "x", "c$_$1": "y"}))["duplicate features"]
    assert finding.rows == ("a$_$1 (train) = b$_$1 (valid)",)


@given(st.integers(0, 400), st.integers(0, 400))
def test_a_share_is_never_more_than_it_is(part: int, rest: int) -> None:
    shown = percent(part, part + rest)
    assert (shown == "0%") == (part == 0)
    assert (shown == "100%") == (part > 0 and rest == 0)
    if shown[0] not in "<>" and part:
        assert abs(int(shown[:-1]) - 100 * part / (part + rest)) <= 0.5


def test_errors_come_first() -> None:
    findings = [Finding("info", "a", ""), Finding("warning", "b", ""), Finding("error", "c", "")]
    assert [finding.check for finding in worst_first(findings)] == ["c", "b", "a"]
    assert has_errors(findings) and not has_errors(findings[:2])
