"""The run folder: what a training leaves, and how a method is built for it and again from it.

`runs/<method>-<dataset>-<seed>/`
    model.safetensors       weights of the best epoch
    config.json             method, settings, widths, feature set, normalisation, hashes of code and data,
                            library versions; no clock times and no host names
    curves.tsv              a row an epoch, see curves.py
    plots/, metrics.json    the same curves as DVCLive writes them
    train.predictions.parquet, valid.predictions.parquet
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_model

from models import METHODS
from models.core.checkpoints import Part, model_identity
from models.core.method import Method, MethodSettings, Task
from pipeline.core.errors import FormatError, ParamsError
from pipeline.datasets.splits import Split
from pipeline.params.explain import explain

FORMAT_VERSION = 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"
LIBRARIES = ("lightning-fabric", "numpy", "tokenizers", "torch", "transformers")  # that compute its numbers


def build_method(
    name: str, params: dict[str, Any], dims: dict[str, int], task: Task, *, pretrained: bool = True
) -> Method:
    """The method with its settings checked, for a training set of these widths.

    Parameters
    ----------
    params : the method's settings
    dims : features of each modality of the training set; the method takes those that it can use
    pretrained : False where all weights come from a run folder: those of encoders are then not looked for

    Raises
    ------
    ParamsError : unknown method or setting; the message names the key in params.yaml
    """
    if name not in METHODS:
        raise ParamsError(f"method {name!r} is not known (there are: {', '.join(METHODS)})")
    method_class = METHODS[name].load()
    try:
        config = method_class.Config.model_validate(params)
    except ValidationError as error:
        reason = explain(error, method_class.Config, under=f"models.{name}.base")
        hint = f"a value under models.{name}.corpora.<dataset> comes before that of `base`"
        raise ParamsError(f"{reason}; {hint}") from error
    return method_class(config, dims, task, config.open_backbones(config_only=not pretrained))


def read_config(run: Path) -> dict[str, Any]:
    """config.json of a run folder.

    Raises
    ------
    FormatError : not a run folder, or of another format version
    """
    path = run / CONFIG
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = config["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{run}: not a run folder ({path.name}: {error}); run its train stage") from error
    if version != FORMAT_VERSION:
        raise FormatError(
            f"{run}: run folder of format {version}, this version reads {FORMAT_VERSION}; train again"
        )
    return config


def load_method(run: Path, config: dict[str, Any], task: Task) -> Method:
    """The method of a run with its trained weights, on the CPU.

    Raises
    ------
    FormatError : its weights do not fit its settings
    ParamsError : its settings are not those of the method as it is now
    """
    method = build_method(config["method"], config["params"], config["dims"], task, pretrained=False)
    try:
        load_model(method, run / WEIGHTS)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise FormatError(
            f"{run / WEIGHTS}: does not fit {config['method']} as it is now ({error}); train again"
        ) from error
    return method


def encoder_identities(method_name: str, config: MethodSettings) -> dict[str, str]:
    """What decides the weights that the fine-tuned encoders start from, by modality.

    Raises
    ------
    ParamsError : a hub id that is not pinned to a commit
    """
    parts: dict[str, tuple[Part, ...]] = {
        "text": ("config", "tokenizer", "weights"),
        "audio": ("config", "weights"),
    }
    found = {}
    for modality, used in parts.items():
        if getattr(config, modality, "frozen") != "finetune":
            continue
        model, revision = (getattr(config, f"{modality}_{name}") for name in ("backbone", "revision"))
        try:
            found[modality] = model_identity(model, revision, used)
        except ParamsError as error:
            raise ParamsError(f"models.{method_name}.base.{modality}_revision: {error}") from error
    return found


def library_versions() -> dict[str, str]:
    """Versions of the libraries that compute a run's numbers."""
    return {name: version(name) for name in LIBRARIES}


def write_predictions(split: Split, predictions: np.ndarray, task: Task, path: Path) -> None:
    """`prediction_table` as Parquet."""
    pq.write_table(prediction_table(split, predictions, task), path)


def prediction_table(split: Split, predictions: np.ndarray, task: Task) -> pa.Table:
    """`clip_id`, `label`, `prediction`, sorted by clip id.

    Scores are float32. Of a classification both are int32, and `probability` has those of all classes.
    """
    labels = split.label.cpu().numpy()
    columns = {"clip_id": split.clip_ids, "label": labels, "prediction": predictions}
    if task.classes:
        values = torch.from_numpy(predictions)
        columns["label"] = labels.astype(np.int32)
        columns["prediction"] = task.decide(values).numpy().astype(np.int32)
        columns["probability"] = pa.array(task.probabilities(values).tolist(), pa.list_(pa.float32()))
    return pa.table(columns).sort_by("clip_id")
