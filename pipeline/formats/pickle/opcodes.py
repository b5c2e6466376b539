"""A machine that runs the instructions of a pickle, and can make nothing but plain data.

Protocols 0 to 5 as `pickletools` documents them, read from front to back. It calls no code of others: names
are looked up in plain.py, and the instructions that stand for objects of other kinds (persistent ids, the
extension registry, instances) are refused when they are met.
Lists of floats are read in runs: the instructions of a batch are recognised together and left in the file.
Measured on one busy core: 20 million floats a second in lists of 371 (1.3 MB of memory a million of them),
and 0.5 million other instructions a second.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.formats.pickle.joblib_files import array_of
from pipeline.formats.pickle.literals import LITERALS
from pipeline.formats.pickle.plain import (
    JOBLIB,
    MAKERS,
    MARKS,
    NAMES,
    Name,
    Unfinished,
    check_key,
    checked_frozenset,
    wrapper,
)
from pipeline.formats.pickle.reader import FloatRun, Reader
from pipeline.formats.pickle.space import COSTS, ENTRY, POINTER, UNFINISHED, Space
from pipeline.formats.stored import Refused, StoredArray

FEW = 32  # floats; shorter lists are lists
PICKLE_BATCH = 1000  # items that picklers write at a time
LINE = 400  # bytes of a name
MARKS_A_LEVEL = 4  # most that one container opens: an array in a list, its arguments, its data type's
UNKNOWN = object()  # in the memo, under a number that nothing was remembered under
FLOATS = np.dtype({"names": ["value"], "formats": [">f8"], "offsets": [1], "itemsize": 9})
WAY_OUT = "If you trust it, save it again as dicts, lists and NumPy arrays"
HINTS = {
    "torch": "Save tensors with tensor.numpy()",
    "pandas": "Save tables with to_dict('list') or to_numpy()",
    "sklearn": "Save only the arrays",
}


class Machine:
    """One pickle.

    Parameters
    ----------
    reader : at its first instruction
    space : what loading may use; shared with pickles within this one
    level : how many pickles this one is within
    """

    def __init__(self, reader: Reader, space: Space, level: int = 0):
        self.reader, self.space, self.level = reader, space, level
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # the stacks below the marks
        self.memo: list[Any] = []
        self.last = -1  # number of the last thing remembered
        self.growing: dict[int, int] = {}  # lists of floats that may go on: id -> their number
        self.unfinished = 0

    def run(self) -> Any:
        """The object that the pickle holds; Refused where that is more than plain data, or over a limit."""
        code, space, most = self.reader.code, self.space, self.space.limits.objects
        while (operation := code()) != STOP:
            space.done += 1
            if space.done > most:
                raise Refused(f"has more than {most:,} instructions, the limit; save lists as NumPy arrays")
            space.hold(COSTS[operation])
            if operation in LITERALS:
                self.stack.append(LITERALS[operation](self))
            elif operation in OPERATIONS:
                OPERATIONS[operation](self)
            else:
                place = self.reader.tell() - 1
                raise Refused(
                    f"is not a pickle, or is damaged: byte {place:,} is {operation:#04x}, not an instruction"
                )
        if self.unfinished or len(self.stack) != 1 or self.outer:
            raise Refused("ends in the middle; the file is damaged")
        return self.stack[0]

    def expects_bytes(self) -> bool:
        """Whether the next text is the one that `_codecs.encode` makes bytes of."""
        below = self.stack or (self.outer[-1] if self.outer else [])
        return bool(below) and isinstance(below[-1], Name) and below[-1].full == "_codecs.encode"

    # ------------------------------------------------------------------------------------------- memory
    def put(self, number: int) -> None:
        """Remember the top of the stack."""
        if not 0 <= number <= self.space.limits.memo:
            most = self.space.limits.memo
            raise Refused(f"stores an object under memo number {number}; the limit is {most:,}")
        if (lacking := number + 1 - len(self.memo)) > 0:  # in turn where Python wrote them
            self.space.hold(POINTER * lacking)
            self.memo.extend([UNKNOWN] * lacking)
        self.memo[number], self.last = self.stack[-1], number
        if isinstance(self.stack[-1], Unfinished):
            self.stack[-1].keys.append(number)

    def get(self, number: int) -> None:
        """Push what is remembered."""
        if not 0 <= number < len(self.memo) or self.memo[number] is UNKNOWN:
            raise Refused(f"refers to object {number}, which it does not contain; the file is damaged")
        if isinstance(self.memo[number], Unfinished):
            raise Refused("an array that contains itself")
        self.stack.append(self.memo[number])

    def replace(self, value: Any, numbers: list[int]) -> None:
        """Put something else on top of the stack, and wherever the old top is remembered."""
        self.stack[-1] = value
        for number in numbers:
            self.memo[number] = value

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.outer.pop()
        if len(items) > self.space.limits.items:
            raise Refused(f"a container of {len(items):,} items, over the limit")
        return items

    # --------------------------------------------------------------------------------------- containers
    def mark(self) -> None:
        """Begin a batch of items; floats for an empty list are done at once."""
        empty = self.stack and type(self.stack[-1]) is list and not self.stack[-1]
        if empty and self.reader.peek(1) == pickle.BINFLOAT and (runs := self.reader.batches()):
            self._take_floats(runs)
            return
        if len(self.outer) > MARKS_A_LEVEL * self.space.limits.depth:
            raise Refused(f"has containers nested too deep; the limit is {self.space.limits.depth} levels")
        self.outer.append(self.stack)
        self.stack = []

    def _take_floats(self, runs: list[FloatRun]) -> None:
        file, count = self.space.file, sum(run.floats for run in runs)
        if count > self.space.limits.items:
            raise Refused(f"a list of {count:,} floats, over the limit")
        if len(runs) == 1:
            stored = StoredArray(file, runs[0].offset, FLOATS, (count,))
        else:
            parts = (np.asarray(StoredArray(file, run.offset, FLOATS, (run.floats,))) for run in runs)
            place, _ = self.space.scratch.append(part.tobytes() for part in parts)
            stored = StoredArray(self.space.scratch, place, np.dtype(float), (count,))
        if count < FEW:
            self.stack[-1].extend(np.asarray(stored).tolist())
            return
        remembered = self.last >= 0 and self.memo[self.last] is self.stack[-1]
        self.replace(stored, [self.last] if remembered else [])
        if count % PICKLE_BATCH == 0:  # the next batch may hold something else
            self.growing[id(stored)] = self.last if remembered else -1

    def extend(self, items: list[Any]) -> None:
        """Items for the list or set on top of the stack."""
        target = self.stack[-1]
        if isinstance(target, StoredArray) and id(target) in self.growing:
            number = self.growing.pop(id(target))
            self.space.hold(32 * len(target))
            target = np.asarray(target).tolist()
            self.replace(target, [number] if number >= 0 else [])
        if type(target) is not list:
            raise Refused(
                f"adds items to something other than a list ({type(target).__name__}); the file is damaged"
            )
        target.extend(items)
        if len(target) > self.space.limits.items:
            raise Refused(f"a list of {len(target):,} items, over the limit")

    def add(self) -> None:
        items = self.since_mark()
        if type(self.stack[-1]) is not set:
            raise Refused("adds items to something other than a set; the file is damaged")
        self.stack[-1].update(checked_frozenset(self.space, items))

    def set_items(self, items: list[Any]) -> None:
        """Keys and values in turn for the dict on top of the stack."""
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise Refused("sets items of something other than a dict; the file is damaged")
        self.space.hold(ENTRY * len(items) // 2)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is not str:
                check_key(key)
            target[key] = value

    # -------------------------------------------------------------------------------------------- names
    def name(self, module: Any, name: Any) -> None:
        """A name that the pickle asks for."""
        known = isinstance(module, str) and isinstance(name, str)
        full = f"{NAMES.get(module, module)}.{name}" if known else ""
        if full not in MAKERS and full not in MARKS:
            asked = ascii(f"{module}.{name}")[1:-1][:120] if known else "a name that is not text"
            hint = HINTS.get(asked.partition(".")[0], WAY_OUT)
            raise Refused(f"asks for {asked}, which is code, not data; nothing was executed. {hint}")
        self.stack.append(Name(full))

    def call(self) -> None:
        """What a name makes of its arguments."""
        arguments, made = self.stack.pop(), self.stack.pop()
        if not isinstance(made, Name) or type(arguments) is not tuple:
            raise Refused("calls something other than a name; nothing was executed")
        if made.full == "copyreg._reconstructor" and wrapper(arguments):
            self._open(Unfinished(self._joblib))
        elif made.full in MAKERS:
            value = MAKERS[made.full](self.space, *arguments)
            if isinstance(value, Unfinished):
                self._open(value)
            else:
                self.stack.append(value)
        else:
            raise Refused(
                f"calls {made.full}, which plain data does not need; nothing was executed. {WAY_OUT}"
            )

    def new(self) -> None:
        """An object of a class; joblib's note of an array is the only one."""
        arguments, made = self.stack.pop(), self.stack.pop()
        if not isinstance(made, Name) or made.full != JOBLIB or arguments != ():
            shown = made.full if isinstance(made, Name) else type(made).__name__
            raise Refused(f"creates an object of {shown}; nothing was executed. {WAY_OUT}")
        self._open(Unfinished(self._joblib))

    def _open(self, value: Unfinished) -> None:
        self.unfinished += 1
        self.space.hold(UNFINISHED)
        self.stack.append(value)

    def build(self) -> None:
        """The second step of what is made in two."""
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is dict and state == {}:  # an OrderedDict of Python 2 without attributes
            return
        if not isinstance(target, Unfinished):
            raise Refused(f"sets attributes of a {type(target).__name__}; plain data has none. {WAY_OUT}")
        self.unfinished -= 1
        self.replace(target.finish(state), target.keys)

    def _joblib(self, state: Any) -> Any:
        def inner() -> Any:
            if self.level >= 10:
                raise Refused("has pickles nested more than ten deep")
            return Machine(self.reader, self.space, self.level + 1).run()

        return array_of(state, self.reader, self.space, inner)


