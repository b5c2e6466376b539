"""The engines of recognition: which libraries compute, which weights these are, and a Whisper ready to hear.

transformers     whisper.py, fp32: the same bytes as long as the libraries are the same
faster-whisper   faster_whisper.py (extra asr-fast), fp32 or int8: faster on a CPU
"""

from __future__ import annotations

from pathlib import Path

from models.core.checkpoints import model_identity
from pipeline.core.errors import ParamsError
from pipeline.params.transcribe import AsrParams, Engine
from pipeline.transcripts.faster_whisper import (
    FasterWhisper,
    faster_whisper_identity,
    load_faster_whisper,
)
from pipeline.transcripts.whisper import Whisper, load_whisper

LIBRARIES: dict[Engine, tuple[str, ...]] = {
    "transformers": (),  # those of the stage
    "faster-whisper": ("ctranslate2", "faster-whisper"),
}
WEIGHTS: dict[Engine, tuple[str, ...]] = {
    "transformers": ("*.safetensors", "pytorch_model*.bin"),
    "faster-whisper": ("model.bin",),
}


def weights_identity(settings: AsrParams, model: str, revision: str | None) -> str:
    """What decides the numbers of a model, independent of where it lies: `hub id@commit` or a SHA-256.

    Raises
    ------
    ParamsError : a hub id that is not pinned to a commit, or a folder in the format of the other engine
    MissingModelError, MissingDependencyError : files, or the extra of the engine
    """
    _check_format(settings.engine, model)
    if settings.engine == "transformers":
        return model_identity(model, revision)
    return faster_whisper_identity(model, revision)


def load_engine(
    settings: AsrParams, model: str, revision: str | None, device: str
) -> Whisper | FasterWhisper:
    """A Whisper in memory; errors as `weights_identity`, and FormatError where files cannot be read."""
    _check_format(settings.engine, model)
    if settings.engine == "transformers":
        return load_whisper(model, revision, device)
    return load_faster_whisper(model, revision, device, settings.precision)


def _check_format(engine: Engine, model: str) -> None:
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return
    fitting = [name for name, files in WEIGHTS.items() if any(any(folder.glob(one)) for one in files)]
    if fitting and engine not in fitting:
        raise ParamsError(
            f"transcribe.asr.model {model!r}: {folder} has the weights of the engine {fitting[0]}, but "
            f"transcribe.asr.engine is {engine}; set it to {fitting[0]}, or name a folder that fits"
        )
