"""`msa-cli noise`: how trained runs hold up on spoilt features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import Device
from pipeline.core.console import show


def noise(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Runs: misr-mosi/1111, or all seeds: misr-mosi. Or their folders."
        ),
    ],
    kind: Annotated[str, typer.Option(help="gaussian, laplace or erase.")] = "gaussian",
    assembled: Annotated[
        Path | None, typer.Option(help="Assembled set to score on. Default: data/assembled/DATASET.")
    ] = None,
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="JSON file for the numbers.", dir_okay=False)] = None,
) -> None:
    """Test metrics of trained runs when 10 to 70 % of the steps of every clip are spoilt.

    Example: msa-cli noise runs/cmir-mosi/1111 runs/misr-mosi/1111 --kind erase
    """
    from pipeline.core.files import write_json
    from pipeline.core.paths import given_run
    from pipeline.evaluation.noise import render, under_noise
    from pipeline.training.runs import run_folders

    results = []
    for run in (run for given in runs for run in run_folders(given_run(given))):
        results.append(under_noise(run, kind, assembled, device))
        show(render(results[-1], kind))
    if out is not None:
        write_json({"kind": kind, "runs": results}, out)
