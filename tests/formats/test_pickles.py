"""Pickles of data come back as pickle, NumPy and joblib read them, in every protocol."""

from __future__ import annotations

import collections
import gzip
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import FormatError
from pipeline.formats.pickle import load
from pipeline.formats.stored import Limits, StoredArray

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
RANDOM = np.random.default_rng(7)
LARGE = RANDOM.normal(size=(90, 20, 30)).astype(np.float32)  # 216 kB: stays in the file


def same(found: Any, wanted: Any) -> bool:
    """Equal values and types; StoredArrays count as the arrays or lists that they stand for."""
    if isinstance(wanted, np.ndarray):
        if wanted.dtype == object:
            return same(found, wanted.tolist())
        array = np.asarray(found)
        return (
            array.shape == wanted.shape
            and array.dtype == wanted.dtype.newbyteorder("=")
            and array.tobytes() == wanted.astype(array.dtype).tobytes()
        )
    if isinstance(found, StoredArray) and isinstance(wanted, bytes | bytearray):
        return np.asarray(found).tobytes() == wanted
    if isinstance(found, StoredArray):
        return isinstance(wanted, list) and repr(np.asarray(found).tolist()) == repr(wanted)
    if isinstance(wanted, dict):
        return (
            type(found) is dict and [*found] == [*wanted] and all(same(found[k], wanted[k]) for k in wanted)
        )
    if isinstance(wanted, list | tuple):
        return (
            type(found) is type(wanted)
            and len(found) == len(wanted)
            and all(same(one, other) for one, other in zip(found, wanted, strict=True))
        )
    return type(found) is type(wanted) and (found == wanted or found != found)


def saved(folder: Path, tree: Any, protocol: int = 4) -> Path:
    path = folder / "tree.pkl"
    path.write_bytes(pickle.dumps(tree, protocol))
    return path