def _refuse(what: str) -> Callable[[Machine], None]:
    def refuse(machine: Machine) -> None:
        raise Refused(f"{what}; nothing was executed. {WAY_OUT}")

    return refuse


def _collect(kind: Callable[[list[Any]], Any]) -> Callable[[Machine], None]:
    """The items since the mark as one container."""

    def collect(machine: Machine) -> None:
        items = machine.since_mark()
        machine.stack.append(kind(items))

    return collect


def _pack(count: int) -> Callable[[Machine], None]:
    """The last items as a tuple."""

    def pack(machine: Machine) -> None:
        if len(machine.stack) < count:
            raise Refused("takes more items than there are; the file is damaged")
        machine.stack[-count:] = [tuple(machine.stack[-count:])]

    return pack


def _number(layout: str, use: Callable[[Machine, int], None]) -> Callable[[Machine], None]:
    packed = struct.Struct(layout)
    return lambda machine: use(machine, packed.unpack(machine.reader.take(packed.size))[0])


def _dict(machine: Machine) -> None:
    items = machine.since_mark()
    machine.stack.append({})
    machine.set_items(items)


def _frozenset(machine: Machine) -> None:
    items = machine.since_mark()
    machine.stack.append(checked_frozenset(machine.space, items))


def _set_item(machine: Machine) -> None:
    items = machine.stack[-2:]
    del machine.stack[-2:]
    machine.set_items(items)


