"""`msa-cli ingest`: a folder of raw clips becomes a dataset of params.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import NO_TRAINING_SET, CorpusOptions, SetOptions, with_options


@with_options
def ingest(
    kind: Annotated[
        str, typer.Argument(help="mosi, mosei, sims, cherma, mustard ... or folder; README lists all.")
    ],
    path: Annotated[Path, typer.Argument(help="Folder of the corpus.", file_okay=False)],
    training: SetOptions,
    asked: CorpusOptions,
    text_encoder: Annotated[str, typer.Option(help="From params.yaml, or none.")] = "minilm",
    audio_encoder: Annotated[str, typer.Option(help="From params.yaml, or none.")] = "librosa33",
    visual_encoder: Annotated[str, typer.Option(help="From params.yaml, or none.")] = "facemesh",
) -> None:
    """Make a corpus of raw clips known: its entry and its jobs in params.yaml, and a link in data/raw.

    Nothing is copied or computed; `dvc repro` does the rest.

    Example: msa-cli ingest folder ~/clips --name mine --range -3 3
    """
    from collections import Counter

    from pipeline.core.errors import LabelFileError
    from pipeline.corpora import ingest as corpora
    from pipeline.corpora.clips import can_train, target_column
    from pipeline.corpora.findings import shortened
    from pipeline.corpora.links import linked
    from pipeline.params.params import NONE, PARAMS_FILE, check_params, load_params
    from pipeline.params.register import NewCorpus, check_name, register

    params, name, folds = load_params(PARAMS_FILE), training.name, training.folds
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
    print(f"{name}: {', '.join(f'{count} {split}' for split, count in counts.items())}")
    for note in found.notes:
        print(f"  {note.level}: {note.message}")
    if not trainable:
        print(NO_TRAINING_SET)
    for key in edit.keys:
        print(f"  {PARAMS_FILE}: {key}")
    print(f"next: msa-cli validate {name}; dvc repro")
