"""What a method learns before its training, once for all seeds: `pretrained/<method>-<dataset>/`.

`pretrained.json` says what was learnt, or `{"none": true}` where the method has nothing to learn (torch is
then not imported). A method with a pretraining gives one small method a modality
(`pretraining_methods`); each is trained by the loop of all methods, on that modality's own labels where the
corpus has them and on the joint labels where it has not, and its best weights are `<modality>.safetensors`.

The folder is kept as long as nothing that decides it has changed: a weight of the main training changes
nothing here.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models import METHODS
from pipeline.core.errors import FormatError, ParamsError
from pipeline.core.files import replaced_folder, write_json, write_text
from pipeline.params.explain import unknown
from pipeline.params.params import TrainParams

if TYPE_CHECKING:
    from pipeline.datasets.splits import Split

FILE, WEIGHTS = "pretrained.json", "*.safetensors"
SEED = 1111  # one pretraining for all seeds of a run
TEXT_KEYS = ("text", "text_backbone", "text_revision", "max_tokens")  # of a method, that pretraining reads


def pretrain(
    method_name: str,
    dataset: str,
    method_params: dict[str, Any],
    train_params: TrainParams,
    assembled: Path,
    source: Path,
    out: Path,
    *,
    device: str = "auto",
    state_root: Path = Path(".state"),
) -> bool:
    """Write the folder `out`; True where something was learnt, False where all is kept or there is nothing.

    `assembled` is the set of the main training, `source` the one whose labels are learnt, often the same;
    the rest is as in `RunConfig`. ParamsError names an unknown method or setting; FormatError: the
    source cannot be read, has another task than a regression, or has no labels.
    """
    if method_name not in METHODS:
        raise ParamsError(unknown("method", method_name, METHODS))
    if not METHODS[method_name].pretrains:
        return _nothing(out)
    from pipeline.datasets.training_set import read_stats
    from pipeline.training.loop.checkpoint import Checkpoint, fingerprint, hashes
    from pipeline.training.loop.device import open_device, reproducible
    from pipeline.training.loop.train import fit, load_splits, save_weights
    from pipeline.training.runs import build_method, circumstances, task_of

    place = open_device(device)
    stats, wanted = read_stats(source), read_stats(assembled)
    dims = {modality: int(entry["dim"]) for modality, entry in stats["modalities"].items()}
    dims = {modality: dim for modality, dim in dims.items() if modality in wanted["modalities"]}
    with reproducible(SEED, place):
        whole = build_method(method_name, method_params, dims, task_of(wanted))
        methods = whole.pretraining_methods(whole.config, dims)
        if not methods:
            return _nothing(out)
        if stats["task"] != "regression":
            raise FormatError(
                f"{source}: the pretraining of {method_name} learns scores, but {stats['dataset']} has "
                "classes; name a corpus of scores under `pretrain_on` in params.yaml, or switch the "
                f"pretraining off under models.{method_name}.base.pretraining"
            )
        splits = load_splits(source, whole, place)
    identity = {
        "method": method_name,
        "dataset": dataset,
        "pretraining": whole.config.pretraining.model_dump(mode="json"),
        "text": {name: getattr(whole.config, name) for name in TEXT_KEYS},
        "train": train_params.model_dump(mode="json"),
        "dims": whole.dims,
        "learnt": hashes(source, "train.parquet", "valid.parquet", "stats.json"),
        **circumstances("pretrain", method_name, whole.config, place),
    }
    name = fingerprint(identity)
    if _is_kept(out, name):
        return False
    report: dict[str, Any] = {"fingerprint": name, "source": stats["dataset"], "modalities": {}}
    for modality, method in methods.items():
        name_of_label = f"label_{modality}"
        labels = all(bool(split.labels[name_of_label].isfinite().all()) for split in splits.values())
        target = name_of_label if labels else "label"
        own = {name: of_modality(split, modality, target) for name, split in splits.items()}
        if bare := [name for name, split in own.items() if len(split) == 0]:
            raise FormatError(
                f"{source}: no clip of {bare[0]} has {modality}, which the pretraining of {method_name} "
                "learns from; set it to `none` under `assemble`, or name another corpus under `pretrain_on`"
            )
        checkpoint = Checkpoint(state_root / fingerprint(identity | {"modality": modality}))
        with reproducible(SEED, place):
            title = f"{out.name}: {modality}"
            state, _ = fit(place, method, own, train_params, SEED, checkpoint, title)
        method.load_state_dict(state.best_weights)
        report["modalities"][modality] = {
            "labels": "own" if labels else "joint",
            "epoch": state.best_epoch,
            "valid_loss": state.best_loss,
        }
        checkpoint.remove()
    with replaced_folder(out) as folder:
        for modality, method in methods.items():
            save_weights(method, folder / f"{modality}.safetensors")
        write_json(report | {"weights": hashes(folder, WEIGHTS)}, folder / FILE)
    return True


def _is_kept(out: Path, name: str) -> bool:
    """Whether the folder has what the pretraining of this fingerprint wrote, undamaged."""
    from pipeline.training.loop.checkpoint import hashes

    try:
        report = json.loads((out / FILE).read_text(encoding="utf-8"))
        return bool(report["fingerprint"] == name and report["weights"] == hashes(out, WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _nothing(out: Path) -> bool:
    with replaced_folder(out) as folder:
        write_text(json.dumps({"none": True}) + "\n", folder / FILE)
    return False


def of_modality(split: Split, modality: str, target: str) -> Split:
    """The clips that have a modality, with the labels of this name as their target."""
    part = split.streams["tokens" if modality == "text" and "tokens" in split.streams else modality]
    split = replace(split, labels=split.labels | {"label": split.labels[target]})
    return split.take(part.lengths.nonzero().squeeze(-1))
