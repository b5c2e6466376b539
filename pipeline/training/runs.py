"""The run folder: what a training leaves, and how a method is built for it and again from it.

`runs/<method>-<dataset>/<seed>/`
    model.safetensors       weights of the best epoch
    config.json             the run's identity: all that decides its bytes (method, settings, widths, feature
                            set, hashes of code and data, library versions); what came of it; normalisation;
                            `files`: the SHA-256 of the others, `sha256`: that of all this as JSON. No clock
                            times and no host names
    curves.tsv              a row an epoch, see curves.py
    train.predictions.parquet, valid.predictions.parquet
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_model

from models import METHODS
from models.core.batch import Batch, Reading
from models.core.checkpoints import Part, model_identity
from models.core.method import Method, MethodSettings, Output, Task
from pipeline.core.errors import FormatError, MsaError, ParamsError, first_line
from pipeline.core.files import file_hash, json_hash, read_described, write_json
from pipeline.core.vocabulary import CONTEXT
from pipeline.datasets.splits import Split
from pipeline.params.explain import explain, unknown
from pipeline.params.params import COMPLETE
from pipeline.params.run import RunConfig
from pipeline.store.fingerprint import stage_hashes
from pipeline.training.loop.device import open_device

FORMAT_VERSION = 1
# what is read of config.json, and of its stats
STATS_KEYS = ("dataset", "task", "label_range", "class_names", "modalities")
KEYS = ("method", "dataset", "seed", "params", "dims", "train", *(f"stats.{key}" for key in STATS_KEYS))
WAVEFORM = "waveform"  # the stream of sound itself, beside those of text, audio and visual features
CONFIG, WEIGHTS = "config.json", "model.safetensors"
LIBRARIES = ("numpy", "tokenizers", "torch", "transformers")  # that compute its numbers


def build_method(
    name: str, params: dict[str, Any], dims: dict[str, int], task: Task, *, pretrained: bool = True
) -> Method:
    """The method with its settings checked; ParamsError names the key of an unknown method or setting.

    Parameters
    ----------
    dims : features of each modality of the training set; the method takes those that it can use
    pretrained : False where all weights come from a run folder: those of encoders are then not looked for
    """
    if name not in METHODS:
        raise ParamsError(unknown("method", name, METHODS))
    method_class = METHODS[name].load()
    try:
        config = method_class.Config.model_validate(params)
    except ValidationError as error:
        reason = explain(error, method_class.Config, under=f"models.{name}.base")
        hint = f"a value under models.{name}.corpora.<dataset> comes before that of `base`"
        raise ParamsError(f"{reason}; {hint}") from error
    return method_class(config, dims, task, config.open_backbones(config_only=not pretrained))


def read_config(run: Path) -> dict[str, Any]:
    """config.json of a run folder; FormatError where it is none, of another format version, or incomplete."""
    return read_described(run / CONFIG, "a run folder", FORMAT_VERSION, "run its train stage", KEYS)


def task_of(stats: dict[str, Any]) -> Task:
    """The task of an assembled set."""
    return Task(len(stats["class_names"]) if stats["task"] == "classification" else 0)


def regime_of(config: dict[str, Any]) -> str:
    """What a run learnt from: `complete` clips, or under which regime of params.yaml."""
    return str(config["train"].get("regime", COMPLETE))


def load_method(run: Path, config: dict[str, Any]) -> Method:
    """The method of a run with its trained weights, on the CPU.

    FormatError where its weights do not fit its settings, ParamsError where these are of another version.
    """
    task = task_of(config["stats"])
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

    ParamsError where a hub id is not pinned to a commit.
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
            key = f"models.{method_name}.base.{modality}_revision"
            way_out = f"`msa-cli fetch {model} --pin` writes it down where there is a connection"
            raise ParamsError(f"{key}: {error}; {way_out}") from error
    return found


def library_versions() -> dict[str, str]:
    """Versions of the libraries that compute a run's numbers."""
    return {name: version(name) for name in LIBRARIES}


def circumstances(method_name: str, config: MethodSettings, device: str) -> dict[str, Any]:
    """What beside settings and data decides the numbers of a training; `device` is `cpu` or `cuda`."""
    return {
        "encoders": encoder_identities(method_name, config),
        "code": stage_hashes("train", method_name),
        "libraries": library_versions(),
        "device": device,
    }


def run_identity(run: RunConfig, method: Method, stats: dict[str, Any], device: str) -> dict[str, Any]:
    """All that decides the bytes of a run; of the method its settings and widths count, not its weights."""
    opened = ("stats.json", *(f"{name}*.parquet" for name in (*splits_read(method), CONTEXT)))
    identity = {
        "method": run.method_name,
        "dataset": run.dataset,
        "seed": run.seed,
        "params": method.config.model_dump(mode="json"),
        "train": run.train_params.model_dump(mode="json"),
        "dims": method.dims,
        "feature_set": stats["feature_set"],
        "assembled": hashes(run.assembled, *opened),
        "pretrained": hashes(run.pretrained, "*") if METHODS[run.method_name].pretrains else {},
        **circumstances(run.method_name, method.config, device),
    }
    plain: dict[str, Any] = json.loads(json.dumps(identity))
    return plain


def splits_read(method: Method) -> tuple[str, ...]:
    """Splits that training opens; never the test split."""
    return ("train", "valid", *(["unlabeled"] if method.reading().unlabeled else []))


