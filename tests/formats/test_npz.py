""".npy and .npz files as NumPy reads them, but without code, surprises in the archive, or much memory."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from pipeline.core.errors import FormatError
from pipeline.formats.npz import PickledArray, load_npy, load_npz
from pipeline.formats.pickle import load
from pipeline.formats.signatures import refuse_archive
from pipeline.formats.stored import Limits, StoredArray

RANDOM = np.random.default_rng(5)
LARGE = RANDOM.normal(size=(60, 30, 20))  # 288 kB
ARRAYS = {
    **{
        kind: RANDOM.integers(0, 2, (3, 2)).astype(kind)
        for kind in ("b1", "<i2", ">i4", "u8", "f2", ">f8", "c8")
    },
    "text": np.array(["", "词"]),
    "bytes": np.array([b"ab"]),
    "one": np.array(2.5),
    "none": np.zeros((0, 4)),
    "fortran": np.asfortranarray(RANDOM.normal(size=(3, 4))),
    "large": LARGE,
    "large fortran": np.asfortranarray(LARGE),
    "large swapped": LARGE.astype(">f4"),
    "folder/name": np.arange(2),
}


def same(found: np.ndarray | StoredArray, wanted: np.ndarray) -> bool:
    array = np.asarray(found)
    return array.dtype == wanted.dtype.newbyteorder("=") and np.array_equal(array, wanted)


def npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version)
    return file.getvalue()


def refused(path: Path, *needles: str, limits: Limits = Limits()) -> None:  # noqa: B008
    with pytest.raises(FormatError) as caught:
        (load_npz if path.suffix == ".npz" else load_npy)(path, limits)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message, message
    assert all(needle in message for needle in needles), message


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path: Path, save: object) -> None:
    path = tmp_path / "x.npz"
    save(path, **ARRAYS)  # type: ignore[operator]
    found = load_npz(path)
    with np.load(path) as wanted:
        assert [*found] == [*wanted.files]
        assert [name for name in ARRAYS if not same(found[name], wanted[name])] == []
    assert {name for name, array in found.items() if isinstance(array, StoredArray)} == {
        name for name in ARRAYS if name.startswith("large")
    }
    for key in (0, -1, slice(4, 9), slice(None, None, 7)):
        assert np.array_equal(found["large fortran"][key], LARGE[key])


def test_npy(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    for array in ARRAYS.values():
        np.save(path, array)
        assert same(load_npy(path), np.load(path))
    path.write_bytes(npy(LARGE, (2, 0)))
    assert same(load_npy(path), LARGE)


def test_shared_mosi(shared: Path) -> None:
    path = shared / "datasets" / "mosi" / "bclstm_utterance.npz"
    found = load_npz(path)
    with np.load(path) as wanted:
        assert [*found] == wanted.files
        assert all(same(found[name], wanted[name]) for name in wanted.files)


def test_objects(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, good=np.arange(3), plain=np.array([{"a": 1}, ["b", LARGE]], dtype=object))
    plain = load_npz(path)["plain"]
    assert isinstance(plain, PickledArray)
    (first, (name, large)) = plain.tree()
    assert first == {"a": 1} and name == "b" and isinstance(large, StoredArray) and same(large, LARGE)
    np.savez(path, record=np.zeros(2, [("a", "f4"), ("b", "i2")]))
    refused(path, "'record.npy'", "plain numbers")
    np.savez(path, when=np.array(["2020-01-01"], "M8[D]"))
    refused(path, "'when.npy'", "datetime64")


class Code:
    def __reduce__(self) -> object:
        return os.system, ("touch canary",)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed, np.save])
@pytest.mark.parametrize(
    ("content", "limits", "needle"),
    [
        (np.array({"a": Code()}, dtype=object), Limits(), "system, which is code"),
        (
            np.array(["x" * 1000] * 9 + [b"y" * 2000], dtype=object),
            Limits(memory_bytes=2000),
            "2,000 bytes of memory",
        ),
        (np.array([*[[]] * 200, 1], dtype=object), Limits(objects=100), "100 instructions"),
    ],
)
def test_objects_that_are_no_plain_data(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    save: Any,
    content: np.ndarray,
    limits: Limits,
    needle: str,
) -> None:
    """They are refused when they are asked for, and keep nobody from the other arrays."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ("x.npy" if save is np.save else "x.npz")
    save(path, content)
    found = load_npy(path, limits) if save is np.save else load_npz(path, limits)["arr_0"]
    assert isinstance(found, PickledArray)
    with pytest.raises(FormatError, match=needle) as caught:
        found.tree()
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    assert [*tmp_path.iterdir()] == [path]


