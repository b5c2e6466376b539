"""What a checkpoint's files say beside the model itself: how it wants its input, how much memory it takes."""

from __future__ import annotations

from typing import Any

import psutil

from models.core.checkpoints import members, model_folder, read_model_json
from pipeline.params.encoders import Source

PREPROCESSOR = "preprocessor_config.json"
WORTH_SAYING = 1_000_000_000  # bytes of weights


def preprocessor(source: Source, part: str) -> dict[str, Any]:
    """What a checkpoint's file says of its input; empty where there is none.

    `part`: its name in processor_config.json, where newer versions of transformers put it.
    """
    folder = model_folder(*source, ("config",))
    nested = folder / "processor_config.json"
    if nested.is_file() and part in (found := read_model_json(nested)):
        return dict(found[part])
    return read_model_json(folder / PREPROCESSOR) if (folder / PREPROCESSOR).is_file() else {}


def memory_note(source: Source, precision: str) -> str:
    """What large weights take of the memory, and what is free; empty for small ones."""
    size = weights_in_memory(source, precision)
    if size < WORTH_SAYING:
        return ""
    free = psutil.virtual_memory().available
    return (
        f"the weights of {source[0]} take {size / 1e9:.1f} GB of memory in {precision}, "
        + (f"more than the {free / 1e9:.1f} GB" if size > free else f"{free / 1e9:.1f} GB")
        + " that are free"
        + ("; precision: bf16 takes half" if precision == "fp32" else "")
    )


def weights_in_memory(source: Source, precision: str) -> int:
    """About how many bytes the weights of a checkpoint take in a precision, from its files' sizes.

    They hold what config.json says (`dtype`), 4 bytes a number where it says nothing.
    """
    folder = model_folder(*source, ("config", "weights"))
    names = members([path.name for path in folder.iterdir()], "weights")
    stored_bytes = sum((folder / name).stat().st_size for name in names if not name.endswith(".json"))
    known = read_model_json(folder / "config.json")
    width = 2 if str(known.get("dtype") or known.get("torch_dtype")).endswith("float16") else 4
    return stored_bytes * (2 if precision == "bf16" else 4) // width
