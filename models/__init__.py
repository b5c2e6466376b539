"""The methods: one paper, one folder. A folder's name is what `models_run` may list.

A folder with a `model.py` is a method; its class is the one class there that names its `TERMS`. Everything
here is read from the source, so that commands which only list methods do not import torch.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import FormatError

if TYPE_CHECKING:
    from models.core.method import Method

PAPER = re.compile(r'[^"]{0,40}"[^"]+"(?:, [^.;]*?\d{4})?|Anonymous [^.,;]+')  # authors, "title", venue year


@dataclass(frozen=True)
class MethodEntry:
    """Where a method is defined."""

    module: str  # dotted name of its model.py

    @cached_property
    def file(self) -> str:
        """Path of its model.py."""
        spec = importlib.util.find_spec(self.module)
        assert spec is not None
        assert spec.origin is not None
        return spec.origin

    @cached_property
    def source(self) -> ast.Module:
        """Syntax of its model.py; FormatError where that is no Python."""
        try:
            return ast.parse(Path(self.file).read_text(encoding="utf-8"))
        except SyntaxError as error:
            raise FormatError(f"{self.file}: cannot be read as Python: {error}") from error

    @cached_property
    def definition(self) -> ast.ClassDef:
        """Syntax of the method's class; FormatError where not one class names its TERMS."""
        found = [
            part for part in self.source.body if isinstance(part, ast.ClassDef) and "TERMS" in _assigned(part)
        ]
        if len(found) != 1:
            names = ", ".join(part.name for part in found) or "none"
            raise FormatError(
                f"{self.file}: expected one class that names its loss terms, `TERMS = (...)`, found {names}"
            )
        return found[0]

    @property
    def class_name(self) -> str:
        """Name of the method's class."""
        return self.definition.name

    @property
    def title(self) -> str:
        """Its name and what it is: the first line of the file."""
        return (ast.get_docstring(self.source) or "").partition("\n")[0]

    @property
    def paper(self) -> str:
        """Authors, title and venue, as the second paragraph begins; empty where it is of no paper."""
        paragraphs = [" ".join(part.split()) for part in (ast.get_docstring(self.source) or "").split("\n\n")]
        found = PAPER.match(paragraphs[1]) if len(paragraphs) > 1 else None
        return found[0] if found else ""

    @property
    def needs(self) -> tuple[str, ...]:
        """Modalities that it can use."""
        named = (part for part in self.definition.body if isinstance(part, ast.Assign))
        values = [part.value for part in named if getattr(part.targets[0], "id", "") == "NEEDS"]
        found: tuple[str, ...] = ast.literal_eval(values[0]) if values else ()
        return found

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
