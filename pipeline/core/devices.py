"""Names of devices: `auto`, `cpu`, `cuda` or `cuda:<index>`."""

from __future__ import annotations

import os
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


def device_type(device: str) -> str:
    """`cpu` or `cuda`: of `auto` what there is; errors as `check_presence` has them."""
    import torch

    check_presence(device)
    return "cuda" if device.startswith("cuda") or (device == "auto" and torch.cuda.is_available()) else "cpu"


def visible_gpus(device: str) -> list[str]:
    """What CUDA_VISIBLE_DEVICES calls each GPU that is meant: by `cuda:1` that one, else all.

    Raises
    ------
    ParamsError : there is no such GPU
    """
    import torch

    number = torch.cuda.device_count()
    called = list(filter(None, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")))
    names = (called or [str(index) for index in range(number)])[:number]
    index = device.partition(":")[2]
    if index and int(index) >= number:
        raise ParamsError(
            f"device {device!r}: this machine has {number} GPU(s), numbered from 0; use another number"
        )
    return [names[int(index)]] if index else names


def prepare_device(device: str) -> None:
    """Ready a device to compute with, on CPU by one thread; errors as `check_presence` has them."""
    import torch

    check_presence(device)
    if device == "cpu":
        torch.set_num_threads(1)  # sums in another order give other bytes
