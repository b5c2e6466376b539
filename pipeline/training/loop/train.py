"""One training run: assembled set in, run folder out, by the loop that all methods share.

    L = Σ_term  weights.<term> · schedule(term, progress) · L_term

Terms whose weight is 0 are not computed. The forward pass of training runs in `train.precision`; the head of
a method, the losses and all that is predicted are always in fp32. A method with estimators updates these
first, on the same forward pass. Training ends after `epochs`, or when the validation loss has not improved
for `patience` epochs. The validation loss is the task's alone: the mean absolute error of a regression (label
units), the mean cross-entropy of a classification. Of all epochs the one with the lowest is the run (of
equals the earlier); the test split is not even opened.

One seed gives the same bytes on one kind of CPU. A killed run goes on from its last state (checkpoint.py).

`python -m pipeline.training.loop.train --config run.json` trains where only the learning libraries are
installed; `msa-cli stage train ... --write-config run.json` writes that file, a RunConfig. A method that
pretrains needs `python -m pipeline.training.loop.pretrain --config run.json` before.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_model
from torch import Tensor, nn

from models import METHODS
from models.core.backbones import has_native_bf16
from models.core.method import Method, Task
from pipeline.core.console import TrainingProgress
from pipeline.core.errors import FormatError, MsaError, ParamsError, of_system
from pipeline.core.files import one_writer, replaced_folder, write_json
from pipeline.datasets.splits import Split, companions, shuffled_batches
from pipeline.datasets.training_set import TrainingSet, read_stats
from pipeline.params.params import TrainParams
from pipeline.params.run import RunConfig, read_run
from pipeline.training.loop.checkpoint import Checkpoint, State, fingerprint
from pipeline.training.loop.compiling import compiled
from pipeline.training.loop.curves import LiveCurves, write_table
from pipeline.training.loop.device import open_device, reproducible
from pipeline.training.loop.optimizers import open_optimizer, rate_factor
from pipeline.training.loop.regimes import Incomplete
from pipeline.training.loop.scoring import predict, whole
from pipeline.training.runs import (
    FORMAT_VERSION,
    WEIGHTS,
    build_method,
    prediction_table,
    run_identity,
    splits_read,
    task_of,
    write_config,
)

Watch = Callable[[int, float], None]
"""takes an epoch, from 1, and its validation loss"""
LOWER_RATE = "a smaller training.lr_other or training.lr_backbone, or train.precision fp32, is the usual cure"


def train(
    run: RunConfig,
    *,
    device: str = "auto",
    state_root: Path = Path(".state"),
    logs: Path = Path("logs"),
    fresh: bool = False,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Train one method with one seed and write its run folder, in one go at the end.

    Parameters
    ----------
    state_root, logs : for killed runs and for wall times; neither is part of the result
    fresh : begin with the first epoch even if a state of this very run is there
    watch : is told of every epoch; what it raises ends the training without a run folder

    Returns
    -------
    dict : `epoch` (the best, from 1), `valid_loss`, `epochs` (done), `resumed_at` (epochs that an earlier
        process had done), `seconds`

    Raises
    ------
    ParamsError : unknown method or setting, or nothing to learn
    FormatError : the assembled set cannot be read, or has no clips to train with or to validate on
    MsaError : a loss or a prediction is not finite
    """
    started = time.perf_counter()
    place = open_device(device)
    with one_writer(run.out), reproducible(run.seed, place):
        stats = read_stats(run.assembled)
        dims = {modality: int(entry["dim"]) for modality, entry in stats["modalities"].items()}
        method = build_method(run.method_name, run.method_params, dims, task_of(stats))
        if METHODS[run.method_name].pretrains:
            method.load_pretrained(run.pretrained)
        splits = load_splits(run.assembled, method, place)
        regime = run.train_params.regime
        incomplete = Incomplete.of(regime, run.seed, method, stats, splits["train"])
        identity = run_identity(run, method, stats, place.type)
        checkpoint = Checkpoint(state_root / fingerprint(identity), run.title)
        with one_writer(checkpoint.folder):  # the same training may have another `out`
            if fresh:
                checkpoint.remove()
            state, resumed_at = fit(
                place, method, splits, run.train_params, run.seed, checkpoint, run.title, watch, incomplete
            )
            method.load_state_dict(state.best_weights)
            predictions = {name: predict(method, splits[name]) for name in ("train", "valid")}

            result = {"epoch": state.best_epoch, "valid_loss": state.best_loss, "epochs": state.epoch}
            config = {
                "format": FORMAT_VERSION,
                **identity,
                **result,
                "parameters": sum(parameter.numel() for parameter in method.parameters()),
                "stats": stats,
            }
            with replaced_folder(run.out) as folder:
                save_weights(method, folder / WEIGHTS)
                write_table(state.curves, folder / "curves.tsv")
                for name, values in predictions.items():
                    table = prediction_table(splits[name], values, method.task)
                    pq.write_table(table, folder / f"{name}.predictions.parquet")
                write_config(config, folder)
            checkpoint.remove()

    summary = result | {"resumed_at": resumed_at, "seconds": round(time.perf_counter() - started, 3)}
    write_json({**summary, "device": str(place)}, logs / f"train-{run.title}.json")
    return summary


