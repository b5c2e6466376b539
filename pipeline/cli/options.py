"""Options that several commands share, as dataclasses that `with_options` spreads over a command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli import completion
from pipeline.core.errors import MsaError, ParamsError

if TYPE_CHECKING:
    from pipeline.corpora.survey import Labelling

TEXTS_STAY = (
    "  the texts of its clips are kept out of results/ and reports/, which git tracks; list the corpus "
    "under reports.transcripts to show those of the worst clips"
)
NO_TRAINING_SET = (
    "  warning: no labelled training clip, so no training set was added to assemble and datasets_run"
)

ParamsFile = Annotated[
    Path | None,
    typer.Option(
        "--params", help="params.yaml to use. Default: that of the current folder, if there is one."
    ),
]
ModelPlaces = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Local folder of a model: text.bert.model=FOLDER. May be repeated."
    ),
]
Clips = Annotated[
    list[Path] | None,
    typer.Argument(metavar="CLIP", help="Clips, or folders of clips.", show_default=False),
]
Videos = Annotated[
    list[Path] | None,
    typer.Option(
        "--video", metavar="CLIP", help="A clip or a folder of clips, as an option. May be repeated."
    ),
]
Context = Annotated[
    bool,
    typer.Option(
        "--context",
        help="The clips of a folder are one video's utterances, in the order of their names (2 before 10), "
        "for methods that read what was said before a clip.",
    ),
]
Device = Annotated[str, typer.Option(envvar="MSA_DEVICE", help="auto, cpu, cuda, cuda:1 ...")]
EncoderDevice = Annotated[
    str, typer.Option(envvar="MSA_DEVICE", help="cpu (auto means cpu), cuda, cuda:1 ...")
]


def _known_method(name: str) -> str:
    from models import METHODS

    if name not in METHODS:
        from pipeline.params.explain import unknown  # not while a shell completes

        raise ParamsError(unknown("method", name, METHODS))
    return name


def _known_unit(by: str | None) -> str | None:
    if by not in (None, "speaker", "video", "clip", "published"):
        raise MsaError(f"--by {by}: expected speaker, video, clip or published")
    return by


MethodName = Annotated[
    str,
    typer.Argument(
        help="A method: misr, or another folder of models/.",
        callback=_known_method,
        autocompletion=completion.methods,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def given_clips(clips: list[Path] | None, videos: list[Path] | None, example: str) -> list[Path]:
    """The clips that were given, in either way; MsaError where there are none."""
    found = [*(clips or []), *(videos or [])]
    if not found:
        raise MsaError(f"no clip was given; name one, or a folder of clips: msa-cli {example}")
    return found


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command with an option for each field of its dataclass parameters."""
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {
        name: given.annotation
        for name, given in signature.parameters.items()
        if is_dataclass(given.annotation)
    }
    spread = []
    for name, given in signature.parameters.items():
        shared = (
            inspect.signature(groups[name], eval_str=True).parameters if name in groups else {name: given}
        )
        spread += [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in shared.values()]

    @wraps(command)
    def run(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{option.name: given.pop(option.name) for option in fields(group)})
        command(**given)

    run.__signature__ = signature.replace(parameters=spread)  # type: ignore[attr-defined]
    run.__annotations__ = {given.name: given.annotation for given in spread}
    return run


