"""The methods: one paper, one folder. A folder's name is what `models_run` may list.

A folder with a `model.py` is a method; its class is the one class there that names its `TERMS`. Everything
here is read from the source, so that commands which only list methods do not import torch.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import FormatError

if TYPE_CHECKING:
    from models.core.method import Method


@dataclass(frozen=True)
class MethodEntry:
    """Where a method is defined."""

    module: str  # dotted name of its model.py

    @cached_property
    def definition(self) -> ast.ClassDef:
        """Syntax of the method's class.

        Raises
        ------
        FormatError : the file has not one class that names its TERMS, or is no Python
        """
        spec = importlib.util.find_spec(self.module)
        assert spec is not None
        assert spec.origin is not None
        try:
            tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
        except SyntaxError as error:
            raise FormatError(f"{spec.origin}: cannot be read as Python: {error}") from error
        found = [part for part in tree.body if isinstance(part, ast.ClassDef) and "TERMS" in _assigned(part)]
        if len(found) != 1:
            names = ", ".join(part.name for part in found) or "none"
            raise FormatError(
                f"{spec.origin}: expected one class that names its loss terms, `TERMS = (...)`, found {names}"
            )
        return found[0]

    @property
    def class_name(self) -> str:
        """Name of the method's class."""
        return self.definition.name

    @property
    def pretrains(self) -> bool:
        """Whether the class defines `pretraining_methods`."""
        parts = self.definition.body
        return any(isinstance(part, ast.FunctionDef) and part.name == "pretraining_methods" for part in parts)

    def load(self) -> type[Method]:
        """The class itself; imports torch."""
        found: type[Method] = getattr(importlib.import_module(self.module), self.class_name)
        return found


def _assigned(definition: ast.ClassDef) -> set[str]:
    """Names that a class' body assigns."""
    targets = [target for part in definition.body if isinstance(part, ast.Assign) for target in part.targets]
    targets += [part.target for part in definition.body if isinstance(part, ast.AnnAssign) and part.value]
    return {target.id for target in targets if isinstance(target, ast.Name)}


METHODS = {
    file.parent.name: MethodEntry(f"models.{file.parent.name}.model")
    for file in sorted(Path(__file__).parent.glob("*/model.py"))
}