def save_weights(method: nn.Module, path: Path) -> None:
    save_model(method, str(path))
    path.chmod(0o644)  # safetensors writes for the owner alone


# ------------------------------------------------------------------------------------------------- the loop
def fit(
    device: torch.device,
    method: Method,
    splits: dict[str, Split],
    train_params: TrainParams,
    seed: int,
    checkpoint: Checkpoint,
    title: str,
    watch: Watch | None = None,
    incomplete: Incomplete | None = None,
) -> tuple[State, int]:
    """All epochs from where the checkpoint left off: the last state, and how many were there already.

    `incomplete` takes something away from the clips that are learnt from.

    `watch` is told of an epoch before its state is saved, so it knows of those that a run goes on after.
    """
    settings = method.config.training
    half = train_params.precision == "bf16"
    if half and not has_native_bf16(device.type):
        print(f"this {device.type} has no bf16 of its own: correct, but slow", file=sys.stderr)
    method.to(device)
    method.prepare(whole(splits["train"]), whole(splits["valid"]))
    weights = active_weights(method)
    method.active_terms = frozenset(weights)
    groups, estimators = method.parameter_groups(), method.estimator_groups()
    rates = [group["lr"] for group in groups]
    optimizers = [
        open_optimizer(groups, settings),
        *([torch.optim.Adam(estimators, fused=True)] if estimators else []),
    ]
    optimizer, *others = optimizers
    learning = [parameter for group in groups for parameter in group["params"]]
    order = torch.Generator().manual_seed(seed)
    state = checkpoint.load(method, optimizers, order)
    resumed_at = state.epoch
    bare, fast = (method, method.losses), compiled(method, train_params.compile, device)
    curves = LiveCurves(checkpoint.folder / "live", state.curves)
    progress = TrainingProgress(title, state.epoch, settings.epochs)
    clips, labeled = splits["train"], len(splits["train"])
    ratio, unlabeled = method.reading().unlabeled, len(splits.get("unlabeled", []))
    if unlabeled:
        clips = clips.with_unlabeled(splits["unlabeled"])

    try:
        while state.epoch < settings.epochs and state.epoch - state.best_epoch < settings.patience:
            method.train()
            steps: list[Tensor] = []
            lengths = splits["train"].lengths
            batches = shuffled_batches(lengths, settings.batch_size, train_params.pool_batches, order)
            orders = (companions(rows, labeled, ratio, unlabeled) for rows in batches)
            for number, batch in enumerate(clips.batches(orders, few_shapes=train_params.compile != "none")):
                step, in_all = state.epoch * len(batches) + number, settings.epochs * len(batches)
                done = (step, in_all) if settings.schedule_every == "step" else (state.epoch, settings.epochs)
                factor = rate_factor(*done, settings)
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * factor

                if incomplete is not None:
                    batch = incomplete.seen(batch, state.epoch, number)
                # the smaller batch of an epoch is not worth programs of its own
                forward, losses_of = fast if len(batches[number]) == settings.batch_size else bare
                if train_params.compile == "reduce-overhead":
                    torch.compiler.cudagraph_mark_step_begin()
                with torch.autocast(device.type, torch.bfloat16, enabled=half):
                    output = forward(batch)
                for _ in range(method.estimator_steps()):
                    others[0].zero_grad()
                    method.estimator_loss(batch, output).backward()
                    others[0].step()
                losses = losses_of(batch, output, weights)  # fp32, outside autocast
                scales = {
                    term: weight * method.schedule(term, step / in_all) for term, weight in weights.items()
                }
                total = torch.stack([scales[term] * losses[term] for term in weights]).sum()
                optimizer.zero_grad()
                total.backward()
                if train_params.gradient_clip is not None:
                    nn.utils.clip_grad_norm_(learning, train_params.gradient_clip)
                optimizer.step()
                method.remember(batch, output)
                columns = {"total": total, **losses, **method.diagnostics(batch, output)}
                steps.append(torch.stack([value.detach().float() for value in columns.values()]))

            state.epoch += 1
            means = finite_means(torch.stack(steps), list(columns), ["total", *weights], state.epoch)
            method.calibrate(whole(splits["valid"]))
            loss = valid_loss(method.task, splits["valid"], predict(method, splits["valid"]), state.epoch)
            if loss < state.best_loss:
                state.best_epoch, state.best_loss = state.epoch, loss
                state.best_weights = {k: v.detach().cpu().clone() for k, v in method.state_dict().items()}
            rate = settings.lr_other * factor
            state.curves.append({"epoch": state.epoch, **means, "valid_loss": loss, "lr": rate})
            curves.add(state.curves[-1])
            progress.show(state.curves[-1], state.best_epoch, state.best_loss)
            if watch is not None:
                watch(state.epoch, loss)
            checkpoint.save_if_due(state, method, optimizers, order)
    finally:
        curves.end()
        progress.end()
    return state, resumed_at


