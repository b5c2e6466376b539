"""Opens the files of a pretrained model with transformers. The only place that calls `from_pretrained`.

It is always given the folder that models/core/checkpoints.py finds (which says what a `model` may be), so
transformers itself never asks a hub. Weights are safetensors or are read with `weights_only`, every parameter
must get its value from them, and code that a repository brings along is never run.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.core.checkpoints import CONFIG, GENERATION, model_folder
from pipeline.core.errors import FormatError, MissingDependencyError, first_line
from pipeline.core.lean_imports import without

if TYPE_CHECKING:
    from torch import nn
    from transformers import GenerationConfig, PretrainedConfig

_log = logging.getLogger(__name__)


def load_config(model: str, revision: str | None) -> PretrainedConfig:
    """The configuration of a model; needs config.json only.

    Raises
    ------
    MissingModelError : it is missing
    FormatError : it cannot be read, or is of a type that the installed transformers does not know
    """
    from transformers import AutoConfig

    folder = model_folder(model, revision, ("config",))
    with quiet():
        try:
            return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise FormatError(
                f"model {model!r}: {folder / CONFIG} is not the config of a model type that the installed "
                f"transformers knows (code from a repository is never run): {first_line(error)}"
            ) from error


def load_weights(
    model_class: Any,
    model: str,
    revision: str | None,
    config: PretrainedConfig,
    *,
    optional: str | None = None,
    **options: Any,
) -> nn.Module:
    """A model in eval mode; all its parameters are from the file.

    Parameters
    ----------
    model_class : of transformers
    config : of the model, as it shall be built
    optional : parameters whose names begin so may be missing in the file; they are random then, and a warning
        says so
    options : more arguments of `from_pretrained`, such as dtype

    Raises
    ------
    MissingModelError : files are missing
    FormatError : the weights cannot be read, or leave parameters of the model without a value
    """
    folder = model_folder(model, revision, ("config", "weights"))
    with quiet(), without_compiler():
        try:
            network, report = model_class.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                trust_remote_code=False,
                weights_only=True,
                output_loading_info=True,
                **options,
            )
        except Exception as error:  # safetensors, pickle, torch and transformers each have their own
            reason = "its shapes are not the config's" if "mismatched" in str(error) else first_line(error)
            raise FormatError(
                f"model {model!r}: the weights in {folder} cannot be read as those of a "
                f"{config.model_type}: {reason}. Fetch them again, as model.safetensors"
            ) from error
    missing = sorted(report["missing_keys"])
    random = [name for name in missing if optional is None or not name.startswith(optional)]
    if random:
        raise FormatError(
            f"model {model!r}: the weights in {folder} lack {len(random)} parameters of "
            f"{type(network).__name__}, which would stay random ({', '.join(random[:3])} ...). Use the "
            "weights that belong to the config, of a model trained for this"
        )
    if missing:
        _log.warning(
            "model %r has no weights for %s, which start at random values", model, ", ".join(missing)
        )
    return network.eval()


def load_generation(model: str, revision: str | None) -> GenerationConfig:
    """How a model generates: generation_config.json; errors as `load_config` has them."""
    from transformers import GenerationConfig

    folder = model_folder(model, revision, ("config", "generation"))
    return _read(GenerationConfig, folder, model, f"{GENERATION} cannot be read")


def load_fast_tokenizer(model: str, revision: str | None) -> Any:
    """The tokenizer of a model as transformers has it.

    Raises
    ------
    MissingModelError : files are missing
    FormatError : the files are not those of a fast tokenizer, which alone knows the places of characters
    """
    from transformers import AutoTokenizer

    folder = model_folder(model, revision, ("config", "tokenizer"))
    tokenizer = _read(
        AutoTokenizer, folder, model, "the tokenizer's files cannot be read", trust_remote_code=False
    )
    if not tokenizer.is_fast:
        raise FormatError(
            f"model {model!r}: {type(tokenizer).__name__} gives no character offsets; "
            "the folder needs a tokenizer.json"
        )
    return tokenizer


def _read(kind: Any, folder: Path, model: str, failed: str, **options: Any) -> Any:
    with quiet():
        try:
            return kind.from_pretrained(folder, local_files_only=True, **options)
        except Exception as error:  # transformers, tokenizers and sentencepiece each have their own
            raise FormatError(f"model {model!r}: {failed} in {folder}: {first_line(error)}") from error


@contextlib.contextmanager
def importing_models() -> Iterator[None]:
    """Around an import of transformers' model classes: MissingDependencyError where that fails.

    transformers is told that torch is not distributed: what it imports then is more than all the rest.
    """
    try:
        from transformers import utils

        utils.is_torch_distributed_available = utils.import_utils.is_torch_distributed_available = bool
        with without_compiler():
            yield
    except (ImportError, OSError, RuntimeError) as error:
        # transformers imports both whenever they are there, and their CUDA builds break beside a CPU torch
        raise MissingDependencyError(
            f"transformers cannot import its models: {first_line(error.__cause__ or error)}. Most often the "
            "installed torchaudio or torchvision does not match this torch: "
            "pip uninstall torchaudio torchvision, or install the matching builds"
        ) from error


def without_compiler() -> contextlib.AbstractContextManager[None]:
    """torch.compile is not imported for marks on functions, which transformers and new weights set."""
    return without("torch._dynamo", "torch._dynamo._trace_wrapped_higher_order_op")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and reports from transformers: what matters of them is checked here."""
    from transformers.utils import logging as noise

    verbosity, bars = noise.get_verbosity(), noise.is_progress_bar_enabled()
    noise.set_verbosity(logging.CRITICAL)
    noise.disable_progress_bar()
    try:
        yield
    finally:
        noise.set_verbosity(verbosity)
        if bars:
            noise.enable_progress_bar()
