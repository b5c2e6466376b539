"""`msa-cli extract`: features of single clips."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import AsJson, EncoderDevice, ParamsFile, SpeechOptions, Videos, with_options
from pipeline.core.console import say, show, tracked

NAMES = "a name from params, or none. May be given several times."


@with_options
def extract(
    video: Videos,
    speech: SpeechOptions,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the features. Default: CLIP.features in the current folder."),
    ] = None,
    text_encoder: Annotated[list[str], typer.Option(help=f"Text encoder, {NAMES}")] = ["minilm"],  # noqa: B006
    audio_encoder: Annotated[list[str], typer.Option(help=f"Audio encoder, {NAMES}")] = ["librosa33"],  # noqa: B006
    visual_encoder: Annotated[list[str], typer.Option(help=f"Visual encoder, {NAMES}")] = ["facemesh"],  # noqa: B006
    language: Annotated[str, typer.Option(help="Language of the text, ISO 639-1.")] = "en",
    device: EncoderDevice = "cpu",
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

    Without --text, what is said is looked for in a .srt, .vtt or .txt beside the clip and in its subtitles.

    Example: msa-cli extract --video clip.mp4 --text "It was great."
    """
    from pipeline.execution.local import THREADS

    os.environ.update(THREADS)  # before NumPy is there: the same sums, and so the same bytes, as in the DAG
    from pipeline.features import clip as extraction
    from pipeline.params.params import load_params

    passed_over: dict[str, str] = {}
    requests = extraction.plan(video, out, passed_over)
    for path, reason in passed_over.items():
        say(f"{path}: passed over: {reason}", error=True)
    text = speech.said(len(requests), "extract")
    extraction.prepare(requests)
    names = {"text": text_encoder, "audio": audio_encoder, "visual": visual_encoder}
    loaded = load_params(params, settings)
    encoders = extraction.make_encoders(loaded, names, device)
    transcribe = extraction.make_transcriber(loaded, speech.asr, device)
    work = extraction.extract(requests, text, encoders, language, transcribe)
    reports = list(tracked(work, "extracting", len(requests)))
    if as_json:
        say(json.dumps([asdict(report) for report in reports], indent=2, ensure_ascii=False), in_json=True)
    else:
        show(extraction.table(reports[0]) if len(reports) == 1 else extraction.overview(reports))
    for report in reports:
        if not report.gave_something:
            say(f"{report.video}: nothing could be extracted: {report.reason}", error=True)
    if not all(report.gave_something for report in reports):
        raise typer.Exit(1)
