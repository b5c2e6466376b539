"""`msa-cli fetch`: the models of encoders into a folder that can be carried to a machine without a network.

    connected:  msa-cli fetch bert hubert --into models-here [--pin]
    elsewhere:  MSA_MODELS=models-here dvc repro

Of each model come its config, its tokenizer and its weights (safetensors where there are any), at one commit,
and `fetched.json`, which says what it is. `--pin` writes the commits into params.yaml and
moves no other byte of it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from models.core.checkpoints import (
    HUB_TIMEOUT_S,
    MODELS_VARIABLE,
    NOTE,
    Part,
    fetched_name,
    file_sha256,
    is_hub_id,
    members,
    missing_here,
)
from pipeline.core.errors import MissingModelError, ParamsError
from pipeline.params.encoders import Pretrained
from pipeline.params.explain import unknown
from pipeline.params.params import Params

PARTS: tuple[Part, ...] = ("config", "tokenizer", "weights")

# Of the weights on the hub: 4 bytes a parameter (2 of DeBERTa), as the papers and cards count them
MEGABYTES = {
    "google-bert/bert-base-uncased": 440,
    "google-bert/bert-base-chinese": 408,
    "google-bert/bert-large-uncased": 1340,
    "FacebookAI/roberta-base": 500,
    "FacebookAI/roberta-large": 1420,
    "hfl/chinese-roberta-wwm-ext": 408,
    "facebook/data2vec-text-base": 500,
    "microsoft/deberta-v3-base": 368,
    "facebook/hubert-base-ls960": 380,
    "TencentGameMate/chinese-hubert-base": 380,
    "facebook/data2vec-audio-base": 372,
    "facebook/data2vec-audio-large-960h": 1260,
    "facebook/wav2vec2-base": 380,
    "microsoft/wavlm-base-plus": 380,
}


@dataclass(frozen=True)
class Wanted:
    """A hub's model that a setting names; `key` is where its commit belongs in params.yaml."""

    key: tuple[str, ...]
    model: str
    revision: str | None


@dataclass(frozen=True)
class Fetched:
    """What came."""

    wanted: Wanted
    commit: str
    folder: Path
    megabytes: float


def wanted_models(names: list[str], params: Params) -> list[Wanted]:
    """The models on a hub behind names of encoders, or behind a hub id itself.

    Raises
    ------
    ParamsError : a name that is neither, or whose model is on no hub
    """
    encoders = {
        name: (modality, settings)
        for modality in ("text", "audio")
        for name, settings in getattr(params, modality).items()
        if isinstance(settings, Pretrained)
    }
    found: list[Wanted] = []
    for name in names:
        if name in encoders:
            modality, settings = encoders[name]
            models = list(of_encoder(modality, name, settings))
            if not models:
                raise ParamsError(f"{modality}.{name}.model is {settings.model!r}: nothing of it is on a hub")
            found += models
        elif "/" in name and is_hub_id(name):
            found.append(Wanted((), name, None))
        else:
            raise ParamsError(
                unknown("encoder", name, encoders) + "; a hub id such as owner/model will do too"
            )
    return found


def of_encoder(modality: str, name: str, settings: Pretrained) -> Iterator[Wanted]:
    """The models on a hub that an encoder names."""
    for language, (model, revision) in settings.checkpoints().items():
        if is_hub_id(model):
            key = (modality, name, "revision", *([language] if language else []))
            yield Wanted(key, model, revision)


def needed(modality: str, name: str, settings: Pretrained) -> list[str]:
    """In words, which models of an encoder are not on this machine, how large they are, how they come."""
    parts = PARTS if modality == "text" else ("config", "weights")
    lines = []
    for wanted in of_encoder(modality, name, settings):
        if missing := missing_here(wanted.model, wanted.revision, parts):
            megabytes = MEGABYTES.get(wanted.model)
            size = f", about {megabytes} MB" if megabytes else ""
            lines.append(f"{wanted.model} ({' and '.join(missing)} missing{size})")
    if lines:
        lines.append(
            f"on a connected machine: msa-cli fetch {name} --into FOLDER; then {MODELS_VARIABLE}=FOLDER here"
        )
    return lines


def fetch(wanted: Wanted, into: Path) -> Fetched:
    """One model into `into/<owner>--<name>`; what is there of the same commit is kept.

    Raises
    ------
    MissingModelError : the hub does not answer, or has no such model or commit
    """
    from huggingface_hub import HfApi, constants, snapshot_download

    folder = into / fetched_name(wanted.model)
    try:
        info = HfApi().model_info(wanted.model, revision=wanted.revision, timeout=HUB_TIMEOUT_S)
        commit = info.sha
        assert commit is not None
        names = [file.rfilename for file in info.siblings or [] if "/" not in file.rfilename]
        chosen = sorted({name for part in PARTS for name in members(names, part)})
        (folder / NOTE).unlink(missing_ok=True)  # an interrupted fetch must not pass for the one before
        for left in folder.glob("*"):
            if left.is_file() and left.name not in chosen:
                left.unlink()
        snapshot_download(wanted.model, revision=commit, allow_patterns=chosen, local_dir=folder)
    except Exception as error:  # the hub's client changes its HTTP library, and so its errors, by version
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        offline = " (HF_HUB_OFFLINE is set)" if constants.is_offline_mode() else ""
        raise MissingModelError(
            f"model {wanted.model!r} cannot be fetched from {constants.ENDPOINT}{offline}: {reason}; run "
            "this on a machine with a connection, and carry the folder here"
        ) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's own notes
    files = {name: file_sha256(folder / name) for name in chosen}
    note = {"id": wanted.model, "commit": commit, "files": files}
    (folder / NOTE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
    size = sum((folder / name).stat().st_size for name in chosen)
    return Fetched(wanted, commit, folder, size / 1e6)
