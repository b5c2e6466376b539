"""`msa-cli robust`: how trained runs hold up when what they read is spoilt or missing."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import completion
from pipeline.cli.options import Device, ModelPlaces
from pipeline.core.console import show


class MissingAs(StrEnum):
    """What stands for a missing modality."""

    blank = "blank"
    absent = "absent"


class TextUnits(StrEnum):
    """What of a text is hit at once."""

    piece = "piece"
    word = "word"


def robust(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Run folders: runs/misr-mosi/1111, or all seeds: runs/misr-mosi",
            autocompletion=completion.run_folders,
        ),
    ],
    kind: Annotated[
        list[str],
        typer.Option(
            help="gaussian, laplace, erase, frames, blocks, subsets, shared, imbalanced or all; for "
            "recordings white, babble, mute, blur, lowres, occlude, eyes, mouth, freeze or media. May "
            "be repeated."
        ),
    ],
    site: Annotated[
        list[str],
        typer.Option(help="What noise and dropped frames affect: all, text, audio, visual. May be repeated."),
    ] = ["all"],  # noqa: B006  (typer copies it)
    text_unit: Annotated[
        TextUnits,
        typer.Option(help="What noise hits in a text: single pieces, or all pieces of a word."),
    ] = TextUnits.piece,
    missing: Annotated[
        MissingAs,
        typer.Option(
            help="A missing modality is blank (one zero step, no words), or absent, as in real clips."
        ),
    ] = MissingAs.blank,
    draws: Annotated[int, typer.Option(min=1, help="Draws of every random corruption.")] = 5,
    assembled: Annotated[
        Path | None, typer.Option(help="Assembled set to score on. Default: data/assembled/SET.")
    ] = None,
    device: Device = "auto",
    workers: Annotated[
        int,
        typer.Option(
            envvar="MSA_WORKERS", min=0, help="Processes that extract features; 0 = one per free core."
        ),
    ] = 0,
    timeout: Annotated[
        float,
        typer.Option(envvar="MSA_TIMEOUT", min=1, help="Time limit for one clip in an encoder, in seconds."),
    ] = 600.0,
    retranscribe: Annotated[
        bool | None,
        typer.Option(
            "--retranscribe/--no-retranscribe",
            help="Spoilt sound is heard again by transcribe.asr of params.yaml, and its text taken. Default: "
            "for clips whose text was recognised.",
            show_default=False,
        ),
    ] = None,
    settings: ModelPlaces = None,
    out: Annotated[Path | None, typer.Option(help="Folder for pictures and tables.", file_okay=False)] = None,
) -> None:
    """Compute test metrics of trained runs whose input is noisy, has gaps, or is missing.

    Predictions go to robust/SET/METHOD.parquet, numbers to results/SET/METHOD/robust.json. For corruptions of
    recordings, the test clips' media are corrupted in memory and their features extracted again with the
    encoders of the runs; these are kept in .state/robust for other runs with the same encoders.

    Example: msa-cli robust runs/cmir-mosi runs/misr-mosi --kind subsets --kind gaussian --out robust-page
    """
    from pipeline.execution.local import THREADS

    os.environ.update(THREADS)  # before NumPy is there: the same sums as in the DAG
    from pipeline.core.errors import ParamsError
    from pipeline.params.params import load_params
    from pipeline.predict.encoders import make_encoders
    from pipeline.reports.blocks import as_renderables
    from pipeline.reports.robust_tables import as_sets, overview, robust_blocks, write_robust
    from pipeline.robustness.conditions import chosen_kinds, chosen_sites
    from pipeline.robustness.media.extract import Resources
    from pipeline.robustness.media.kinds import MEDIA_LEVELS, SOUND
    from pipeline.robustness.media.sweep import Remaking
    from pipeline.robustness.robust import Asked
    from pipeline.robustness.robust import robust as run
    from pipeline.robustness.words import text_folders
    from pipeline.training.runs import run_folders

    given, kinds = load_params(overrides=settings), chosen_kinds(kind)
    if retranscribe and SOUND.keys().isdisjoint(kinds):
        raise ParamsError(
            f"--retranscribe: no kind that corrupts sound is given; add --kind {' or '.join(SOUND)}"
        )
    remaking = None
    if not {*MEDIA_LEVELS}.isdisjoint(kinds):
        processes = workers or len(os.sched_getaffinity(0))
        resources = Resources(processes, timeout, given.shards)
        place = "cpu" if device == "auto" else device
        remaking = Remaking(given, make_encoders, place, resources, retranscribe)
    asked = Asked(
        kinds,
        chosen_sites(site),
        tuple(range(draws)),
        missing.value,
        remaking,
        text_unit.value,
        text_folders(given),
    )
    found = run([folder for named in runs for folder in run_folders(named)], asked, assembled, device)
    sets = as_sets(found, given.cross_validations())
    shown = robust_blocks(sets) if len(asked.kinds) == 1 else overview(sets)
    show(*as_renderables(shown), width_of_file=160, highlight=False)
    if out is not None:
        write_robust(sets, out)
