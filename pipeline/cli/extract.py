"""`msa-cli extract`: features of single clips."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli import completion
from pipeline.cli.options import (
    AsJson,
    Clips,
    EncoderDevice,
    ParamsFile,
    SpeechOptions,
    Videos,
    given_clips,
    with_options,
)
from pipeline.core.console import note, say, show, tracked
from pipeline.core.errors import MsaError

NAMES = "a name from params.yaml, or none. May be repeated."


def _encoder(modality: str, names: Callable[[], list[str]]) -> Any:
    """An option that names encoders of a modality."""
    return typer.Option(metavar="NAME", help=f"{modality} encoder, {NAMES}", autocompletion=names)


@with_options
def extract(
    clips: Clips = None,
    video: Videos = None,
    *,
    speech: SpeechOptions,
    texts: Annotated[
        str | None,
        typer.Option(
            metavar="CSV",
            help="CSV file of the folder with the transcripts in a column text, as `ingest folder` reads "
            "it. Default: the only CSV file of the folder.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for the features. Default: CLIP.features in the current folder."
        ),
    ] = None,
    single_file: Annotated[
        bool,
        typer.Option(
            "--single-file", help="One Parquet file per encoder for all clips, instead of one per clip."
        ),
    ] = False,
    text_encoder: Annotated[list[str], _encoder("Text", completion.text_encoders)] = ["minilm"],  # noqa: B006
    audio_encoder: Annotated[list[str], _encoder("Audio", completion.audio_encoders)] = ["librosa33"],  # noqa: B006
    visual_encoder: Annotated[list[str], _encoder("Visual", completion.visual_encoders)] = ["facemesh"],  # noqa: B006
    language: Annotated[str, typer.Option(metavar="CODE", help="Language of the text, ISO 639-1.")] = "en",
    device: EncoderDevice = "cpu",
    workers: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Processes, each with its own models; 0 = one per free core."),
    ] = 1,
    timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=1, help="Time limit for one clip, with several workers."),
    ] = 600.0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Recompute existing features.")] = False,
    params: ParamsFile = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override a param by its full key: visual.facemesh.fps=10"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Turn clips into text, audio and visual features: a Parquet file for each of them and for each clip.

    Existing features of the same clip, text and settings are kept. Without --text, the transcript is looked
    for in the folder's CSV file, in a .srt, .vtt or .txt beside the clip, and in its subtitles.

    Example: msa-cli extract clip.mp4 --text "It was great."
    """
    from pipeline.execution.local import THREADS

    os.environ.update(THREADS)  # before NumPy is there: the same sums, and so the same bytes, as in the DAG
    from pipeline.features import clip as extraction
    from pipeline.features.clip_extraction import extract as work
    from pipeline.features.clip_extraction import make_extractor
    from pipeline.features.clip_files import ClipFolders, OneFolder
    from pipeline.features.clip_report import overview, places, table
    from pipeline.features.clip_texts import texts_of
    from pipeline.params.params import load_params

    videos = given_clips(clips, video, "extract clip.mp4")
    folders = [path for path in videos if path.is_dir()]
    if texts is not None and not folders:
        raise MsaError(f"--texts {texts}: applies to a folder of clips, and none was given; give --text")
    base = out
    if single_file:
        if not folders and len(videos) == 1:
            raise MsaError("--single-file needs several clips; give a folder of clips, or omit it")
        base = out or Path(f"{folders[0].resolve().name if folders else 'clips'}.features")
    passed_over: dict[str, str] = {}
    requests = extraction.plan(videos, base, passed_over)
    for path, reason in passed_over.items():
        note(f"{path}: skipped: {reason}")
    text = speech.said(len(requests), "extract")
    said: dict[Path, str] = {}
    for folder in folders:
        found, remarks = texts_of(folder, texts)
        said |= found
        for remark in remarks:
            note(remark)
    if text is not None:  # the one clip's, whatever a table says
        said = {request.video: text for request in requests}
    names = {"text": text_encoder, "audio": audio_encoder, "visual": visual_encoder}
    loaded = load_params(params, settings)
    make = partial(make_extractor, loaded, names, language, speech.asr, device)
    streams = make().streams
    place = OneFolder(streams, base, fresh) if single_file and base else ClipFolders(streams, fresh)
    tasks = place.tasks(requests, said)
    order = {str(request.video): number for number, request in enumerate(requests)}
    processes = workers or len(os.sched_getaffinity(0))
    reports = list(tracked(work(tasks, make, place, processes, timeout), "extracting", len(requests)))
    reports.sort(key=lambda report: order[report.video])
    if as_json:
        say(json.dumps([asdict(report) for report in reports], indent=2, ensure_ascii=False), in_json=True)
    else:
        show(table(reports[0]) if len(reports) == 1 else overview(reports))
        say(places(reports, streams))
    for report in reports:
        if not report.gave_something:
            say(f"{report.video}: nothing could be extracted: {report.reason}", error=True)
    if not all(report.gave_something for report in reports):
        raise typer.Exit(1)