def test_objects_use_one_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, **{str(i): np.array({"a": str(i) * 900}, dtype=object) for i in range(9)})
    found = load_npz(path, Limits(memory_bytes=5000))
    with pytest.raises(FormatError, match="5,000 bytes of memory"):
        assert not [array.tree() for array in found.values()]


def test_a_pickle_that_goes_on_into_the_next_member(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    whole = npy(np.array({"a": 1}, dtype=object))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cut.npy", whole[:-1])
        archive.writestr("more.npy", whole + b"more")
    found = load_npz(path)
    for name, needle in (("cut", "is cut off"), ("more", "after its end")):
        with pytest.raises(FormatError, match=needle):
            found[name].tree()


@pytest.mark.parametrize("name", ["../x.npy", "/etc/x.npy", "a/../../x.npy", "..\\x.npy"])
def test_names_that_lead_out(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, npy(np.arange(3)))
    refused(path, "leads out of it")
    assert [*tmp_path.iterdir()] == [path]


def test_members(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    refused(path, "'readme.txt'", "not an array")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", npy(np.arange(3)))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.npy", npy(np.arange(4)))
    refused(path, "'a' twice")
    np.savez(path, **{str(i): np.zeros(1) for i in range(30)})
    refused(path, "30 members", limits=Limits(objects=20))


def test_bombs(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=np.zeros(4_000_000))
    assert path.stat().st_size < 40_000
    assert load_npz(path)["a"].shape == (4_000_000,)  # zeros pack well; that alone is no harm
    refused(path, "over the limit of 1,000,000", limits=Limits(decoded_bytes=1_000_000))

    whole = bytearray(path.read_bytes())  # a directory that claims less than is there
    place = whole.rindex(b"PK\x01\x02") + 24
    whole[place : place + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(whole)
    refused(path)

    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:  # bzip2 packs zeros as no array needs it
        archive.writestr("a.npy", npy(np.zeros(4_000_000)))
    refused(path, "no array compresses that well")


def test_damage(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    for save in (np.savez, np.savez_compressed):
        save(path, a=LARGE, b=np.arange(3))
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        refused(path, "damaged")
        broken = bytearray(whole)
        broken[56:64] = b"\xff" * 8
        path.write_bytes(broken)
        refused(path)
    path.write_bytes(b"<html>quota</html>")
    refused(path, "web page")
    path.write_bytes(b"")
    refused(path, "is empty")


def test_wrong_headers(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    good = npy(np.arange(20.0))
    header = good[10:128]
    for wrong, needle in (
        (header.replace(b"(20,)", b"(21,)"), "needs 168 bytes, but has 160"),
        (header.replace(b"(20,)", b"(-1,)"), "negative"),
        (header.replace(b"(20,)", b"(2**9"), "header is damaged"),
        (header.replace(b"'descr'", b"'descx'"), "header is damaged"),
        (b"__import__('os').system('x')".ljust(118), "header is damaged"),
        (b"(" * 117 + b"\n", "header is damaged"),
    ):
        path.write_bytes(good[:10] + wrong + good[128:])
        refused(path, needle)
    for content, needle in (
        (good[:100], "damaged"),
        (good[:-8], "has 152"),
        (good + b"x", "has 161"),
        (good[:6] + b"\x03\x00" + good[8:], "version 3.0"),
        (b"numbers", "not .npy data"),
        (good[:8] + b"\xff\xff" + good[10:], "damaged"),
    ):
        path.write_bytes(content)
        refused(path, needle)


@pytest.mark.parametrize("shape", ["(0, False)", "(True,)", "(1, True)", "(False, 3)"])
def test_axes_that_are_no_numbers(tmp_path: Path, shape: str) -> None:
    path = tmp_path / "a.npy"
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(8))
    with pytest.raises(FormatError, match=r"a\.npy: .*impossible shape"):
        load_npy(path)


@pytest.mark.parametrize("rows", [3, 20_000], ids=["small", "stored"])
@pytest.mark.parametrize("ending", [".npy", ".npz", ".pkl", ".joblib"])
def test_text_that_is_no_unicode_names_the_file(tmp_path: Path, ending: str, rows: int) -> None:
    path = tmp_path / f"a{ending}"
    text = np.full(rows, "x" * 3).view(np.uint32)
    text[-1] = 0x110000
    damaged = text.view("U3")
    if ending in (".pkl", ".joblib"):
        joblib.dump(damaged, path) if ending == ".joblib" else path.write_bytes(pickle.dumps(damaged))
    else:
        (np.save if ending == ".npy" else np.savez)(path, damaged)
    readers = {".npy": load_npy, ".npz": lambda path: load_npz(path)["arr_0"]}
    with pytest.raises(FormatError, match="invalid Unicode") as caught:
        np.asarray(readers.get(ending, load)(path))
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar", ".TAR.XZ"])
def test_archives(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"features{ending}"
    path.write_bytes(b"whatever")
    with pytest.raises(FormatError, match="unpack it first"):
        refuse_archive(path)


def test_archives_by_content(tmp_path: Path) -> None:
    path = tmp_path / "features.pkl"
    for head in (b"Rar!\x1a\x07\x01\x00", b"7z\xbc\xaf\x27\x1c", b"PK\x03\x04"):
        path.write_bytes(head)
        with pytest.raises(FormatError, match="unpack it first"):
            refuse_archive(path)
    np.savez(tmp_path / "x.npz", a=1)
    refuse_archive(tmp_path / "x.npz")
    path.write_bytes(b"\x80\x04N.")
    refuse_archive(path)


READ = """
import sys
from pathlib import Path
import numpy as np
from pipeline.formats.npz import load_npz
def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
before = peak()
rows = [float(row.sum()) for array in load_npz(Path(sys.argv[1])).values() for row in array]
print(peak() - before, sum(rows))
"""


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_memory(tmp_path: Path, project: Path, packing: int) -> None:
    """80 MB of arrays read row by row cost a process less than a third of that."""
    part = RANDOM.integers(0, 255, (5, 500, 100)).astype(np.float32)
    with zipfile.ZipFile(tmp_path / "x.npz", "w", packing, compresslevel=1) as archive:
        for i in range(4):
            archive.writestr(f"{i}.npy", npy(np.tile(part, (20, 1, 1))))
    run = [sys.executable, "-c", READ, str(tmp_path / "x.npz")]
    done = subprocess.run(run, capture_output=True, text=True, check=True, cwd=project)
    grown, total = map(float, done.stdout.split())
    assert total == pytest.approx(80 * float(part.sum(dtype=np.float64)), rel=1e-4)
    assert grown < 27


def test_many_small_members_and_long_lists_of_them(tmp_path: Path) -> None:
    """Small arrays are kept in memory, where they unpack to a thousand times the file."""
    path = tmp_path / "x.npz"
    np.savez_compressed(path, **{str(number): np.zeros(4000) for number in range(100)})
    assert len(load_npz(path)) == 100
    refused(path, "memory", limits=Limits(memory_floor=100_000))
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(300):
            archive.writestr(f"{'x' * 60_000}{number}", b"")
    refused(path, "member list")
