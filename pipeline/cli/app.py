"""`msa-cli`: parse, call, print. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.compare import compare
from pipeline.cli.import_files import import_files
from pipeline.cli.ingest import ingest
from pipeline.cli.predict import predict
from pipeline.cli.report import report as write_report
from pipeline.cli.significance import RunsAgainstRuns, significance
from pipeline.cli.stages import app as stage_app
from pipeline.cli.tune import tune
from pipeline.cli.validate import validate
from pipeline.core.console import configure, show
from pipeline.core.errors import MsaError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Multimodal sentiment analysis, from raw video clips to tracked, comparable metrics.",
    pretty_exceptions_enable=False,
)
app.add_typer(stage_app, name="stage")
app.command()(ingest)
app.command("import")(import_files)

NAMES = "a name from params, or none. May be given several times."

ParamsFile = Annotated[
    Path | None,
    typer.Option(
        "--params", help="params.yaml to use. Default: that of the current folder, if there is one."
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a param by its full key: visual.facemesh.fps=10"
    ),
]


@app.command()
def extract(
    video: Annotated[
        list[Path], typer.Option(help="A clip, or a folder of clips. May be given several times.")
    ],
    text: Annotated[str | None, typer.Option(help="What is said in the clip.")] = None,
    text_file: Annotated[
        Path | None, typer.Option(help="File with what is said: .txt, .srt or .vtt.", dir_okay=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the features. Default: CLIP.features in the current folder."),
    ] = None,
    text_encoder: Annotated[list[str], typer.Option(help=f"Text encoder, {NAMES}")] = ["minilm"],  # noqa: B006
    audio_encoder: Annotated[list[str], typer.Option(help=f"Audio encoder, {NAMES}")] = ["librosa33"],  # noqa: B006
    visual_encoder: Annotated[list[str], typer.Option(help=f"Visual encoder, {NAMES}")] = ["facemesh"],  # noqa: B006
    asr: Annotated[
        str | None,
        typer.Option(help="Whisper (hub id or folder) that hears what is said, where no text is found."),
    ] = None,
    language: Annotated[str, typer.Option(help="Language of the text, ISO 639-1.")] = "en",
    device: Annotated[str, typer.Option(envvar="MSA_DEVICE", help="cpu, cuda, cuda:1 ...")] = "cpu",
    params: ParamsFile = None,
    settings: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list in place of tables.")] = False,
) -> None:
    """Turn clips into text, audio and visual features: a Parquet file for each of them and for each clip.

    Without --text, what is said is looked for in a .srt, .vtt or .txt beside the clip and in its subtitles.

    Example: msa-cli extract --video clip.mp4 --text "It was great."
    """
    from pipeline.execution.local import THREADS

    os.environ.update(THREADS)  # before NumPy is there: the same sums, and so the same bytes, as in the DAG
    from rich.console import Console
    from rich.progress import track

    from pipeline.features import clip as extraction
    from pipeline.media.subtitles import read_text_file
    from pipeline.params.params import load_params

    if text is not None and text_file is not None:
        raise MsaError("--text and --text-file were both given; give one of them")
    requests = extraction.plan(video, out)
    if len(requests) > 1 and (text is not None or text_file is not None):
        raise MsaError(
            f"--text and --text-file belong to one clip, {len(requests)} were given; extract them one by one"
        )
    if text_file is not None:
        text = read_text_file(text_file)
    extraction.prepare(requests)
    names = {"text": text_encoder, "audio": audio_encoder, "visual": visual_encoder}
    loaded = load_params(params, settings)
    encoders = extraction.make_encoders(loaded, names, device)
    transcribe = extraction.make_transcriber(loaded, asr, device)
    work = extraction.extract(requests, text, encoders, language, transcribe)
    progress = Console(stderr=True)
    hidden = len(requests) == 1 or not progress.is_terminal
    reports = list(track(work, "extracting", len(requests), console=progress, disable=hidden))
    if as_json:
        print(json.dumps([asdict(report) for report in reports], indent=2, ensure_ascii=False))
    else:
        show(extraction.table(reports[0]) if len(reports) == 1 else extraction.overview(reports))
    for report in reports:
        if not report.gave_something:
            print(f"{report.video}: nothing could be extracted: {report.reason}", file=sys.stderr)
    if not all(report.gave_something for report in reports):
        raise typer.Exit(1)


@app.command()
def info(
    file: Annotated[Path, typer.Argument(help="A Parquet file of ours, a folder of shards, or a run.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Explain a file: what it holds, how it was made, its columns, counts and a few statistics."""
    from pipeline.cli.info import describe, render

    described = describe(file)
    if as_json:
        print(json.dumps(described, indent=2, ensure_ascii=False))
    else:
        show(*render(described))


