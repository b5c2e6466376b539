"""`msa-cli validate`: a corpus, an import or a training set is looked through before anything is learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import completion
from pipeline.cli.options import AsJson, CorpusOptions, ParamsFile, with_options
from pipeline.core.errors import ParamsError


@with_options
def validate(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Folder of a corpus, feature file, or a dataset, import or training set of params.yaml.",
            autocompletion=completion.all_sets,
        ),
    ],
    asked: CorpusOptions,
    html: Annotated[
        Path | None,
        typer.Option(help="File for a self-contained HTML page with plots.", dir_okay=False),
    ] = None,
    as_json: AsJson = False,
    kind: Annotated[
        str | None,
        typer.Option(help="Kind of the folder or file. Default: mmsa for a folder; detected for a file."),
    ] = None,
    params: ParamsFile = None,
    workers: Annotated[
        int, typer.Option(envvar="MSA_WORKERS", min=1, help="Media files read in parallel.")
    ] = 4,
) -> None:
    """Check a corpus: labels, media, texts, splits, conflicts, features. Writes nothing but the page.

    Exits with status 0 (usable, maybe with warnings) or 2 (labels or files must be corrected).

    Example: msa-cli validate mosi --html mosi.html
    """
    from pipeline.corpora.findings import has_errors
    from pipeline.params.params import load_params
    from pipeline.reports.blocks import publish
    from pipeline.validate import subjects
    from pipeline.validate.page import blocks, facts, write_page
    from pipeline.validate.validate import examine

    loaded, path = load_params(params), Path(name)
    if path.exists():
        settings = asked.settings()
        kind, usual = subjects.usual(path, kind, settings, asked.class_names)
        entry = asked.entry(kind, name, usual, settings)
        subject = subjects.on_disk(path, entry, asked.language is not None)
    else:
        subject = subjects.registered(name, loaded)
        if kind is not None or asked.given:
            raise ParamsError(
                f"{name} is described in params.yaml: --kind, --language, --task, --range, --classes and "
                "--setting are for a folder or file"
            )
    found = examine(subject, loaded, workers)
    if html is not None:
        write_page(found, html, loaded.media)
    publish([] if as_json else blocks(found), facts(found), "json" if as_json else "text", None)
    if has_errors(found.findings):
        raise typer.Exit(2)
