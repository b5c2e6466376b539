"""`train.compile`: a method's training steps as a few fused kernels in place of thousands of small ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from models.core.method import Method
from pipeline.core.errors import MsaError, ParamsError, first_line

Pass = Callable[..., Any]
BACKEND = "inductor"  # it writes C++ on a CPU, and Triton on a GPU


def compiled(
    method: Method, mode: str, device: torch.device
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The method's forward pass and its losses, compiled for each shape that comes.

    Parameters
    ----------
    mode : none | default | reduce-overhead (also CUDA graphs, which launch all kernels of a pass at once)

    Raises
    ------
    ParamsError : the method, or the device, cannot do it
    MsaError : (of the two, when they are called) the compiler has failed
    """
    if mode == "none":
        return method, method.losses
    if mode == "reduce-overhead" and device.type != "cuda":
        raise ParamsError(
            f"train.compile is {mode!r}, whose CUDA graphs the device {device.type} does not have; set it to "
            "default or none"
        )
    if any(isinstance(part, nn.RNNBase) for part in method.modules()):
        raise ParamsError(
            f"train.compile is {mode!r}, but {type(method).__name__} has recurrent layers (LSTM), which "
            "torch does not compile; set it to none"
        )
    options: dict[str, Any] = (
        {"triton.cudagraphs": mode == "reduce-overhead"} if BACKEND == "inductor" else {}
    )

    def translated(work: Callable[..., Any]) -> Callable[..., Any]:
        quick = torch.compile(work, dynamic=False, backend=BACKEND, options=options or None)

        def call(*arguments: Any) -> Any:
            from torch._dynamo.exc import TorchDynamoException

            try:
                return quick(*arguments)
            except TorchDynamoException as error:
                cause = getattr(error, "inner_exception", error)
                raise MsaError(
                    f"train.compile is {mode!r}, but {type(method).__name__} could not be compiled "
                    f"({first_line(cause)}); set it to none"
                ) from error

        return call

    return translated(method), translated(method.losses)