@app.command()
def doctor(params: ParamsFile = None) -> None:
    """Check this machine: packages, devices, weights, and which encoders can run now."""
    from pipeline.cli.doctor import examine, render
    from pipeline.params.params import load_params

    checks = examine(load_params(params))
    show(render(checks))
    if any(check.level == "error" for check in checks):
        raise typer.Exit(1)


@app.command()
def fetch(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="Encoders of params.yaml (bert, hubert ...), or hub ids (owner/model@COMMIT).",
        ),
    ],
    pin: Annotated[bool, typer.Option(help="Write the commits into params.yaml.")] = False,
    params: ParamsFile = None,
) -> None:
    """Fetch pretrained models into the cache of huggingface_hub, a folder that can be carried elsewhere.

    Example: HF_HUB_CACHE=folder msa-cli fetch bert hubert --pin; elsewhere: HF_HUB_CACHE=folder dvc repro
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    from models.core.checkpoints import download
    from pipeline.features import fetch as fetching
    from pipeline.params import edit
    from pipeline.params.params import PARAMS_FILE, load_params

    commits = {}
    for wanted in fetching.wanted_models(names, load_params(params)):
        folder = download(wanted.model, wanted.revision, fetching.PARTS)
        commits[wanted.key] = folder.name
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{wanted.model}: {size / 1e6:.0f} MB\n  {'.'.join(wanted.key) or 'commit'}: {folder.name}")
    if pin:
        written = edit.pin(commits, params or Path(PARAMS_FILE))
        print(f"written into {params or PARAMS_FILE}: {', '.join(written) or 'nothing'}")
    print(f"all in {HF_HUB_CACHE}; carried elsewhere: HF_HUB_CACHE=FOLDER HF_HUB_OFFLINE=1")


@app.command()
def table(
    method: Annotated[str, typer.Argument(help="A method: misr, or another folder of models/.")],
    name: Annotated[str, typer.Argument(metavar="TABLE", help="A table of its paper: 4, ratio ...")],
    dataset: Annotated[
        str | None, typer.Option(help="A name from params.yaml. Default: the first of datasets_run.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="1111,1112 ... Default: those of params.yaml.")] = None,
    run: Annotated[
        bool, typer.Option("--run/--print", help="Train and evaluate every row, or show what it overrides.")
    ] = False,
) -> None:
    """An ablation or sensitivity table of a method's paper, run here as DVC experiments.

    Our numbers are printed beside the paper's and written to reports/tables. Leaves with 1 if a row failed.
    """
    from pipeline.evaluation.tables.run import find_table, parse_seeds, run_table
    from pipeline.params.params import load_params
    from pipeline.reports.paper_tables import markdown, show_settings, write_report

    found, params = find_table(method, name), load_params()
    if dataset is None:
        if not params.datasets_run:
            raise MsaError("datasets_run in params.yaml is empty; name a dataset with --dataset")
        dataset = params.datasets_run[0]
    numbers = params.seeds if seeds is None else parse_seeds(seeds)
    if not run:
        print(show_settings(found, dataset, params), end="")
        return
    outcomes = run_table(found, dataset, numbers, params, say=lambda line: print(line, file=sys.stderr))
    text = markdown(found, dataset, numbers, outcomes, params)
    path = write_report(found, dataset, text)
    print(text, end="")
    print(f"also written to {path}", file=sys.stderr)
    if any(outcome.failed for outcome in outcomes):
        raise typer.Exit(1)


@app.command()
def noise(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders: runs/misr-mosi-1111 ...")
    ],
    kind: Annotated[str, typer.Option(help="gaussian, laplace or erase.")] = "gaussian",
    assembled: Annotated[
        Path | None, typer.Option(help="Assembled set to score on. Default: data/assembled/DATASET.")
    ] = None,
    device: Annotated[str, typer.Option(envvar="MSA_DEVICE", help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    out: Annotated[Path | None, typer.Option(help="JSON file for the numbers.", dir_okay=False)] = None,
) -> None:
    """Test metrics of trained runs when 10 to 70 % of the steps of every clip are spoilt.

    Example: msa-cli noise runs/cmir-mosi-1111 runs/misr-mosi-1111 --kind erase
    """
    from pipeline.core.files import write_json
    from pipeline.evaluation.noise import render, under_noise

    results = []
    for run in runs:
        results.append(under_noise(run, kind, assembled, device))
        show(render(results[-1], kind))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json({"kind": kind, "runs": results}, out)


app.command()(compare)
app.command()(predict)
app.command("report")(write_report)
app.command(cls=RunsAgainstRuns)(significance)
app.command()(tune)
app.command()(validate)


def main() -> Any:
    """Entry point: a user's mistake is a message and an exit code, never a traceback."""
    configure()
    try:
        return app()
    except MsaError as error:
        print(f"msa-cli: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:  # a full disk, a folder that may not be written, a name that is too long
        print(f"msa-cli: {error.filename or 'file system'}: {error.strerror or error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
