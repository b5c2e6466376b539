"""One training run: assembled set in, run folder out, by the loop that all methods share.

    L = Σ_term  weights.<term> · schedule(term, progress) · L_term

Terms whose weight is 0 are not computed. The forward pass runs in `train.precision`, the losses always in
fp32. Learning rates rise linearly over the first `warmup` share of the epochs and fall along a cosine after;
training ends after `epochs`, or when the validation MAE has not improved for `patience` epochs. Of all epochs
the one with the lowest validation MAE is the run (of equals the earlier); the test split is not even opened.

One seed gives the same bytes on one kind of CPU. A killed run goes on from its last state (checkpoint.py).
"""

from __future__ import annotations

import math
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.fabric import Fabric
from safetensors.torch import save_model
from torch import Tensor, nn

from models.backbones import has_native_bf16
from models.common import Method, Training
from pipeline.batches import Split, TrainingSet, ordered_batches, read_stats, shuffled_batches
from pipeline.checkpoint import Checkpoint, State, fingerprint, hashes
from pipeline.curves import Curves, Progress, write_table
from pipeline.devices import check_presence
from pipeline.errors import FormatError, MsaError, ParamsError
from pipeline.params import TrainParams
from pipeline.runs import (
    CONFIG,
    FORMAT_VERSION,
    WEIGHTS,
    build_method,
    code_hashes,
    replaced_folder,
    write_json,
    write_predictions,
)

# Fixed: sums that are split over another number of threads differ in their last bits. One, because small
# models gain little from more and lose a factor of five once other processes want the same cores.
CPU_THREADS = 1
EVALUATION_BATCH = 64  # clips a forward outside of training
LIBRARIES = ("lightning", "numpy", "torch", "transformers")
PRECISIONS: dict[str, Literal["32-true", "bf16-mixed"]] = {
    "fp32": "32-true",
    "bf16": "bf16-mixed",
}  # Fabric's names
LOWER_RATE = "a smaller training.lr_other or training.lr_backbone, or train.precision fp32, is the usual cure"


def train(
    method_name: str,
    dataset: str,
    seed: int,
    method_params: dict[str, Any],
    train_params: TrainParams,
    assembled: Path,
    pretrained: Path,
    out: Path,
    *,
    device: str = "auto",
    state_root: Path = Path(".state"),
    logs: Path = Path("logs"),
    fresh: bool = False,
) -> dict[str, Any]:
    """Train one method with one seed and write its run folder, in one go at the end.

    Parameters
    ----------
    method_name : a name of models.METHODS
    method_params : the method's settings, `base` with the corpus' own values laid over it
    assembled : folder of the assembled set
    pretrained : folder that the pretrain stage wrote
    out : the run folder; what was there is replaced
    device : `auto`, `cpu`, `cuda` or `cuda:<index>`
    state_root, logs : for killed runs and for wall times; neither is part of the result
    fresh : begin with the first epoch even if a state of this very run is there

    Returns
    -------
    dict : `epoch` (the best, from 1), `valid_mae` (label units), `epochs` (done), `resumed_at` (epochs that
        an earlier process had done), `seconds`

    Raises
    ------
    ParamsError : unknown method or setting, or nothing to learn
    FormatError : the assembled set cannot be read, or has no clips to train with or to validate on
    MsaError : a loss or a prediction is not finite
    """
    started = time.perf_counter()
    fabric = open_fabric(device, train_params.precision)
    with reproducible(seed, fabric.device):
        stats = read_stats(assembled)
        dims = {modality: int(entry["dim"]) for modality, entry in stats["modalities"].items()}
        method = build_method(method_name, method_params, dims)
        splits = TrainingSet.load(
            assembled, method.tokenizer, method.config.max_tokens, fabric.device, only=("train", "valid")
        ).splits
        for name, split in splits.items():
            if len(split) == 0:
                raise FormatError(
                    f"{assembled}: no clips in {name}; training needs some in train and in valid"
                )
        identity = {
            "method": method_name,
            "dataset": dataset,
            "seed": seed,
            "params": method.config.model_dump(mode="json"),
            "train": train_params.model_dump(mode="json"),
            "dims": method.dims,
            "feature_set": stats["feature_set"],
            "assembled": hashes(assembled, "train.parquet", "valid.parquet", "stats.json"),
            "pretrained": hashes(pretrained, "*"),
            "code": code_hashes(method_name),
            "libraries": {name: version(name) for name in LIBRARIES},
            "device": fabric.device.type,
        }
        checkpoint = Checkpoint(state_root / fingerprint(identity))
        if fresh:
            checkpoint.remove()
        state, resumed_at = fit(fabric, method, splits, train_params, seed, checkpoint, title=out.name)
        method.load_state_dict(state.best_weights)
        model = fabric.setup_module(method)
        predictions = {name: predict(model, split) for name, split in splits.items()}

    config = {
        "format": FORMAT_VERSION,
        **identity,
        "epoch": state.best_epoch,
        "epochs": state.epoch,
        "valid_mae": state.best_mae,
        "parameters": sum(parameter.numel() for parameter in method.parameters()),
        "stats": stats,
    }
    with replaced_folder(out) as folder:
        save_model(method, str(folder / WEIGHTS))
        (folder / WEIGHTS).chmod(0o644)  # safetensors writes for the owner alone
        write_json(config, folder / CONFIG)
        write_table(state.curves, folder / "curves.tsv")
        shutil.copytree(checkpoint.folder / "live", folder, dirs_exist_ok=True)
        for name, split in splits.items():
            write_predictions(split, predictions[name], folder / f"{name}.predictions.parquet")
    checkpoint.remove()

    summary = {
        "epoch": state.best_epoch,
        "valid_mae": state.best_mae,
        "epochs": state.epoch,
        "resumed_at": resumed_at,
        "seconds": round(time.perf_counter() - started, 3),
    }
    logs.mkdir(parents=True, exist_ok=True)
    write_json({**summary, "device": str(fabric.device)}, logs / f"train-{out.name}.json")
    return summary


