"""What `msa-cli validate` is asked to look at: a name of params.yaml, or a folder or file outside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import MsaError
from pipeline.corpora import ingest
from pipeline.corpora.survey import Labelling
from pipeline.formats.source import Source
from pipeline.imports.registry import KINDS as IMPORTS
from pipeline.imports.registry import read, sniff
from pipeline.params.explain import unknown
from pipeline.params.params import DatasetParams, ImportParams, Params, check_params

OF_ANY_CORPUS = ("mmsa", "folder")  # these layouts tell no language


@dataclass(frozen=True)
class Subject:
    """What is validated.

    Attributes
    ----------
    dataset : its key in `datasets` or `imports`, under which its features lie; None of a mere folder or file
    training_set : key in `assemble` whose protocol splits the clips; None = the corpus' own splits
    """

    name: str
    corpus: DatasetParams | ImportParams
    dataset: str | None = None
    training_set: str | None = None

    def __str__(self) -> str:
        section = "import" if isinstance(self.corpus, ImportParams) else "corpus"
        kind = f"{section} of kind {self.corpus.kind}"
        if self.training_set in (None, self.dataset):
            return f"{self.name}: {kind}"
        return f"{self.name}: training set of {self.dataset}, {kind}"


def registered(name: str, params: Params) -> Subject:
    """What a name of params.yaml stands for: a training set, else a dataset or import.

    Raises
    ------
    MsaError : nothing is called so; lists the names
    """
    known: dict[str, DatasetParams | ImportParams] = {**params.datasets, **params.imports}
    chosen = params.assemble.get(name)
    if chosen is not None and (name not in known or chosen.dataset == name):
        return Subject(name, known[chosen.dataset], chosen.dataset, name)
    if name in known:
        return Subject(name, known[name], name)
    names = unknown("dataset, import or training set", name, dict.fromkeys([*known, *params.assemble]))
    raise MsaError(f"{name}: no such folder or file; {names}")


def usual(
    path: Path, kind: str | None, settings: Mapping[str, Any], classes: Sequence[str] = ()
) -> tuple[str, Labelling]:
    """The kind of a folder or file, and what its labels usually are.

    Parameters
    ----------
    kind : of a corpus or import; None = mmsa for a folder, and what a file looks like
    settings : of that kind
    classes : names that were given; some label files cannot be read without them

    Raises
    ------
    MsaError : of no kind that is known
    """
    if kind is None:
        kind = sniff(Source(path)) if path.is_file() else "mmsa"
    if kind in IMPORTS:
        asked: dict[str, Any] = {"kind": kind, "root": str(path), "settings": dict(settings)}
        if classes:
            asked |= {"task": "classification", "classes": list(classes)}
        described = check_params({"imports": {"x": asked}}, str(path)).imports["x"]
        labelling = read(kind, Source(path), described).labelling
    elif kind in ingest.KINDS:
        labelling = ingest.reader(kind).LABELLING
    else:
        raise MsaError(unknown("--kind", kind, [*ingest.KINDS, *IMPORTS]))
    return kind, labelling


def on_disk(path: Path, entry: dict[str, Any], language_given: bool) -> Subject:
    """A folder or file as if params.yaml had this entry of it.

    Raises
    ------
    ParamsError : the entry contradicts itself
    """
    section = "imports" if entry["kind"] in IMPORTS else "datasets"
    if entry["kind"] in OF_ANY_CORPUS and not language_given:
        entry = {key: value for key, value in entry.items() if key != "language"}
    checked = check_params({section: {"x": entry}}, str(path))
    return Subject(str(path), checked.datasets["x"] if section == "datasets" else checked.imports["x"])
