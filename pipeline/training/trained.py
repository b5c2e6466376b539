"""A trained run opened for use on new clips: its weights, and what of a clip it reads.

`evaluate` scores runs with the training's own libraries; here a clip waits for its answer, so nothing is
imported that only training needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from models.core.batch import Batch, Reading
from models.core.method import Method, Output, Task
from pipeline.core.devices import check_presence
from pipeline.core.errors import FormatError, MsaError, ParamsError
from pipeline.training.runs import CONFIG, load_method, read_config

# what is read of config.json, and of its stats
KEYS = ("method", "seed", "params", "dims", "train", "stats")
STATS_KEYS = ("dataset", "task", "label_range", "class_names", "modalities")
WAVEFORM = "waveform"  # the stream of sound itself, beside those of text, audio and visual features


@dataclass
class TrainedRun:
    """One run, ready to predict.

    Attributes
    ----------
    folder : as it was given
    config : its config.json
    method : in evaluation mode, on `device`
    """

    folder: Path
    config: dict[str, Any]
    method: Method
    device: torch.device

    @property
    def stats(self) -> dict[str, Any]:
        """stats.json of the set that it was trained on."""
        stats: dict[str, Any] = self.config["stats"]
        return stats

    @property
    def task(self) -> Task:
        return self.method.task

    @cached_property
    def reading(self) -> Reading:
        return self.method.reading()

    @property
    def modalities(self) -> tuple[str, ...]:
        """text, audio and visual, as far as the method has them, whether as features or fine-tuned."""
        return tuple(self.method.dims)

    @cached_property
    def entries(self) -> dict[str, dict[str, Any]]:
        """What stats.json says of each feature stream that the method reads, by modality."""
        replaced = {"text"} if self.reading.tokenizer is not None else set()
        replaced |= {"audio"} if self.reading.waveform else set()
        known = self.stats["modalities"]
        return {name: known[name] for name in self.modalities if name not in replaced}

    @property
    def aligned(self) -> bool:
        """Whether a row of its features is a word."""
        return any("align" in entry for entry in self.entries.values())

    @cached_property
    def needed(self) -> dict[str, dict[str, Any]]:
        """The streams that a new clip must be given: `entries`, the sound where it is read, and text
        features also where only its words' places are wanted, for sets with `align: words`.
        """
        found = dict(self.entries)
        known = self.stats["modalities"]
        if self.aligned and "text" in known:
            found["text"] = known["text"]
        if self.reading.waveform:
            found[WAVEFORM] = self.stats["waveform"]
        return found

    @torch.inference_mode()
    def forward(self, batch: Batch) -> Output:
        """Output of the method in the precision of its training."""
        mixed = self.config["train"]["precision"] == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
            output: Output = self.method(batch)
        return output


def open_runs(folders: Sequence[Path], device: str = "cpu") -> list[TrainedRun]:
    """The runs of these folders, which predict the same thing.

    Raises
    ------
    FormatError : not a run folder, of another format version, or its weights do not fit its settings
    MsaError : a folder is given twice, or the runs are of different datasets or tasks
    """
    check_presence(device)
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    torch.set_num_threads(1)  # as in training: the last bits of a sum depend on it
    configs: dict[Path, dict[str, Any]] = {}
    for folder in folders:
        if folder.resolve() in [known.resolve() for known in configs]:
            raise MsaError(f"--run: {folder} is given twice; give each run once")
        configs[folder] = _read_config(folder)
    _check_alike(configs)
    return [_opened(folder, config, torch.device(chosen)) for folder, config in configs.items()]


def _read_config(folder: Path) -> dict[str, Any]:
    config = read_config(folder)
    lacking = [key for key in KEYS if key not in config]
    lacking = lacking or [f"stats.{key}" for key in STATS_KEYS if key not in config["stats"]]
    if lacking:
        raise FormatError(f"{folder / CONFIG}: {', '.join(lacking)} is missing; train again")
    return config


def _check_alike(configs: dict[Path, dict[str, Any]]) -> None:
    """Scores of different scales, or of different classes, have no mean."""
    (first, one), *others = configs.items()
    for folder, config in others:
        for key in ("dataset", "task", "label_range", "class_names"):
            if config["stats"][key] != one["stats"][key]:
                raise MsaError(
                    f"--run: {first} is of {key} {one['stats'][key]!r}, {folder} of "
                    f"{config['stats'][key]!r}; give runs of one dataset and task"
                )


def _opened(folder: Path, config: dict[str, Any], device: torch.device) -> TrainedRun:
    try:
        method = load_method(folder, config)
    except ParamsError as error:
        raise FormatError(
            f"{folder}: {config['method']} of this version does not take its settings ({error}); train "
            "again, or use the version that trained it"
        ) from error
    return TrainedRun(folder, config, method.to(device).eval(), device)
