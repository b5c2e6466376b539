"""YAML from people's hands as plain data: mappings, lists, texts, numbers, booleans and null, and no other.

Every fault is one line with its place: text that is no YAML, a key that is there twice, a value of another
type (`!!python/object`, a date), a number without end, nesting or anchors that grow without end.
"""

from __future__ import annotations

import copy
import math
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from ruamel.yaml import YAML, SafeConstructor
from ruamel.yaml.constructor import ConstructorError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node
from ruamel.yaml.reader import ReaderError

from pipeline.core.errors import ParamsError
from pipeline.params.explain import one_line

LARGEST = 4_000_000  # characters
MOST = 100_000  # values, those that anchors stand for counted each time
DIGITS = 66  # of a whole number, its sign or prefix too
CORE = "tag:yaml.org,2002:"
PLAIN = ("map", "seq", "str", "int", "float", "bool", "null", "merge", "value")


def read_yaml_file(file: Path) -> Any:
    """What a file holds; None where it is empty. ParamsError names it, line and column."""
    try:
        return read_yaml(file.read_bytes(), str(file))
    except OSError as error:
        raise ParamsError(f"{file}: cannot be read as YAML: {error.strerror}") from error


def read_yaml(content: bytes | str, source: str) -> Any:
    """What a text holds. ParamsError: `source`, line and column, and what is wrong there."""
    if len(content) > LARGEST:
        raise ParamsError(f"{source}: has {len(content)} characters, expected at most {LARGEST}")
    place, text = "", ""
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        return copy.deepcopy(_parsed(text))  # the caller may change its own
    except UnicodeDecodeError as error:
        place, reason = _behind(error.object[: error.start].decode("utf-8")), "not UTF-8; save it as UTF-8"
    except RecursionError:
        reason = "brackets or sections are nested too deeply"
    except ReaderError as error:
        place, reason = _behind(text[: error.position]), f"character U+{error.character:04X} is not allowed"
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}"
        context = error.context if (error.problem or "but").startswith("but") else ""
        reason = " ".join(filter(None, [context, error.problem]))
    except (YAMLError, ValueError, TypeError) as error:  # an escape for no character, a key that is a list
        reason = str(error)
    raise ParamsError(f"{source}{place}: cannot be read as YAML: {one_line(reason)}")


@lru_cache(maxsize=8)
def _parsed(text: str) -> Any:
    """Half a second for params.yaml, which one command may read, edit and read again."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _PlainConstructor
    return yaml.load(text)


def _behind(before: str) -> str:
    return f", line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"


class _PlainConstructor(SafeConstructor):
    def construct_document(self, node: Node) -> Any:
        if _size(node, {}) > MOST:
            self._refuse(node, f"more than {MOST} values, counting what anchors repeat")
        return super().construct_document(node)

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        kind = str(node.tag).removeprefix(CORE)
        if kind not in PLAIN:
            self._refuse(node, f"a value of type {kind}, expected plain data; quote it if it is text")
        if kind == "int" and len(node.value) > DIGITS:
            self._refuse(node, f"a number with more than {DIGITS} digits")
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError):
            self._refuse(node, f"{node.value[:DIGITS]!r} is not a valid {kind}")

    def _refuse(self, node: Node, reason: str) -> NoReturn:
        raise ConstructorError(None, None, reason, node.start_mark)


def _size(node: Node, known: dict[int, float]) -> float:
    """Values in a node; endless where it is a part of itself."""
    if id(node) not in known:
        known[id(node)] = math.inf
        parts = node.value if isinstance(node.value, list) else []
        if isinstance(node, MappingNode):
            parts = [part for pair in parts for part in pair]
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]
