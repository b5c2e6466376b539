"""Pickles that are no data are refused in one line, run nothing, and cost neither time nor memory."""

from __future__ import annotations

import collections
import contextlib
import copyreg
import gzip
import os
import pickle
import random
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import FormatError
from pipeline.formats.pickle import load
from pipeline.formats.stored import Limits

CANARY = "canary-was-here"


@pytest.fixture(autouse=True)
def _canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever ran would leave a file in the folder that it runs in."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path(CANARY).exists()


def refused(data: bytes, *needles: str, limits: Limits = Limits()) -> None:  # noqa: B008
    """Refused quickly, in one line that says the file and each needle, with little memory."""
    path = Path("hostile.pkl")
    path.write_bytes(data)
    start = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(FormatError) as caught:
            load(path, limits)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400 and message.startswith("hostile.pkl: "), message
    assert all(needle in message for needle in needles), message
    assert time.process_time() - start < 2
    assert peak < 40e6 + 4 * len(data)


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None):
        self.made = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.made


class Plain:
    """An object with attributes and nothing else."""

    def __init__(self) -> None:
        self.x = 1


class Counted(dict[str, int]):
    """A dict that is no dict."""


CALLS = {
    "posix.system": Calls(os.system, f"touch {CANARY}"),
    "eval": Calls(eval, f"open({CANARY!r}, 'w')"),
    "exec": Calls(exec, f"open({CANARY!r}, 'w')"),
    "getattr": Calls(getattr, "x", "upper"),
    "__import__": Calls(__import__, "os"),
    "open": Calls(open, CANARY, "w"),
    "subprocess.Popen": Calls(subprocess.Popen, ["touch", CANARY]),
    "pathlib": Calls(Path.touch, Path(CANARY)),
    "numpy.load": Calls(np.load, "other.npy"),
    "numpy.memmap": Calls(np.memmap, CANARY, np.uint8, "w+", 0, (4,)),
    "copyreg": Calls(copyreg._reconstructor, dict, dict, {}),  # type: ignore[attr-defined]
    "an object": Plain(),
    "a subclass of dict": Counted(a=1),
    "within": Calls(Calls, Calls(os.system, f"touch {CANARY}")),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", CALLS)
def test_calls(name: str, protocol: int) -> None:
    calls = CALLS[name]
    refused(pickle.dumps({"train": {"audio": [calls]}}, protocol), "nothing was executed")


@pytest.mark.parametrize("protocol", range(6))
def test_calls_within_what_is_allowed(protocol: int) -> None:
    payload = CALLS["posix.system"]
    for tree in (
        np.array([payload, 1], dtype=object),
        collections.OrderedDict(a=payload),
        collections.defaultdict(list, a=payload),
        [np.zeros(3), (payload,)],
    ):
        refused(pickle.dumps(tree, protocol), "posix.system", "hostile.pkl")
    joblib.dump([np.array([payload], dtype=object)], "dump.joblib", compress=("gzip", 3))
    refused(Path("dump.joblib").read_bytes(), "posix.system")


def name(module: str, attribute: str) -> bytes:
    """STACK_GLOBAL, which takes any text."""
    return b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, attribute)) + b"\x93"


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"


def dtype(code: bytes, state: bytes = b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t") -> bytes:
    return b"cnumpy\ndtype\n(U" + bytes([len(code)]) + code + b"K\x00K\x01tR" + state + b"b"


def array(shape: bytes, kind: bytes, data: bytes, fortran: bytes = b"\x89") -> bytes:
    return ARRAY + b"(K\x01" + shape + kind + fortran + data + b"tb."


EIGHT = b"C\x08" + bytes(8)
F8 = dtype(b"f8")

CRAFTED = {
    "dotted attribute": (name("numpy", "core.multiarray._reconstruct"), "asks for numpy.core"),
    "dotted way out": (
        name("numpy._core.multiarray", "_reconstruct.__self__.os.system"),
        "nothing was executed",
    ),
    "empty name": (name("", "") + b".", "nothing was executed"),
    "control characters": (name("os\n\x1b[31m", "system"), "\\n\\x1b[31m"),
    "name of numbers": (b"K\x01K\x02\x93.", "not text"),
    "main": (name("__main__", "x"), "__main__.x"),
    "builtins in Python 2's words": (b"c__builtin__\neval\n(S'1'\ntR.", "builtin"),
    "numpy.loads": (b"cnumpy\nloads\n(S'x'\ntR.", "numpy.loads"),
    "numpy's runstring": (b"cnumpy.testing._private.utils\nrunstring\n.", "runstring"),
    "extension 1": (b"\x82\x01.", "extension registry"),
    "extension 2": (b"\x83\x01\x00.", "extension registry"),
    "extension 4": (b"\x84\x01\x00\x00\x00.", "extension registry"),
    "persistent id": (b"P1\n.", "persistent id"),
    "binary persistent id": (b"K\x01Q.", "persistent id"),
    "instance": (b"(S'touch x'\nios\nsystem\n.", "os.system"),
    "instance of what is allowed": (b"(icollections\nOrderedDict\n.", "collections.OrderedDict"),
    "object": (b"(cbuiltins\ndict\no.", "code, not data"),
    "new object": (b"cbuiltins\ndict\n)\x81.", "builtins.dict"),
    "new object, keywords": (b"cbuiltins\ndict\n)}\x92.", "code, not data"),
    "state of a dict": (b"}}S'__class__'\nNsb.", "sets attributes of a dict"),
    "state of a list": (b"]}S'__dict__'\nNsb.", "sets attributes of a list"),
    "state of a name": (b"cbuiltins\ndict\n}S'x'\nK\x01sb.", "sets attributes"),
    "state of a finished array": (array(b"K\x01\x85", F8, EIGHT)[:-1] + b"}b.", "sets attributes"),
    "a type as data": (b"(cbuiltins\nint\nt.", "builtins.int"),
    "a called type": (b"cbuiltins\nint\n(K\x01tR.", "builtins.int"),
    "a called value": (b"K\x01)R.", "nothing was executed"),
    "out-of-band data": (b"\x80\x05\x97.", "out of band"),
    "copied stack": (b"]2.", "copies its stack"),
    "memo index": (b"Nr\xff\xff\xff\xff.", "4294967295"),
    "negative memo index": (b"Np-1\n.", "-1"),
    "unknown memo": (b"h\x07.", "object 7"),
    "negative number": (b"\x8b\xff\xff\xff\xff.", "-1"),
    "large number": (b"\x8b\xff\xff\xff\x7f.", "number"),
    "many digits": (b"I" + b"9" * 5000 + b"\n.", "line"),
    "negative text": (b"T\xff\xff\xff\xff.", "-1"),
    "text longer than the file": (b"X\xff\xff\xff\x03.", "cut off"),
    "bytes longer than the file": (b"\x8e" + b"\xff" * 8 + b".", "cut off"),
    "array of bytes longer than the file": (b"\x96" + b"\x00" * 6 + b"\x01\x00.", "cut off"),
    "text without end": (b"V" + b"x" * 300_000, "cut off"),
    "text without quotes": (b"Sx\n.", "quotes"),
    "array too short": (array(b"K\x02\x85", F8, EIGHT), "needs 16 bytes, but has 8"),
    "array too long": (array(b"K\x00\x85", F8, EIGHT), "needs 0 bytes, but has 8"),
    "negative axes": (array(b"J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86", F8, EIGHT), "negative"),
    "huge axes": (array(b"\x8a\x08" + b"\xff" * 7 + b"\x7fK\x00\x86", F8, b"C\x00"), "shape"),
    "many empty rows": (array(b"\x8a\x05" + b"\xff" * 4 + b"\x7fK\x00\x86", F8, b"C\x00"), "empty array"),
    "axis of text": (array(b"S'x'\n\x85", F8, EIGHT), "invalid parts"),
    "objects without list": (array(b"K\x01\x85", dtype(b"O8"), EIGHT), "objects"),
    "objects, too few": (array(b"K\x09\x85", dtype(b"O8"), b"]"), "has 0"),
    "array without state": (ARRAY + b".", "ends in the middle"),
    "array in itself": (b"](" + ARRAY + b"q\x01h\x01e.", "contains itself"),
    "dtype unfinished": (b"cnumpy\ndtype\n(U\x02f8K\x00K\x01tR.", "ends in the middle"),
    "dtype as data": (F8 + b".", "not data"),
    "dtype with fields": (dtype(b"V8"), "plain numbers"),
    "dtype of any text": (dtype(b"f8,f8"), "plain numbers"),
    "dtype with names": (dtype(b"f8", b"(K\x03U\x01<N(U\x01at}NNNNt"), "fields"),
    "dtype with metadata": (dtype(b"f8", b"(K\x04U\x01<NNNK\x08K\x01K\x00}U\x01a]st"), "metadata"),
    "scalar of an object": (
        b"cnumpy.core.multiarray\nscalar\n(" + dtype(b"O8") + b"C\x01xtR.",
        "scalar",
    ),
    "subclass": (ARRAY.replace(b"cnumpy\nndarray", b"cnumpy\nmatrix") + b".", "_reconstruct"),
    "wrong first shape": (ARRAY.replace(b"(K\x00t", b"(K\x09t") + b".", "_reconstruct"),
    "other encoding": (b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.", "_codecs.encode"),
    "too many arguments": (b"c_codecs\nencode\n(S'x'\nS'latin1'\nNNtR.", "damaged"),
    "wrapper without array": (name("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81}b.", "joblib"),
    "list of floats for a dict": (b"](" + (b"G" + bytes(8)) * 40 + b"e}s.", "damaged"),
    "key that is a list": (b"}]K\x01s.", "key"),
    "keys without values": (b"}(K\x01u.", "damaged"),
    "items of a number": (b"K\x01(K\x02e.", "other than a list"),
    "holds itself": (b"]q\x00h\x00a.", "contains itself"),
    "holds itself in a dict": (b"]q\x00}U\x01ah\x00sa.", "contains itself"),
    "nothing": (b".", "ends in the middle"),
    "too much": (b"NN.", "ends in the middle"),
    "open mark": (b"(N.", "ends in the middle"),
    "stack is empty": (b"a.", "damaged"),
    "trailing bytes": (b"N.N.", "2 bytes after"),
    "no instruction": (b"\x00\x01\x02", "not a pickle"),
    "cut off": (pickle.dumps({"a": list(range(1000))}, 4)[:700], "cut off"),
    "old joblib": (b"ZF0x" + bytes(30), "0.10"),
    "LZ4": (b"\x04\x22\x4d\x18" + bytes(30), "LZ4"),
    "damaged gzip": (b"\x1f\x8b\x08\x00" + bytes(30), "compressed and damaged"),
    "empty": (b"", "is empty"),
    "web page": (b"\n<!DOCTYPE html><html>quota exceeded</html>", "web page"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "zip": (b"PK\x03\x04" + bytes(40), "unpack it first"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(40), "HDF5"),
    "numpy": (b"\x93NUMPY\x01\x00", ".npy"),
}


@pytest.mark.parametrize("case", CRAFTED)
def test_crafted(case: str) -> None:
    data, needle = CRAFTED[case]
    refused(data, needle)


@pytest.mark.parametrize("zipped", [True, False])
def test_torch(zipped: bool) -> None:
    torch.save({"a": torch.ones(3)}, "model.pt", _use_new_zipfile_serialization=zipped)
    refused(Path("model.pt").read_bytes(), "PyTorch checkpoint")
    refused(pickle.dumps(torch.ones(3)), "torch._utils", "tensor.numpy()")


def test_pandas() -> None:
    import pandas as pd

    refused(pickle.dumps(pd.DataFrame({"a": [1]})), "pandas", "to_dict")


def test_deep() -> None:
    for unit in (b"]", b"}U\x01a", b"("):
        close = {b"]": b"a", b"}U\x01a": b"s", b"(": b"t"}[unit]
        refused(unit * 10_000 + b"N" + close * 10_000 + b".", "deep")
    refused(b"N" + b"\x85" * 50_000 + b".", "deep")


@pytest.mark.parametrize("key", [False, True])
def test_billion_laughs(key: bool) -> None:
    """Every level refers twice to the one below: 2^60 values, and as a key 2^60 hashes."""
    data = b"K\x01\x85q\x00"
    for level in range(60):
        data += b"0(h" + bytes([level]) + b"h" + bytes([level]) + b"tq" + bytes([level + 1])
    if key:
        refused(b"}" + data + b"K\x01s.", "key")
    else:
        refused(data + b".", "takes up more")


OPEN = b"ccollections\nOrderedDict\nq\x000"
DTYPE = b"cnumpy\ndtype\nq\x000(U\x02f8K\x00K\x01tq\x010"
UNITS = {  # what a pickle repeats -> what stands before it, behind it
    b"(": (b"", b""),
    b"]": (b"", b""),
    b"}": (b"](", b"e."),
    b"]\x94": (b"](", b"e."),
    b"\x8f": (b"](", b"e."),
    b"N\x85": (b"](", b"e."),
    b"]]a": (b"](", b"e."),
    b"}K\x01Ns": (b"](", b"e."),
    b"(\x91": (b"](", b"e."),
    b"(K\x01\x91": (b"](", b"e."),
    b"J\xff\xff\xff\x00": (b"](", b"e."),
    b"\x8c\x01a": (b"](", b"e."),
    b"C\x01a": (b"](", b"e."),
    b"h\x00)R": (OPEN + b"](", b"e."),
    b"h\x00h\x01R": (DTYPE + b"](", b"e."),
    b"\x93": (b"", b""),
    b"r\xff\xff\x0f\x00": (b"N", b"."),
    b"N\x94": (b"](", b"e."),
    b"\x95" + bytes(8): (b"", b"N."),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("unit", UNITS, ids=repr)
def test_memory_is_in_proportion_to_the_file(unit: bytes, packed: bool) -> None:
    """One byte of a pickle can be 240 of memory, and one byte of gzip a thousand of a pickle."""
    before, after = UNITS[unit]
    data = before + unit * (100_000 // len(unit)) + after
    if packed:
        data = gzip.compress(data)
    path = Path("many.pkl")
    path.write_bytes(data)
    limits = Limits(memory_floor=200_000)
    tracemalloc.start()
    try:
        with contextlib.suppress(FormatError):
            tree = load(path, limits)
            del tree
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    most = limits.memory(8 * len(data) if packed else len(data))
    assert peak < 2 * most + 3e6  # two windows of the file, and what weighing takes


def test_shared_arrays_count_as_often_as_they_are_referred_to() -> None:
    big = np.zeros(1_000_000)
    refused(pickle.dumps([big] * 1000, 4), "takes up more", limits=Limits(decoded_bytes=1 << 30))


def test_small_arrays_of_the_same_bytes() -> None:
    """Each array copies the 60 kB that all of them name."""
    data = b"\x80\x05B" + (60_000).to_bytes(4, "little") + bytes(60_000) + b"q\x000](" + b"U\x01|0"
    one = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    one += b"(K\x01(M\x60\xeat" + dtype(b"u1") + b"\x89h\x00tb"
    refused(data + one * 3000 + b"e.", "memory", limits=Limits(memory_bytes=10_000_000))


@pytest.mark.parametrize("method", ["zlib", "gzip", "bz2", "lzma", "xz"])
def test_bombs(method: str) -> None:
    joblib.dump(np.zeros(4_000_000), "bomb.joblib", compress=(method, 6))
    data = Path("bomb.joblib").read_bytes()
    assert len(data) < 100_000
    refused(data, "unpacks to more than 1,000,000", limits=Limits(decoded_bytes=1_000_000))


def test_missing_and_folders(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pkl", tmp_path):
        with pytest.raises(FormatError, match="no such file"):
            load(path)


GOOD = [
    pickle.dumps(
        {
            "id": ["a$_$1"],
            "x": np.arange(6.0).reshape(2, 3),
            "o": np.array([1, "a"], dtype=object),
            "t": (1.5, {2}),
            "f": [0.5] * 50,
            "u": np.array(["ab"]),
            "s": np.float32(1),
        },
        protocol,
    )
    for protocol in range(6)
]
GOOD += [pickle.dumps(CALLS["posix.system"], protocol) for protocol in range(6)]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.sampled_from(GOOD), seed=st.integers(0, 2**32), changes=st.integers(1, 8))
def test_damage_is_a_format_error(tmp_path: Path, data: bytes, seed: int, changes: int) -> None:
    """Bytes changed, taken out and put in at random: data, or a FormatError."""
    chance, damaged = random.Random(seed), bytearray(data)
    for _ in range(changes):
        place = chance.randrange(len(damaged))
        damaged[place : place + chance.randrange(3)] = chance.choice(
            [b"", bytes([chance.randrange(256)]), b"\xff" * 4]
        )
    path = tmp_path / "damaged.pkl"
    path.write_bytes(damaged)
    with contextlib.suppress(FormatError):
        repr(load(path))


def test_nothing_is_imported(tmp_path: Path, project: Path) -> None:
    """A name in a pickle loads no module, not even one that is there."""
    (tmp_path / "evil.py").write_text(f"open({CANARY!r}, 'w')")
    path = tmp_path / "x.pkl"
    path.write_bytes(b"cevil\nthing\n.")
    code = (
        "import sys; from pathlib import Path; from pipeline.formats.pickle import load\n"
        "try: load(Path(sys.argv[1]))\nexcept Exception as error: print(error, 'evil' in sys.modules)"
    )
    run = [sys.executable, "-c", code, str(path)]
    env = os.environ | {"PYTHONPATH": f"{project}{os.pathsep}{tmp_path}"}
    done = subprocess.run(run, capture_output=True, text=True, check=True, cwd=tmp_path, env=env)
    assert "asks for evil.thing" in done.stdout and done.stdout.strip().endswith("False")
