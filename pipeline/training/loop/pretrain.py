"""What a method learns before its training, once for all seeds: `runs/<method>-<dataset>/pretrained/`.

A method with a pretraining gives one small method a modality (`pretraining_methods`); each is trained by the
loop of all methods, on that modality's own labels where the corpus has them and on the joint labels where it
has not, and its best weights are `<modality>.safetensors`. `pretrained.json` says what was learnt. A method
that has nothing to learn has no such folder.

The folder is kept as long as nothing that decides it has changed: a weight of the main training changes
nothing here.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models import METHODS
from models.core.method import Method
from pipeline.core.errors import FormatError, ParamsError
from pipeline.core.files import one_writer, replaced_folder, write_json
from pipeline.datasets.splits import Split
from pipeline.datasets.training_set import read_stats
from pipeline.params.explain import unknown
from pipeline.params.run import RunConfig
from pipeline.training.loop.checkpoint import Checkpoint, fingerprint
from pipeline.training.loop.device import open_device, reproducible
from pipeline.training.loop.train import command, fit, load_splits, save_weights
from pipeline.training.runs import build_method, circumstances, hashes, task_of

FILE, WEIGHTS = "pretrained.json", "*.safetensors"
SEED = 1111  # one pretraining for all seeds of a run
TEXT_KEYS = ("text", "text_backbone", "text_revision", "max_tokens")  # of a method, that pretraining reads


@dataclass(frozen=True)
class Plan:
    """What is to be learnt: the whole method, its parts by modality, and all that decides their bytes."""

    whole: Method
    parts: dict[str, Method]
    source: Path
    stats: dict[str, Any]
    identity: dict[str, Any]

    def is_kept(self, out: Path) -> bool:
        """Whether the folder has what this pretraining wrote, undamaged."""
        try:
            report = json.loads((out / FILE).read_text(encoding="utf-8"))
            same = report["fingerprint"] == fingerprint(self.identity)
            return bool(same and report["weights"] == hashes(out, WEIGHTS))
        except (OSError, ValueError, KeyError, TypeError):
            return False


def pretraining_due(run: RunConfig, device: str) -> bool:
    """Whether `pretrain` would learn something, or remove what is no longer learnt; errors as it has."""
    plan = _plan(run, device, weights=False)
    return run.pretrained.exists() if plan is None else not plan.is_kept(run.pretrained)


def pretrain(run: RunConfig, *, device: str = "auto", state_root: Path = Path(".state")) -> bool:
    """Write `run.pretrained`; True where something was learnt, False where all is kept or there is nothing.

    ParamsError names an unknown method or setting; FormatError: the source cannot be read, has another task
    than a regression, or has no labels.
    """
    place = open_device(device)
    with one_writer(run.pretrained):
        with reproducible(SEED, place):
            plan = _plan(run, place.type)
        if plan is None:
            shutil.rmtree(run.pretrained, ignore_errors=True)
            return False
        if plan.is_kept(run.pretrained):
            return False
        splits = load_splits(plan.source, plan.whole, place)
        report: dict[str, Any] = {
            "fingerprint": fingerprint(plan.identity),
            "source": plan.stats["dataset"],
            "modalities": {},
        }
        checkpoints = []
        for modality, method in plan.parts.items():
            name_of_label = f"label_{modality}"
            labels = all(bool(split.labels[name_of_label].isfinite().all()) for split in splits.values())
            target = name_of_label if labels else "label"
            own = {name: of_modality(split, modality, target) for name, split in splits.items()}
            if bare := [name for name, split in own.items() if len(split) == 0]:
                raise FormatError(
                    f"{plan.source}: no clip of {bare[0]} has {modality}, which the pretraining of "
                    f"{run.method_name} learns from; set it to `none` under `assemble`, or name another "
                    "corpus under `pretrain_on`"
                )
            checkpoint = Checkpoint(state_root / fingerprint(plan.identity | {"modality": modality}))
            checkpoints.append(checkpoint)
            with reproducible(SEED, place):
                title = f"{run.method_name}-{run.dataset}: {modality}"
                state, _ = fit(place, method, own, run.train_params, SEED, checkpoint, title)
            method.load_state_dict(state.best_weights)
            report["modalities"][modality] = {
                "labels": "own" if labels else "joint",
                "epoch": state.best_epoch,
                "valid_loss": state.best_loss,
            }
        with replaced_folder(run.pretrained) as folder:
            for modality, method in plan.parts.items():
                save_weights(method, folder / f"{modality}.safetensors")
            write_json(report | {"weights": hashes(folder, WEIGHTS)}, folder / FILE)
        for checkpoint in checkpoints:  # not before: what one modality has learnt is kept until all have
            checkpoint.remove()
    return True


def _plan(run: RunConfig, device: str, *, weights: bool = True) -> Plan | None:
    """What there is to learn, None where there is nothing; `weights`: with those that encoders start from."""
    name = run.method_name
    if name not in METHODS:
        raise ParamsError(unknown("method", name, METHODS))
    if not METHODS[name].pretrains:
        return None
    source = run.source or run.assembled
    stats, wanted = read_stats(source), read_stats(run.assembled)
    dims = {modality: int(entry["dim"]) for modality, entry in stats["modalities"].items()}
    dims = {modality: dim for modality, dim in dims.items() if modality in wanted["modalities"]}
    whole = build_method(name, run.method_params, dims, task_of(wanted), pretrained=weights)
    config = whole.config
    parts = whole.pretraining_methods(config, dims)
    if not parts:
        return None
    if stats["task"] != "regression":
        raise FormatError(
            f"{source}: the pretraining of {name} learns scores, but {stats['dataset']} has classes; name a "
            "corpus of scores under `pretrain_on` in params.yaml, or switch the pretraining off under "
            f"models.{name}.base.pretraining"
        )
    identity = {
        "method": name,
        "dataset": run.dataset,
        "pretraining": config.pretraining.model_dump(mode="json"),
        "text": {key: getattr(config, key) for key in TEXT_KEYS},
        "train": run.train_params.model_dump(mode="json"),
        "dims": whole.dims,
        "learnt": hashes(source, "train.parquet", "valid.parquet", "stats.json"),
        **circumstances(name, config, device),
    }
    return Plan(whole, parts, source, stats, identity)


def of_modality(split: Split, modality: str, target: str) -> Split:
    """The clips that have a modality, with the labels of this name as their target."""
    part = split.streams["tokens" if modality == "text" and "tokens" in split.streams else modality]
    split = replace(split, labels=split.labels | {"label": split.labels[target]})
    return split.take(part.lengths.nonzero().squeeze(-1))


def main() -> None:
    """`python -m pipeline.training.loop.pretrain --config run.json`."""
    command("python -m pipeline.training.loop.pretrain", lambda run, device: pretrain(run, device=device))


if __name__ == "__main__":
    main()
