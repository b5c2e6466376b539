"""`msa-cli predict`: what trained runs say of new clips."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import completion
from pipeline.cli.options import (
    AsJson,
    Context,
    ModelPlaces,
    ParamsFile,
    SpeechOptions,
    Videos,
    given_clips,
    with_options,
)
from pipeline.core.console import note, say, show, tracked
from pipeline.core.errors import MsaError
from pipeline.core.paths import given_run

PICTURE = ".png"


@with_options
def predict(
    run: Annotated[
        list[Path],
        typer.Option(
            metavar="RUN",
            help="A run: misr-mosi/1111, or misr-mosi for all its seeds; or its folder. May be repeated.",
            autocompletion=completion.run_names,
        ),
    ],
    speech: SpeechOptions,
    clips: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="CLIP",
            help="Clips, or folders of clips. Run folders are taken as further runs (--run runs/misr-*).",
            show_default=False,
        ),
    ] = None,
    video: Videos = None,
    language: Annotated[
        str | None,
        typer.Option(help="Language of the clips, ISO 639-1. Default: that of the training corpus, or en."),
    ] = None,
    context: Context = False,
    as_json: AsJson = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="File for a picture of the clip's timeline (.png); for several clips, a folder."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for predictions.parquet and predictions.csv.", file_okay=False),
    ] = None,
    device: Annotated[str, typer.Option(envvar="MSA_DEVICE", help="cpu, cuda, cuda:1 ...")] = "cpu",
    params: ParamsFile = None,
    settings: ModelPlaces = None,
) -> None:
    """Predict the sentiment of new clips with trained runs of one dataset, all seeds and methods together.

    Features are made as for the runs: encoders, settings and scaling come from the run folder, whatever
    params say now. Each clip is read alone, unless --context gives methods that read the utterances before a
    clip (SLaD) those of its folder. Without --text, the transcript is looked for in a .srt, .vtt or .txt
    beside the clip and in its subtitles. Exits with status 1 if nothing could be predicted for a clip, 2 if
    the features of a run cannot be made here.

    Example: msa-cli predict clip.mp4 --text "It was great." --run misr-mosi/1111
    """
    from pipeline.execution.local import THREADS

    os.environ.update(THREADS)  # before NumPy is there: the same sums, and so the same numbers, as in the DAG
    from pipeline.params.params import load_params
    from pipeline.predict import predict as predicting
    from pipeline.predict import report
    from pipeline.reports.blocks import as_renderables

    passed_over: dict[str, str] = {}
    more = [path for path in clips or [] if _is_run(path)]
    videos = given_clips(
        [path for path in clips or [] if path not in more], video, "predict clip.mp4 --run RUN"
    )
    named = predicting.clips_of(videos, passed_over)
    for path, reason in passed_over.items():
        note(f"{path}: skipped: {reason}")
    text = speech.said(len(named), "predict")
    pictures = _pictures(plot, list(named))
    predictor = predicting.Predictor.open(
        [given_run(path) for path in (*run, *more)], load_params(params, settings), device, speech.asr
    )
    _prepare([*(file.parent for file in pictures.values()), *([] if out is None else [out])])
    found = []
    work = predicting.predict(predictor, named, text, language, context)
    for clip in tracked(work, "predicting", len(named)):
        found.append(clip)
        if clip.ok and clip.features.clip_id in pictures:
            from pipeline.predict.timeline import draw_timeline

            draw_timeline(clip, predictor.runs, pictures[clip.features.clip_id])
    if out is not None:
        report.write_predictions(found, predictor.facts, out)
    if as_json:
        say(report.as_json(found, predictor.runs, predictor.remarks), in_json=True)
    else:
        show(*as_renderables(report.blocks(found)))
        for remark in [*predictor.remarks, *map(str, report.shared(found))]:
            note(f"note: {remark}")
    for clip in found:
        if not clip.ok:
            say(f"{clip.features.video}: nothing could be predicted: {clip.reason}", error=True)
    if not all(clip.ok for clip in found):
        raise typer.Exit(1)


def _is_run(path: Path) -> bool:
    """Whether it is the folder of a run, or of all its seeds."""
    return (path / "config.json").exists() or any(path.glob("*/config.json"))


def _prepare(folders: list[Path]) -> None:
    """Make the folders that are written to, before the encoders take their time."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MsaError(
                f"{folder}: this folder cannot be created ({error.strerror}); point --out and --plot to "
                "a writable folder"
            ) from error


def _pictures(plot: Path | None, clip_ids: list[str]) -> dict[str, Path]:
    """Clip id -> the picture's file; checked before any work."""
    if plot is None:
        return {}
    if len(clip_ids) == 1:
        if plot.suffix.lower() != PICTURE:
            raise MsaError(f"--plot {plot}: expected a file that ends in {PICTURE}")
        return {clip_ids[0]: plot}
    if plot.suffix.lower() == PICTURE:
        raise MsaError(f"--plot {plot} is one file for {len(clip_ids)} clips; give the name of a folder")
    return {clip_id: plot / f"{clip_id}{PICTURE}" for clip_id in clip_ids}
