"""One walker reads folders and tells what it passes over; a name that is no id costs its clip alone."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from made.made_corpora import clip, dataset

from pipeline.core.errors import ClipError, LabelFileError, MsaError
from pipeline.core.names import bad_id, id_of
from pipeline.corpora.ingest import ingest, survey
from pipeline.corpora.survey import CorpusClip, clip_rows
from pipeline.corpora.tables.media_files import find_media
from pipeline.features.clip import plan
from pipeline.params.params import MediaLimits
from pipeline.predict.predict import clips_of

NOBODY = 65534
SOUND = ("--audio-encoder", "waveform16k", "--text-encoder", "none", "--visual-encoder", "none")

Cli = Callable[..., tuple[int, str]]


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


PASSED_OVER: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "a broken link": ("x.mp4", lambda path: path.symlink_to("gone.mp4"), "a broken link"),
    "a link to itself": ("x.mp4", lambda path: path.symlink_to("x.mp4"), "a broken link"),
    "a folder that is gone": ("videos", lambda path: path.symlink_to("/mnt/gone"), "a broken link"),
    "a link back": ("loop", lambda path: path.symlink_to("."), "a folder already read"),
}


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder, and the rights of somebody whom permissions bind."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        root = os.geteuid() == 0
        if root:
            os.seteuid(NOBODY)
        yield Path(folder)
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("name", PASSED_OVER)
def test_what_is_passed_over_is_told_by_all(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called, make, reason = PASSED_OVER[name]
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    monkeypatch.chdir(corpus)
    make(corpus / called)
    # nothing else is there
    with pytest.raises(ClipError, match=f"{called}: .*{reason}") as caught:
        plan([corpus], None)
    assert caught.value.exit_code == 1
    with pytest.raises(ClipError, match=reason):
        clips_of([corpus])
    with pytest.raises(LabelFileError, match=f"{called}: .*{reason}"):
        ingest("x", dataset("folder", corpus), MediaLimits())
    # beside a clip
    clip(corpus / "good.mp4")
    missed: dict[str, str] = {}
    assert [request.video.name for request in plan([corpus], None, missed)] == ["good.mp4"]
    assert list(missed) == [str(corpus / called)] and reason in missed[str(corpus / called)]
    found = survey("x", dataset("folder", corpus))
    assert not found.problems and [one.clip_id for one in found.clips] == ["good"]
    assert [(note.level, reason in note.message) for note in found.notes if note.check == "skipped"] == [
        ("warning", True)
    ]


def test_folders_that_may_not_be_read_are_told(unprivileged: Path) -> None:
    (unprivileged / "closed").mkdir()
    (unprivileged / "closed/x.mp4").touch()
    (unprivileged / "closed").chmod(0)
    with pytest.raises(ClipError, match=r"closed: cannot be listed \(Permission denied"):
        plan([unprivileged], None)
    (unprivileged / "a.mp4").touch()
    missed: dict[str, str] = {}
    assert [request.video.name for request in plan([unprivileged], None, missed)] == ["a.mp4"]
    assert [*missed] == [str(unprivileged / "closed")]
    (note,) = (one for one in survey("x", dataset("folder", unprivileged)).notes if one.check == "skipped")
    assert note.rows == ("closed: cannot be listed (Permission denied); check its permissions",)
    (unprivileged / "closed").chmod(0o700)  # to be removed


def test_a_file_that_may_not_be_read_is_a_failed_clip(unprivileged: Path) -> None:
    (unprivileged / "closed.mp4").touch(0)
    table, _ = ingest("x", dataset("folder", unprivileged), MediaLimits())
    assert ["permission denied" in status.lower() for status in table["status"].to_pylist()] == [True]


def test_a_folder_and_a_link_to_it_are_read_once_by_the_folders_name(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    clip(tmp_path / "elsewhere/1.mp4")
    clip(tmp_path / "corpus/z/2.mp4")
    (tmp_path / "corpus/a").symlink_to("z")
    (tmp_path / "corpus/out").symlink_to("../elsewhere")
    (tmp_path / "corpus/z/up").symlink_to("..")
    missed: dict[str, str] = {}
    assert find_media(tmp_path / "corpus", passed_over=missed) == ["out/1.mp4", "z/2.mp4"]
    assert sorted(missed) == [str(tmp_path / "corpus/a"), str(tmp_path / "corpus/z/up")]


NODES: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "socket": listening,
    "device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", NODES)
@pytest.mark.timeout(60)
def test_what_is_no_file_is_a_failed_clip(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    monkeypatch.chdir(tmp_path)
    clip(tmp_path / "corpus/good.mp4")
    NODES[kind](tmp_path / "corpus/x.mp4")
    table, _ = ingest("x", dataset("folder", tmp_path / "corpus"), MediaLimits())
    rows = {row["clip_id"]: row["status"] for row in table.to_pylist()}
    assert rows.pop("good$_$good") == "ok"
    assert [status.partition(": ")[0] for status in rows.values()] == ["unreadable media"]
    code, printed = cli("extract", "--video", "corpus", "--out", "out", *SOUND)
    assert code == 1 and "x.mp4: nothing could be extracted" in printed and "regular file" in printed


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.mp4")
    with pytest.raises(MsaError, match=r"x\.mp4: a named pipe"):
        plan([tmp_path / "x.mp4"], None)


BAD = {
    b"\xff": r"\udcff",
    b"caf\xe9": r"caf\udce9",
    b"new\nline": r"new\nline",
    b"\x1b[31m": r"\x1b[31m",
    b"back\\slash": r"back\\slash",
    b"a$_$b": "a$_$b",
}


@pytest.mark.parametrize("name", BAD, ids=BAD.values())
def test_a_name_that_cannot_be_an_id_costs_that_clip_alone(name: bytes, tmp_path: Path, cli: Cli) -> None:
    clip(tmp_path / "corpus/good.mp4")
    (tmp_path / "corpus" / os.fsdecode(name + b".mp4")).write_bytes(
        (tmp_path / "corpus/good.mp4").read_bytes()
    )
    table, _ = ingest("x", dataset("folder", tmp_path / "corpus"), MediaLimits())
    rows = {row["clip_id"]: row for row in table.to_pylist()}
    bad = rows.pop(f"{BAD[name]}$_${BAD[name]}")
    assert bad["path"] is None and "rename it" in bad["status"]
    assert [row["status"] for row in rows.values()] == ["ok"]
    code, printed = cli("extract", "--video", tmp_path / "corpus", "--out", tmp_path / "out", *SOUND)
    assert code == 1 and printed.count("nothing could be extracted") == 1
    assert {path.parent.name for path in (tmp_path / "out").rglob("audio.parquet")} == {
        "good.features",
        f"{BAD[name]}.features",
    }


def test_ids_of_names_are_ids_of_their_own() -> None:
    names = [*map(os.fsdecode, BAD), r"\udcff", r"\xff", "ÿ", "\x7f", r"\x7f", "a\\nb", "a\nb"]
    assert len({id_of(name) for name in names}) == len(names)
    assert all(id_of(name).isprintable() for name in names)
    assert all(id_of(name) == name for name in names if bad_id(name) is None)


def test_text_that_is_not_utf_8_never_ends_a_table(tmp_path: Path) -> None:
    """As JSON with halves of surrogate pairs has it, and a folder on the disk."""
    clips = [
        CorpusClip("v", "1", "train", "so \ud83d good", {"label": 0.0}, "\udcff/1.mp4", speaker="\ud800")
    ]
    (row,) = clip_rows(clips, dataset("folder", tmp_path), MediaLimits())
    assert (row["text"], row["speaker"], row["path"]) == ("so \ufffd good", "\ufffd", None)
    assert row["status"] == r"unreadable media: \udcff/1.mp4: its path is not UTF-8, rename it"


def test_ids_that_look_the_same_are_told(tmp_path: Path) -> None:
    for name in ("a", "A", "cafe\u0301", "caf\xe9", "other"):
        (tmp_path / f"{name}.mp4").touch()
    found = survey("x", dataset("folder", tmp_path))
    assert len(found.clips) == 5
    (note,) = (one for one in found.notes if one.check == "ids that look the same")
    assert [len(row.split(" = ")) for row in note.rows] == [2, 2]