ARRAYS = {
    **{
        f"{order}{kind}": RANDOM.integers(0, 2 if kind == "b1" else 100, (4, 3)).astype(order + kind)
        for kind in ("b1", "i1", "u2", "i4", "u8", "f2", "f4", "f8", "c8", "c16")
        for order in "<>"
    },
    "text": np.array(["", "wörter", "词"]),
    "big-endian text": np.array(["ab", "c"], dtype=">U2"),
    "bytes": np.array([b"ab", b"c"]),
    "no rows": np.zeros((0, 5)),
    "no columns": np.zeros((3, 0), np.int16),
    "one value": np.array(5.5),
    "fortran": np.asfortranarray(LARGE[:3]),
    "large": LARGE,
    "large fortran": np.asfortranarray(LARGE),
    "large swapped": LARGE.astype(">f4"),
    "large permuted": LARGE.transpose(1, 0, 2),
    "large permuted, few rows": RANDOM.normal(size=(30_000, 3)).T,
    "large bool": RANDOM.normal(size=(300, 300)) > 0,
    "strided": LARGE[:, ::2],
    "a very long text": np.array("x" * 70_000),
    "objects": np.array([[1, "a"], [None, 2.5]], dtype=object),
    "objects in fortran order": np.asfortranarray(np.array([[1, "a", 3], [None, 2.5, 4]], dtype=object)),
    "ragged": np.array([np.arange(3), np.arange(2), None], dtype=object),
    "no objects": np.zeros((2, 0), object),
    "nan": np.array([np.nan, -np.inf, -0.0]),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays(tmp_path: Path, protocol: int) -> None:
    found = load(saved(tmp_path, ARRAYS, protocol))
    assert [name for name in ARRAYS if not same(found[name], ARRAYS[name])] == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("compress", [0, *((name, 3) for name in ("zlib", "gzip", "bz2", "lzma", "xz"))])
def test_joblib(tmp_path: Path, protocol: int, compress: Any) -> None:
    path = tmp_path / "tree.joblib"
    joblib.dump(ARRAYS, path, compress=compress, protocol=protocol)
    found, wanted = load(path), joblib.load(path)
    assert [name for name in ARRAYS if not same(found[name], wanted[name])] == []


def test_many_compressed_streams(tmp_path: Path) -> None:
    """Several gzip members one after another are one file (what `cat` and pigz make)."""
    whole = pickle.dumps({"a": LARGE}, 4)
    path = tmp_path / "tree.pkl.gz"
    path.write_bytes(b"".join(gzip.compress(whole[i : i + 50_000]) for i in range(0, len(whole), 50_000)))
    assert same(load(path)["a"], LARGE)


def test_rows(tmp_path: Path) -> None:
    stored = load(saved(tmp_path, {"c": LARGE, "f": np.asfortranarray(LARGE), "s": LARGE.astype(">f4")}))
    for array in stored.values():
        assert isinstance(array, StoredArray)
        assert (len(array), array.shape, array.dtype, array.ndim) == (90, LARGE.shape, np.float32, 3)
        for key in (
            0,
            41,
            -1,
            slice(3, 7),
            slice(None, None, 7),
            slice(9, 2, -1),
            slice(50, 20),
            slice(80, 200),
        ):
            assert np.array_equal(array[key], LARGE[key])
        assert [row.tobytes() for row in array] == [row.tobytes() for row in LARGE]
        assert np.asarray(array, np.float64).dtype == np.float64
        with pytest.raises(IndexError):
            array[90]
        fresh = array[0]
        fresh += 1  # a copy: the file is as it was
        assert np.array_equal(array[0], LARGE[0])


def test_kept_in_memory_or_not(tmp_path: Path) -> None:
    found = load(saved(tmp_path, {"a": np.zeros(100), "b": LARGE, "c": [0.5] * 31, "d": [0.5] * 32}))
    assert [type(value) for value in found.values()] == [np.ndarray, StoredArray, list, StoredArray]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("count", [0, 1, 31, 32, 999, 1000, 1001, 2000, 2001, 12_345])
def test_lists_of_floats(tmp_path: Path, protocol: int, count: int) -> None:
    """Around the batches of 1000 in which pickles write lists, alone and with something else behind."""
    floats = RANDOM.normal(size=count).tolist()
    tree = [floats, [*floats, 7], [*floats, "x", [floats]], {"again": floats}, (1.5, floats), [1, *floats]]
    assert same(load(saved(tmp_path, tree, protocol)), tree)


def test_nested_lists_of_floats(tmp_path: Path) -> None:
    rows = RANDOM.normal(size=(500, 81)).tolist()
    found = load(saved(tmp_path, {"punchline_features": rows}))["punchline_features"]
    assert np.array_equal(np.asarray(found), np.array(rows))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_containers(tmp_path: Path, protocol: int) -> None:
    shared = ["shared"]
    tree = {
        "ordered": collections.OrderedDict([("b", 1), ("a", [2])]),
        "default": collections.defaultdict(list, x=[1]),
        "shared": [shared, shared, (shared,)],
        (1, ("a", None)): {frozenset({2.5})},
        "bytes": [b"", b"\x00\xff\n'\\", bytearray(b"\x80"), bytearray(), b"\xfe" * 100_000],
        "text": ["", "ü\n\\u1234\r\0\x1a", "😊", "x" * 300, "long " * 20_000],
        "numbers": [0, -1, 255, 65_536, -(2**31), 2**63, -(2**200), 1e300, -0.0, 1 + 2j, True, False, None],
        "scalars": [np.float32(1.5), np.int64(3), np.bool_(True), np.str_("né"), np.bytes_(b"x")],
    }
    found, wanted = load(saved(tmp_path, tree, protocol)), {**tree}
    wanted["ordered"], wanted["default"] = dict(tree["ordered"]), dict(tree["default"])  # type: ignore[call-overload]
    assert same(found, wanted)


def python2(protocol: int, data: bytes) -> bytes:
    """{'id': 'caf\\xe9', 'a': array} as Python 2's cPickle writes it, by hand."""
    if protocol == 0:
        quoted = repr(data)[1:].encode()
        return (
            b"(dp1\nS'id'\np2\nS'caf\\xe9'\np3\nsS'a'\ncnumpy.core.multiarray\n_reconstruct\np4\n"
            b"(cnumpy\nndarray\np5\n(I0\ntS'b'\ntRp6\n(I1\n(I%d\nI2\ntcnumpy\ndtype\np7\n(S'f8'\nI0\nI1\ntRp8\n"
            b"(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS%s\ntbs." % (len(data) // 16, quoted)
        )
    size = len(data).to_bytes(4, "little")
    rows = b"M" + (len(data) // 16).to_bytes(2, "little")
    return (
        b"\x80\x02}q\x01(U\x02idq\x02U\x04caf\xe9q\x03U\x01acnumpy.core.multiarray\n_reconstruct\nq\x04"
        b"cnumpy\nndarray\nq\x05K\x00\x85U\x01b\x87Rq\x06(K\x01" + rows + b"K\x02\x86cnumpy\ndtype\nq\x07"
        b"U\x02f8K\x00K\x01\x87Rq\x08(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"T" + size + data + b"tbu."
    )


@pytest.mark.parametrize("protocol", [0, 2])
@pytest.mark.parametrize("rows", [3, 9000])
def test_python_2(tmp_path: Path, protocol: int, rows: int) -> None:
    array = RANDOM.normal(size=(rows, 2))
    path = tmp_path / "split_indices.p"
    path.write_bytes(python2(protocol, array.tobytes()))
    wanted = pickle.loads(path.read_bytes(), encoding="latin1")
    assert np.array_equal(wanted["a"], array)
    assert same(load(path), wanted)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
    | st.sampled_from([*ARRAYS.values(), [0.25] * 40, "x" * 70_000]),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.frozensets(st.integers() | st.text())
    ),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=PLAIN, protocol=st.sampled_from(PROTOCOLS))
def test_any_plain_data(tmp_path: Path, tree: Any, protocol: int) -> None:
    assert same(load(saved(tmp_path, tree, protocol)), tree)


SLOPE = """
import sys
from pathlib import Path
import numpy as np
from pipeline.formats.pickle import load
def peak():  # not ru_maxrss, which a new process takes over from the one that started it
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
before = peak()
total = 0.0
for array in load(Path(sys.argv[1])).values():
    for row in range(0, len(array), 16):
        total += float(np.sum(array[row : row + 16]))
print(peak() - before, total)
"""


@pytest.mark.parametrize("kind", [2, 4, "fortran", "gzip"])
def test_memory(tmp_path: Path, project: Path, kind: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Arrays of 80 MB together cost a process that reads all their rows less than a fifth of that.

    In protocol 2 and under gzip they go through a temporary file; in Fortran order, through blocks.
    """
    part = RANDOM.integers(0, 255, (4, 500, 100)).astype(np.float32)
    arrays = {str(i): np.tile(part, (25, 1, 1)) + np.float32(i) for i in range(4)}  # 20 MB each
    if kind == "fortran":
        arrays = {name: np.asfortranarray(array) for name, array in arrays.items()}
    path = saved(tmp_path, arrays, kind if isinstance(kind, int) else 4)
    if kind == "gzip":
        path.write_bytes(gzip.compress(path.read_bytes(), 1))
    run = [sys.executable, "-c", SLOPE, str(path)]
    done = subprocess.run(run, capture_output=True, text=True, check=True, cwd=project)
    grown, total = map(float, done.stdout.split())
    with capsys.disabled():
        print(f"\n{kind}: {grown:.1f} MB for 80 MB of arrays ({grown / 80:.2f} of them)")
    assert total == pytest.approx(
        sum(float(array.sum(dtype=np.float64)) for array in arrays.values()), rel=1e-4
    )
    assert grown < 16


def test_limits(tmp_path: Path) -> None:
    """Each limit refuses with its own value in the message."""
    tree = {"a": LARGE, "b": [list(range(50))], "c": "x" * 5000}
    cases = {
        Limits(file_bytes=1000): "over the limit of 1,000",
        Limits(objects=20): "more than 20 instructions",
        Limits(memory_bytes=4000): "more than 4,000 bytes of memory",
        Limits(string_bytes=4000): "over the limit of 4,000",
        Limits(items=40): "50 items",
        Limits(depth=1): "more than 1 deep",
        Limits(decoded_bytes=200_000): "takes up more than 200,000",
        Limits(memo=2): "the limit is 2",
    }
    path = saved(tmp_path, tree, 4)
    assert same(load(path), tree)
    for limits, message in cases.items():
        with pytest.raises(FormatError, match=message):
            load(path, limits)
    with pytest.raises(FormatError, match="unpacks to more than 100,000 bytes"):
        load(saved(tmp_path, tree, 2), Limits(decoded_bytes=100_000))
