"""The code that computes something, as one hash that changes when a number could, and otherwise does not.

    entry `module:name` ─▶ its definition ─▶ the definitions that it names ─▶ theirs ... ─▶ SHA-256

Only source text is read; nothing is imported. A *definition* is a function, a class (as a whole) or what is
assigned to a name at the top of a module. What it names is followed through imports, also those within
functions. So a number that an entry does not use is not in its hash, even where it stands in a module that
the entry imports. What a used module does when it is imported counts too.

What is hashed is the syntax of each definition, in the order in which they are met. Not in it:
- comments, layout, docstrings, type hints;
- in which module a definition stands, and how it is imported;
- log lines: statements that only call `print`, a logger, `warnings` or the console;
- what an error says: the arguments of `raise X(...)` and of `XError(...)`, the text of an `assert`. A row
  that failed may therefore keep the words of an older version;
- everything in LEFT_OUT.

The hash is the same under every supported version of Python.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.core.files import json_hash
from pipeline.core.stage_code import PROJECT, code_of

OURS = ("models", "pipeline")
CONSOLE = "pipeline.core.console"

# Packages and modules that decide no number: they check settings, name and find files, report, carry rows to
# workers and to disk. What of them matters (settings, identity of weights) is in a fingerprint by itself.
LEFT_OUT = (
    "models.core.checkpoints",
    CONSOLE,
    "pipeline.core.devices",
    "pipeline.core.errors",
    "pipeline.core.files",
    "pipeline.core.git",
    "pipeline.core.lean_imports",
    "pipeline.core.paths",
    "pipeline.core.section",
    "pipeline.execution",
    "pipeline.params",
    "pipeline.store",
)
LOGGERS = ("_log", "console", "log", "logger", "logging", "warnings")
LEVELS = ("critical", "debug", "error", "exception", "info", "log", "print", "warn", "warning")
IGNORED_FIELDS = ("annotation", "ctx", "kind", "returns", "type_comment", "type_params")  # of syntax trees
ON_IMPORT, EVERYTHING = "", "*"  # stand for a name where they mean what a module does, and all of it

Target = tuple[str, str | None]
"""a module of ours and a name in it, or None for the module itself"""


@cache
def code_hash(*entries: Callable[..., Any]) -> str:
    """SHA-256 (hex) of the code behind classes and functions; computed once a process."""
    names = (f"{entry.__module__}:{entry.__qualname__.partition('.')[0]}" for entry in entries)
    return SourceCode(PROJECT).hash(*names)


@cache
def stage_hashes(stage: str, method: str = "") -> dict[str, str]:
    """SHA-256 (hex) of the syntax of each module that a stage computes with, by path in the project."""
    return SourceCode(PROJECT).hashes(code_of(stage, method))


class SourceCode:
    """The packages of a project; modules are parsed when they are met.

    Parameters
    ----------
    project : the folder in which they lie
    """

    def __init__(self, project: Path):
        self.project = project
        self._modules: dict[str, Module] = {}

    def hash(self, *entries: str) -> str:
        """SHA-256 (hex) of the code behind some entries, each `module:name`."""
        return json_hash(list(self.definitions(*entries).values()))

    def hashes(self, paths: list[str]) -> dict[str, str]:
        """SHA-256 (hex) of each module at these paths (of folders all below them), by path.

        Other than in `hash` every definition counts, and where it is imported from.
        """
        found: dict[str, str] = {}
        for place in (self.project / path for path in paths):
            for file in [place] if place.suffix == ".py" else sorted(place.rglob("*.py")):
                path = file.relative_to(self.project).as_posix()
                name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
                module = Module(self, name, file)
                found[path] = json_hash(_Reader(self, module, lambda module, _: module).syntax(module.body))
        return found

    def definitions(self, *entries: str) -> dict[tuple[str, str], Any]:
        """(module, name) -> syntax, for every definition behind some entries."""
        places: dict[tuple[str, str], int] = {}

        def place_of(module: str, name: str) -> int:
            places.setdefault((module, ON_IMPORT), len(places))
            return places.setdefault((module, name), len(places))

        for entry in entries:
            module, _, name = entry.partition(":")
            place_of(module, name)
        found: dict[tuple[str, str], Any] = {}
        while len(found) < len(places):
            module, name = list(places)[len(found)]
            reader = _Reader(self, self.module(module), place_of)
            found[module, name] = reader.syntax(self.module(module).statements(name))
        return found

    def file(self, module: str) -> Path | None:
        """The file of a module of ours; None where there is none."""
        if module.partition(".")[0] not in OURS:
            return None
        place = self.project.joinpath(*module.split("."))
        files = (place.with_suffix(".py"), place / "__init__.py")
        return next((file for file in files if file.is_file()), None)

    def module(self, name: str) -> Module:
        """A module of ours, or another one that is imported already."""
        if name not in self._modules:
            file = self.file(name) or Path(str(sys.modules[name].__file__))
            self._modules[name] = Module(self, name, file)
        return self._modules[name]


class Module:
    """What stands at the top of a module.

    Attributes
    ----------
    body : all of it but what is for type checkers
    definitions : name -> statements that bind it
    imports : name -> what of ours it stands for, in the module or in a function of it
    on_import : statements that do something when the module is imported
    """

    def __init__(self, code: SourceCode, name: str, file: Path):
        self.name = name
        self._package = name if file.stem == "__init__" else name.rpartition(".")[0]
        self._code = code
        self.definitions: dict[str, list[ast.AST]] = {}
        self.imports: dict[str, list[Target]] = {}
        self.on_import: list[ast.AST] = []
        tree = ast.parse(file.read_bytes())
        self.body: list[ast.AST] = [
            one
            for one in tree.body
            if not (isinstance(one, ast.If) and ast.unparse(one.test).endswith("TYPE_CHECKING"))
        ]
        for statement in self.body:
            for node in ast.walk(statement):
                if not isinstance(node, ast.Import | ast.ImportFrom):
                    continue
                for alias in node.names:
                    bound_name = alias.asname or alias.name.partition(".")[0]
                    if target := self.target(node, alias):
                        self.imports.setdefault(bound_name, []).append(target)
                    elif node is statement:
                        alone = type(node)(**{**dict(ast.iter_fields(node)), "names": [alias]})
                        self.definitions.setdefault(bound_name, []).append(alone)
            if bound := _bound(statement):
                for one in bound:
                    self.definitions.setdefault(one, []).append(statement)
            elif not isinstance(statement, ast.Import | ast.ImportFrom):
                self.on_import.append(statement)

    def target(self, node: ast.Import | ast.ImportFrom, alias: ast.alias) -> Target | None:
        """What of ours an import binds; None for other packages."""
        if isinstance(node, ast.Import):
            module = alias.name if alias.asname else alias.name.partition(".")[0]
            return (module, None) if self._code.file(module) else None
        above = self._package.split(".")
        parts = above[: len(above) - node.level + 1] if node.level else []
        module = ".".join([*parts, *([node.module] if node.module else [])])
        if self._code.file(f"{module}.{alias.name}"):
            return f"{module}.{alias.name}", None
        return (module, alias.name) if self._code.file(module) else None

    def statements(self, name: str) -> list[ast.AST]:
        """What a name stands for; everything for one that is made in some other way."""
        if name == ON_IMPORT:
            return self.on_import
        if name in self.definitions:
            return self.definitions[name]
        if name in self.imports:
            return [ast.Name(name)]
        return self.body


def _bound(statement: ast.AST) -> list[str]:
    """Names that a statement binds where that is all that it does."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            pass
        case ast.AnnAssign(target=target) | ast.AugAssign(target=target):
            targets = [target]
        case _:
            return []
    places = [part for one in targets for part in (one.elts if isinstance(one, ast.Tuple) else [one])]
    names = [place.id for place in places if isinstance(place, ast.Name)]
    return names if len(names) == len(places) else []


