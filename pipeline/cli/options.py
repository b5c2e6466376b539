"""Options that `ingest` and `import` share."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pipeline.core.errors import ParamsError

Name = Annotated[str, typer.Option(help="What it is called in params.yaml.")]
Language = Annotated[str | None, typer.Option(help="ISO 639-1 code. Default: that of the corpus.")]
Task = Annotated[str | None, typer.Option(help="regression or classification. Default: that of the corpus.")]
LabelRange = Annotated[
    tuple[float, float] | None, typer.Option("--range", help="Smallest and largest label of a regression.")
]
Classes = Annotated[
    str | None,
    typer.Option(help="Names of the classes in order: sad,calm,glad; then --task is classification."),
]
Metrics = Annotated[str | None, typer.Option(help="mmsa, sims, magbert or cls. Default: as is usual there.")]
Setting = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="A setting of this kind alone. May be given several times."),
]
Folds = Annotated[int, typer.Option(min=0, help="Cross-validation: so many training sets, one a fold.")]
By = Annotated[str, typer.Option(help="What folds keep apart: speaker, video or clip.")]
Like = Annotated[
    str, typer.Option(help="Methods get the settings that they have for this one (sample: small and fast).")
]
Run = Annotated[bool, typer.Option("--run/--no-run", help="Add it to datasets_run, or only make it known.")]


def parse_settings(settings: list[str] | None) -> dict[str, Any]:
    """`key=value` with dotted keys as a tree; values are YAML."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    tree: dict[str, Any] = {}
    for setting in settings or []:
        key, equals, value = setting.partition("=")
        if not key or not equals:
            raise ParamsError(f"--setting {setting}: expected key=value")
        try:
            *path, last = key.split(".")
            section = tree
            for part in path:
                section = section.setdefault(part, {})
            section[last] = YAML(typ="safe").load(value)
        except (YAMLError, AttributeError, TypeError) as error:
            raise ParamsError(f"--setting {setting}: cannot be read: {error}") from error
    return tree


NO_TRAINING_SET = (
    "  warning: no labelled clip to train with, so that no training set is entered under assemble and "
    "datasets_run"
)


def class_names(classes: str | None) -> list[str]:
    """The names in `--classes`."""
    return [name.strip() for name in classes.split(",")] if classes else []


def corpus_entry(
    kind: str,
    root: str,
    usual: Any,
    language: str | None,
    task: str | None,
    label_range: tuple[float, float] | None,
    classes: str | None,
    metrics: str | None,
    settings: dict[str, Any],
) -> tuple[dict[str, Any], str]:
    """The entry of params.yaml, and its metric set: what is usual (a Labelling), and what was asked for.

    Raises
    ------
    ParamsError : classes of a regression, or a range of a classification
    """
    names = class_names(classes) or list(usual.classes)
    chosen = task or ("classification" if classes else usual.task)
    if classes and chosen == "regression":
        raise ParamsError(f"--classes {classes}: a regression has none; take it or --task regression away")
    if label_range is not None and chosen == "classification":
        raise ParamsError(
            f"--range {label_range[0]:g} {label_range[1]:g}: the labels are classes, which have no range; "
            "take it away, or write --task regression where they are scores"
        )
    entry: dict[str, Any] = {
        "kind": kind,
        "root": root,
        "language": language or usual.language,
        "task": chosen,
    }
    if chosen == "classification":
        entry["classes"] = names
    else:
        entry["label_range"] = list(label_range or usual.label_range)
    if settings:
        entry["settings"] = settings
    fitting = usual.metrics if (usual.metrics == "cls") == (chosen == "classification") else None
    return entry, metrics or fitting or ("cls" if chosen == "classification" else "mmsa")
