"""Keys and items put into YAML text: what it means then, and that no other byte moves."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.core.errors import ParamsError
from pipeline.params.edit import with_edits


def load(text: str) -> dict[str, object]:
    tree: dict[str, object] = YAML(typ="safe").load(text)
    return tree


def with_entry(text: str, path: tuple[str, ...], value: object) -> str:
    return with_edits(text, {path: value})


def with_item(text: str, path: tuple[str, ...], item: object) -> str:
    return with_edits(text, {}, {path: [item]})


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("", "a: {new: 1}\n"),
        ("# only\n", "# only\na: {new: 1}\n"),
        ("b: 2", "b: 2\na: {new: 1}\n"),
        ("a: {}\n", "a:\n  new: 1\n"),
        ("a: {}       # why\nb: 2\n", "a:          # why\n  new: 1\nb: 2\n"),
        ("a: # why\nb: 2\n", "a: # why\n  new: 1\nb: 2\n"),
        ("a: null\n", "a:\n  new: 1\n"),
        ("a: {c: 1}  # why\n", "a: {c: 1, new: 1}  # why\n"),
        ("a: {c: 1,}\n", "a: {c: 1, new: 1}\n"),
        ("a: {c: 1,\n    d: 2}\nb: 3\n", "a: {c: 1,\n    d: 2, new: 1}\nb: 3\n"),
        ("a:\n  c: 1  # why\n\n# of b\nb: 2\n", "a:\n  c: 1  # why\n  new: 1\n\n# of b\nb: 2\n"),
        ("a:\n    c: 1\nb: 2\n", "a:\n    c: 1\n    new: 1\nb: 2\n"),
        ("a:\n  c: |\n    two\n    lines\n\nb: 2\n", "a:\n  c: |\n    two\n    lines\n  new: 1\n\nb: 2\n"),
        ("a:\n  c: [1,\n    2]  # why\nb: 2\n", "a:\n  c: [1,\n    2]  # why\n  new: 1\nb: 2\n"),
        ("a:\n  c:\n  - {d: 1}\n# end\n", "a:\n  c:\n  - {d: 1}\n  new: 1\n# end\n"),
        ("a:\n  c: {d: 1}", "a:\n  c: {d: 1}\n  new: 1\n"),
    ],
)
def test_an_entry(text: str, edited: str) -> None:
    assert with_entry(text, ("a", "new"), 1) == edited
    wanted = load(text) or {}
    wanted["a"] = {**(wanted.get("a") or {}), "new": 1}  # type: ignore[dict-item]
    assert load(edited) == wanted


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("", "a: [new]\n"),
        ("a: []\n", "a: [new]\n"),
        ("a: []  # why\n", "a: [new]  # why\n"),
        ("a: # why\n", "a: # why\n  - new\n"),
        ("a: null\n", "a: [new]\n"),
        ("a: [x]  # why\n", "a: [x, new]  # why\n"),
        ("a:\n- x  # why\n\n# of b\nb: 1\n", "a:\n- x  # why\n- new\n\n# of b\nb: 1\n"),
        ("a:\n  - x\n  - y\n", "a:\n  - x\n  - y\n  - new\n"),
    ],
)
def test_an_item(text: str, edited: str) -> None:
    assert with_item(text, ("a",), "new") == edited
    assert load(edited)["a"] == [*((load(text) or {}).get("a") or []), "new"]  # type: ignore[misc]


def test_a_tree_is_written_as_people_write_it() -> None:
    tree = {"root": "data/raw/x", "range": [-3.0, 3.0], "settings": {"deep": {"none": None, "yes": True}}}
    edited = with_entry("a: {}\n", ("a", "new"), tree)
    assert edited.splitlines() == [
        "a:",
        "  new:",
        "    root: data/raw/x",
        "    range: [-3.0, 3.0]",
        "    settings:",
        "      deep: {none: null, yes: true}",
    ]
    assert load(edited) == {"a": {"new": tree}}


STRINGS = ["1e5", "yes", "null", "a: b", "#", "", "ja # nein", "[x", "é 我", "'", "\n", "12"]


def test_additions_that_meet_at_one_place() -> None:
    text = "a:\n  b:\n    c: {}\nd: {}\n"
    edited = with_edits(text, {("a", "b", "c", "x"): 1, ("a", "b", "y"): 2, ("a", "z"): 3, ("a", "w"): 4})
    assert edited == "a:\n  b:\n    c:\n      x: 1\n    y: 2\n  z: 3\n  w: 4\nd: {}\n"
    assert with_edits("", {("a", "b", "x"): 1, ("a", "c", "y"): 2}) == "a:\n  b: {x: 1}\n  c: {y: 2}\n"


@pytest.mark.parametrize("value", STRINGS)
def test_strings_stay_strings(value: str) -> None:
    for text in ("a: {b: 1}\n", "a:\n  b: 1\n"):
        assert load(with_entry(text, ("a", value), [value]))["a"] == {"b": 1, value: [value]}
    assert load(with_item("a: [b]\n", ("a",), value))["a"] == ["b", value]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n", "a is a int, expected a section"),
        ("a: [1]\n", "a is a list, expected a section"),
        ("b: &x {c: 1}\na: *x\n", "a.new: cannot be edited: .* anchor"),
    ],
)
def test_what_cannot_be_edited(text: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        with_entry(text, ("a", "new"), 1)


def test_an_item_of_what_is_no_list() -> None:
    with pytest.raises(ParamsError, match="a is a dict, expected a list"):
        with_item("a: {b: 1}\n", ("a",), 1)


def test_every_section_of_params_yaml_can_be_added_to(project: Path) -> None:
    """Of the real file every line stays but those that hold a whole section, which grow."""
    text = (project / "params.yaml").read_text(encoding="utf-8")
    tree = load(text)
    places: list[tuple[str, ...]] = [(name, "new") for name, part in tree.items() if isinstance(part, dict)]
    for name, key in (("jobs", "audio"), ("text", "bert"), ("text", "bert_large"), ("models", "khar")):
        places.append((name, key, "new"))
    lists = [(name,) for name, part in tree.items() if isinstance(part, list)]
    assert len(places) > 12 and len(lists) > 2
    edited = with_edits(text, {path: {"k": [1]} for path in places}, {path: ["new", 2] for path in lists})
    found = load(edited)
    for path in places:
        section = found
        for name in path[:-1]:
            section = section[name]  # type: ignore[assignment]
        assert section.pop("new") == {"k": [1]}
    for (name,) in lists:
        assert found[name][-2:] == ["new", 2]  # type: ignore[index]
        del found[name][-2:]  # type: ignore[attr-defined]
    assert found == tree
    changes = difflib.unified_diff(text.splitlines(), edited.splitlines())
    gone = [line for line in changes if line[0] == "-" and line.strip("- \n")]
    assert len(gone) == len(lists) + 2  # and `imports: {}` and the last line of bert_large
