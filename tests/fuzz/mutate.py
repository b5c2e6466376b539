"""Damage to files by random numbers: to bytes, tokens of text, a pickle's instructions, headers.

A format with a structure is broken within it as well, so that a reader's later steps are reached: pickles
stay a stream of instructions, an .npz keeps its checksums, an .npy says how long its header is.
"""

from __future__ import annotations

import io
import pickletools
import random
import re
import struct
import zipfile
from collections.abc import Callable, Sequence

MOST_BYTES = 300_000  # more than a seed has
EDITS = (1, 1, 1, 2, 2, 3, 5, 8)  # of one input
TEXTS = (".csv", ".json", ".jsonl", ".yaml", ".srt", ".vtt", ".txt")
INTEGERS = [0, 1, 2, 3, 127, 128, 255, 256, 2**40]
INTEGERS += [2**bits + more for bits in (15, 16, 31, 32, 63) for more in (-1, 0)]
TOKEN = re.compile(rb'"(?:[^"\\\n]|\\.)*"|[-+]?\d[\d.eE+-]*|[A-Za-z_]\w*|[ \t]+|\r?\n|.', re.DOTALL)
WORDS = [
    b"", b"-1", b"-0", b"0", b"1e999", b"-1e308", b"nan", b"Infinity", b"0x1F", b"1_0", b"1.5.2", b"9" * 25,
    b"9" * 5000, b"true", b"null", b"~", b"[]", b"{}", b"[[1]]", b"{a: 1}", b'"', b"'", b",", b";", b"\t",
    b"\r", b"\x00", b"\x1b[31m", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b'"\\ud800"',
    b"\\u0000", b"\xe2\x80\xa8", b"\xe2\x80\xae", b"\xf0\x9f\x98\x80", b"\xd9\xa3", b"e\xcc\x81", b"\xc2\xb2",
    b"..", b"../../x", b"/etc/passwd", b"$_$", b"=1+1", b"A" * 70_000, b"[" * 3000, b"{a: " * 500,
    b"<a " * 500, b"&a [*a]", b"*a", b"<<: *a", b"!!python/name:os.system", b"!!binary x", b"!!float x",
    b"!x y", b"? [a]\n: b", b"2024-13-45", b"12:30:45", b"00:00:01,000 --> 00:00:02,000", b"9999999:00:00.0",
    b"<0:0>",
]  # fmt: skip
OPCODES = [
    b"N", b"\x88", b")", b"]", b"}", b"\x8f", b"(", b"t", b"l", b"d", b"0", b"1", b"2", b"R", b"b", b"\x81",
    b"\x92", b"\x93", b"a", b"e", b"s", b"u", b"\x85", b"\x86", b"\x87", b"\x91", b"\x94", b"Q", b"P0\n",
    b"\x97", b"\x98", b"h\x00", b"h\x01", b"j\xff\xff\xff\x7f", b"r\xff\xff\xff\xff", b"\x82\x01", b"I1_0\n",
    b"F1e999\n", b"L9\n", b"cposix\nsystem\n", b"cnumpy\ndtype\n", b"cnumpy\nndarray\n",
    b"ccollections\nOrderedDict\n", b"ccollections\ndefaultdict\n", b"cnumpy.core.multiarray\n_reconstruct\n",
    b"cnumpy.core.multiarray\nscalar\n", b"B\xff\xff\xff\x7f", b"\x8e" + b"\xff" * 8, b"C\x00",
]  # fmt: skip


def mutated(data: bytes, others: Sequence[bytes], suffix: str, rng: random.Random) -> bytes:
    """The file of a seed, damaged in a few places; `others` are seeds to take pieces of."""
    edit: Callable[..., bytes] = edit_bytes
    if rng.random() < 0.8:
        edit = STRUCTURED.get(suffix, edit_bytes)
    most = len(data) + MOST_BYTES
    for _ in range(rng.choice(EDITS)):
        try:
            data = edit(data, others, rng)[:most]
        except Exception:  # whatever a library says where the structure is gone
            data = edit_bytes(data, others, rng)
    return data


def integer(rng: random.Random) -> int:
    return rng.choice(INTEGERS) * rng.choice((1, 1, -1))


def place(size: int, rng: random.Random) -> int:
    """A position, more often near the beginning (headers) and the end (indexes)."""
    near = min(size, int(2 ** rng.uniform(0, 12)))
    return rng.choice((rng.randint(0, size), rng.randint(0, size), near, near, size - near))


