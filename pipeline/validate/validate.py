"""A corpus, an import or a training set looked through before anything is learnt from it. Writes nothing.

What is looked at (`Subject`) gives rows of the clip table: a raw corpus those that ingest would write, an
import those of its files, a training set those of its corpus under its protocol (folds, few shots). The
checks of the rows are the same for all: corpus.py, labels.py, texts.py; those of the
feature stores on disk are in features.py.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core import paths
from pipeline.core.errors import FormatError, MsaError
from pipeline.core.vocabulary import CONTEXT
from pipeline.corpora import ingest
from pipeline.corpora.clips import METADATA_KEY, ClipFacts, clip_table
from pipeline.corpora.findings import Finding, by_check, has_errors, worst_first
from pipeline.corpora.survey import CorpusSurvey, clip_rows
from pipeline.datasets.assembly import protocol
from pipeline.params.assemble import ProtocolParams
from pipeline.params.params import DatasetParams, ImportParams, MediaLimits, Params
from pipeline.transcripts.table import read_transcripts
from pipeline.validate import corpus as corpus_checks
from pipeline.validate import features, imports, labels, texts
from pipeline.validate.features import StoreSummary
from pipeline.validate.labels import Conflicts, SplitSummary
from pipeline.validate.subjects import Subject

UNNAMED = "<name>"  # of what params.yaml does not know, in messages about its entry there


@dataclass
class Validation:
    """All that was found.

    Attributes
    ----------
    what : name and kind, one line
    seconds : split -> lengths of its clips, as far as they are known
    conflicts : None where the modalities have no labels of their own
    stores : feature stores on disk
    """

    what: str
    corpus: DatasetParams | ImportParams
    findings: list[Finding]
    summaries: list[SplitSummary] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    conflicts: Conflicts | None = None
    stores: list[StoreSummary] = field(default_factory=list)


@dataclass
class _Looked:
    """Rows of the clip table, and what the files themselves have to say."""

    rows: list[dict[str, Any]]
    findings: list[Finding]
    digests: Mapping[str, Hashable] = field(default_factory=dict)


def validate(
    source: DatasetParams | ImportParams | Path | str, limits: MediaLimits | None = None, workers: int = 1
) -> list[Finding]:
    """The findings of a corpus that params.yaml need not know, worst first.

    Parameters
    ----------
    source : a described corpus or import, or the folder of a corpus in MMSA's layout. The script of the texts
        is checked only where `language` was given
    limits : of what is decoded, default as in params.yaml's typed defaults
    """
    corpus = DatasetParams(root=str(source)) if isinstance(source, Path | str) else source
    params = Params(media=limits or MediaLimits())
    return examine(Subject(UNNAMED, corpus), params, workers).findings


def examine(subject: Subject, params: Params, workers: int = 1, project: Path = Path()) -> Validation:
    """Everything that can be said without computing features.

    Parameters
    ----------
    workers : media files that are hashed and probed at the same time
    project : folder that has data/features

    Raises
    ------
    ParamsError : the settings of the corpus' kind
    """
    corpus = subject.corpus
    if isinstance(corpus, ImportParams):
        rows, findings, digests = imports.examine(subject.dataset or UNNAMED, corpus)
        looked = _Looked(rows, findings, digests)
    else:
        looked = _look(subject.dataset or UNNAMED, corpus, params.media, workers)
    ids = [row["clip_id"] for row in looked.rows]
    if subject.training_set is not None and looked.rows and not has_errors(looked.findings):
        _apply_protocol(looked, subject, params)
    validation = Validation(str(subject), corpus, looked.findings)
    if looked.rows:
        _check_rows(validation, looked)
        if subject.dataset is not None:
            _add_transcripts(validation, looked.rows, project / paths.transcript_table(subject.dataset))
        validation.findings += texts.texts(looked.rows, "language" in corpus.model_fields_set)
        if subject.dataset is not None:
            names = features.expected(subject.dataset, params, project)
            validation.stores, findings = features.stores(names, ids, project)
            validation.findings += findings
    validation.findings = worst_first(validation.findings)
    return validation


def _look(name: str, corpus: DatasetParams, limits: MediaLimits, workers: int) -> _Looked:
    """A raw corpus: its label files, what its kind remarks, its media."""
    survey = ingest.survey(name, corpus)
    findings = _label_files(survey)
    findings += survey.notes
    rows = clip_rows(survey.clips, corpus, limits, workers)
    if rows:
        findings += corpus_checks.media(rows, survey.files, limits)
        findings += labels.annotated_otherwise(survey.clips)
    return _Looked(rows, findings)


def _label_files(survey: CorpusSurvey) -> list[Finding]:
    """Problems of the label files, one finding a kind of problem."""
    findings = []
    for check, problems in by_check(survey.problems).items():
        lines = tuple(str(problem) for problem in problems)
        if len(lines) == 1:
            findings.append(Finding("error", check, f"{survey.source}: {lines[0]}"))
        else:
            findings.append(Finding("error", check, f"{survey.source}: {len(lines)} lines", lines))
    return findings


def _apply_protocol(looked: _Looked, subject: Subject, params: Params) -> None:
    """The splits and labels of a training set in place of the corpus' own."""
    assert subject.training_set is not None and subject.dataset is not None
    chosen = params.assemble[subject.training_set].protocol
    if chosen == ProtocolParams():
        return
    facts = ClipFacts.of(subject.dataset, subject.corpus)
    table = clip_table(looked.rows).replace_schema_metadata({METADATA_KEY: facts.to_json()})
    try:
        table, left_out = protocol.apply(table, chosen, f"assemble.{subject.training_set}")
    except MsaError as error:
        looked.findings.append(Finding("error", "protocol", str(error)))
        return
    looked.rows = [row for row in table.to_pylist() if row["clip_id"] not in left_out]
    parts = []
    if chosen.folds is not None:
        parts.append(f"fold {chosen.folds.fold} of {chosen.folds.number} (from 0) by {chosen.folds.by}")
    if left_out:
        parts.append(f"{chosen.train_fraction:g} of the train clips, {len(left_out)} left out")
    if chosen.label_noise:
        parts.append(f"{chosen.label_noise:g} of the train clips with a wrong label")
    message = f"splits and labels are those of the training set: {'; '.join(parts)}"
    looked.findings.append(Finding("info", "protocol", message))


def _check_rows(validation: Validation, looked: _Looked) -> None:
    """The checks that need rows of the clip table and nothing else."""
    rows, corpus = looked.rows, validation.corpus
    validation.summaries = labels.summarize(rows, corpus)
    validation.conflicts = labels.conflicts(rows, corpus)
    for row in rows:
        seconds = corpus_checks.clip_seconds(row)
        if row["split"] not in (None, CONTEXT) and seconds is not None:
            validation.seconds.setdefault(row["split"], []).append(seconds)
    validation.findings += labels.splits(validation.summaries, corpus)
    validation.findings += labels.disagreements(validation.conflicts, corpus)
    validation.findings += corpus_checks.leaks(rows, looked.digests)


def _add_transcripts(validation: Validation, rows: list[dict[str, Any]], path: Path) -> None:
    """What was transcribed, where the corpus itself has no text."""
    try:
        made = read_transcripts(path).to_pylist() if path.is_file() else []
    except FormatError as error:
        validation.findings.append(Finding("warning", "damaged transcripts", str(error)))
        return
    heard = {row["clip_id"]: row for row in made if row["text"]}
    for row in rows:
        if not row["text"] and row["clip_id"] in heard:
            row["text"] = heard[row["clip_id"]]["text"]
            row["language"] = heard[row["clip_id"]]["language"]
