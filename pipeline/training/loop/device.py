"""One device, one course: what makes a run come out the same again."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from pipeline.core.devices import check_presence

# Fixed: sums that are split over another number of threads differ in their last bits. One, because small
# models gain little from more and lose a factor of five once other processes want the same cores.
CPU_THREADS = 1


def open_device(device: str) -> torch.device:
    """The device of this name: `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:<index>`."""
    check_presence(device)
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    if place.type == "cuda":
        torch.cuda.set_device(place)  # also for what is made without the name of a device
    return place


@contextmanager
def reproducible(seed: int, device: torch.device) -> Iterator[None]:
    """Fixed seeds, threads and algorithms inside; threads and algorithms as before afterwards.

    On CUDA a few operations have no repeatable version: there it is a warning instead of an error.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what repeatable CUDA matrix products need
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    threads, strict = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    torch.set_num_threads(CPU_THREADS)
    # as use_deterministic_algorithms does, which imports the compiler: a second and a half
    torch.set_deterministic_debug_mode("error" if device.type == "cpu" else "warn")
    # It makes reading unwritten memory repeatable. Nothing here reads it, and it costs a tenth of a step.
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(strict)
        memory.fill_uninitialized_memory = filled
