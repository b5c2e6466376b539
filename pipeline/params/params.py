"""params.yaml as typed objects. Defaults live here; an unknown key or a wrong value is an error by name.

Sections of the file:  what exists (`datasets`), what is run (`datasets_run`, `models_run`, `seeds`),
what is extracted (`jobs`), how (`transcribe`, `text`, `audio`, `visual`, `media`), what is joined
(`assemble`), and how it is learnt (`train`, `models`). A method's own settings are checked by the method's
file, which alone knows its equations; here they are mappings.

Executor, workers and device are options of `msa-cli stage`, never params: they must not change a hash.
"""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from pipeline.core.errors import ParamsError
from pipeline.core.section import Section
from pipeline.core.vocabulary import MODALITIES, NONE
from pipeline.params import encoders as presets
from pipeline.params.assemble import AssembleParams
from pipeline.params.encoders import AudioEncoder, EncoderParams, TextEncoder, VisualEncoder
from pipeline.params.explain import explain, one_line, unknown
from pipeline.params.jobs import NO_TABLES, Jobs
from pipeline.params.names import Language, LocalPath, Name
from pipeline.params.results import ReportsParams, RobustParams
from pipeline.params.search import SearchSpace, with_values
from pipeline.params.transcribe import TranscribeParams

Entry = TypeVar("Entry")

PARAMS_FILE = "params.yaml"
COMPLETE = "complete"  # regime of runs that learn from whole clips
LARGEST_SEED = 2**63  # torch's generators take no larger one
RESERVED_CLASSES = ("weighted", "macro")  # f1_<class> would be the name of another metric


# ---------------------------------------------------------------------------------------------- what exists
class CorpusParams(Section):
    """What holds for all clips of a corpus, wherever it comes from."""

    root: LocalPath
    """folder of the corpus (of an import the file, or the folder of its files), from the project's folder"""
    language: Language = "en"
    """ISO 639-1 code of the speech"""
    task: Literal["regression", "classification"] = "regression"
    """labels are scores, or one of `classes`"""
    label_range: tuple[float, float] = (-3.0, 3.0)
    """of a regression: smallest and largest label"""
    classes: list[str] = Field(default_factory=list)
    """of a classification: names of the classes; the label file has these or their indices, from 0"""
    settings: dict[str, Any] = Field(default_factory=dict)
    """of this kind alone; its module checks them"""

    @field_validator("label_range")
    @classmethod
    def _range_is_one(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] >= value[1]:
            raise ValueError(f"{list(value)} is not a range: expected [smallest, largest]")
        return value

    @field_validator("classes")
    @classmethod
    def _classes_have_names(cls, value: list[str]) -> list[str]:
        plain = [class_key(name) for name in value]
        if len(value) == 1 or len(set(plain)) < len(plain) or "" in plain:
            raise ValueError(f"{value}: expected at least two names that differ in more than case and spaces")
        taken = [name for name in value if name in RESERVED_CLASSES]
        if taken:
            raise ValueError(
                f"{taken[0]!r} is taken: f1_{taken[0]} is the F1 of all classes; choose another name"
            )
        return value

    @model_validator(mode="after")
    def _labels_fit_the_task(self) -> Self:
        if self.task == "regression" and self.classes:
            raise ValueError("classes is given, but task is 'regression'; write `task: classification`")
        if self.task == "classification" and not self.classes:
            raise ValueError("classes is missing; classification needs their names, in order")
        return self


class DatasetParams(CorpusParams):
    """One corpus of raw clips on disk."""

    kind: Literal[
        "mmsa",
        "mosi",
        "mosei",
        "sims",
        "simsv2",
        "cherma",
        "urfunny",
        "mustard",
        "voxceleb",
        "mosi_ood",
        "ravdess",
        "folder",
    ] = "mmsa"
    """layout of the corpus: a module of pipeline/corpora"""


