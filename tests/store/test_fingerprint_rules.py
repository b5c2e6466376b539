"""The code hash on made-up modules, rule by rule: what counts and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from made.code_changes import edited

from pipeline.store.fingerprint import SourceCode

MADE = {
    "pipeline/__init__.py": "",
    "pipeline/core/errors.py": "class MadeError(Exception): ...\n",
    "pipeline/core/console.py": "def say(text): print(text)\n",
    "pipeline/numbers.py": "A, B = 1, 2\nUNUSED = 3\nTABLE = {}\nTABLE['x'] = 4\n",
    "pipeline/others.py": "A = 1\nimport math\ndef half(x): return math.floor(x / 2)\n",
    "pipeline/entry.py": """
from pipeline.core.errors import MadeError
from pipeline.core.console import say
from pipeline.numbers import A
from pipeline import others

class Base:
    width = 5

class Entry(Base):
    def __call__(self, x: int = 6) -> int:
        from pipeline.deferred import factor
        say(f"{x}")
        if x > 7:
            raise MadeError(f"{x} is above 7")
        return A * others.half(x) * factor(x) + OFFSET

OFFSET: int = 8
OFFSET += 9
""",
    "pipeline/deferred.py": "SHARE = 10\ndef factor(x, share=SHARE): return x * share\n",
}

SYNTAX = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass(frozen=True, eq=False)
class Told:
    what: str = 'é\\x00' 'ü'
    much: float = 1_0.50
    other: dict | None = None

async def later(x, /, y=1, *more, z, **rest):
    async for i in x:
        yield i
    with (open(y) as a, open(z) as b):
        return [j for j in a if j] or {**rest} or (lambda q: q)(b)

def told(x: int = 3) -> str:
    match x:
        case {"a": [1, *others], **rest} if others:
            return f"{x!r:>{x}} {x=} " "and" f"{x:.2f}{'b'}" f"{x:}"
        case Told(what=1 | 2 as y) | None:
            try:
                return later(x, z=-1j)[1:, ...] if (n := 2) < 3 <= 4 else b"x"
            except* ValueError:
                del x
    while not x:
        x @= 2
    else:
        global Told
    return u"old"
"""


@pytest.fixture
def made(tmp_path: Path) -> Path:
    for file, text in MADE.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "old", "new", "counts"),
    [
        ("numbers", "A, B = 1, 2", "A, B = 0, 2", True),
        ("numbers", "UNUSED = 3", "UNUSED = 0", False),
        ("numbers", "TABLE['x'] = 4", "TABLE['x'] = 0", True),  # done on import
        ("others", "x / 2", "x / 3", True),
        ("others", "A = 1", "A = 0", False),
        ("others", "import math", "import cmath as math", True),
        ("entry", "width = 5", "width = 0", True),
        ("entry", "int = 6", "int = 0", True),
        ("entry", "-> int", "-> float", False),
        ("entry", "x > 7", "x > 0", True),
        ("entry", "above 7", "too large", False),
        ("entry", "= 8", "= 0", True),
        ("entry", "+= 9", "+= 0", True),
        ("entry", "from pipeline.numbers import A", "from pipeline.others import A", True),
        ("entry", "from pipeline.numbers import A", "from pipeline.numbers import B as A", True),
        ("entry", '        say(f"{x}")\n', "", False),
        ("entry", "A * others", "A * 1 * others", True),
        ("entry", "from pipeline import others", "import pipeline.others as others", False),
        ("entry", "from pipeline import others", "from . import others", False),
        ("entry", "from pipeline.deferred", "from .deferred", False),
        ("deferred", "SHARE = 10", "SHARE = 0", True),
        ("core/errors", "...", "code = 3", False),
        ("core/console", "print(text)", "print(text, text)", False),
    ],
)
def test_what_counts(made: Path, file: str, old: str, new: str, counts: bool) -> None:
    known = SourceCode(made).hash("pipeline.entry:Entry")
    edited(made / f"pipeline/{file}.py", old, new)
    assert (SourceCode(made).hash("pipeline.entry:Entry") != known) == counts


def test_a_module_used_as_a_whole_or_with_unknown_names_counts_as_a_whole(made: Path) -> None:
    for use in ("vars(others)", "others.made_by_getattr"):
        (made / "pipeline/entry.py").write_text(f"from pipeline import others\ndef run(): return {use}\n")
        (made / "pipeline/others.py").write_text("A = 1\n")
        known = SourceCode(made).hash("pipeline.entry:run")
        (made / "pipeline/others.py").write_text("A = 2\n")
        assert SourceCode(made).hash("pipeline.entry:run") != known


def test_versions_of_python_agree(made: Path) -> None:
    """Its own hash was computed with Python 3.11, 3.12 and 3.13; another one makes all stores stale."""
    (made / "pipeline/syntax.py").write_text(SYNTAX)
    assert SourceCode(made).hash("pipeline.syntax:told").startswith("6aa0b13aa1b5667a")
