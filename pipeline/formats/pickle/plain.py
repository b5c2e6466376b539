"""What a pickle may be made of: the names that it may ask for, and our own makers behind them.

A pickle names functions and classes by module and name. Here a name is looked up in `MAKERS` and nowhere
else: nothing is imported, no attribute is taken of a foreign module, and what a maker gets is checked before
NumPy sees it. Modules have had other names in Python 2 and NumPy 1; `NAMES` maps them.
What is made differs from what was pickled in three ways: arrays of objects are (nested) lists, OrderedDict
and defaultdict are dicts, and large arrays are StoredArrays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.formats.pickle.space import ENTRY, Space
from pipeline.formats.stored import Refused, StoredArray, check_dtype, check_size, native

BYTE = np.dtype(np.uint8)
OBJECT = np.dtype(object)
TYPE = re.compile(r"[biufcSUO][1-9][0-9]{0,8}")
KEY_ITEMS = 1000  # of a tuple that is a key: hashing visits them all
NAMES = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "numpy.core.multiarray": "numpy._core.multiarray",
    "numpy.core.numeric": "numpy._core.numeric",
    "numpy.core.memmap": "numpy",
    "numpy._core.memmap": "numpy",
}
LEAVES = (bool, int, float, complex, str, bytes, type(None), np.generic)


@dataclass(slots=True, eq=False)
class Name:
    """A name that the pickle asked for and that is known here; not the thing itself."""

    full: str


@dataclass(slots=True, eq=False)
class Letters:
    """A long text that stands for bytes; `_codecs.encode` takes it."""

    array: StoredArray


@dataclass(slots=True, eq=False)
class Unfinished:
    """What is made in two steps, before the second: an array, a data type, joblib's note of an array.

    Attributes
    ----------
    finish : makes it of its state
    keys : numbers under which it is remembered
    """

    finish: Callable[[Any], Any]
    keys: list[int] = field(default_factory=list)


def check_key(key: Hashable) -> None:
    """Refuse a key of a dict or item of a set that is no plain value: hashing it could take for ever."""
    waiting, seen = [key], 0
    while waiting:
        value = waiting.pop()
        seen += 1
        if isinstance(value, tuple | frozenset) and len(value) + seen <= KEY_ITEMS:
            waiting.extend(value)
        elif not isinstance(value, LEAVES) or seen > KEY_ITEMS:
            raise Refused(f"a key or an item of a set that is not a plain value ({type(value).__name__})")


# ------------------------------------------------------------------------------------------------ containers
def _bytes(space: Space, *args: Any) -> Any:
    _want(not args or _are(args, bytes | StoredArray), "builtins.bytes")
    return args[0] if args else b""


def _bytearray(space: Space, *args: Any) -> Any:
    if args and isinstance(args[0], str):
        args = (_encode(space, *args),)
    _want(not args or _are(args, bytes | bytearray | StoredArray), "builtins.bytearray")
    if not args or isinstance(args[0], StoredArray):
        return args[0] if args else bytearray()
    space.hold(len(args[0]))
    return bytearray(args[0])


def _encode(space: Space, text: Any, coding: Any) -> Any:
    known = isinstance(coding, str) and coding.lower() in ("latin1", "latin-1")
    _want(known and isinstance(text, str | Letters), "_codecs.encode")
    if isinstance(text, Letters):
        return text.array
    space.hold(len(text))
    return text.encode("latin-1")


def _complex(space: Space, real: Any, imaginary: Any) -> complex:
    _want(_are((real, imaginary), int | float), "builtins.complex")
    return complex(real, imaginary)


def _set(space: Space, *args: Any) -> set[Any]:
    return set(_frozenset(space, *args))


def _frozenset(space: Space, *args: Any) -> frozenset[Any]:
    _want(not args or (len(args) == 1 and _are(args, list | tuple)), "a set")
    return checked_frozenset(space, list(args[0]) if args else [])


def checked_frozenset(space: Space, items: list[Any]) -> frozenset[Any]:
    """A set that cannot be changed, of plain items; see `check_key`."""
    space.hold(ENTRY * (len(items) + 3))
    for item in items:
        check_key(item)
    return frozenset(items)


def _ordered(space: Space, *args: Any) -> dict[Any, Any]:
    pairs = args[0] if args else []
    known = len(args) < 2 and isinstance(pairs, list | tuple) and _are(tuple(pairs), list | tuple)
    _want(known and all(len(pair) == 2 for pair in pairs), "collections.OrderedDict")
    space.hold(ENTRY * len(pairs))
    for key, _ in pairs:
        check_key(key)
    return dict(pairs)


def _default(space: Space, *args: Any) -> dict[Any, Any]:
    """A dict: whoever looks up what is not there shall learn so."""
    _want(not args or (len(args) == 1 and _are(args, Name | None)), "collections.defaultdict")
    return {}


# ---------------------------------------------------------------------------------------------------- arrays
def make_array(
    space: Space,
    data: Any,
    dtype: Any,
    shape: Any,
    axes: tuple[int, ...] | None = None,
    fortran: bool = False,
) -> Any:
    """An array of foreign parts; Refused where they do not fit each other.

    Parameters
    ----------
    data : its bytes in C order (as text where Python 2 wrote them), or the list of its objects
    axes : how the axes are to be exchanged afterwards, None = not
    fortran : the bytes are in Fortran's order; objects are listed in C order all the same

    Returns
    -------
    np.ndarray, StoredArray, or (nested) lists where it holds objects
    """
    _want(isinstance(dtype, np.dtype) and isinstance(shape, tuple) and _are(shape, int), "an array")
    if dtype.kind == "O":
        _want(isinstance(data, list), "an array of objects")
        return _nested(data, shape)
    if fortran and len(shape) > 1:
        shape, axes = shape[::-1], tuple(range(len(shape)))[::-1]
    if isinstance(data, str):
        data = data.encode("latin-1")
    _want(isinstance(data, bytes | bytearray | StoredArray), "an array")
    if isinstance(data, StoredArray) and shape:
        stored = data.as_type(dtype, shape)
        return stored if axes is None else stored.transposed(axes, space.scratch)
    check_size(dtype, shape, len(data))
    space.hold(len(data))
    if isinstance(data, StoredArray):  # one value: a very long text
        data = np.asarray(data).tobytes()
    array = np.array(native(np.ndarray(shape, dtype, data)))
    return array if axes is None else array.transpose(axes)


def _nested(items: list[Any], shape: tuple[int, ...]) -> Any:
    check_size(np.dtype(np.uint8), shape, len(items))
    if not items or not shape:
        return items[0] if items else np.zeros(shape, bool).tolist()
    for axis in reversed(shape[1:]):
        items = [items[start : start + axis] for start in range(0, len(items), axis)]
    return items


def _reconstruct(space: Space, kind: Any, shape: Any, code: Any) -> Unfinished:
    _want(_is(kind, "numpy.ndarray", "numpy.memmap") and shape == (0,), "_reconstruct")
    _want(code in (b"b", "b"), "_reconstruct")

    def finish(state: Any) -> Any:
        _want(isinstance(state, tuple) and len(state) in (4, 5), "an array")
        shape, dtype, fortran, data = state[-4:]
        _want(_are((shape, fortran, dtype), tuple | int | np.dtype), "an array")
        return make_array(space, data, dtype, shape, fortran=bool(fortran))

    return Unfinished(finish)


def _frombuffer(space: Space, data: Any, dtype: Any, shape: Any, order: Any = "C", axes: Any = None) -> Any:
    _want(isinstance(shape, tuple) and order in ("C", "F", "K"), "_frombuffer")
    if order == "K" and axes is not None:
        _want(isinstance(axes, tuple) and sorted(axes) == list(range(len(shape))), "_frombuffer")
        return make_array(space, data, dtype, shape, axes)
    return make_array(space, data, dtype, shape, fortran=order == "F")


def _scalar(space: Space, dtype: Any, data: Any) -> Any:
    _want(isinstance(dtype, np.dtype) and dtype.kind != "O", "numpy's scalar")
    return make_array(space, data, dtype, ())[()]


def _dtype(space: Space, code: Any, *flags: Any) -> Unfinished:
    _want(isinstance(code, str) and _are(flags, int), "numpy.dtype")
    if not TYPE.fullmatch(code):
        raise Refused(
            f"an array of type {code[:40]!r}, which is not supported; save plain numbers, bools or text"
        )
    base = OBJECT if code[0] == "O" else check_dtype(np.dtype(code))

    def finish(state: Any) -> np.dtype:
        _want(isinstance(state, tuple) and 5 <= len(state) <= 9, "numpy.dtype")
        order, parts, metadata = state[1], state[2:5], state[8:]
        _want(order in ("<", ">", "|", "="), "numpy.dtype")
        if any(part is not None for part in parts) or any(metadata):
            raise Refused("an array whose data type has fields or metadata; save plain numbers instead")
        return base if order == "|" else base.newbyteorder(order)

    return Unfinished(finish)


# ----------------------------------------------------------------------------------------------------- names
def wrapper(args: tuple[Any, ...]) -> bool:
    """Whether `copyreg._reconstructor` is asked for joblib's note of an array, the one object it may make."""
    return len(args) == 3 and _is(args[0], JOBLIB) and _is(args[1], "builtins.object") and args[2] is None


def _is(value: Any, *names: str) -> bool:
    return isinstance(value, Name) and value.full in names


def _are(values: tuple[Any, ...], kinds: Any) -> bool:
    return all(isinstance(value, kinds) for value in values)


def _want(fits: bool, what: str) -> None:
    if not fits:
        raise Refused(f"{what} has invalid parts; the file is damaged or not to be trusted")


JOBLIB = "joblib.numpy_pickle.NumpyArrayWrapper"
MAKERS: dict[str, Callable[..., Any]] = {
    "_codecs.encode": _encode,
    "builtins.bytearray": _bytearray,
    "builtins.bytes": _bytes,
    "builtins.complex": _complex,
    "builtins.frozenset": _frozenset,
    "builtins.set": _set,
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": _default,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy._core.numeric._frombuffer": _frombuffer,
    "numpy.dtype": _dtype,
}
# names that are only handed to a maker
MARKS = {
    *(f"builtins.{name}" for name in ("bool", "dict", "float", "int", "list", "object", "str", "tuple")),
    *("copyreg._reconstructor", "numpy.matrix", "numpy.memmap", "numpy.ndarray", JOBLIB),
    "numpy._core.multiarray.ndarray",
}
