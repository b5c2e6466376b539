"""Keys, items and values put into the text of a YAML file: what else is there stays, to the byte.

A round trip through a YAML library would keep comments, but break long lines again and write values in its
own way, so that a diff shows lines that nobody changed. So its parser says where things stand, and its writer
writes what is new: behind the last entry of its section, in its style, or in place of a value. A section that
is empty (`{}`, `[]`, null, or missing) is opened.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, RoundTripRepresenter
from ruamel.yaml.comments import CommentedMap

from pipeline.core.errors import ParamsError
from pipeline.params.plain_yaml import read_yaml

STEP = 2  # columns that a section is indented by
LINE = 110  # characters of the longest mapping on one line, about

Keys = tuple[str, ...]  # names of the sections from the top, and the key
Splice = tuple[int, int, str]  # from, to: what stands there is replaced


def with_edits(
    text: str, values: Mapping[Keys, Any], items: Mapping[Keys, Sequence[Any]] | None = None
) -> str:
    """The text with plain values of keys that are new or have another one, and with more items of lists.

    ParamsError where one of the sections is a value, or is written in a way that cannot be edited.
    """
    old = read_yaml(text, "params.yaml") or {}
    wanted = _unshared(old)
    for path, value in values.items():
        _put(wanted, path[:-1], {path[-1]: value})
    for path, more in (items or {}).items():
        _put(wanted, path, list(more))
    node = YAML().compose(text)
    edits = _edits(text, node, old, wanted, 0) if node is not None else [_behind(text, len(text), wanted, 0)]
    for start, end, new in sorted(edits, key=lambda edit: edit[0], reverse=True):
        text = text[:start] + new + text[end:]
    if read_yaml(text, "params.yaml") != wanted:
        places = ", ".join(sorted(".".join(path) for path in (*values, *(items or {}))))
        raise ParamsError(
            f"{places}: cannot be edited: their text is shared with another section (by an anchor, for "
            "example); write it out in full"
        )
    return text


def with_tuned(text: str, method: str, dataset: str, values: Mapping[str, Any]) -> str:
    """The text of params.yaml with values by dotted key under `models.<method>.corpora.<dataset>`.

    That section overrules `base`, so other corpora keep their own. ParamsError where the text has none.
    """
    place, section = ("models", method, "corpora", dataset), read_yaml(text, "params.yaml")
    for name in place:
        section = section.get(name) if isinstance(section, dict) else None
    if not isinstance(section, dict):
        raise ParamsError(
            f"{'.'.join(place)} is missing in params.yaml; write `{dataset}: {{}}` there, the values go "
            "below it"
        )
    return with_edits(text, {(*place, *key.split(".")): value for key, value in values.items()})


def with_models_run(text: str, methods: Sequence[str]) -> str:
    """The text of params.yaml with other methods to run; what follows the list in its place, a comment, goes.

    For a file that is put back afterwards. ParamsError where the file cannot be read, or runs none so far.
    """
    entries = YAML().compose(text).value if read_yaml(text, "params.yaml") else []
    for number, (key, _) in enumerate(entries):
        if (
            key.value == "models_run"
        ):  # not what its value's mark says: that of an alias is where its anchor is
            rest = entries[number + 1][0].start_mark.index if number + 1 < len(entries) else len(text)
            return f"{text[: key.end_mark.index]}: {as_yaml(list(methods))}\n{text[rest:]}"
    raise ParamsError("params.yaml has no models_run; write `models_run: []` there")


def pin(commits: Mapping[Keys, str], file: Path) -> list[str]:
    """Write commits of models into params.yaml, and nothing else; the keys that were written.

    A key names the modality and the encoder, `revision`, and the language where there are several, or it is
    one of a method's section; of an empty one nothing is written. ParamsError where the file is not there,
    does not write an encoder down, or cannot be edited.
    """
    if not file.exists():
        raise ParamsError(
            f"--pin: no {file} in this folder to write the commits into; run this in the project folder"
        )
    text = file.read_bytes().decode("utf-8")
    tree = read_yaml(text, "params.yaml")
    values: dict[Keys, str | None] = {}
    for modality, name, _, *language in (key for key in commits if key and key[0] != "models"):
        section = (tree.get(modality) or {}).get(name)
        if section is None:
            raise ParamsError(f"--pin: {file} has no {modality}.{name}; copy the preset there first")
        if language and not isinstance(section.get("revision"), dict):
            values |= {(modality, name, "revision", known): None for known in section["model"]}
    values |= {key: commit for key, commit in commits.items() if key}
    file.write_bytes(with_edits(text, values).encode())
    return [".".join(key) for key in commits if key]


def as_yaml(value: object) -> str:
    """A plain value on one line, as YAML of any version reads it back."""
    if isinstance(value, dict | list):
        return _written(value, flow=True).strip()
    return _written([value], flow=True).strip()[1:-1]


def _unshared(tree: Any) -> Any:
    """A copy in which no two sections are one, as those of an anchor are."""
    if isinstance(tree, dict):
        return {key: _unshared(value) for key, value in tree.items()}
    return [_unshared(value) for value in tree] if isinstance(tree, list) else tree


def _put(tree: dict[str, Any], path: Keys, new: Any) -> None:
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
def _edits(text: str, node: Any, old: Any, wanted: Any, column: int, flow: bool = False) -> list[Splice]:
    """What makes the text of a node, which reads as `old`, read as `wanted`: the outer edits first.

    Edits at one place are done in this order, so that the last of them stands before the others there.
    `flow`: it stands in brackets, where no further lines can be opened.
    """
    if old and isinstance(old, list) and isinstance(wanted, list):
        return [_appended(text, node, wanted[len(old) :])]
    if not old or not isinstance(old, dict) or not isinstance(wanted, dict):
        return _replaced(text, node, wanted, column, flow)
    new = {key: value for key, value in wanted.items() if key not in old}
    edits = [_appended(text, node, new)] if new else []
    for key, value in node.value:
        name = next((name for name in old if str(name) == key.value), None)
        if name is not None and (old[name] != wanted[name] or type(old[name]) is not type(wanted[name])):
            edits += _edits(
                text, value, old[name], wanted[name], key.start_mark.column + STEP, flow or node.flow_style
            )
    return edits


def _appended(text: str, node: Any, new: Any) -> Splice:
    """Behind the last key or item of a section that has some."""
    if node.flow_style:
        end = len(text[: node.end_mark.index - 1].rstrip())  # before the bracket
        comma = " " if text[end - 1] == "," else ", "
        return end, end, comma + as_yaml(new)[1:-1]
    return _behind(text, _end(node), new, node.start_mark.column)


def _replaced(text: str, node: Any, new: Any, column: int, flow: bool) -> list[Splice]:
    """In place of a value, or of an empty section; the rest of the line (a comment) stays where it is."""
    start, end = node.start_mark.index, node.end_mark.index
    opened = isinstance(new, dict) or (isinstance(new, list) and start == end)
    if flow or not opened:
        space = " " if start == end else ""  # a null that is not written
        return [(start, end, space + as_yaml(new))]
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


def _behind(text: str, index: int, new: Any, column: int) -> Splice:
    """More lines behind the line that holds this place."""
    index = len(text[:index].rstrip("\n")) if text[:index].strip() else index  # a block of text ends in lines
    end = text.find("\n", index)
    if end < 0:
        break_ = "\n" if text and not text.endswith("\n") else ""
        return len(text), len(text), break_ + _dumped(new, column)
    return end + 1, end + 1, _dumped(new, column)


class _Representer(RoundTripRepresenter):
    """Writes null as a word, and 1.0e-05, which YAML 1.1 takes for a word without its point."""


_Representer.add_representer(
    type(None), lambda writer, _: writer.represent_scalar("tag:yaml.org,2002:null", "null")
)
_Representer.add_representer(
    float,
    lambda writer, value: writer.represent_scalar(
        "tag:yaml.org,2002:float", (text := repr(value)).replace("e", "e" if "." in text else ".0e")
    ),
)


def _dumped(value: Any, column: int) -> str:
    """YAML of a mapping or a list, a line an entry; short mappings without further ones on one line."""
    if isinstance(value, list):
        return "".join(f"{' ' * column}- {as_yaml(item)}\n" for item in value)
    lines = _written(_in_blocks(value), flow=None).splitlines(keepends=True)
    return "".join(" " * column + line for line in lines)


def _written(value: Any, flow: bool | None) -> str:
    yaml, out = YAML(), io.StringIO()
    yaml.Representer = _Representer
    yaml.default_flow_style = flow
    yaml.width = 1 << 16  # no line is broken
    yaml.dump(value, out)
    return out.getvalue()


def _in_blocks(mapping: dict[str, Any]) -> Any:
    """A mapping that is written a line a key, and so those below it that are long."""
    written = CommentedMap()
    for key, value in mapping.items():
        written[key] = _in_blocks(value) if isinstance(value, dict) and len(str(value)) > LINE else value
    written.fa.set_block_style()
    return written