def _line(machine: Machine) -> str:
    return machine.reader.line(LINE).decode("utf-8")


def _stack_name(machine: Machine) -> None:
    name = machine.stack.pop()
    machine.name(machine.stack.pop(), name)


def _instance(machine: Machine) -> None:
    machine.name(_line(machine), _line(machine))
    raise Refused(f"creates an object of {machine.stack[-1].full}; nothing was executed. {WAY_OUT}")


STOP = pickle.STOP[0]
REGISTRY = _refuse("asks for a class from Python's extension registry, which is code, not data")
PERSISTENT = _refuse("refers to data outside of itself (a persistent id, as in PyTorch checkpoints)")
OUT_OF_BAND = _refuse("keeps its data outside of itself (protocol 5, out of band)")
OPERATIONS: dict[int, Callable[[Machine], Any]] = {
    code[0]: run
    for code, run in {
        pickle.PROTO: _number("<B", lambda machine, number: None),
        pickle.FRAME: _number("<Q", lambda machine, number: None),  # frames only help buffering
        pickle.MARK: Machine.mark,
        pickle.POP: lambda machine: machine.stack.pop() if machine.stack else machine.since_mark(),
        pickle.POP_MARK: Machine.since_mark,
        pickle.DUP: _refuse("copies its stack, which plain data does not need"),
        pickle.PUT: lambda machine: machine.put(int(machine.reader.line(LINE))),
        pickle.BINPUT: _number("<B", Machine.put),
        pickle.LONG_BINPUT: _number("<I", Machine.put),
        pickle.MEMOIZE: lambda machine: machine.put(len(machine.memo)),
        pickle.GET: lambda machine: machine.get(int(machine.reader.line(LINE))),
        pickle.BINGET: _number("<B", Machine.get),
        pickle.LONG_BINGET: _number("<I", Machine.get),
        pickle.TUPLE: _collect(tuple),
        pickle.TUPLE1: _pack(1),
        pickle.TUPLE2: _pack(2),
        pickle.TUPLE3: _pack(3),
        pickle.LIST: _collect(list),
        pickle.DICT: _dict,
        pickle.FROZENSET: _frozenset,
        pickle.APPEND: lambda machine: machine.extend([machine.stack.pop()]),
        pickle.APPENDS: lambda machine: machine.extend(machine.since_mark()),
        pickle.SETITEM: _set_item,
        pickle.SETITEMS: lambda machine: machine.set_items(machine.since_mark()),
        pickle.ADDITEMS: Machine.add,
        pickle.GLOBAL: lambda machine: machine.name(_line(machine), _line(machine)),
        pickle.STACK_GLOBAL: _stack_name,
        pickle.INST: _instance,
        pickle.OBJ: _refuse("creates an object of a class, which is code, not data"),
        pickle.NEWOBJ: Machine.new,
        pickle.NEWOBJ_EX: _refuse("creates an object of a class, which is code, not data"),
        pickle.REDUCE: Machine.call,
        pickle.BUILD: Machine.build,
        pickle.EXT1: REGISTRY,
        pickle.EXT2: REGISTRY,
        pickle.EXT4: REGISTRY,
        pickle.PERSID: PERSISTENT,
        pickle.BINPERSID: PERSISTENT,
        pickle.NEXT_BUFFER: OUT_OF_BAND,
        pickle.READONLY_BUFFER: OUT_OF_BAND,
    }.items()
}
