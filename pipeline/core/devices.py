"""Names of devices: `auto`, `cpu`, `cuda` or `cuda:<index>`."""

from __future__ import annotations

import re

from pipeline.core.errors import ParamsError


def check_spelling(device: str) -> None:
    """Refuse what is no name of a device, without importing torch.

    Raises
    ------
    ParamsError
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise ParamsError(f"device {device!r}: expected auto, cpu, cuda or cuda:<index>")


def check_presence(device: str) -> None:
    """Refuse a CUDA device where torch finds none.

    Raises
    ------
    ParamsError : that, or see `check_spelling`
    """
    import torch

    check_spelling(device)
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ParamsError(f"device {device!r}: torch {torch.__version__} finds no CUDA device; use cpu")


def prepare_device(device: str) -> None:
    """Ready a device to compute with, on CPU by one thread; errors as `check_presence` has them."""
    import torch

    check_presence(device)
    if device == "cpu":
        torch.set_num_threads(1)  # sums in another order give other bytes
