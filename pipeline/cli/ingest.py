"""`msa-cli ingest`: a folder of raw clips becomes a dataset of params.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import options


def ingest(
    kind: Annotated[
        str,
        typer.Argument(help="mosi, mosei, sims, cherma, mustard ... or folder; docs/corpora.md lists all."),
    ],
    path: Annotated[Path, typer.Argument(help="Folder of the corpus.", file_okay=False)],
    name: options.Name,
    text_encoder: Annotated[str, typer.Option(help="From params.yaml, or none.")] = "minilm",
    audio_encoder: Annotated[str, typer.Option(help="From params.yaml, or none.")] = "librosa33",
    visual_encoder: Annotated[str, typer.Option(help="From params.yaml, or none.")] = "facemesh",
    language: options.Language = None,
    task: options.Task = None,
    label_range: options.LabelRange = None,
    classes: options.Classes = None,
    metrics: options.Metrics = None,
    setting: options.Setting = None,
    folds: options.Folds = 0,
    by: options.By = "speaker",
    like: options.Like = "",
    run: options.Run = True,
) -> None:
    """Make a corpus of raw clips known: its entry and its jobs in params.yaml, and a link in data/raw.

    Nothing is copied or computed; `dvc repro` does the rest.

    Example: msa-cli ingest folder ~/clips --name mine --range -3 3
    """
    from collections import Counter

    from pipeline.core.errors import LabelFileError
    from pipeline.corpora import ingest as corpora
    from pipeline.corpora.clips import target_column
    from pipeline.corpora.problems import shortened
    from pipeline.params.params import NONE, PARAMS_FILE, check_params, load_params
    from pipeline.params.register import Entry, can_train, check_name, linked, register

    params = load_params(PARAMS_FILE)
    check_name(name, folds, params, Path(PARAMS_FILE))
    usual = corpora.reader(kind).LABELLING
    settings = options.parse_settings(setting)
    with linked(name, [path]) as root:
        described, metric_set = options.corpus_entry(
            kind, root.as_posix(), usual, language, task, label_range, classes, metrics, settings
        )
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
        entry = Entry(name, "datasets", described, metric_set, encoders, features, folds, by, like, trainable)
        edit = register(entry, params, Path(PARAMS_FILE), run=run)
        edit.write()
    counts = Counter(clip.split for clip in found.clips)
    print(f"{name}: {', '.join(f'{count} {split}' for split, count in counts.items())}")
    for note in found.notes:
        print(f"  {note.level}: {note.message}")
    if not trainable:
        print(options.NO_TRAINING_SET)
    for key in edit.keys:
        print(f"  {PARAMS_FILE}: {key}")
    print(f"next: msa-cli validate {name}; dvc repro")
