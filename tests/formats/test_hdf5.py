"""HDF5 files of others: what leads out of the file is refused with its path, the rest is read."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.core.errors import FormatError
from pipeline.formats.hdf5 import open_hdf5
from pipeline.formats.stored import Limits

RANDOM = np.random.default_rng(3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "CMU_MOSI_COVAREP.csd"


def refused(path: Path, *needles: str, limits: Limits = Limits()) -> None:  # noqa: B008
    with pytest.raises(FormatError) as caught, open_hdf5(path, limits):
        pass
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message, message
    assert all(needle in message for needle in needles), message


def test_sdk_file(path: Path) -> None:
    """The layout of CMU's SDK: data/<video>/features and intervals, metadata as JSON."""
    values = {f"video {i}": RANDOM.normal(size=(i + 1, 74)).astype(np.float32) for i in range(5)}
    with h5py.File(path, "w") as file:
        for video, features in values.items():
            file[f"COVAREP/data/{video}/features"] = features
            file[f"COVAREP/data/{video}/intervals"] = np.arange(2 * len(features)).reshape(-1, 2)
        meta = file.create_dataset("COVAREP/metadata/dimension names", (1,), h5py.string_dtype())
        meta[0] = json.dumps(["F0", "VÜV"])
        file["COVAREP/metadata/bytes"] = np.array([b"sp"])
    with open_hdf5(path) as file:
        found = file["COVAREP/data"]
        assert [*found] == [*values]
        for video, features in values.items():
            assert np.array_equal(found[f"{video}/features"][:], features)
            assert np.array_equal(found[f"{video}/features"][-1], features[-1])
        assert json.loads(file["COVAREP/metadata/dimension names"][0]) == ["F0", "VÜV"]
        assert file["COVAREP/metadata/bytes"][0] == b"sp"


@pytest.mark.parametrize("packing", ["gzip", "lzf", None])
def test_packed(path: Path, packing: str | None) -> None:
    values = RANDOM.normal(size=(300, 20))
    with h5py.File(path, "w") as file:
        options = {"compression": packing, "shuffle": True, "fletcher32": True} if packing else {}
        file.create_dataset("x", data=values, **options)
    with open_hdf5(path) as file:
        assert np.array_equal(file["x"][50:60], values[50:60])


def test_links_within(path: Path) -> None:
    """Links to datasets that are there are no harm."""
    with h5py.File(path, "w") as file:
        file["a/x"] = np.arange(3)
        file["a/soft"] = h5py.SoftLink("x")
        file["soft"] = h5py.SoftLink("/a/x")
        file["hard"] = file["a/x"]
    with open_hdf5(path) as file:
        assert file["soft"][1] == 1 and file["a/soft"][2] == 2
        assert file["hard"][0] == 0


@pytest.mark.parametrize("target", ["/", "a", "a/b", "a/b/c"])
@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_groups_within_themselves_or_twice(path: Path, target: str, kind: str) -> None:
    """Whoever goes through all groups would never end, or see 2^n of them."""
    with h5py.File(path, "w") as file:
        file["a/b/c/x"] = np.arange(3)
        file["a/b/c/link"] = file[target] if kind == "hard" else h5py.SoftLink(f"/{target.strip('/')}")
    refused(path, "/a/b/c/link", "elsewhere in the file" if kind == "hard" else "soft link")
    with h5py.File(path, "w") as file:
        file["a/x"], file["b/y"] = 1, 2
        file["b/one"] = file["a"]
        file["b/link"] = file["a"] if kind == "hard" else h5py.SoftLink("/a")
    refused(path, "link")


def test_ways_out(path: Path, tmp_path: Path) -> None:
    """Another file with a secret is reached by none of HDF5's ways."""
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = np.arange(4.0)
    raw = tmp_path / "secret.bin"
    raw.write_bytes(bytes(32))

    with h5py.File(path, "w") as file:
        file["a/b"] = h5py.ExternalLink("secret.h5", "/x")
    refused(path, "/a/b", "link to another file", "secret.h5")

    with h5py.File(path, "w") as file:
        file.create_dataset("a/c", (4,), np.float64, external=[(str(raw), 0, 32)])
    refused(path, "/a/c", "another file")

    layout = h5py.VirtualLayout((4,), np.float64)
    layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "x", (4,))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("a/d", layout)
    refused(path, "/a/d", "virtual")

    for target in ("/nowhere", "../x", "/", "/a/e"):
        with h5py.File(path, "w") as file:
            file["a/e"] = h5py.SoftLink(target)
        refused(path, "/a/e", "soft link", target)


