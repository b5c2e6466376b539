"""Keys, items and values put into the text of a YAML file: what else is there stays, to the byte.

A round trip through a YAML library would keep comments, but break long lines anew and write values in its
own way, so that a diff shows lines that nobody changed. New entries go behind the last one of their section
and are written in its style; a section that is empty (`{}`, `[]`, null, or missing) is opened.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.core.errors import ParamsError

STEP = 2  # columns that a section is indented by
LINE = 110  # characters of the longest mapping on one line, about

Path = tuple[str, ...]
Edit = tuple[int, int, str]  # from, to: what stands there is replaced


def with_added(
    text: str, entries: Mapping[Path, Any], items: Mapping[Path, Sequence[Any]] | None = None
) -> str:
    """The text with keys that are not there yet, and with more items of lists.

    Parameters
    ----------
    entries : names of the sections from the top and the key -> its value, which is plain: mappings,
        sequences, strings, numbers, booleans, None
    items : names of the sections and of the list -> what is put at its end

    Raises
    ------
    ParamsError : one of the sections is a value, or is written in a way that cannot be edited
    """
    from ruamel.yaml import YAML

    old = _load(text) or {}
    wanted = unshared(old)
    for path, value in entries.items():
        _put(wanted, path[:-1], {path[-1]: value})
    for path, more in (items or {}).items():
        _put(wanted, path, list(more))
    node = YAML().compose(text)
    edits = _edits(text, node, old, wanted, 0) if node is not None else [_behind(text, len(text), wanted, 0)]
    for start, end, new in sorted(edits, key=lambda edit: edit[0], reverse=True):
        text = text[:start] + new + text[end:]
    if _load(text) != wanted:
        places = ", ".join(sorted(".".join(path) for path in (*entries, *(items or {}))))
        raise ParamsError(
            f"{places}: cannot be written, as their text is shared with another section (an anchor, say); "
            "write it out"
        )
    return text


def with_value(text: str, path: Sequence[str], value: str) -> str:
    """The text with one value replaced where it stands, or put in front of its section's other keys.

    In front, because the comments before the next section follow the last key. The caller compares what the
    text means then with what was wanted: a section may share its text with another one (an anchor).

    Parameters
    ----------
    path : names of the sections from the top and the key
    value : as YAML
    """
    from ruamel.yaml import YAML, MappingNode

    node: Any = YAML().compose(text)
    for depth, name in enumerate(path):
        if not isinstance(node, MappingNode):  # a section that is written as null
            break
        found = next((child for key, child in node.value if key.value == name), None)
        if found is None:
            new = f"{name}: {_nested(path[depth + 1 :], value)}"
            if node.flow_style:
                start = node.start_mark.index + 1
                return text[:start] + new + (", " if node.value else "") + text[start:]
            first = node.value[0][0].start_mark
            return f"{text[: first.index]}{new}\n{' ' * first.column}{text[first.index :]}"
        node, rest = found, path[depth + 1 :]
    start, end = node.start_mark.index, node.end_mark.index
    space = " " if start == end else ""  # a null that is not written
    return text[:start] + space + _nested(rest, value) + text[end:]


def _nested(path: Sequence[str], value: str) -> str:
    """`{a: {b: value}}`."""
    return "".join(f"{{{name}: " for name in path) + value + "}" * len(path)


def _load(text: str) -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="safe").load(text)


def unshared(tree: Any) -> Any:
    """A copy in which no two sections are one, as those of an anchor are."""
    if isinstance(tree, dict):
        return {key: unshared(value) for key, value in tree.items()}
    return [unshared(value) for value in tree] if isinstance(tree, list) else tree


def _put(tree: dict[str, Any], path: Path, new: Any) -> None:
    """What is to be added, added to the plain tree."""
    for depth, name in enumerate(path):
        if not isinstance(tree, dict):
            raise ParamsError(f"{'.'.join(path[:depth])} is a value, expected a section")
        if tree.get(name) is None:
            tree[name] = [] if isinstance(new, list) and depth == len(path) - 1 else {}
        tree = tree[name]
    if type(tree) is not type(new):
        kind = "list" if isinstance(new, list) else "section"
        raise ParamsError(f"{'.'.join(path) or 'the file'} is a {type(tree).__name__}, expected a {kind}")
    if isinstance(tree, list):
        tree += new
    else:
        tree |= new


# --------------------------------------------------------------------------------------------------- edits
def _edits(text: str, node: Any, old: Any, wanted: Any, column: int) -> list[Edit]:
    """What makes the text of a node, which reads as `old`, read as `wanted`: the outer edits first.

    Edits at one place are done in this order, so that the last of them stands before the others there.
    """
    if not old:
        return _filled(text, node, wanted, column)
    if isinstance(old, list):
        return [_appended(text, node, wanted[len(old) :])]
    new = {key: value for key, value in wanted.items() if key not in old}
    edits = [_appended(text, node, new)] if new else []
    for key, value in node.value:
        name = next((name for name in old if str(name) == key.value), None)
        if name is not None and old[name] != wanted[name]:
            edits += _edits(text, value, old[name], wanted[name], key.start_mark.column + STEP)
    return edits


def _appended(text: str, node: Any, new: Any) -> Edit:
    """Behind the last key or item of a section that has some."""
    if node.flow_style:
        end = len(text[: node.end_mark.index - 1].rstrip())  # before the bracket
        comma = " " if text[end - 1] == "," else ", "
        return end, end, comma + _dumped(new, 0, flow=True)[1:-1]
    return _behind(text, _end(node), new, node.start_mark.column)


def _filled(text: str, node: Any, new: Any, column: int) -> list[Edit]:
    """In place of `{}`, `[]` or null; the rest of the line (a comment) stays where it is."""
    start, end = node.start_mark.index, node.end_mark.index
    if isinstance(new, list) and start < end:
        return [(start, end, _dumped(new, 0, flow=True))]
    head = len(text[:start].rstrip(" "))
    comment = text[end:].lstrip(" ").startswith("#")
    space = " " * (end - head) if comment else ""  # it keeps its column
    return [_behind(text, head, new, column), (head, end, space)]


def _end(node: Any) -> int:
    """Where the text of a node ends; the mark of a block's own end lies behind the comments that follow."""
    if isinstance(node.value, list) and node.value and not node.flow_style:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    end: int = node.end_mark.index
    return end