def edit_bytes(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Flips, integers, blocks cut, doubled, swapped and taken of other seeds; a cut end."""
    at, size = place(len(data), rng), int(2 ** rng.uniform(0, 10))
    before, block, after = data[:at], data[at : at + size], data[at + size :]
    match rng.choice(
        ("flip", "flip", "integer", "integer", "random", "cut", "double", "swap", "splice", "end")
    ):
        case "flip" if block:
            return before + bytes([block[0] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        case "integer":
            width, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
            value = (integer(rng) % 2 ** (8 * width)).to_bytes(width, order)  # type: ignore[arg-type]
            return before + value + data[at + width :]
        case "random":
            return before + rng.randbytes(min(size, 8)) + data[at + min(size, 8) :]
        case "cut":
            return before + after
        case "double":
            return before + block * rng.choice((2, 2, 3, 100)) + after
        case "swap":
            other = place(len(data), rng)
            return before + data[other : other + size] + after
        case "splice":
            other_seed = rng.choice(others)
            start = place(len(other_seed), rng)
            return before + other_seed[start : start + size] + rng.choice((after, data[at:], b""))
    return data[:at]


def edit_text(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Tokens and lines replaced, doubled, left out, and taken from elsewhere."""
    parts = data.splitlines(keepends=True) if rng.random() < 0.2 else TOKEN.findall(data)
    at, source = rng.randrange(len(parts)), rng.choice([data, *others])
    match rng.choice(("word", "word", "word", "insert", "delete", "double", "swap", "splice", "many")):
        case "word":
            parts[at] = rng.choice(WORDS)
        case "insert":
            parts.insert(at, rng.choice(WORDS))
        case "delete":
            del parts[at : at + rng.choice((1, 1, 2, 20))]
        case "double":
            parts.insert(at, parts[at])
        case "swap":
            parts[at] = rng.choice(parts)
        case "splice":
            parts[at] = rng.choice(TOKEN.findall(source) or [b""])
        case "many":
            parts[at] *= rng.choice((10, 1000, 20_000))
    return b"".join(parts)


def edit_pickle(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Instructions replaced, doubled, left out, swapped; other numbers, texts and bytes."""
    parts = instructions(data)
    at = rng.randrange(len(parts))
    match rng.choice(("value", "value", "value", "opcode", "insert", "delete", "double", "swap", "splice")):
        case "value":
            places = [i for i, part in enumerate(parts) if part[:1] in b"KMJ\x8aX\x8cUTCBG"]
            at = rng.choice(places)
            parts[at] = value(parts[at][:1], rng)
        case "opcode":
            parts[at] = rng.choice(OPCODES)
        case "insert":
            parts.insert(at, rng.choice(OPCODES))
        case "delete":
            del parts[at : at + rng.choice((1, 1, 3))]
        case "double":
            parts[at:at] = parts[at : at + rng.choice((1, 2, 10))]
        case "swap":
            other = rng.randrange(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        case "splice":
            found = instructions(rng.choice(others))
            start = rng.randrange(len(found))
            parts[at : at + rng.choice((0, 1, 5))] = found[start : start + rng.choice((1, 5, 30))]
    return b"".join(parts)


def instructions(data: bytes) -> list[bytes]:
    """The instructions of a pickle without frames; what cannot be read (joblib's arrays) is the last one."""
    starts, parts = [], []
    try:
        for opcode, _, position in pickletools.genops(data):
            starts.append((position or 0, opcode.name))
    except Exception:  # whatever a damaged pickle makes of pickletools
        pass
    ends = [start for start, _ in starts[1:]] + [len(data)]
    for (start, name), end in zip(starts, ends, strict=True):
        if name != "FRAME":
            parts.append(data[start:end])
    return parts or [data]


def value(opcode: bytes, rng: random.Random) -> bytes:
    """Another number, text or bytes for an instruction that pushes one."""
    if opcode in b"KMJ\x8a":
        number = integer(rng)
        packed = number.to_bytes(9, "little", signed=True)
        return b"K" + packed[:1] if 0 <= number < 256 else b"\x8a\x09" + packed
    if opcode == b"G":
        return b"G" + struct.pack(">d", rng.choice((0.0, -1.0, 1e308, float("nan"), float("inf"), 2.5)))
    if opcode in b"CB":
        return b"C" + bytes([size := rng.choice((0, 1, 8, 200))]) + rng.randbytes(size)
    text = rng.choice(
        (*WORDS, b"f8", b"<i4", b"|O", b"V8", b"M8[ns]", b"train", b"id", b"text", b"numpy", b"dtype")
    )
    return b"X" + struct.pack("<I", len(text)) + text


def edit_npy(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """The header's text, behind its right length; or bytes."""
    length = struct.unpack_from("<H", data, 8)[0]
    header = edit_text(data[10 : 10 + length], [], rng)[:65_535]
    return data[:8] + struct.pack("<H", len(header)) + header + data[10 + length :]


def edit_npz(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """A member damaged, doubled or called otherwise, in an archive that is whole."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    at = rng.randrange(len(members))
    name, content = members[at]
    match rng.choice(("member", "member", "member", "name", "double", "delete")):
        case "member":
            edit = rng.choice((edit_npy, edit_npy, edit_bytes))
            members[at] = (name, edit(content, [content], rng))
        case "name":
            members[at] = (rng.choice(("../x.npy", "/x.npy", "x", "", "x" * 70_000, members[0][0])), content)
        case "double":
            members.append(members[at])
        case "delete":
            del members[at]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


STRUCTURED: dict[str, Callable[..., bytes]] = {
    ".npy": edit_npy,
    ".npz": edit_npz,
    **dict.fromkeys((".pkl", ".p", ".joblib"), edit_pickle),
    **dict.fromkeys(TEXTS, edit_text),
}
