"""`msa-cli ingest` and `msa-cli import`: a corpus of raw clips or of ready-made features into params.yaml."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli import completion
from pipeline.cli.options import NO_TRAINING_SET, TEXTS_STAY, CorpusOptions, SetOptions, with_options
from pipeline.core.console import note, say, show
from pipeline.core.errors import ParamsError
from pipeline.core.files import one_writer

if TYPE_CHECKING:
    from pipeline.params.params import ImportParams


@with_options
@one_writer(Path("params.yaml"))  # each adds to what the other wrote
def ingest(
    kind: Annotated[
        str,
        typer.Argument(help="mosi, mosei, sims, cherma, mustard ... or folder; docs/corpora.md lists all."),
    ],
    path: Annotated[Path, typer.Argument(help="Folder of the corpus.", file_okay=False)],
    training: SetOptions,
    asked: CorpusOptions,
    text_encoder: Annotated[
        str,
        typer.Option(help="From params.yaml, or none.", autocompletion=completion.text_encoders),
    ] = "minilm",
    audio_encoder: Annotated[
        str,
        typer.Option(help="From params.yaml, or none.", autocompletion=completion.audio_encoders),
    ] = "librosa33",
    visual_encoder: Annotated[
        str,
        typer.Option(help="From params.yaml, or none.", autocompletion=completion.visual_encoders),
    ] = "facemesh",
) -> None:
    """Register a corpus of raw clips: an entry and jobs in params.yaml, and a link in data/raw.

    Nothing is copied or computed; `dvc repro` does the rest.

    Example: msa-cli ingest folder ~/clips --name mine --range -3 3
    """
    from collections import Counter

    from pipeline.core.errors import LabelFileError
    from pipeline.core.vocabulary import NONE
    from pipeline.corpora import ingest as corpora
    from pipeline.corpora.clips import can_train, target_column
    from pipeline.corpora.findings import shortened
    from pipeline.corpora.links import linked
    from pipeline.params.params import PARAMS_FILE, check_params, load_params
    from pipeline.params.register import NewCorpus, check_name, register

    params, name, folds = load_params(), training.name, training.folds
    check_name(name, folds, params, Path(PARAMS_FILE))
    usual = corpora.reader(kind).LABELLING
    settings = asked.settings()
    with linked(name, [path]) as root:
        described = asked.entry(kind, root.as_posix(), usual, settings)
        dataset = check_params({"datasets": {name: described}}, "ingest").datasets[name]
        found = corpora.survey(name, dataset)
        if found.problems:
            raise LabelFileError(found.source, shortened(found.problems))
        encoders = {"text": text_encoder, "audio": audio_encoder, "visual": visual_encoder}
        features = {
            modality: NONE if encoder == NONE else f"{name}/{modality}-{encoder}"
            for modality, encoder in encoders.items()
        }
        target = target_column(dataset.task)
        trainable = can_train(((clip.split, clip.labels.get(target)) for clip in found.clips), folds)
        corpus = NewCorpus(
            name,
            "datasets",
            described,
            training.metric_set(usual, dataset.task),
            encoders,
            features,
            folds,
            by=training.by or "speaker",
            like=training.like,
            trainable=trainable,
        )
        edit = register(corpus, params, Path(PARAMS_FILE), run=training.run)
        edit.write()
    counts = Counter(clip.split for clip in found.clips)
    say(f"{name}: {', '.join(f'{count} {split}' for split, count in counts.items())}")
    for finding in found.notes:
        say(f"  {finding.level}: {finding.message}")
    if not trainable:
        say(NO_TRAINING_SET)
    for key in edit.keys:
        say(f"  {PARAMS_FILE}: {key}")
    note(TEXTS_STAY, stdout=True)
    note(f"next: msa-cli validate {name}; dvc repro", stdout=True)


@with_options
@one_writer(Path("params.yaml"))  # each adds to what the other wrote
def import_files(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="The files, or their folder.")],
    training: SetOptions,
    asked: CorpusOptions,
    kind: Annotated[str | None, typer.Option("--as", help="Kind of the files. Default: detected.")] = None,
    mapping: Annotated[
        Path | None,
        typer.Option(
            help="YAML file that maps arrays to modalities, labels and ids (kind arrays).", dir_okay=False
        ),
    ] = None,
) -> None:
    """Import feature files of other projects: show what they hold, and convert them.

    Adds them to params.yaml, links them in data/raw, and writes data/clips, data/transcripts and
    data/features/NAME; `dvc repro` then trains on them.

    Example: msa-cli import unaligned_50.pkl --name mosi
    """
    from rich.table import Table

    from pipeline.core.vocabulary import MODALITIES, NONE
    from pipeline.corpora.clips import can_train, target_column
    from pipeline.corpora.links import linked
    from pipeline.corpora.survey import Labelling
    from pipeline.formats.source import Source
    from pipeline.imports.convert import ENCODER, Conversion, check_rows, discard, summary, write
    from pipeline.imports.registry import importer, read, sniff
    from pipeline.imports.survey import survey
    from pipeline.params.params import PARAMS_FILE, load_params
    from pipeline.params.register import NewCorpus, check_name, register

    params, name, folds = load_params(), training.name, training.folds
    check_name(name, folds, params, Path(PARAMS_FILE))
    settings: dict[str, Any] = _mapping(mapping) if mapping is not None else {}
    settings |= asked.settings()
    with linked(name, files) as root:
        source = Source(root)
        kind = kind or ("arrays" if mapping is not None else sniff(source, ", ".join(map(str, files))))
        what = importer(kind).KIND_OF_FILES
        guess = replace(asked, task=None).entry(kind, root.as_posix(), Labelling(), settings)
        imported = read(kind, source, _checked(name, guess))
        usual = imported.labelling
        described = asked.entry(kind, root.as_posix(), usual, settings)
        entered = _checked(name, described)
        check_rows(imported, name, entered)
        found = survey(imported, str(source))
        say(f"{name}: {what}")
        table = Table("what", "found")
        for about, finding in found.lines():
            table.add_row(about, finding)
        show(table)
        found.check(params.max_failed_fraction)
        features = {
            modality: f"{name}/{modality}-{ENCODER}" if modality in imported.modalities else NONE
            for modality in MODALITIES
        }
        target = target_column(entered.task)
        trainable = can_train(((row["split"], row.get(target)) for row in imported.rows), folds)
        corpus = NewCorpus(
            name,
            "imports",
            described,
            training.metric_set(usual, entered.task),
            features=features,
            folds=folds,
            by=training.by or "video",
            like=training.like,
            trainable=trainable,
        )
        edit = register(corpus, params, Path(PARAMS_FILE), run=training.run)
        try:
            updates = write(name, entered, source, imported, found, params.shards)
            edit.write()
        except BaseException:
            discard(name)
            raise
    if not trainable:
        say(NO_TRAINING_SET)
    for key in edit.keys:
        say(f"  {PARAMS_FILE}: {key}")
    note(TEXTS_STAY, stdout=True)
    say(summary(name, Conversion(found, updates)))
    note("next: dvc repro", stdout=True)


def _checked(name: str, described: dict[str, Any]) -> ImportParams:
    from pipeline.params.params import check_params

    return check_params({"imports": {name: described}}, "import").imports[name]


def _mapping(file: Path) -> dict[str, Any]:
    from pipeline.params.plain_yaml import read_yaml_file

    tree = read_yaml_file(file)
    if not isinstance(tree, dict):
        raise ParamsError(f"--mapping {file}: holds a {type(tree).__name__}, expected a mapping")
    return tree
