"""`msa-cli import`: ready-made feature files become clip table, transcripts and feature stores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.commands import corpus_options as options
from pipeline.errors import ParamsError


def import_files(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="The files, or the folder that has them.")
    ],
    name: options.Name,
    kind: Annotated[str | None, typer.Option("--as", help="What they are. Default: found out.")] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="YAML file that says where things lie (kind arrays).", dir_okay=False)
    ] = None,
    language: options.Language = None,
    task: options.Task = None,
    label_range: options.LabelRange = None,
    classes: options.Classes = None,
    metrics: options.Metrics = None,
    setting: options.Setting = None,
    folds: options.Folds = 0,
    by: options.By = "video",
    run: options.Run = True,
) -> None:
    """Read feature files that other projects made: say what they hold, and convert them.

    Enters them into params.yaml, links them in data/raw, and writes data/clips, data/transcripts and
    data/features/NAME; `dvc repro` then trains on them.

    Example: msa-cli import unaligned_50.pkl --name mosi
    """
    from rich.console import Console
    from rich.table import Table

    from pipeline.importers import importer, sniff
    from pipeline.importers.conversion import ENCODER, check_rows, convert, summary
    from pipeline.importers.source import Source
    from pipeline.importers.survey import survey
    from pipeline.params import NONE, PARAMS_FILE, ImportParams, check_params, load_params
    from pipeline.register import Entry, check_name, link, register

    check_name(name)
    params = load_params(PARAMS_FILE)
    settings: dict[str, Any] = _mapping(mapping) if mapping is not None else {}
    settings |= options.parse_settings(setting)
    root = link(name, files)
    source = Source(root)
    kind = kind or ("arrays" if mapping is not None else sniff(source))
    first = ImportParams.model_validate({"kind": kind, "root": str(root), "settings": settings})
    imported = importer(kind).read(source, first)
    asked = (language, task, label_range, classes, metrics)
    described, metric_set = options.corpus_entry(kind, root.as_posix(), imported.labelling, *asked, settings)
    check_params({"imports": {name: described}}, "import")
    entered = ImportParams.model_validate(described)
    check_rows(imported, name, entered)
    found = survey(imported, str(source))
    table = Table("what", "found", title=f"{name}: {importer(kind).KIND_OF_FILES}")
    for line in found.lines():
        table.add_row(*line)
    Console(soft_wrap=False).print(table)
    features = {
        modality: f"{name}/{modality}-{ENCODER}" if modality in imported.modalities else NONE
        for modality in ("text", "audio", "visual")
    }
    entry = Entry(name, "imports", described, metric_set, features=features, folds=folds, by=by)
    for key in register(entry, params, Path(PARAMS_FILE), run=run):
        print(f"  {PARAMS_FILE}: {key}")
    print(summary(name, convert(name, entered, params.shards)))
    print("next: dvc repro")


def _mapping(file: Path) -> dict[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        tree = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise ParamsError(f"--mapping {file}: cannot be read as YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ParamsError(f"--mapping {file}: holds a {type(tree).__name__}, expected a mapping")
    return tree