def test_references(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(3)
        file.create_dataset("refs", data=np.array([file["x"].ref], dtype=object), dtype=h5py.ref_dtype)
    refused(path, "/refs", "references")
    with h5py.File(path, "w") as file:
        file.create_dataset("many", (1,), h5py.vlen_dtype(h5py.ref_dtype))
    refused(path, "/many")
    with h5py.File(path, "w") as file:
        file.create_dataset("record", (1,), np.dtype([("a", h5py.ref_dtype)]))
    refused(path, "/record")


def test_plugins(path: Path) -> None:
    """A filter that HDF5 would load a library for, and no folder to load it from."""
    with h5py.File(path, "w") as file:
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((2,))
        plan.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple((4,))
        h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_DOUBLE, space, plan)
    refused(path, "/x", "filter 32015", "h5repack")

    with h5py.File(path, "w") as file:
        file["x"] = 1
    folders = [h5py.h5pl.get(i) for i in range(h5py.h5pl.size())]
    with open_hdf5(path):
        assert h5py.h5pl.size() == 0
    assert [h5py.h5pl.get(i) for i in range(h5py.h5pl.size())] == folders


def test_sizes(path: Path) -> None:
    """A file of a few kilobytes may claim any size."""
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (1 << 40,), np.float64, chunks=(1000,))
    refused(path, "/x", "limit")
    with h5py.File(path, "w") as file:
        file.create_dataset("y", (1 << 28,), np.float64, chunks=(1 << 28,), compression="gzip")
    refused(path, "/y", "chunks")
    with h5py.File(path, "w") as file:
        for i in range(30):
            file[f"g{i}"] = i
    refused(path, "more than 20 objects", limits=Limits(objects=20))
    with h5py.File(path, "w") as file:
        file["/".join("abcdefgh")] = 1
    refused(path, "more than 5 groups deep", limits=Limits(depth=5))


def test_damage(path: Path, tmp_path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=RANDOM.normal(size=10_000), chunks=(100,), fletcher32=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "damaged", "download it again")

    path.write_bytes(whole[:-100] + bytes(100))
    with pytest.raises(FormatError, match="damaged"), open_hdf5(path) as file:
        file["x"][:]

    path.write_bytes(whole)
    with pytest.raises(FileNotFoundError), open_hdf5(path):  # an error of the user's own stays what it is
        (tmp_path / "none").read_bytes()
    with pytest.raises(KeyError), open_hdf5(path):
        {}["y"]

    for content, needle in ((b"", "is empty"), (b"<html>", "web page"), (b"\x80\x04N.", "not an HDF5 file")):
        path.write_bytes(content)
        refused(path, needle)


@pytest.mark.parametrize("packing", [None, "gzip"])
def test_values_that_are_nowhere(path: Path, packing: str | None) -> None:
    """A file of two kilobytes claims terabytes: of fill values, in one dataset or in many."""
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (10 << 37,), np.float64, chunks=(1000,), compression=packing)
    refused(path, "/x", "the limit for a file of its size")
    with h5py.File(path, "w") as file:
        for number in range(40):
            file.create_dataset(f"x{number}", (1_000_000,), np.float64, chunks=(1000,), compression=packing)
    refused(path, "the limit for a file of its size")


@pytest.mark.parametrize("shape", [(), (400,), (20, 20), (400, 1)])
def test_texts_of_any_length_count_with_their_letters(path: Path, shape: tuple[int, ...]) -> None:
    """They lie in a heap, where several may have one place."""
    with h5py.File(path, "w") as file:
        file.create_dataset("words", shape, h5py.string_dtype())[()] = "x" * 10_000
    limits = Limits(memory_floor=100_000)
    with open_hdf5(path, limits) as file:
        assert file["words"].shape == shape
    tight = Limits(memory_bytes=9_000)
    refused(path, "/words", "bytes of text", limits=tight)


@pytest.mark.parametrize(
    "value", [h5py.Empty("f"), h5py.Empty("S3"), np.array([(1, 2.0)], "i4,f4"), np.zeros((0, 3)), True]
)
def test_what_is_no_feature_may_lie_beside_them(path: Path, value: object) -> None:
    with h5py.File(path, "w") as file:
        file["x"], file["other"] = np.arange(3), value
        file.create_group("empty")
    with open_hdf5(path) as file:
        assert file["x"][2] == 2 and len(file) == 3


def test_types_that_numpy_has_not(path: Path) -> None:
    with h5py.File(path, "w") as file:
        h5py.h5d.create(file.id, b"times", h5py.h5t.UNIX_D32LE, h5py.h5s.create_simple((4,)))
    refused(path, "/times", "unsupported type")


def test_names_that_are_not_text(path: Path) -> None:
    with h5py.File(path, "w") as file:
        h5py.h5g.create(file.id, b"a\xff\n")
    refused(path, r"a\xff\n", "name that is not UTF-8")


@pytest.mark.parametrize("hits", ["free space", "a text"])
def test_a_heap_without_end(path: Path, hits: str) -> None:
    """HDF5 itself would not return from reading it."""
    with h5py.File(path, "w") as file:
        file["ids"] = [f"clip {i}" for i in range(20)]
    content = bytearray(path.read_bytes())
    places = [content.index(f"clip {i}\0".encode()) for i in range(20)]  # 8 bytes, after a head of 16
    at = max(places) + 8 if hits == "free space" else places[7] - 16
    assert any(content[at : at + 2]) == (hits == "a text")
    content[at : at + 16] = bytes(16)
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"string heap at byte .* is damaged"), open_hdf5(path):
        pass
