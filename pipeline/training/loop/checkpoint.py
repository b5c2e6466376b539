"""A run that can be killed: its state after an epoch, on disk under a fingerprint of all that decides it.

`.state/<fingerprint>/state.pt` holds model, best weights, optimiser, random states, early stopping and
curves; `progress.json` beside it says of which run it is, and how many epochs are done. A run killed at any
moment and started again ends as if undisturbed, byte for byte: only the epochs after the last state are
computed anew. Whatever changes a number (settings, data, code, library versions, kind of device) changes the
fingerprint, so a state is never continued under other circumstances.
"""

from __future__ import annotations

import random
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pipeline.core.errors import FormatError, first_line
from pipeline.core.files import atomic_write, json_hash, write_json
from pipeline.core.paths import PROGRESS

FORMAT_VERSION = 2
SAVE_EVERY_S = 5.0  # epochs may take milliseconds; a killed run loses at most this
SAVE_SHARE = 0.03  # of the time, spent on saving, at most (large models, slow disks)


@dataclass
class State:
    """How far a run has come.

    Attributes
    ----------
    epoch : epochs done
    best_epoch, best_loss : the epoch with the lowest validation loss so far (the earlier of equals), from 1
    best_weights : the model's state at the end of that epoch, on the CPU
    curves : one row an epoch, see curves.py
    """

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    curves: list[dict[str, float]] = field(default_factory=list)


class Checkpoint:
    """The state of one run on disk; with a title it can be told from others (progress.json)."""

    def __init__(self, folder: Path, title: str = ""):
        self.folder = folder
        self._title = title
        self._file = folder / "state.pt"
        self._saved_at = time.monotonic()
        self._cost_s = 0.0  # of the last save

    def load(self, model: nn.Module, optimizers: Sequence[Optimizer], order: torch.Generator) -> State:
        """Put everything back where the last save found it; a new State where there is none.

        A file that cannot be read (a disk that was full, say) is told on stderr and started over. FormatError
        where it is something else: by then some of it may have been put in place.
        """
        if not self._file.exists():
            return State()
        try:
            saved = torch.load(self._file, map_location="cpu", weights_only=True)
        except Exception as error:  # damaged bytes end in any exception of the unpickler
            print(f"{self._file} cannot be read ({error!r}); starting from the first epoch", file=sys.stderr)
            return State()
        try:
            model.load_state_dict(saved["model"])
            for optimizer, kept in zip(optimizers, saved["optimizers"], strict=True):
                optimizer.load_state_dict(kept)
            order.set_state(saved["order"])
            _set_random_states(saved["random"])
            return State(**saved["state"])
        except Exception as error:  # a file of torch, and none of ours
            raise FormatError(
                f"{self._file}: not a state of this training ({first_line(error)}); remove it to start from "
                "the first epoch"
            ) from error

    def save_if_due(
        self, state: State, model: nn.Module, optimizers: Sequence[Optimizer], order: torch.Generator
    ) -> None:
        """Write the state unless the last save is too recent. The clock decides when, never what."""
        started = time.monotonic()
        if started - self._saved_at < max(SAVE_EVERY_S, self._cost_s / SAVE_SHARE):
            return
        with atomic_write(self._file) as temporary, temporary.open("wb") as file:
            torch.save(
                {
                    "state": vars(state),
                    "model": model.state_dict(),
                    "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                    "order": order.get_state(),
                    "random": _random_states(),
                },
                file,
            )
        if self._title:
            write_json({"run": self._title, "epoch": state.epoch}, self.folder / PROGRESS)
        self._saved_at = time.monotonic()
        self._cost_s = self._saved_at - started

    def remove(self) -> None:
        """Forget the run: it is finished, or shall start afresh."""
        shutil.rmtree(self.folder, ignore_errors=True)


def fingerprint(identity: dict[str, Any]) -> str:
    """SHA-256 (hex) of everything that decides a run's numbers."""
    return json_hash({"format": FORMAT_VERSION, **identity})


def _random_states() -> dict[str, Any]:
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        # weights_only loading knows no NumPy arrays
        "numpy": (name, torch.from_numpy(np.asarray(keys, np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_random_states(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    name, keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(states["torch"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
