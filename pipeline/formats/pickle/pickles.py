"""Reading pickles of others without running anything of them, and without holding their arrays in memory.

    tree = load(Path("aligned_50.pkl"))
    tree["train"]["vision"][0:32]        # (32, 50, 20), read now

Protocols 0 to 5, files of Python 2 (their text as Latin-1), joblib's dumps, and all of these compressed with
zlib, gzip, bzip2, lzma or xz. What comes back:

    dict, list, tuple, set, frozenset, str, bytes, bytearray, bool, int, float, complex, None
                                    themselves; OrderedDict and defaultdict as dict
    arrays under 64 kB              np.ndarray in native byte order
    arrays from 64 kB on            StoredArray; from 1 kB on once small arrays fill 128 MB
    arrays of objects               (nested) lists
    lists of 32 and more floats     StoredArray of float64
    bytes from 64 kB on             StoredArray of uint8, where they are no array's data

Everything else is refused in one line. The objects are made by the machine of opcodes.py out of the parts of
plain.py; what it made is weighed (weight.py): cycles, depth, and what shared parts amount to.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from pipeline.core.errors import FormatError
from pipeline.formats.pickle.joblib_files import unpacked
from pipeline.formats.pickle.opcodes import Machine
from pipeline.formats.pickle.reader import Reader
from pipeline.formats.pickle.space import Space
from pipeline.formats.pickle.weight import Weigher
from pipeline.formats.signatures import refuse_stranger
from pipeline.formats.stored import Limits, Opened, Refused

PACKED = 8  # times smaller is what lists and text pack to
DAMAGE = (ArithmeticError, AttributeError, EOFError, LookupError, TypeError, ValueError, struct.error)


def load(path: Path, limits: Limits = Limits()) -> Any:  # noqa: B008  (immutable)
    """What a pickle holds.

    Parameters
    ----------
    path : .pkl, .pickle, .p, .joblib, compressed or not
    limits : how much is read before the file is refused

    Raises
    ------
    FormatError : not a pickle, damaged, over a limit, or it holds more than plain data
    """
    refuse_stranger(path)
    file = Opened.path(path, limits)
    try:
        content = unpacked(file, limits)
    except Refused as error:
        raise FormatError(f"{path}: {error}") from None
    except OSError as error:
        raise FormatError(f"{path}: cannot be unpacked ({error.strerror or error})") from error
    return load_part(str(path), Space(content, limits, PACKED * file.size), 0, content.size)


def load_part(where: str, space: Space, start: int, end: int) -> Any:
    """What the pickle between two bytes of the space's file holds; FormatError as of `load`.

    Parameters
    ----------
    where : the file, and the part of it, for messages
    """
    machine = Machine(Reader(space.file, start, end), space)
    try:
        tree = machine.run()
        if (behind := end - machine.reader.tell()) > 0:
            raise Refused(f"has {behind:,} bytes after its end; is it several pickles in one file?")
        Weigher(space).weigh(tree)
    except Refused as error:
        raise FormatError(f"{where}: {error}") from None
    except DAMAGE as error:
        place, reason = machine.reader.tell(), " ".join(str(error).split())[:120]
        raise FormatError(
            f"{where}: is not a pickle, or is damaged near byte {place:,} ({reason}); copy it again"
        ) from None
    except MemoryError:
        raise FormatError(f"{where}: needs more memory than is available") from None
    except OSError as error:
        raise FormatError(f"{where}: cannot be unpacked ({error.strerror or error})") from error
    return tree