def _behind(text: str, index: int, new: Any, column: int) -> Edit:
    """More lines behind the line that holds this place."""
    index = len(text[:index].rstrip("\n")) if text[:index].strip() else index  # a block of text ends in lines
    end = text.find("\n", index)
    if end < 0:
        break_ = "\n" if text and not text.endswith("\n") else ""
        return len(text), len(text), break_ + _dumped(new, column)
    return end + 1, end + 1, _dumped(new, column)


def _dumped(value: Any, column: int, flow: bool = False) -> str:
    """YAML of a plain value, indented; lists, and short mappings without further ones, on one line."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.default_flow_style = True if flow else None
    yaml.width = 1 << 16  # no line is broken
    yaml.representer.add_representer(
        type(None), lambda writer, _: writer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    if isinstance(value, list) and not flow:
        return "".join(f"{' ' * column}- {_dumped([item], 0, flow=True)[1:-1]}\n" for item in value)
    out = io.StringIO()
    yaml.dump(value if flow else _in_blocks(value), out)
    if flow:
        return out.getvalue().strip()
    return "".join(" " * column + line for line in out.getvalue().splitlines(keepends=True))


def _in_blocks(mapping: dict[str, Any]) -> Any:
    """A mapping that is written a line a key, and so those below it that are long."""
    from ruamel.yaml.comments import CommentedMap

    written = CommentedMap()
    for key, value in mapping.items():
        written[key] = _in_blocks(value) if isinstance(value, dict) and len(str(value)) > LINE else value
    written.fa.set_block_style()
    return written
