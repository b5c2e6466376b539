"""A corpus, an import or a training set looked through before anything is learnt from it. Writes nothing.

What is looked at (`Subject`) gives rows of the clip table: a raw corpus those that ingest would write, an
import those of its files, a training set those of its corpus under its protocol (folds, few shots). The
checks of the rows (corpus.py, labels.py) are the same for all; features.py checks the stores on disk.
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
from pipeline.corpora.survey import clip_rows
from pipeline.datasets.assembly import protocol
from pipeline.params.assemble import ProtocolParams
from pipeline.params.params import DatasetParams, ImportParams, MediaLimits, Params
from pipeline.transcripts.table import read_transcripts
from pipeline.validate import corpus as corpus_checks
from pipeline.validate import features, imports, labels
from pipeline.validate.features import StoreSummary
from pipeline.validate.labels import Conflicts, SplitSummary
from pipeline.validate.subjects import Subject

UNNAMED = "<name>"  # of what params.yaml does not know, in messages about its entry there


@dataclass
class Validation:
    """All that was found, of the feature stores on disk too.

    Attributes
    ----------
    what : name and kind, one line
    seconds : split -> lengths of its clips, as far as they are known
    conflicts : None where the modalities have no labels of their own
    """

    what: str
    corpus: DatasetParams | ImportParams
    findings: list[Finding]
    summaries: list[SplitSummary] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    conflicts: Conflicts | None = None
    stores: list[StoreSummary] = field(default_factory=list)


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
    corpus, name = subject.corpus, subject.dataset or UNNAMED
    digests: Mapping[str, Hashable] = {}
    if isinstance(corpus, ImportParams):
        rows, findings, digests = imports.examine(name, corpus)
    else:
        rows, findings = _raw_corpus(name, corpus, params.media, workers)
    ids = [row["clip_id"] for row in rows]
    if subject.training_set is not None and rows and not has_errors(findings):
        rows, said = _under_protocol(rows, subject, params)
        findings += said
    validation = Validation(str(subject), corpus, findings)
    if rows:
        validation.summaries = labels.summarize(rows, corpus)
        validation.conflicts = labels.conflicts(rows, corpus)
        for row in rows:
            seconds = corpus_checks.clip_seconds(row)
            if row["split"] not in (None, CONTEXT) and seconds is not None:
                validation.seconds.setdefault(row["split"], []).append(seconds)
        findings += labels.splits(validation.summaries, corpus)
        findings += labels.disagreements(validation.conflicts, corpus)
        findings += corpus_checks.leaks(rows, digests)
        if subject.dataset is not None:
            findings += _add_transcripts(rows, project / paths.transcript_table(subject.dataset))
        findings += corpus_checks.texts(rows, "language" in corpus.model_fields_set)
        if subject.dataset is not None:
            names = features.expected(subject.dataset, params, project)
            validation.stores, said = features.stores(names, ids, project)
            findings += said
    validation.findings = worst_first(findings)
    return validation


def _raw_corpus(
    name: str, corpus: DatasetParams, limits: MediaLimits, workers: int
) -> tuple[list[dict[str, Any]], list[Finding]]:
    """Rows of the clip table; what the label files, the corpus' kind and the media have to say."""
    survey = ingest.survey(name, corpus)
    findings = []
    for check, problems in by_check(survey.problems).items():
        lines = tuple(map(str, problems))
        alone = len(lines) == 1
        message = f"{survey.source}: {lines[0] if alone else f'{len(lines)} lines'}"
        findings.append(Finding("error", check, message, () if alone else lines))
    findings += survey.notes
    rows = clip_rows(survey.clips, corpus, limits, workers)
    if rows:
        findings += corpus_checks.media(rows, survey.files, limits)
        findings += labels.annotated_otherwise(survey.clips)
    return rows, findings


def _under_protocol(
    rows: list[dict[str, Any]], subject: Subject, params: Params
) -> tuple[list[dict[str, Any]], list[Finding]]:
    """The splits and labels of a training set in place of the corpus' own."""
    assert subject.training_set is not None and subject.dataset is not None
    chosen = params.assemble[subject.training_set].protocol
    if chosen == ProtocolParams():
        return rows, []
    name, corpus = subject.dataset, subject.corpus
    facts = ingest.facts(name, corpus) if isinstance(corpus, DatasetParams) else ClipFacts.of(name, corpus)
    table = clip_table(rows).replace_schema_metadata({METADATA_KEY: facts.to_json()})
    try:
        table, left_out = protocol.apply(table, chosen, f"assemble.{subject.training_set}")
    except MsaError as error:
        return rows, [Finding("error", "protocol", str(error))]
    parts = []
    if chosen.folds is not None:
        parts.append(f"fold {chosen.folds.fold} (from 0) of {chosen.folds.text}")
    if chosen.held_back is not None:
        parts.append(f"{chosen.held_back.fraction:g} of the train {chosen.held_back.by}s validate")
    if left_out:
        parts.append(f"{chosen.train_fraction:g} of the train clips, {len(left_out)} omitted")
    if chosen.label_noise:
        parts.append(f"{chosen.label_noise:g} of the train clips with a wrong label")
    message = f"splits and labels are those of the training set: {'; '.join(parts)}"
    kept = [row for row in table.to_pylist() if row["clip_id"] not in left_out]
    return kept, [Finding("info", "protocol", message)]


def _add_transcripts(rows: list[dict[str, Any]], path: Path) -> list[Finding]:
    """What was transcribed, where the corpus itself has no text."""
    try:
        made = read_transcripts(path).to_pylist() if path.is_file() else []
    except FormatError as error:
        return [Finding("warning", "damaged transcripts", str(error))]
    transcribed = {row["clip_id"]: row for row in made if row["text"]}
    for row in rows:
        if not row["text"] and row["clip_id"] in transcribed:
            row |= {key: transcribed[row["clip_id"]][key] for key in ("text", "language")}
    return []
