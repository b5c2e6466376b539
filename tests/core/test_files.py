"""Files that are never half written, locks between processes, hashes of files."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import MsaError
from pipeline.core.files import atomic_write, file_hash, lock, replaced_folder, write_json, write_parquet

WRITER = """
import sys, time
from pathlib import Path
from pipeline.core.files import atomic_write, replaced_folder
path = Path(sys.argv[2])
if sys.argv[1] == "file":
    with atomic_write(path) as temporary:
        temporary.write_text("half")
        print("writing", flush=True)
        time.sleep(60)
else:
    with replaced_folder(path) as folder:
        (folder / "one").write_text("half")
        print("writing", flush=True)
        time.sleep(60)
"""
HOLDER = """
import sys, time
from pathlib import Path
from pipeline.core.files import lock
with lock(Path(sys.argv[1]), "busy", shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    time.sleep(60)
"""


def started(program: str, project: Path, *arguments: str) -> subprocess.Popen[str]:
    """A process that has said its first word."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], cwd=project, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline()
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ------------------------------------------------------------------------------------------------------ files
def test_a_file_takes_its_place_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "made" / "a.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists() and temporary.parent == path.parent
    assert path.read_text() == "whole" and names(path.parent) == ["a.txt"]


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError), atomic_write(path) as temporary:
        temporary.write_text("half \ud800", encoding="utf-8")
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_writer_leaves_is_removed_by_the_next(tmp_path: Path, project: Path, kind: str) -> None:
    path = tmp_path / "a[1]"  # no pattern
    process = started(WRITER, project, kind, str(path))
    (left,) = tmp_path.iterdir()
    with atomic_write(path) as temporary:  # its writer lives: it stays
        temporary.write_text("whole")
        assert left.exists() and temporary != left
    end(process)
    assert path.read_text() == "whole" and left.exists()
    path.unlink()
    if kind == "file":
        with atomic_write(path) as temporary:
            temporary.write_text("whole")
    else:
        with replaced_folder(path) as folder:
            (folder / "one").write_text("whole")
    assert names(tmp_path) == ["a[1]"]


def test_other_files_of_the_folder_stay(tmp_path: Path) -> None:
    others = [".a.txt.tmp", ".a.txt.notes.tmp", f".b.txt.{2**22 + 1}.tmp"]  # no such process is possible
    for name in others:
        (tmp_path / name).write_text("mine")
    with atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == sorted([*others, "a.txt"])


# ---------------------------------------------------------------------------------------------------- folders
def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for number in (1, 2):
        with replaced_folder(out) as folder:
            (folder / f"file{number}").touch()
    assert names(out) == ["file2"] and names(tmp_path) == ["out"]


def test_an_exception_leaves_the_old_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").touch()
    with pytest.raises(UnicodeEncodeError), replaced_folder(out) as folder:
        (folder / "half").write_text("half \ud800", encoding="utf-8")
    assert names(out) == ["old"] and names(tmp_path) == ["out"]


# ----------------------------------------------------------------------------------------------- JSON, hashes
def test_equal_content_has_equal_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    write_json({"b": 1, "a": "é"}, one)
    write_json({"a": "é", "b": 1}, other)
    assert one.read_bytes() == other.read_bytes() == '{\n "a": "é",\n "b": 1\n}\n'.encode()
    write_json({"b": 1, "a": 2}, other, sort_keys=False)
    assert other.read_text() == '{\n "b": 1,\n "a": 2\n}\n'


def test_no_number_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json({"a": math.nan}, path)
    assert not path.exists()


def test_the_hash_is_that_of_sha256sum(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(os.urandom(300_000))
    assert file_hash(path) == subprocess.check_output(["sha256sum", path], text=True).split()[0]


# ------------------------------------------------------------------------------------------------------ locks
@pytest.mark.parametrize("place", ["folder", "folder/file"])
def test_one_process_at_a_time(tmp_path: Path, project: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    path = tmp_path / place
    holder = started(HOLDER, project, str(path), "alone")
    for shared in (False, True):
        with pytest.raises(MsaError, match="wait for it"), lock(path, "busy; wait for it", shared=shared):
            pass
    end(holder)  # a lock ends with its process
    with lock(path, "busy"):
        pass


def test_a_shared_lock_is_shared(tmp_path: Path, project: Path) -> None:
    holder = started(HOLDER, project, str(tmp_path), "shared")
    with lock(tmp_path, "busy", shared=True):
        pass
    with pytest.raises(MsaError, match="busy"), lock(tmp_path, "busy"):
        pass
    end(holder)
    assert names(tmp_path) == []


def test_without_a_message_one_waits(tmp_path: Path, project: Path) -> None:
    path = tmp_path / "lock"
    holder = started(HOLDER, project, str(path), "alone")
    waiting = subprocess.Popen(
        [sys.executable, "-c", HOLDER.replace('"busy", ', "").replace("60", "0"), str(path), "alone"],
        cwd=project,
        stdout=subprocess.PIPE,
        text=True,
    )
    time.sleep(0.5)
    assert waiting.poll() is None
    end(holder)
    assert waiting.communicate(timeout=30)[0] == "held\n"


def held(table: pa.Table | Path) -> tuple[object, ...]:
    table = pq.read_table(table) if isinstance(table, Path) else table
    return table.to_pydict(), table.schema.metadata


def test_a_table_that_is_there_keeps_its_bytes_whoever_wrote_them(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", None], "words": [[{"text": "x", "start_s": 0.5}], None]})
    table = table.replace_schema_metadata({"about": "1"})
    file = tmp_path / "table.parquet"
    pq.write_table(table, file, version="1.0")  # as another version of PyArrow might
    theirs = file.read_bytes()
    write_parquet(table, file)
    assert file.read_bytes() == theirs
    for changed in (table.replace_schema_metadata({"about": "2"}), table.slice(1), table.drop(["words"])):
        write_parquet(changed, file)
        assert file.read_bytes() != theirs and held(file) == held(changed)
    file.write_bytes(theirs[:50])
    write_parquet(table, file)
    assert held(file) == held(table)


def test_one_writer_at_a_time_and_the_lock_goes_with_the_last(tmp_path: Path, project: Path) -> None:
    out, program = tmp_path / "made" / "out", HOLDER.replace("import lock", "import one_writer as lock")
    program = program.replace(', "busy", shared=sys.argv[2] == "shared"', "").replace(
        "60", "float(sys.argv[2])"
    )
    holder = started(program, project, str(out), "60")
    waiting = [
        subprocess.Popen([sys.executable, "-c", program, str(out), "0"], cwd=project, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    said = [one.stderr.readline().decode() for one in waiting if one.stderr is not None]
    assert all("another process is writing it; waiting" in line for line in said)
    assert names(out.parent) == [".out.lock"] and [one.poll() for one in waiting] == [None] * 3
    end(holder)
    assert [one.wait(timeout=60) for one in waiting] == [0, 0, 0] and names(out.parent) == []


def test_threads_do_not_share_a_temporary_name(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with atomic_write(path) as one, atomic_write(path) as other:
        one.write_text("one")
        other.write_text("other")
        assert one != other and one.read_text() == "one"
    assert path.read_text() == "one" and names(tmp_path) == ["a"]
