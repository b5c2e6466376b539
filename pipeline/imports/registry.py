"""Kinds of ready-made feature files: one module a kind, each giving what it found (contract.py)."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import get_args

from pipeline.core.errors import FormatError, ParamsError
from pipeline.core.names import encodable, escaped
from pipeline.core.section import Section
from pipeline.corpora.survey import about_twins, twins_of
from pipeline.formats.source import Source
from pipeline.imports.checks import refuse_repeats
from pipeline.imports.contract import Imported
from pipeline.params.explain import settings_of, unknown
from pipeline.params.params import ImportParams

# kind in params.yaml, and the name of its module here, in the order in which they are tried
KINDS: tuple[str, ...] = get_args(ImportParams.model_fields["kind"].annotation)


def importer(kind: str) -> ModuleType:
    """The module that reads files of that kind."""
    if kind not in KINDS:
        raise ParamsError(unknown("kind of import", kind, KINDS))
    return importlib.import_module(f"{__package__}.kinds.{kind}")


def read(kind: str, source: Source, params: ImportParams) -> Imported:
    """What files of that kind hold; errors as of importers (contract.py), FormatError of repeated clips."""
    found = importer(kind)
    if not hasattr(found, "SETTINGS"):  # then there are none; who has some checks them
        settings_of(Section, params.settings, f"{kind}.settings")
    imported: Imported = found.read(source, params)
    refuse_repeats(source, imported.rows)
    if twins := twins_of(row["clip_id"] for row in imported.rows):
        imported.notes.append(about_twins(twins))
    for name in [name for name, sequences in imported.modalities.items() if not sequences.columns]:
        del imported.modalities[name]
        imported.notes.append(f"{name}: its arrays have no columns; skipped")
    _encode(imported)
    return imported


def _encode(imported: Imported) -> None:
    """Make texts what UTF-8 can write, and notes one line each; how many texts it were is a note."""
    changed = 0
    for row in imported.rows:
        timed = imported.words.get(row["clip_id"], [])
        for found, key in [(row, "text"), (row, "speaker"), *((word, "text") for word in timed)]:
            text = found.get(key)
            if isinstance(text, str) and (written := encodable(text)) != text:
                found[key] = written
                changed += 1
    if changed:
        imported.notes.append(f"{changed} texts have half characters, replaced by U+FFFD")
    imported.notes = list(map(escaped, imported.notes))


def sniff(source: Source, given: str = "") -> str:
    """The kind of files that these are; FormatError where they are of none says why not, for each kind.

    `given` is what a person calls them, where that is not the source's own path.
    """
    listed = ""
    for kind in KINDS:
        reason: str = importer(kind).matches(source)
        if not reason:
            return kind
        listed += f"\n  - {kind}: {reason}"
    raise FormatError(f"{given or source}: unknown kind of file; choose one with `--as KIND`{listed}")
