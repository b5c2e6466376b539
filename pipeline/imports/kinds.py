"""Ready-made feature files of other projects: one small file per kind, each giving what it found.

contract.py says what an importer is, convert.py turns what it found into our tables and stores.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from pipeline.core.errors import FormatError, ParamsError
from pipeline.formats.source import Source, understood
from pipeline.imports.contract import Imported

if TYPE_CHECKING:
    from pipeline.params.params import ImportParams

# kind in params.yaml -> module, in the order in which they are tried
KINDS = {
    "mmsa_pickle": "pipeline.imports.mmsa_pickle",
    "mird": "pipeline.imports.mird",
    "multibench": "pipeline.imports.multibench",
    "word_lists": "pipeline.imports.word_lists",
    "urfunny_pickles": "pipeline.imports.urfunny_pickles",
    "mustard_features": "pipeline.imports.mustard",
    "cherma_features": "pipeline.imports.cherma_features",
    "csd": "pipeline.imports.csd.csd",
    "openface_folder": "pipeline.imports.openface_folder",
    "arrays": "pipeline.imports.arrays.arrays",
}


def importer(kind: str) -> ModuleType:
    """The module that reads files of that kind."""
    if kind not in KINDS:
        raise ParamsError(f"kind of import {kind!r} is not known (there are: {', '.join(KINDS)})")
    return importlib.import_module(KINDS[kind])


def read(kind: str, source: Source, params: ImportParams) -> Imported:
    """What files of that kind hold.

    Raises
    ------
    FormatError : they are not of that kind, or contradict themselves
    ParamsError : settings that do not fit them
    LabelFileError : a label file beside them cannot be used
    """
    found = importer(kind)
    with understood(f"{source} (kind {kind})"):
        imported: Imported = found.read(source, params)
    return imported


def sniff(source: Source) -> str:
    """The kind of files that these are.

    Raises
    ------
    FormatError : of none; the message says for each kind why not
    """
    reasons = []
    for kind in KINDS:
        with understood(f"{source} (kind {kind})"):
            reason: str = importer(kind).matches(source)
        if not reason:
            return kind
        reasons.append(f"{kind}: {reason}")
    listed = "\n".join(f"  - {reason}" for reason in reasons)
    raise FormatError(f"{source}: of no kind that is known here; `--as KIND` insists on one\n{listed}")
