"""Words of the field are said in one place, and a class' name belongs to one class."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

VOCABULARY = ("pipeline/core/vocabulary.py", "pipeline/core/waveform.py")


def modules(project: Path) -> Iterator[tuple[str, ast.Module]]:
    for package in ("pipeline", "models"):
        for file in sorted((project / package).rglob("*.py")):
            yield file.relative_to(project).as_posix(), ast.parse(file.read_text(encoding="utf-8"))


def assigned(module: ast.Module) -> Iterator[tuple[str, int]]:
    """Names that get a value at the top of a module, and the lines."""
    for statement in module.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for node in (node for target in targets for node in ast.walk(target)):
                if isinstance(node, ast.Name):
                    yield node.id, statement.lineno


def classes(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Classes of a module, those within functions aside."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(child, ast.ClassDef):
            yield child.name, child.lineno
        yield from classes(child)


def test_a_word_of_the_vocabulary_is_said_there_alone(project: Path) -> None:
    found = dict(modules(project))
    words = {name for path in VOCABULARY for name, _ in assigned(found.pop(path))}
    assert {"MODALITIES", "SPLITS", "LABELS", "SAMPLE_RATE"} <= words
    again = [
        f"{path}:{line}: {name}"
        for path, module in found.items()
        for name, line in assigned(module)
        if name in words
    ]
    assert not again, again


def test_no_two_classes_have_one_name(project: Path) -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path, module in modules(project):
        for name, line in classes(module):
            places[name].append(f"{path}:{line}")
    assert len(places) > 100
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert not twice, twice