# ------------------------------------------------------------------------------------------------- the loop
def fit(
    fabric: Fabric,
    method: Method,
    splits: dict[str, Split],
    train_params: TrainParams,
    seed: int,
    checkpoint: Checkpoint,
    title: str,
) -> tuple[State, int]:
    """All epochs from where the checkpoint left off: the last state, and how many were there already."""
    settings = method.config.training
    weights = active_weights(method)
    method.active_terms = frozenset(weights)
    groups = method.parameter_groups()
    rates = [group["lr"] for group in groups]
    model, optimizer = fabric.setup(method, open_optimizer(groups, settings))
    order = torch.Generator().manual_seed(seed)
    state = checkpoint.load(method, optimizer, order)
    resumed_at = state.epoch
    curves = Curves(checkpoint.folder / "live", state.curves)
    progress = Progress(title, state.epoch, settings.epochs)

    while state.epoch < settings.epochs and state.epoch - state.best_epoch < settings.patience:
        factor = rate_factor(state.epoch, settings.epochs, settings.warmup)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor

        model.train()
        steps: list[dict[str, Tensor]] = []
        lengths = splits["train"].lengths
        batches = shuffled_batches(lengths, settings.batch_size, train_params.pool_batches, order)
        for number, rows in enumerate(batches):
            done = (state.epoch + number / len(batches)) / settings.epochs
            batch = splits["train"].batch(rows)
            output = model(batch)
            losses = method.losses(batch, output, weights)  # of the bare method: fp32, outside autocast
            total = torch.stack([weights[t] * method.schedule(t, done) * losses[t] for t in weights]).sum()
            optimizer.zero_grad()
            fabric.backward(total)
            fabric.clip_gradients(
                model, optimizer, max_norm=train_params.gradient_clip, error_if_nonfinite=False
            )
            optimizer.step()
            columns = {"total": total, **losses, **method.diagnostics(batch, output)}
            steps.append({name: value.detach() for name, value in columns.items()})

        state.epoch += 1
        means = finite_means(steps, ["total", *weights], state.epoch)
        valid_mae = mae(splits["valid"], predict(model, splits["valid"]), state.epoch)
        if valid_mae < state.best_mae:
            state.best_epoch, state.best_mae = state.epoch, valid_mae
            state.best_weights = {k: v.detach().cpu().clone() for k, v in method.state_dict().items()}
        curves.add({"epoch": state.epoch, **means, "valid_mae": valid_mae, "lr": settings.lr_other * factor})
        progress.show(state.curves[-1], state.best_epoch, state.best_mae)
        checkpoint.save_if_due(state, method, optimizer, order)

    curves.end()
    progress.end()
    return state, resumed_at


