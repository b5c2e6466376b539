"""`msa-cli robust`: how trained runs hold up when what they read is spoilt or missing."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import Device
from pipeline.core.console import show


class MissingAs(StrEnum):
    """What stands for a missing modality."""

    blank = "blank"
    absent = "absent"


def robust(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Run folders: runs/misr-mosi/1111, or all seeds: runs/misr-mosi"
        ),
    ],
    kind: Annotated[
        list[str],
        typer.Option(
            help="gaussian, laplace, erase, frames, blocks, subsets, shared, imbalanced or all. May repeat."
        ),
    ],
    site: Annotated[
        list[str],
        typer.Option(help="Whom noise and dropped frames hit: all, text, audio, visual. May repeat."),
    ] = ["all"],  # noqa: B006  (typer copies it)
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
    out: Annotated[Path | None, typer.Option(help="Folder for pictures and tables.", file_okay=False)] = None,
) -> None:
    """Test metrics of trained runs when what they read is noisy, has gaps, or is missing.

    Predictions and numbers go to robust/<regime>/<set>/<method>.

    Example: msa-cli robust runs/cmir-mosi runs/misr-mosi --kind subsets --kind gaussian --out robust-page
    """
    from pipeline.params.params import load_params
    from pipeline.reports.blocks import as_renderables
    from pipeline.reports.robust_tables import as_sets, robust_blocks, write_robust
    from pipeline.robustness.conditions import chosen_kinds, chosen_sites
    from pipeline.robustness.robust import Asked, read_summary
    from pipeline.robustness.robust import robust as run
    from pipeline.training.runs import run_folders

    asked = Asked(chosen_kinds(kind), chosen_sites(site), tuple(range(draws)), missing.value)
    folders = run([folder for given in runs for folder in run_folders(given)], asked, assembled, device)
    sets = as_sets([read_summary(folder) for folder in folders], load_params().cross_validations())
    show(*as_renderables(robust_blocks(sets)), width_of_file=160, highlight=False)
    if out is not None:
        write_robust(sets, out)
