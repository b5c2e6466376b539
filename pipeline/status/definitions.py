"""What differs between two versions of a Python file: functions, methods, classes, values by their names."""

from __future__ import annotations

import ast


def changed_definitions(old: str, new: str) -> list[str]:
    """`Misr.losses (line 143)`, `WIDTH added (line 9)`, `Misr.old removed`, in the order of the new file.

    Empty where only comments, docstrings or the layout differ. SyntaxError: one of them is no Python.
    """
    before, after = (_definitions(_without_texts(ast.parse(text)).body) for text in (old, new))
    found = []
    for name, (syntax, line) in after.items():
        if name not in before:
            found.append(f"{name} added (line {line})")
        elif before[name][0] != syntax:
            found.append(f"{name} (line {line})")
    return found + [f"{name} removed" for name in before if name not in after]


def _without_texts(tree: ast.Module) -> ast.Module:
    """Without docstrings, those of attributes too."""
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            body[:] = [
                one
                for one in body
                if not (isinstance(one, ast.Expr) and isinstance(getattr(one.value, "value", None), str))
            ]
    return tree


def _definitions(body: list[ast.stmt], inside: str = "") -> dict[str, tuple[list[str], int]]:
    """Name -> syntax of the statements that bind it, and the line of the first."""
    found: dict[str, tuple[list[str], int]] = {}
    for statement in body:
        parts = []
        if isinstance(statement, ast.ClassDef):
            parts, statement.body = statement.body, []  # its head alone; what is in it has its own names
        for name in _names(statement):
            syntax, _ = found.setdefault(inside + name, ([], statement.lineno))
            syntax.append(ast.dump(statement))
        found |= _definitions(parts, f"{inside}{getattr(statement, 'name', '')}.")
    return found


def _names(statement: ast.stmt) -> list[str]:
    match statement:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [ast.unparse(target) for target in targets]
        case ast.AnnAssign(target=target):
            return [ast.unparse(target)]
        case ast.Import() | ast.ImportFrom():
            return ["imports"]
        case _:
            return ["what runs at import"]
