"""The examples of CONTRIBUTING.md as templates: files, changes of files, sections of params.yaml, commands.

In a section a block of code with a path behind its language is that file; one of `diff` is a change of it,
without line numbers; one of `yaml` is laid over params.yaml, where lists get what they lack; one of `sh` has
commands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.errors import FormatError, MsaError
from pipeline.core.files import write_text
from pipeline.params.edit import Keys, with_edits
from pipeline.params.plain_yaml import read_yaml

PAGE = "CONTRIBUTING.md"
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Template:
    """A section's blocks.

    Attributes
    ----------
    files : path -> content, relative to the project
    diffs : path -> hunks
    params : what is laid over params.yaml
    commands : lines
    """

    files: dict[str, str] = field(default_factory=dict)
    diffs: dict[str, str] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, page: str, heading: str, names: Mapping[str, str]) -> Template:
        """The section of a page, with other names: word -> what stands in its place, also in `Word`."""
        section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
        if section is None:
            raise FormatError(f"{PAGE} has no section {heading!r}; use the page of this version")
        found = cls()
        for language, path, content in BLOCK.findall(renamed(section[1], names)):
            if language == "sh":
                found.commands += content.splitlines()
            elif language == "yaml":
                found.params |= read_yaml(content, PAGE)
            elif language == "diff":
                found.diffs[path] = content
            else:
                found.files[path] = content
        return found

    def write(self, project: Path) -> list[str]:
        """Write all of it, or nothing; the paths that were written.

        Raises
        ------
        MsaError : a file that is there already
        FormatError, ParamsError : a change that does not fit the project's files
        """
        for path in self.files:
            if (project / path).exists():
                raise MsaError(f"{path}: already exists; choose another name, or remove it")
        written = dict(self.files)
        for path, diff in self.diffs.items():
            written[path] = patched((project / path).read_text("utf-8"), diff, path)
        if self.params:
            text = (project / "params.yaml").read_text("utf-8")
            values, items = _laid_over(read_yaml(text, "params.yaml"), self.params)
            written["params.yaml"] = with_edits(text, values, items)
        for path, content in written.items():
            write_text(content, project / path)
        return list(written)


def renamed(text: str, names: Mapping[str, str]) -> str:
    """The text with other words in place of some, also at the start of names like MeansSettings."""
    for old, new in names.items():
        capitals = "".join(part.title() for part in new.split("_"))
        text = re.sub(rf"(?<![a-z]){old}(?![a-z])", new, text)
        text = re.sub(rf"(?<![A-Za-z]){old.title()}(?![a-z])", capitals, text)
    return text


def patched(text: str, diff: str, path: str) -> str:
    """The text with the hunks of a diff; FormatError where one does not fit in exactly one place."""
    for hunk in diff.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] != "+")
        if text.count(old) != 1:
            raise FormatError(f"{path}: has {text.count(old)} places for this change, expected one:\n{hunk}")
        text = text.replace(old, "".join(line[1:] for line in lines if line[0] != "-"))
    return text


def _laid_over(
    tree: Mapping[str, Any], changes: Mapping[str, Any], above: Keys = ()
) -> tuple[dict[Keys, Any], dict[Keys, list[Any]]]:
    """Values of keys that the tree lacks, and what its lists lack, by their keys from the top."""
    values: dict[Keys, Any] = {}
    items: dict[Keys, list[Any]] = {}
    for key, change in changes.items():
        place, old = (*above, key), tree.get(key)
        if isinstance(change, dict) and isinstance(old, dict):
            more, further = _laid_over(old, change, place)
            values, items = values | more, items | further
        elif isinstance(change, list) and isinstance(old, list):
            items[place] = [item for item in change if item not in old]
        else:
            values[place] = change
    return values, items
