"""One device, one precision, one course: what makes a run come out the same again."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from models.core.backbones import has_native_bf16
from pipeline.core.devices import check_presence

# Fixed: sums that are split over another number of threads differ in their last bits. One, because small
# models gain little from more and lose a factor of five once other processes want the same cores.
CPU_THREADS = 1


def open_fabric(device: str, precision: str) -> Fabric:
    """Fabric on one device (`auto`, `cpu`, `cuda` or `cuda:<index>`) in fp32 or bf16.

    bf16 is computed everywhere, with a word on stderr where it is slow.
    """
    check_presence(device)
    accelerator, _, index = device.partition(":")
    fabric = Fabric(
        accelerator=accelerator,
        devices=[int(index)] if index else 1,
        precision="bf16-mixed" if precision == "bf16" else "32-true",
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
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    torch.set_num_threads(CPU_THREADS)
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
    # It makes reading unwritten memory repeatable. Nothing here reads it, and it costs a tenth of a step.
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
        memory.fill_uninitialized_memory = filled
