"""`msa-cli fetch`: the models of encoders into huggingface_hub's cache, and their commits into params.yaml.

    connected:  HF_HUB_CACHE=folder msa-cli fetch bert hubert base --pin
    elsewhere:  HF_HUB_CACHE=folder HF_HUB_OFFLINE=1 dvc repro

Of each model come its config, its tokenizer and its weights (safetensors where there are any, or what
CTranslate2 reads), at one commit. The short names of speech recognition mean what its engine reads.
`--pin` writes the commits into params.yaml and moves no other byte of it: where the encoder is, and wherever
else, also in the section of a method, the same model has none yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from models.core.checkpoints import Part, is_hub_id, missing_here
from pipeline.core.errors import ParamsError
from pipeline.core.vocabulary import MODALITIES
from pipeline.params.encoders import BlendshapesParams, Pretrained
from pipeline.params.explain import unknown
from pipeline.params.params import Params
from pipeline.params.transcribe import PRESETS

PARTS: tuple[Part, ...] = ("config", "tokenizer", "weights")
FETCHED: tuple[Part, ...] = (*PARTS, "ctranslate2")


@dataclass(frozen=True)
class HubModel:
    """A hub's model that a setting names; `key` is where its commit belongs in params.yaml."""

    key: tuple[str, ...]
    model: str
    revision: str | None


def wanted_models(names: list[str], params: Params) -> list[HubModel]:
    """The models on a hub behind names of encoders, short names of recognition, or a hub id itself.

    ParamsError where a name is none of them, or its model is on no hub.
    """
    recognizers = PRESETS[params.transcribe.asr.engine]
    encoders = {
        name: (modality, settings)
        for modality in MODALITIES
        for name, settings in getattr(params, modality).items()
        if isinstance(settings, Pretrained)
    }
    found: list[HubModel] = []
    for name in names:
        if name in encoders:
            modality, settings = encoders[name]
            if not (models := list(of_encoder(modality, name, settings))):
                raise ParamsError(f"{modality}.{name}.model is {settings.model!r}: it is not on a hub")
            found += models
        elif name in recognizers:
            found.append(HubModel((), *recognizers[name]))
        elif "/" in name and is_hub_id(name.partition("@")[0]):
            model, _, revision = name.partition("@")
            found.append(HubModel((), model, revision or None))
        else:
            raise ParamsError(
                unknown("encoder or Whisper", name, [*encoders, *recognizers])
                + "; or give a hub id: owner/model or owner/model@COMMIT"
            )
    return found


def reads_the_task_file(name: str, params: Params) -> bool:
    """Whether a name is an encoder's that reads MediaPipe's task file; ParamsError where it has its own."""
    settings = params.visual.get(name)
    if not isinstance(settings, BlendshapesParams):
        return False
    if settings.task:
        raise ParamsError(f"visual.{name}.task is {settings.task!r}: a local file is not fetched")
    return True


def of_encoder(modality: str, name: str, settings: Pretrained) -> Iterator[HubModel]:
    """The models on a hub that an encoder names."""
    for language, (model, revision) in settings.checkpoints().items():
        if is_hub_id(model):
            key = (modality, name, "revision", *([language] if language else []))
            yield HubModel(key, model, revision)


def unpinned(model: str, params: Params) -> list[tuple[str, ...]]:
    """Keys of the commits of a hub's model that are missing: of encoders, and in methods' sections."""
    found = [
        wanted.key
        for modality in MODALITIES
        for name, settings in getattr(params, modality).items()
        if isinstance(settings, Pretrained)
        for wanted in of_encoder(modality, name, settings)
        if wanted.model == model and wanted.revision is None
    ]
    for method, entry in params.models.items():
        sections = [(["base"], entry.base)]
        sections += [(["corpora", name], section) for name, section in entry.corpora.items()]
        for place, section in sections:
            for modality in ("text", "audio"):
                named, commit = (section.get(f"{modality}_{key}") for key in ("backbone", "revision"))
                if named == model and commit is None:
                    found.append(("models", method, *place, f"{modality}_revision"))
    return found


def needed(modality: str, name: str, settings: Pretrained) -> list[str]:
    """In words, which models of an encoder are not on this machine, and how they come."""
    parts = PARTS if modality == "text" else ("config", "weights")
    lines = [
        f"{wanted.model} ({' and '.join(missing)} missing)"
        for wanted in of_encoder(modality, name, settings)
        if (missing := missing_here(wanted.model, wanted.revision, parts))
    ]
    if lines:
        lines.append(
            f"on a connected machine: HF_HUB_CACHE=FOLDER msa-cli fetch {name}; here: HF_HUB_CACHE=FOLDER"
        )
    return lines
