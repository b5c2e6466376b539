"""New corpora and imports entered into params.yaml, all else of which stays.

What is written is all that DVC needs to know: the corpus, its extraction jobs, a training set (or one for
each fold), and an entry under `corpora` of every method. A name that is there already is never overwritten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.errors import ParamsError
from pipeline.core.files import atomic_write
from pipeline.core.vocabulary import MODALITIES, NONE
from pipeline.params.edit import with_edits
from pipeline.params.explain import unknown
from pipeline.params.jobs import NO_TABLES
from pipeline.params.names import as_name
from pipeline.params.params import Params, check_params

VISUAL_COLUMNS = ("AU*", "pose_R*", "gaze_angle_*", "success")  # of measures of faces: no raw landmarks


@dataclass
class NewCorpus:
    """What is to be registered.

    Attributes
    ----------
    section : `datasets` or `imports`
    corpus : the entry itself: kind, root, language, task, ...
    metrics : metric set of the training set
    encoders : modality -> encoder of params.yaml, or `none`; of a dataset these become jobs
    features : modality -> folder of data/features or `none`: what the training set is made of
    folds : of a cross-validation: as many training sets, one a fold; 0 = the corpus' own splits
    by : what the folds keep apart
    like : the training set whose settings of methods (`corpora`) it gets, too; empty = none of its own
    trainable : it has clips to train with; without any it gets no training set, which could not be made
    """

    name: str
    section: str
    corpus: dict[str, Any]
    metrics: str
    encoders: Mapping[str, str] = field(default_factory=dict)
    features: Mapping[str, str] = field(default_factory=dict)
    folds: int = 0
    by: str = "speaker"
    like: str = ""
    trainable: bool = True

    def sets(self, params: Params) -> dict[str, dict[str, Any]]:
        """The training sets by name."""
        if not self.trainable:
            return {}
        one: dict[str, Any] = {"dataset": self.name, "metrics": self.metrics}
        one |= {stream: self.features.get(stream, NONE) for stream in (*MODALITIES, "waveform")}
        encoder = self.encoders.get("visual", NONE)
        groups = [] if encoder == NONE else getattr(params.encoder("visual", encoder), "groups", [])
        if one["visual"] != NONE and {"aus", "pose", "gaze"} <= set(groups):
            one["columns"] = {"visual": list(VISUAL_COLUMNS)}
        names = set_names(self.name, self.folds)
        if not self.folds:
            return {self.name: one}
        folds = ({"number": self.folds, "fold": fold, "by": self.by} for fold in range(self.folds))
        return {name: {**one, "protocol": {"folds": fold}} for name, fold in zip(names, folds, strict=True)}

    def jobs(self, params: Params) -> dict[tuple[str, str], dict[str, str]]:
        """The extraction jobs by modality and name."""
        jobs = {}
        for modality, encoder in self.encoders.items():
            if encoder == NONE:
                continue
            kind = params.encoder(modality, encoder)
            job = {"dataset": self.name, "encoder": encoder, "kind": kind.kind}
            if modality == "visual":
                job["source"] = getattr(kind, "csv", None) or NO_TABLES
            jobs[modality, f"{self.name}-{encoder}"] = job
        return jobs


def set_names(name: str, folds: int) -> list[str]:
    """Names of the training sets of a corpus: its own, or one a fold."""
    return [f"{name}-f{fold}" for fold in range(folds)] or [name]


def check_name(name: str, folds: int, params: Params, file: Path) -> None:
    """Refuse, before anything is read, a name that cannot be used, and a folder that is no project.

    ParamsError where the name cannot be one of files, folders and DVC stages, or is taken; where there is no
    params.yaml; where one fold is asked for.
    """
    for one in (name, *set_names(name, folds)):
        try:
            as_name(one)
        except ValueError as error:
            raise ParamsError(f"--name: {error}") from error
    if folds == 1:
        raise ParamsError("--folds 1: expected at least 2 (one tests, the others train), or 0 for none")
    if not file.exists():
        raise ParamsError(f"No {file} here; run this in the project folder")
    sections = ("assemble", "imports", "datasets")
    taken = {key: section for section in sections for key in getattr(params, section)}
    for clash in (one for one in (name, *set_names(name, folds)) if one in taken):
        raise ParamsError(
            f"{file}: {taken[clash]}.{clash} already exists; choose another --name, or remove it there"
        )
    for modality in MODALITIES:
        for job, described in getattr(params.jobs, modality).items():
            if described.dataset == name:
                raise ParamsError(
                    f"{file}: jobs.{modality}.{job} belongs to {name!r}, which no longer exists; remove it "
                    "there"
                )


# ------------------------------------------------------------------------------------------------- the entry
@dataclass(frozen=True)
class Edit:
    """All of params.yaml with a new entry, checked and not yet written, and the keys that are new."""

    file: Path
    text: str
    keys: list[str]

    def write(self) -> None:
        """Put it in place of the file, at once or not at all."""
        with atomic_write(self.file) as temporary:
            temporary.write_bytes(self.text.encode())


def register(entry: NewCorpus, params: Params, file: Path, *, run: bool = True) -> Edit:
    """The file, whose checked params these are, with an entry whose name `check_name` has passed.

    `run` adds its training sets to `datasets_run`. ParamsError where the result would not be valid, or no
    method has settings for `like`.
    """
    from pipeline.params.plain_yaml import read_yaml

    known = dict.fromkeys(name for settings in params.models.values() for name in settings.corpora)
    if entry.like and entry.like not in known:
        raise ParamsError(unknown("--like", entry.like, known) + f"; see models.*.corpora in {file}")

    sets = entry.sets(params)
    new: dict[tuple[str, ...], Any] = {(entry.section, entry.name): entry.corpus}
    new |= {("jobs", *place): job for place, job in entry.jobs(params).items()}
    new |= {("assemble", name): chosen for name, chosen in sets.items()}
    added = new | {
        ("models", method, "corpora", name): settings.corpora.get(entry.like, {})
        for name in sets
        for method, settings in params.models.items()
        if name not in settings.corpora
    }
    running = list(sets) if run else []
    text = with_edits(file.read_bytes().decode("utf-8"), added, {("datasets_run",): running})
    check_params(read_yaml(text, str(file)), f"{file} with {entry.name}")
    keys = [".".join(path) for path in new]
    return Edit(file, text, keys + [f"datasets_run: {name}" for name in running])