def active_weights(method: Method) -> dict[str, float]:
    """Weight of every loss term that is computed at all."""
    weights = {term: float(getattr(method.config.weights, term)) for term in method.TERMS}
    if not any(weights.values()):
        raise ParamsError(f"all weights are 0 ({', '.join(weights)}): there is nothing to learn")
    return {term: weight for term, weight in weights.items() if weight != 0}


def open_optimizer(groups: list[dict[str, Any]], settings: Training) -> torch.optim.Optimizer:
    """The optimiser that `training.optimizer` names."""
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=settings.momentum)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.optimizer](groups)


def rate_factor(epoch: int, epochs: int, warmup: float) -> float:
    """Share of the full learning rate in an epoch (from 0): linear up to 1, then half a cosine towards 0."""
    rising = round(warmup * epochs)
    if epoch < rising:
        return (epoch + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (epoch - rising) / (epochs - rising)))


def finite_means(steps: list[dict[str, Tensor]], terms: list[str], epoch: int) -> dict[str, float]:
    """Mean of every column over an epoch's batches.

    The loop looks here once an epoch, because looking at every batch would make a GPU wait.

    Raises
    ------
    MsaError : one of `terms` is not finite in a batch; the message names the first such batch
    """
    columns = list(steps[0])
    table = torch.stack([torch.stack([step[name].float() for name in columns]) for step in steps])
    table = table.double().cpu()  # (batches, columns)
    for number, row in enumerate(table.tolist(), start=1):
        bad = [name for name, value in zip(columns, row, strict=True) if not math.isfinite(value)]
        culprits = [name for name in bad if name in terms and name != "total"] or bad
        if any(name in terms for name in bad):
            raise MsaError(
                f"epoch {epoch}, batch {number} of {len(steps)}: the loss {' and '.join(culprits)} is not "
                f"finite; {LOWER_RATE}"
            )
    return dict(zip(columns, table.mean(dim=0).tolist(), strict=True))


@torch.no_grad()
def predict(model: nn.Module, split: Split) -> np.ndarray:
    """Predictions of a whole split, (clips,) float32 in the split's order."""
    model.eval()
    predictions = torch.empty(len(split))
    for rows in ordered_batches(split.lengths, EVALUATION_BATCH):
        predictions[rows] = model(split.batch(rows)).prediction.float().cpu()
    return predictions.numpy()


def mae(split: Split, predictions: np.ndarray, epoch: int) -> float:
    """Mean absolute error, label units; the sum is exact, so that the order of the clips does not matter."""
    errors = np.abs(predictions.astype(np.float64) - split.label.cpu().numpy().astype(np.float64))
    if not np.isfinite(errors).all():
        clip_id = split.clip_ids[int(np.flatnonzero(~np.isfinite(errors))[0])]
        raise MsaError(f"epoch {epoch}: the prediction for {clip_id!r} is not finite; {LOWER_RATE}")
    return math.fsum(errors) / len(errors)


# ---------------------------------------------------------------------------------------- before the loop
def open_fabric(device: str, precision: str) -> Fabric:
    """Fabric on one device.

    Parameters
    ----------
    device : `auto`, `cpu`, `cuda` or `cuda:<index>`
    precision : `fp32` or `bf16`; bf16 is computed everywhere, with a word on stderr where it is slow
    """
    check_presence(device)
    accelerator, _, index = device.partition(":")
    fabric = Fabric(
        accelerator=accelerator, devices=[int(index)] if index else 1, precision=PRECISIONS[precision]
    )
    if precision == "bf16" and not has_native_bf16(fabric.device.type):
        print(f"this {fabric.device.type} has no bf16 of its own: correct, but slow", file=sys.stderr)
    return fabric


@contextmanager
def reproducible(seed: int, device: torch.device) -> Iterator[None]:
    """Fixed seeds, threads and algorithms inside; threads and algorithms as before afterwards.

    On CUDA a few operations have no repeatable version: there it is a warning instead of an error.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what repeatable CUDA matrix products need
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(CPU_THREADS)
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
