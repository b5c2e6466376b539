"""Imports of a library without those of its parts that take seconds and that nothing here computes with.

What is there computes as ever, and what was left out is opened by who asks for it afterwards.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def import_bare(*packages: str) -> None:
    """Import packages, outer ones first, whose own code runs when more than a submodule is taken."""
    for name in packages:
        if name not in sys.modules:
            spec = importlib.util.find_spec(name)
            if spec is None:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            module = importlib.util.module_from_spec(spec)
            module.__class__ = _Bare
            sys.modules[name] = module
            parent, _, attribute = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], attribute, module)


@contextmanager
def without(*modules: str) -> Iterator[None]:
    """While the block runs, modules that are not imported yet are not opened.

    What is taken from one is a decorator that changes nothing; called after the block, it is the real thing.
    Where something inside one is imported, as torchvision does, the real one is opened after all.
    """
    absent = [_Absent(name) for name in modules if name not in sys.modules]
    sys.modules.update((module.__name__, module) for module in absent)
    finder = _Inside()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for module in absent:
            if sys.modules.get(module.__name__) is module:
                del sys.modules[module.__name__]


def arrow_without_pandas() -> None:
    """From now on pyarrow does not import pandas to see whether what it is given comes from there.

    Where a table is to become one of pandas, it imports it as ever.
    """
    if "pyarrow" not in sys.modules and not any(isinstance(finder, _Arrow) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Arrow())


class _Arrow(MetaPathFinder):
    """Finds pyarrow as others do; once imported, it is asked for an array while pandas is too old for it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "pyarrow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                load(module)
                pandas = sys.modules.get("pandas")
                sys.modules["pandas"] = too_old = ModuleType("pandas")
                vars(too_old)["__version__"] = "0"
                with warnings.catch_warnings(action="ignore"):
                    module.array([0])
                del sys.modules["pandas"]
                if pandas is not None:
                    sys.modules["pandas"] = pandas

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


class _Inside(MetaPathFinder):
    """Finds what is inside a module that was left out, by opening that module."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        parent = name.rpartition(".")[0]
        if not isinstance(sys.modules.get(parent), _Absent):
            return None
        del sys.modules[parent]
        importlib.import_module(parent)
        return _Opened(importlib.import_module(name)).spec


class _Opened(Loader):
    """Gives a module that is there."""

    def __init__(self, module: ModuleType):
        self.module, self.real = module, module.__spec__
        self.spec = ModuleSpec(module.__name__, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.real


class _Bare(ModuleType):
    def __getattr__(self, name: str) -> Any:
        spec = self.__spec__
        if spec is None or spec.loader is None or name.startswith("__"):
            raise AttributeError(name)
        inner = f"{self.__name__}.{name}"
        if importlib.util.find_spec(inner) is not None:
            return importlib.import_module(inner)
        self.__class__ = ModuleType  # type: ignore[assignment]
        spec.loader.exec_module(self)
        return getattr(self, name)


class _Absent(ModuleType):
    def __init__(self, name: str):
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def part(*args: Any, **options: Any) -> Any:
            if sys.modules.get(self.__name__) is not self:
                return getattr(importlib.import_module(self.__name__), name)(*args, **options)
            return args[0] if args and callable(args[0]) else lambda function: function

        return part