class ImportParams(CorpusParams):
    """Ready-made feature files of another project."""

    kind: Literal[
        "mmsa_pickle",
        "mird",
        "multibench",
        "word_lists",
        "urfunny_pickles",
        "mustard_features",
        "cherma_features",
        "csd",
        "openface_folder",
        "arrays",
    ]
    """a module of pipeline/imports"""


def class_key(name: str) -> str:
    """Under which the name of a class is found: case, outer spaces and the composition of accents aside."""
    return unicodedata.normalize("NFC", name).strip().casefold()


class MediaLimits(Section):
    """What is decoded at most."""

    max_seconds: float = Field(600.0, gt=0)
    """longest clip, seconds"""
    max_pixels: int = Field(3840 * 2160, gt=0)
    """largest frame, width x height"""


# ------------------------------------------------------------------------------------------------- learning
class TrainParams(Section):
    """The protocol that all methods share."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """of the forward passes of training; heads, losses and predictions are always fp32"""
    gradient_clip: float | None = Field(1.0, gt=0)
    """largest global norm; null = gradients are left as they are"""
    compile: Literal["none", "default", "reduce-overhead"] = "none"
    """of the steps of training, by torch.compile; reduce-overhead: as CUDA graphs"""
    pool_batches: int = Field(50, ge=1)
    """batches that are sorted by length together, at most 3 or a tenth of an epoch's; 1 = no sorting"""
    regime: Literal["complete", "dropout", "lnln"] = "complete"
    """what is taken away from the clips that are learnt from: nothing, whole modalities, or steps"""

    @model_serializer(mode="wrap")
    def _without_the_usual_regime(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Runs from before there were regimes are of complete clips, and stay what they are."""
        found: dict[str, Any] = serialize(self)
        return {key: value for key, value in found.items() if (key, value) != ("regime", COMPLETE)}


class ModelParams(Section):
    """A method's settings: `base`, and what differs for a corpus."""

    base: dict[str, Any] = Field(default_factory=dict)
    corpora: dict[Name, dict[str, Any]] = Field(default_factory=dict)

    def resolved(self, dataset: str) -> dict[str, Any]:
        """`base` with the corpus' own values laid over it."""
        return _merge(self.base, self.corpora.get(dataset, {}))


class Params(Section):
    """The whole of params.yaml."""

    datasets: dict[Name, DatasetParams] = Field(default_factory=dict)
    imports: dict[Name, ImportParams] = Field(default_factory=dict)
    datasets_run: list[Name] = Field(default_factory=list)
    """training sets, keys of `assemble`"""
    groups: dict[Name, list[Name]] = Field(default_factory=dict)
    """methods that are named together: each group with a YAML anchor of its name, for `models_run: *all`"""
    models_run: list[Name] = Field(default_factory=list)
    seeds: list[Annotated[int, Field(ge=0, lt=LARGEST_SEED)]] = Field(default=[1111], min_length=1)
    shards: int = Field(16, ge=1, le=1024)
    """files per (dataset, encoder), each written again when a clip changes; enough for 256 MiB a file"""
    max_failed_fraction: float = Field(0.02, ge=0, le=1)
    """share of failed clips above which a stage exits non-zero"""
    media: MediaLimits = Field(default_factory=MediaLimits)
    transcribe: TranscribeParams = Field(default_factory=TranscribeParams)
    text: dict[Name, TextEncoder] = presets.TEXT
    audio: dict[Name, AudioEncoder] = presets.AUDIO
    visual: dict[Name, VisualEncoder] = presets.VISUAL
    jobs: Jobs = Field(default_factory=Jobs)
    assemble: dict[Name, AssembleParams] = Field(default_factory=dict)
    pretrain_on: str = NONE
    """training set whose labels methods pretrain on; `none` = the one that is trained on"""
    train: TrainParams = Field(default_factory=TrainParams)
    robust: RobustParams = Field(default_factory=RobustParams)
    reports: ReportsParams = Field(default_factory=ReportsParams)
    models: dict[Name, ModelParams] = Field(default_factory=dict)
    tune: dict[Name, SearchSpace] = Field(default_factory=dict)
    """of each method, the settings that `msa-cli tune` searches"""

    @field_validator("models_run", mode="before")
    @classmethod
    def _methods_are_a_list(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError(f"expected a list, found {value!r}; a group is written `models_run: *{value}`")
        return value

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, value: list[int]) -> list[int]:
        if len(set(value)) < len(value):
            raise ValueError(f"{value} has the same seed twice: that would be one run, not two")
        return value

    @property
    def corpora(self) -> dict[str, CorpusParams]:
        """Datasets and imports by name."""
        return {**self.datasets, **self.imports}

    @model_validator(mode="after")
    def _names_are_known(self) -> Params:
        for key in self.datasets:
            if key in self.imports:
                raise ValueError(
                    f"{key!r} is in datasets and in imports, which would both write its clip table"
                )
        for key in self.reports.transcripts:
            _known("reports.transcripts", key, self.corpora)
        for key in self.models_run:
            if key in self.groups and key not in self.models:
                raise ValueError(f"models_run has {key!r}, which is a group: write `models_run: *{key}`")
            _known("models_run", key, self.models)
        for dataset in self.datasets_run:  # DVC looks these keys up and would stop in the middle without them
            if dataset not in self.assemble:
                raise ValueError(f"datasets_run has {dataset!r}, but assemble.{dataset} is missing")
            if "metrics" not in self.assemble[dataset].model_fields_set:
                raise ValueError(f"assemble.{dataset}.metrics is missing; write mmsa, sims, magbert or cls")
            for method in self.models_run:
                if dataset not in self.models[method].corpora:
                    raise ValueError(
                        f"models.{method}.corpora.{dataset} is missing; write `{dataset}: {{}}` there, or "
                        f"the values that differ from models.{method}.base on this dataset"
                    )
        for key in self.robust.sets:
            _known("robust.sets", key, self.datasets_run)
        for dataset, chosen in self.assemble.items():
            _known(f"assemble.{dataset}.dataset", chosen.dataset, self.corpora)
            task = self.corpus_of(dataset).task
            if (task == "classification") != (chosen.metrics == "cls"):
                fitting = "cls" if task == "classification" else "mmsa, sims or magbert"
                raise ValueError(
                    f"assemble.{dataset}.metrics is {chosen.metrics!r}, expected {fitting} for a {task}"
                )
            for stream in (*MODALITIES, "waveform"):
                if stream not in chosen.model_fields_set:
                    raise ValueError(
                        f"assemble.{dataset}.{stream} is missing; name a folder of data/features, or {NONE}"
                    )
        if self.pretrain_on != NONE:
            _known("pretrain_on", self.pretrain_on, [NONE, *self.assemble])
        for modality in MODALITIES:
            for name, job in getattr(self.jobs, modality).items():
                where = f"jobs.{modality}.{name}"
                encoders = getattr(self, modality)
                # an import has texts, but no media
                _known(f"{where}.dataset", job.dataset, self.corpora if modality == "text" else self.datasets)
                _known(f"{where}.encoder", job.encoder, encoders)
                if job.kind != encoders[job.encoder].kind:
                    raise ValueError(
                        f"{where}.kind is {job.kind!r}, but {modality}.{job.encoder}.kind is "
                        f"{encoders[job.encoder].kind!r}; make them equal"
                    )
                # DVC looks `source` up, and must see the tables that the encoder reads
                tables = getattr(encoders[job.encoder], "csv", None) or NO_TABLES
                if modality == "visual" and ("source" not in job.model_fields_set or job.source != tables):
                    raise ValueError(
                        f"{where}.source is {job.source!r} or missing; write {tables!r}, which "
                        f"visual.{job.encoder} reads, so that DVC sees when it changes"
                    )
        return self

    def dataset(self, name: str) -> DatasetParams:
        """The dataset of that name, or an error that lists the names; so do the others here."""
        return _named(name, self.datasets, "dataset", "datasets")

    def imported(self, name: str) -> ImportParams:
        return _named(name, self.imports, "import", "imports")

    def training_set(self, name: str) -> AssembleParams:
        return _named(name, self.assemble, "training set", "assemble")

    def cross_validations(self) -> list[list[str]]:
        """Of each cross-validation the training sets that are run, which differ in the fold alone."""
        groups: dict[str, list[str]] = {}
        for name in self.datasets_run:
            if self.assemble[name].protocol.folds is not None:
                alike = self.assemble[name].model_dump(mode="json")
                alike["protocol"]["folds"].pop("fold")
                groups.setdefault(json.dumps(alike, sort_keys=True), []).append(name)
        return [names for names in groups.values() if len(names) > 1]

    def encoder(self, modality: str, name: str) -> EncoderParams:
        encoders: dict[str, EncoderParams] = getattr(self, modality)
        return _named(name, encoders, f"{modality} encoder", modality)

    def corpus_of(self, training_set: str) -> CorpusParams:
        """The dataset or import whose clips a training set has."""
        return self.corpora[self.training_set(training_set).dataset]

    def methods(self, names: list[str]) -> list[str]:
        """The methods of these names, each once; a name is a method's or a group's."""
        found: dict[str, None] = {}
        for name in names:
            if name not in self.groups and name not in self.models:
                raise ParamsError(unknown("method or group", name, [*self.groups, *self.models]))
            found |= dict.fromkeys(self.groups.get(name, [name]))
        return list(found)

    def model(self, method: str, dataset: str) -> dict[str, Any]:
        """A method's settings on a dataset; empty, that is its defaults, where params have none."""
        return self.models[method].resolved(dataset) if method in self.models else {}


def _named(name: str, entries: dict[str, Entry], what: str, section: str) -> Entry:
    if name not in entries:
        raise ParamsError(unknown(what, name, entries) + f"; see `{section}` in params.yaml")
    return entries[name]


def load_params(file: Path | str | None = None, overrides: list[str] | None = None) -> Params:
    """A YAML file (None = params.yaml of the current folder where there is one, else the defaults), checked.

    `overrides` are full dotted keys with values in YAML: `visual.facemesh.fps=10`. ParamsError names a key or
    a value that is wrong.
    """
    from pipeline.params.plain_yaml import read_yaml, read_yaml_file  # not on every training machine

    path = Path(file) if file is not None else Path(PARAMS_FILE)
    tree: dict[str, Any] = {}
    if file is not None or path.exists():
        tree = read_yaml_file(path)
        tree = {} if tree is None else tree
        if not isinstance(tree, dict):
            raise ParamsError(f"{path}: holds a {type(tree).__name__}, expected a mapping with sections")
    tree = _merge(Params().model_dump(mode="json"), tree)  # the default encoders are always there by name
    for override in overrides or []:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise ParamsError(
                f"--set {one_line(override)}: expected key.path=value, e.g. visual.facemesh.fps=10"
            )
        try:
            tree = with_values(tree, {key: read_yaml(value, "the value")})
        except ParamsError as error:
            raise ParamsError(f"--set {one_line(override)}: {error}") from error
    source = str(path) if path.exists() else "the defaults"
    return check_params(
        tree, " ".join([source, *(f"--set {one_line(override)}" for override in overrides or [])])
    )


def check_params(tree: dict[str, Any], source: str) -> Params:
    """The typed params of a plain tree; every error names the key, its value and what was expected."""
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        raise ParamsError(f"{source}: {explain(error, Params)}") from error


def _known(key: str, name: str, valid: Any) -> None:
    if name not in valid:
        raise ValueError(unknown(key, name, valid))


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged
