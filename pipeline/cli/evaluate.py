"""`msa-cli evaluate`: trained runs tested on their own set again, or on one of another corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import completion
from pipeline.cli.options import AsJson, Device

if TYPE_CHECKING:
    from pipeline.params.params import Params


def evaluate(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Run folders: runs/misr-mosi/1111, or all seeds: runs/misr-mosi",
            autocompletion=completion.run_folders,
        ),
    ],
    on: Annotated[
        str | None,
        typer.Option(
            metavar="SET",
            help="A name from `assemble`. Default: the set that the run was trained on.",
            autocompletion=completion.training_sets,
        ),
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Compute test metrics of trained runs, on another set too: polarity, intensity, classes, calibration.

    The set must have the same features. Scores are mapped to its label range, classes by their names, and
    features are scaled by the statistics of the run's training set. Results on another set are written to
    results/SET/METHOD-from-TRAINED, where report and compare find them. On the run's own set nothing is
    written: the evaluate stage does that.

    Example: msa-cli evaluate runs/misr-mosi --on mosei
    """
    from pipeline.core import paths
    from pipeline.core.console import note, say, show
    from pipeline.core.files import one_writer
    from pipeline.evaluation.transfer import evaluate_on, name_of
    from pipeline.params.params import load_params
    from pipeline.reports.blocks import as_renderables
    from pipeline.reports.transfer import transfer_blocks
    from pipeline.training.runs import read_config, run_folders

    params = load_params()
    groups: dict[tuple[str, str], list[Path]] = {}
    for run in (run for given in runs for run in run_folders(given)):
        config = read_config(run)
        groups.setdefault((config["method"], config["dataset"]), []).append(run)
    entries = []
    for (method, trained_on), own in groups.items():
        dataset = on or trained_on
        metrics = params.training_set(dataset).metrics
        remarks = _languages(params, trained_on, dataset)
        found = evaluate_on(own, paths.assembled_folder(dataset), dataset, metrics, device, remarks)
        entries += found.entries
        if not as_json:
            show(*as_renderables(transfer_blocks(found)))
        if dataset != trained_on:
            out = paths.results_folder(name_of(method, trained_on), dataset)
            with one_writer(out):
                found.write(out)
            note(f"written to {out}; next: msa-cli report")
    if as_json:
        say(json.dumps(entries, indent=1, ensure_ascii=False), in_json=True)


def _languages(params: Params, *names: str) -> list[str]:
    """What to say where the corpora of two sets are in other languages, as far as params know them."""
    known = [params.corpus_of(name).language for name in names if name in params.assemble]
    if len({*known}) < 2:
        return []
    return [f"the run was trained on a corpus in {known[0]!r}, this one is in {known[1]!r}"]