def active_weights(method: Method) -> dict[str, float]:
    """Weight of every loss term that is computed at all."""
    weights = {term: float(getattr(method.config.weights, term)) for term in method.TERMS}
    if not any(weights.values()):
        raise ParamsError(f"all weights are 0 ({', '.join(weights)}): there is nothing to learn")
    return {term: weight for term, weight in weights.items() if weight != 0}


def finite_means(table: Tensor, columns: list[str], terms: list[str], epoch: int) -> dict[str, float]:
    """Mean of every column of (batches, columns); MsaError names the first in which a term is not finite.

    The loop checks once an epoch, because doing so at every batch would make a GPU wait.
    """
    table = table.double().cpu()
    for number, row in enumerate(table.tolist(), start=1):
        bad = [name for name, value in zip(columns, row, strict=True) if not math.isfinite(value)]
        culprits = [name for name in bad if name in terms and name != "total"] or bad
        if any(name in terms for name in bad):
            raise MsaError(
                f"epoch {epoch}, batch {number} of {len(table)}: the loss {' and '.join(culprits)} is not "
                f"finite; {LOWER_RATE}"
            )
    return dict(zip(columns, table.mean(dim=0).tolist(), strict=True))


def valid_loss(task: Task, split: Split, predictions: np.ndarray, epoch: int) -> float:
    """Mean loss of the task alone; the sum is exact, so that the order of the clips does not matter."""
    values = torch.from_numpy(predictions)
    clips = values.reshape(len(values), -1)
    if not clips.isfinite().all():
        clip_id = split.clip_ids[int((~clips.isfinite()).any(dim=1).nonzero()[0])]
        raise MsaError(f"epoch {epoch}: the prediction for {clip_id!r} is not finite; {LOWER_RATE}")
    errors = task.errors(values.double(), split.label.cpu().double())
    return math.fsum(errors.tolist()) / len(errors)


# ---------------------------------------------------------------------------------------- before the loop
def load_splits(assembled: Path, method: Method, device: torch.device) -> dict[str, Split]:
    """What training may see: train, valid, and the unlabeled clips where the method reads them.

    FormatError where the set cannot be read, or has no clips to train with or to validate on.
    """
    reading = method.reading()
    splits = TrainingSet.load(assembled, reading, device, splits_read(method)).splits
    for name in ("train", "valid"):
        if len(splits[name]) == 0:
            raise FormatError(f"{assembled}: no clips in {name}; training needs some in train and in valid")
    if reading.unlabeled and len(splits["unlabeled"]) == 0:
        print(
            f"{assembled}: no clips in unlabeled, of which {type(method).__name__} asks for "
            f"{reading.unlabeled} beside each labeled one; it learns from labeled ones alone",
            file=sys.stderr,
        )
    return splits


def command(program: str, learn: Callable[[RunConfig, str], Any]) -> None:
    """A program that learns what a file says, on a machine without DVC; its result is printed as JSON."""
    parser = argparse.ArgumentParser(prog=program, description="Learn what a run is made of.")
    parser.add_argument("--config", required=True, type=Path, help="JSON: a RunConfig")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ...")
    options = parser.parse_args()
    try:
        print(json.dumps(learn(read_run(options.config), options.device)))
    except MsaError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {of_system(error)}")


def main() -> None:
    """`python -m pipeline.training.loop.train --config run.json`."""
    command("python -m pipeline.training.loop.train", lambda run, device: train(run, device=device))


if __name__ == "__main__":
    main()