class _Reader:
    """Syntax of one module as it is hashed; `place_of` is told which definitions of ours it names."""

    def __init__(self, code: SourceCode, module: Module, place_of: Callable[[str, str], int | str]):
        self._code = code
        self._module = module
        self._place_of = place_of

    def syntax(self, node: Any) -> Any:
        """Lists and strings; None for what does not count."""
        match node:
            case list():
                return [part for one in node if (part := self.syntax(one)) is not None]
            case ast.Pass() | ast.Expr(value=ast.Constant(value=str())):
                return None
            case ast.Expr(value=ast.Call(func=called)) if self._is_log_call(called):
                return None
            case ast.Import() | ast.ImportFrom():
                foreign = [alias for alias in node.names if not self._module.target(node, alias)]
                return [getattr(node, "module", None), self.syntax(foreign)] if foreign else None
            case ast.Raise(exc=error):
                return ["Raise", self.syntax(error.func if isinstance(error, ast.Call) else error)]
            case ast.Call(func=called) if self._is_error(called):
                return ["Call", self.syntax(called)]
            case ast.Assert(test=test):
                return ["Assert", self.syntax(test)]
            case ast.Name() | ast.Attribute() if targets := self._targets(node):
                return ["Name", *(self._reference(*target) for target in targets)]
            case ast.JoinedStr(values=values):  # Python 3.12 puts empty pieces there
                return [
                    "JoinedStr",
                    self.syntax([one for one in values if getattr(one, "value", None) != ""]),
                ]
            case ast.AST():
                fields = [
                    [name, self.syntax(value)]
                    for name, value in ast.iter_fields(node)
                    if name not in IGNORED_FIELDS and value is not None and value != []
                ]
                return [type(node).__name__, *fields]
            case _:
                return ascii(node)

    def _targets(self, node: ast.expr) -> list[Target]:
        """What of ours a name or a chain of attributes stands for."""
        if isinstance(node, ast.Name):
            own = [(self._module.name, node.id)] if node.id in self._module.definitions else []
            return [*self._module.imports.get(node.id, []), *own]
        if not isinstance(node, ast.Attribute):
            return []
        modules = [module for module, name in self._targets(node.value) if name is None]
        return [
            (inner, None) if self._code.file(inner := f"{module}.{node.attr}") else (module, node.attr)
            for module in modules
        ]

    def _reference(self, module: str, name: str | None) -> str:
        if _left_out(module):
            return name or ""
        return f"{name} {self._place_of(module, name or EVERYTHING)}"

    def _is_log_call(self, called: ast.expr) -> bool:
        """Whether a call tells something and computes nothing."""
        logger, _, level = ast.unparse(called).rpartition(".")
        tells = logger in LOGGERS and level in LEVELS if logger else level == "print"
        return tells or any(module == CONSOLE for module, _ in self._targets(called))

    def _is_error(self, called: ast.expr) -> bool:
        """Whether it is an exception's class, whose arguments are what it says."""
        if isinstance(called, ast.Name) and isinstance(known := getattr(builtins, called.id, None), type):
            return issubclass(known, BaseException)
        return any(
            _left_out(module) and str(name).endswith("Error") for module, name in self._targets(called)
        )


def _left_out(module: str) -> bool:
    return any(module == one or module.startswith(f"{one}.") for one in LEFT_OUT)
