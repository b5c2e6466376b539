"""`msa-cli stage ...`: the commands of dvc.yaml, run from the project's folder."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import completion
from pipeline.cli.dvc_arguments import StageGroup
from pipeline.cli.options import Device, EncoderDevice, MethodName
from pipeline.core import paths
from pipeline.core.console import note, say
from pipeline.core.errors import MsaError
from pipeline.core.files import one_writer, write_text
from pipeline.core.vocabulary import MODALITIES

app = typer.Typer(
    cls=StageGroup,
    no_args_is_help=True,
    help="The stages of dvc.yaml, run in the project's folder with its params.yaml; `dvc repro` calls them.",
)


class ExecutorKind(StrEnum):
    """Who computes."""

    local = "local"
    ray = "ray"


Dataset = Annotated[str, typer.Argument(help="A name from `datasets`.", autocompletion=completion.datasets)]
TrainingSet = Annotated[
    str,
    typer.Argument(metavar="SET", help="A name from `assemble`.", autocompletion=completion.training_sets),
]
Encoder = Annotated[
    str,
    typer.Argument(help="A name from the modality's section.", autocompletion=completion.encoders_of_stage),
]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of weights, batches and dropout.")]
Seeds = Annotated[
    list[int] | None,
    typer.Option(
        "--seed", min=0, max=2**63 - 1, help="Only this seed. May be repeated. Default: all of params.yaml."
    ),
]
RunsPerGpu = Annotated[int, typer.Option(envvar="MSA_RUNS_PER_GPU", min=1, help="Runs at once on one GPU.")]
RunCacheFolder = Annotated[
    Path, typer.Option("--run-cache", envvar="MSA_RUN_CACHE", help="Cache folder of finished runs.")
]
Workers = Annotated[int, typer.Option(envvar="MSA_WORKERS", min=0, help="Processes; 0 = one per free core.")]
Timeout = Annotated[
    float, typer.Option(envvar="MSA_TIMEOUT", min=1, help="Time limit for one clip, in seconds.")
]
Fresh = Annotated[bool, typer.Option(envvar="MSA_FRESH", help="Recompute existing outputs.")]
WriteConfig = Annotated[
    Path | None,
    typer.Option(
        help="Write the run as JSON for `python -m pipeline.training.loop.train --config`; train nothing."
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(envvar="MSA_ONLY", metavar="CLIP_ID", help="Recompute only this clip. May be repeated."),
]
Shards = Annotated[
    str | None,
    typer.Option(metavar="FIRST::STEP", help="Only shards FIRST, FIRST + STEP ...: one machine's share."),
]
ExecutorName = Annotated[
    ExecutorKind, typer.Option("--executor", envvar="MSA_EXECUTOR", help="Local processes, or a Ray cluster.")
]
GpusPerWorker = Annotated[
    float, typer.Option(envvar="MSA_GPUS_PER_WORKER", min=0, help="Share of a GPU for each Ray worker.")
]
RetryFailed = Annotated[bool, typer.Option(envvar="MSA_RETRY_FAILED", help="Try failed clips again.")]


@app.command()
def ingest(dataset: Dataset, workers: Workers = 0) -> None:
    """Corpus folder -> data/clips/DATASET.parquet."""
    from pipeline.corpora.clips import write_clips
    from pipeline.corpora.ingest import ingest as read_corpus
    from pipeline.corpora.ingest import survey
    from pipeline.params.params import load_params

    params = load_params()
    corpus = params.dataset(dataset)
    with one_writer(paths.clip_table(dataset)):
        found = survey(dataset, corpus)
        clips, facts = read_corpus(dataset, corpus, params.media, _workers(workers), found)
        write_clips(clips, paths.clip_table(dataset), facts)
    bad = [row for row in clips.select(["clip_id", "status"]).to_pylist() if row["status"] != "ok"]
    say(f"{dataset}: {clips.num_rows} clips, {len(bad)} {'warning' if len(bad) == 1 else 'warnings'}")
    for finding in found.notes:
        say(f"  {finding.level}: {finding.message}")
    for row in bad[:20]:
        say(f"  {row['clip_id']}: {row['status']}")


@app.command("import")
def import_(
    dataset: Annotated[
        str,
        typer.Argument(metavar="IMPORT", help="A name from `imports`.", autocompletion=completion.imports),
    ],
) -> None:
    """Ready-made feature files -> clip table, transcripts, data/features/IMPORT/*-imported."""
    from pipeline.imports.convert import convert, summary
    from pipeline.params.params import load_params

    params = load_params()
    with one_writer(paths.clip_table(dataset)):
        conversion = convert(dataset, params.imported(dataset), params.shards)
    say(summary(dataset, conversion))
    conversion.survey.check(params.max_failed_fraction)


@app.command()
def transcribe(
    dataset: Dataset,
    workers: Workers = 0,
    device: EncoderDevice = "cpu",
    timeout: Timeout = 600.0,
    fresh: Fresh = False,
) -> None:
    """Clip table -> data/transcripts/DATASET.parquet: text of labels, sidecars, subtitles, recognition."""
    from pipeline.corpora.clips import read_clips
    from pipeline.params.params import load_params
    from pipeline.transcripts.stage import transcribe_dataset
    from pipeline.transcripts.table import write_transcripts

    params = load_params()
    root = Path(params.dataset(dataset).root)
    with one_writer(paths.transcript_table(dataset)):
        transcripts, found = transcribe_dataset(
            read_clips(paths.clip_table(dataset)),
            root,
            dataset,
            params.transcribe,
            params.media,
            workers=workers or (1 if device.startswith("cuda") else _workers(0)),  # a model a worker
            device="cpu" if device == "auto" else device,
            timeout_s=timeout,
            kept=Path(".state/transcripts") / f"{dataset}.jsonl",
            fresh=fresh,
        )
        write_transcripts(transcripts, paths.transcript_table(dataset))
    say(found)
    found.check(params.max_failed_fraction)


def _extraction_command(modality: str, summary: str) -> None:
    """Add `stage <modality>`; the three differ in nothing else."""

    def command(
        dataset: Dataset,
        encoder: Encoder,
        workers: Workers = 0,
        device: EncoderDevice = "cpu",
        timeout: Timeout = 600.0,
        fresh: Fresh = False,
        retry_failed: RetryFailed = False,
        only: Only = None,
        shards: Shards = None,
        executor: ExecutorName = ExecutorKind.local,
        gpus_per_worker: GpusPerWorker = 0.0,
    ) -> None:
        from pipeline.execution.progress import ExtractionReport
        from pipeline.features.stage import Runtime, extract_dataset
        from pipeline.params.params import load_params
        from pipeline.store.store import parse_part

        params = load_params()
        part = parse_part(shards, only, params.shards)
        runtime = Runtime(
            workers, device, timeout, fresh, retry_failed, part, executor.value, gpus_per_worker
        )
        report = ExtractionReport(f"{modality} {encoder} on {dataset}")
        with report.progress:
            update = extract_dataset(
                modality, dataset, encoder, params, runtime, on_plan=report.plan, on_row=report.row
            )
        report.end(update, Path("logs"), f"{dataset}-{modality}-{encoder}")
        update.check(params.max_failed_fraction)

    app.command(modality, help=summary)(command)


_extraction_command("text", "Transcripts -> data/features/DATASET/text-ENCODER.")
_extraction_command("audio", "Clips' sound -> data/features/DATASET/audio-ENCODER.")
_extraction_command("visual", "Clips' pictures -> data/features/DATASET/visual-ENCODER.")


@app.command()
def assemble(dataset: TrainingSet) -> None:
    """Features and transcripts -> data/assembled/SET, the training set."""
    from pipeline.core.vocabulary import NONE
    from pipeline.corpora.clips import read_clips
    from pipeline.datasets.assembly.assemble import assemble as join
    from pipeline.params.params import load_params
    from pipeline.store.store import FeatureStore
    from pipeline.transcripts.table import read_transcripts

    params = load_params()
    chosen = params.training_set(dataset)
    stores = {
        stream: FeatureStore(Path("data/features") / folder)
        for stream in (*MODALITIES, "waveform")
        if (folder := getattr(chosen, stream)) != NONE
    }
    with one_writer(paths.assembled_folder(dataset)):
        report = join(
            read_clips(paths.clip_table(chosen.dataset)),
            read_transcripts(paths.transcript_table(chosen.dataset)),
            stores,
            chosen,
            paths.assembled_folder(dataset),
            dataset,
            waveform=stores.get("waveform"),
        )
    say(report)


@app.command()
def train(
    method: MethodName,
    dataset: TrainingSet,
    seed: Seeds = None,
    workers: Workers = 0,
    device: Device = "auto",
    runs_per_gpu: RunsPerGpu = 1,
    executor: ExecutorName = ExecutorKind.local,
    fresh: Fresh = False,
    run_cache: RunCacheFolder = Path(".state/runs"),
    write_config: WriteConfig = None,
) -> None:
    """Training set -> runs/METHOD-SET: every seed of params.yaml, after the pretraining if there is one."""
    from pipeline.params.params import load_params
    from pipeline.params.run import run_configs

    params = load_params()
    if write_config is not None:
        run, *others = run_configs(params, method, dataset, seed or ())
        if others:
            raise MsaError(f"--write-config {write_config}: writes one run; choose it with --seed")
        write_text(run.model_dump_json(indent=1) + "\n", write_config)
        return
    from pipeline.training.stage import stage_of, train_stages
    from pipeline.training.workers import TrainRuntime

    stage = stage_of(params, method, dataset, seed or ())
    train_stages([stage], TrainRuntime(workers, device, runs_per_gpu, executor.value, fresh, run_cache))


@app.command()
def evaluate(method: MethodName, dataset: TrainingSet, device: Device = "auto") -> None:
    """Runs of all seeds -> results/SET/METHOD: metrics, test predictions, curves, views."""
    from pipeline.evaluation.evaluate import evaluate as run
    from pipeline.params.params import load_params

    params = load_params()
    chosen = params.training_set(dataset)
    out = paths.results_folder(method, dataset)
    with one_writer(out):
        run(
            [paths.run_folder(method, dataset, seed) for seed in params.seeds],
            paths.assembled_folder(dataset),
            out,
            chosen.metrics,
            device=device,
            transcripts=chosen.dataset in params.reports.transcripts,
        )


@app.command()
def robust(method: MethodName, dataset: TrainingSet, device: Device = "auto") -> None:
    """Runs of all seeds under corruptions -> robust/SET/METHOD.parquet and results/SET/METHOD/robust.json."""
    from pipeline.params.params import load_params
    from pipeline.robustness.conditions import chosen_kinds
    from pipeline.robustness.robust import Asked
    from pipeline.robustness.robust import robust as run
    from pipeline.robustness.words import text_folders

    params = load_params()
    wanted = params.robust
    asked = Asked(
        chosen_kinds(wanted.kinds),
        tuple(wanted.sites),
        tuple(range(wanted.draws)),
        wanted.missing,
        text_unit=wanted.text_unit,
        text_features=text_folders(params),
    )
    run([paths.run_folder(method, dataset, seed) for seed in params.seeds], asked, None, device)


@app.command()
def report() -> None:
    """Results -> reports/: tables, pictures, index.html with all methods, and a page per training set."""
    from pipeline.params.params import load_params
    from pipeline.reports.report import report as write

    with one_writer(Path("reports/report.md")):
        write(load_params(), Path("results"), Path("reports"))
    note("reports/report.md has the tables, reports/index.html shows all methods", stdout=True)


def _workers(asked: int) -> int:
    """Processes: as asked, or one for each core that is free for us."""
    return asked or len(os.sched_getaffinity(0))