@dataclass(frozen=True)
class CorpusOptions:
    """What a corpus is, where its kind does not say it."""

    language: Annotated[str | None, typer.Option(help="ISO 639-1 code. Default: that of the corpus.")] = None
    task: Annotated[
        str | None, typer.Option(help="regression or classification. Default: that of the corpus.")
    ] = None
    label_range: Annotated[
        tuple[float, float] | None,
        typer.Option("--range", help="Smallest and largest label of a regression."),
    ] = None
    classes: Annotated[
        str | None,
        typer.Option(help="Names of the classes in order: sad,calm,glad; implies --task classification."),
    ] = None
    setting: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A setting specific to this kind. May be repeated."),
    ] = None

    @property
    def given(self) -> bool:
        """Whether anything was asked for."""
        return any(getattr(self, option.name) is not None for option in fields(self))

    @property
    def class_names(self) -> list[str]:
        """The names in `--classes`."""
        return [name.strip() for name in self.classes.split(",")] if self.classes else []

    def settings(self) -> dict[str, Any]:
        """`key=value` with dotted keys as a tree; values are YAML.

        Raises
        ------
        ParamsError : no such pair, or a value that is no YAML
        """
        from pipeline.params.explain import one_line
        from pipeline.params.plain_yaml import read_yaml
        from pipeline.params.search import with_values

        tree: dict[str, Any] = {}
        for setting in self.setting or []:
            key, equals, value = setting.partition("=")
            if not key or not equals:
                raise ParamsError(f"--setting {one_line(setting)}: expected key=value")
            try:
                tree = with_values(tree, {key: read_yaml(value, "the value")})
            except ParamsError as error:
                raise ParamsError(f"--setting {one_line(setting)}: {error}") from error
        return tree

    def entry(self, kind: str, root: str, usual: Labelling, settings: dict[str, Any]) -> dict[str, Any]:
        """The entry of params.yaml: what is usual, and what was asked for.

        Raises
        ------
        ParamsError : classes of a regression, or a range of a classification
        """
        chosen = self.task or ("classification" if self.classes else usual.task)
        if self.classes and chosen == "regression":
            raise ParamsError(
                f"--classes {self.classes}: a regression has no classes; remove it or --task regression"
            )
        if self.label_range is not None and chosen == "classification":
            raise ParamsError(
                f"--range {self.label_range[0]:g} {self.label_range[1]:g}: the labels are classes, which "
                "have no range; remove it, or give --task regression if they are scores"
            )
        language = usual.language if self.language is None else self.language
        entry: dict[str, Any] = {"kind": kind, "root": root, "language": language}
        entry["task"] = chosen
        if chosen == "classification":
            entry["classes"] = self.class_names or list(usual.classes)
        else:
            entry["label_range"] = list(self.label_range or usual.label_range)
        return entry | ({"settings": settings} if settings else {})


@dataclass(frozen=True)
class SpeechOptions:
    """What is said in a clip, or who recognizes it."""

    text: Annotated[str | None, typer.Option(help="Transcript of the clip.")] = None
    text_file: Annotated[
        Path | None, typer.Option(help="File with the transcript: .txt, .srt or .vtt.", dir_okay=False)
    ] = None
    asr: Annotated[
        str | None,
        typer.Option(
            help="Whisper model that transcribes a clip without text: base, small, large-v3, turbo, a hub "
            "id or a folder."
        ),
    ] = None

    def said(self, clips: int, command: str) -> str | None:
        """The text of the clip; None where none was given.

        Raises
        ------
        MsaError : it is given twice, or for several clips
        """
        from pipeline.media.subtitles import read_text_file

        if self.text is not None and self.text_file is not None:
            raise MsaError("--text and --text-file were both given; give one of them")
        if clips > 1 and (self.text is not None or self.text_file is not None):
            raise MsaError(
                f"--text and --text-file belong to one clip, {clips} were given; {command} them one by one"
            )
        return self.text if self.text_file is None else read_text_file(self.text_file)


@dataclass(frozen=True)
class SetOptions:
    """What a corpus is called, and the training sets that are made of it."""

    name: Annotated[str, typer.Option(help="Its name in params.yaml.")]
    metrics: Annotated[
        str | None, typer.Option(help="mmsa, sims, magbert or cls. Default: those usual for the corpus.")
    ] = None
    folds: Annotated[
        int, typer.Option(min=0, max=200, help="Cross-validation: number of folds; each is a training set.")
    ] = 0
    by: Annotated[
        str | None,
        typer.Option(
            help="What folds keep apart: speaker, video or clip; or published, the folds of the "
            "literature. Default: speaker, for feature files video.",
            callback=_known_unit,
        ),
    ] = None
    like: Annotated[
        str,
        typer.Option(help="Training set whose method settings are copied (sample: small and fast)."),
    ] = ""
    run: Annotated[
        bool, typer.Option("--run/--no-run", help="Add it to datasets_run, or only register it.")
    ] = True

    def metric_set(self, usual: Labelling, task: str) -> str:
        """What was asked for, else what is usual where that fits the task."""
        fitting = usual.metrics if (usual.metrics == "cls") == (task == "classification") else None
        return self.metrics or fitting or ("cls" if task == "classification" else "mmsa")