def hashes(folder: Path, *patterns: str) -> dict[str, str]:
    """SHA-256 (hex) of the folder's files that match, by file name."""
    files = sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})
    return {file.name: _hash(file.absolute(), file.stat().st_size, file.stat().st_mtime_ns) for file in files}


@cache
def _hash(path: Path, size: int, changed_ns: int) -> str:
    """Of one state of a file: all seeds read the same training set, which may be large."""
    return file_hash(path)


def write_config(config: dict[str, Any], folder: Path) -> None:
    """config.json of a run folder that has all its other files."""
    whole = config | {"files": {file.name: file_hash(file) for file in sorted(folder.iterdir())}}
    write_json(whole | {"sha256": json_hash(whole)}, folder / CONFIG)


def why_not_kept(folder: Path, identity: dict[str, Any]) -> str | None:
    """Why a folder is not the run of this identity, undamaged, in words; None where it is."""
    if not folder.exists():
        return "not trained yet"
    try:
        config = read_config(folder)
        content = {key: value for key, value in config.items() if key != "sha256"}
        if json_hash(content) != config["sha256"]:
            return f"damaged: {CONFIG} is not as it was written"
        if differing := [key for key, value in identity.items() if config.get(key) != value]:
            return f"of other {', '.join(differing)}"
        there = {file.name for file in folder.iterdir() if not file.name.startswith(".")}
        if wrong := there.symmetric_difference({*config["files"], CONFIG}):
            return f"damaged: {min(wrong)} is {'no file of it' if min(wrong) in there else 'missing'}"
        for name, known in config["files"].items():
            if file_hash(folder / name) != known:
                return f"damaged: {name} is not as it was written"
    except (FormatError, OSError, KeyError) as error:
        return f"damaged: {first_line(error)}"
    return None


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


# --------------------------------------------------------------------------------------------- trained runs
@dataclass
class TrainedRun:
    """One run, ready to predict new clips: its method is in evaluation mode, on `device`."""

    folder: Path
    config: dict[str, Any]
    method: Method
    device: torch.device

    @property
    def title(self) -> str:
        """`misr-mosi-1111`."""
        return f"{self.config['method']}-{self.config['dataset']}-{self.config['seed']}"

    @property
    def stats(self) -> dict[str, Any]:
        """stats.json of the set that it was trained on."""
        stats: dict[str, Any] = self.config["stats"]
        return stats

    @property
    def task(self) -> Task:
        return self.method.task

    @cached_property
    def reading(self) -> Reading:
        return self.method.reading()

    @property
    def modalities(self) -> tuple[str, ...]:
        """text, audio and visual, as far as the method has them, whether as features or fine-tuned."""
        return tuple(self.method.dims)

    @cached_property
    def entries(self) -> dict[str, dict[str, Any]]:
        """What stats.json says of each feature stream that the method reads, by modality."""
        known = self.stats["modalities"]
        return {name: known[name] for name in self.modalities if name not in self.reading.replaced}

    @property
    def aligned(self) -> bool:
        """Whether a row of its features is a word."""
        return any("align" in entry for entry in self.entries.values())

    @cached_property
    def needed(self) -> dict[str, dict[str, Any]]:
        """The streams that a new clip must be given: `entries`, the sound where it is read, and text
        features also where only its words' places are wanted, for sets with `align: words`.
        """
        found = dict(self.entries)
        known = self.stats["modalities"]
        if self.aligned and "text" in known:
            found["text"] = known["text"]
        if self.reading.waveform:
            found[WAVEFORM] = self.stats["waveform"]
        return found

    @torch.inference_mode()
    def forward(self, batch: Batch) -> Output:
        """Output of the method, in fp32 whatever the precision of its training."""
        output: Output = self.method(batch)
        return output


def run_folders(folder: Path) -> list[Path]:
    """The run that a folder is, or those of all seeds in it (`runs/misr-mosi`)."""
    inside = [] if (folder / CONFIG).exists() else folder.glob(f"*/{CONFIG}")
    seeds = [file.parent for file in inside if file.parent.name.isdecimal()]
    return sorted(seeds, key=lambda path: int(path.name)) or [folder]


def open_runs(folders: Sequence[Path], device: str = "cpu") -> list[TrainedRun]:
    """The runs of these folders; MsaError where one is given twice, or they are of other datasets or tasks.

    FormatError: not a run folder, of another format version, or its weights do not fit its settings.
    """
    place = open_device(device)
    torch.set_num_threads(1)  # as in training: the last bits of a sum depend on it
    configs: dict[Path, dict[str, Any]] = {}
    for folder in (run for given in folders for run in run_folders(given)):
        if folder.resolve() in [known.resolve() for known in configs]:
            raise MsaError(f"--run: {folder} is given twice; give it once")
        configs[folder] = read_config(folder)
    (first, one), *others = configs.items()
    for folder, config in others:  # scores of different scales, or of different classes, have no mean
        for key in ("dataset", "task", "label_range", "class_names"):
            if config["stats"][key] != one["stats"][key]:
                raise MsaError(
                    f"--run: {first} is of {key} {one['stats'][key]!r}, {folder} of "
                    f"{config['stats'][key]!r}; give runs of one dataset and task"
                )
    runs = []
    for folder, config in configs.items():
        try:
            method = load_method(folder, config).to(place).eval()
        except ParamsError as error:
            raise FormatError(
                f"{folder}: {config['method']} of this version does not accept its settings ({error}); train "
                "again, or use the version that trained it"
            ) from error
        runs.append(TrainedRun(folder, config, method, place))
    return runs
