"""The DAG of dvc.yaml in short: a node for each stage, all entries of a `foreach` or `matrix` as one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import product
from os.path import commonpath
from pathlib import Path
from typing import Any

from pipeline.core.errors import MsaError
from pipeline.params.plain_yaml import read_yaml_file
from pipeline.status.stages import DAG

# an import has no media, so params.yaml cannot ask for their features
NO_MEDIA = {"import": ("audio", "visual")}
VARIABLE = re.compile(r"\$\{(?:item\.)?(\w+)[^}]*\}")


@dataclass(frozen=True)
class Node:
    """A stage of dvc.yaml.

    Attributes
    ----------
    many : it has an entry a corpus, encoder or method
    outs : paths as dvc.yaml has them, with `${...}`
    above : stages that it reads from
    """

    name: str
    many: bool
    outs: tuple[str, ...]
    above: tuple[str, ...]

    @property
    def writes(self) -> str:
        """Its outputs in short: `runs/NAME`, or the folders that have them."""
        shown = [VARIABLE.sub(_in_capitals, path) for path in self.outs]
        if len(shown) < 2:
            return "".join(shown)
        folders = commonpath(shown) or ", ".join(sorted({path.partition("/")[0] for path in shown}))
        return f"{folders} ({len(shown)} outputs)"


def read_dag(file: Path = Path(DAG)) -> list[Node]:
    """The stages, each behind those that it reads from.

    Paths match where they are alike up to the first `${...}`; a dependency that begins with one is data from
    outside.

    Raises
    ------
    MsaError : no such file, or none with stages that follow from each other
    """
    if not file.is_file():
        raise MsaError(f"{Path.cwd()} has no {file}; run this in the project's folder")
    tree = read_yaml_file(file)
    stages = tree.get("stages") if isinstance(tree, dict) else None
    if not isinstance(stages, dict):
        raise MsaError(f"{file}: has no stages")
    entries = {name: entry.get("do", entry) for name, entry in stages.items()}
    keys = {name: entry.get("foreach") for name, entry in stages.items()}
    outs = {
        name: tuple(path for key in ("outs", "metrics", "plots") for path in _paths(entry.get(key)))
        for name, entry in entries.items()
    }
    above = {
        name: [
            maker
            for maker, made in outs.items()
            if maker != name
            and name not in NO_MEDIA.get(maker, ())
            and any(
                _reads(dep, out, same_keys=keys[maker] == keys[name])
                for dep, out in product(_paths(entry.get("deps")), made)
            )
        ]
        for name, entry in entries.items()
    }
    try:
        order = [*TopologicalSorter(above).static_order()]
    except CycleError as error:
        raise MsaError(f"{file}: stages depend on each other: {', '.join(error.args[1])}") from error
    return [
        Node(
            name,
            not {"foreach", "matrix"}.isdisjoint(stages[name]),
            outs[name],
            tuple(maker for maker in order if maker in above[name]),
        )
        for name in order
    ]


def _paths(listed: Any) -> list[str]:
    """Of entries `path` and `path: {options}`."""
    return [path for entry in listed or [] for path in (entry if isinstance(entry, dict) else [entry])]


def _reads(dep: str, out: str, same_keys: bool) -> bool:
    """Whether a dependency may be, lie in or hold this output; two `foreach` have no key in common."""
    mine, its = _literal(dep), _literal(out)
    if not same_keys and dep.startswith(f"{mine}${{key}}") and out.startswith(f"{its}${{key}}"):
        return False
    return bool(mine and its) and (mine.startswith(its) or its.startswith(mine))


def _literal(path: str) -> str:
    """What no entry changes; of a path without variables it ends in a slash."""
    before, variable, _ = path.partition("${")
    return before if variable else f"{path.rstrip('/')}/"


def _in_capitals(variable: re.Match[str]) -> str:
    return "NAME" if variable[1] == "key" else variable[1].upper()
