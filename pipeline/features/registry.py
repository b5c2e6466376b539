"""The kinds of encoders by name: a modality's lie in `pipeline/features/<modality>`."""

from __future__ import annotations

import importlib

from pipeline.core.devices import check_spelling
from pipeline.core.errors import ParamsError
from pipeline.features.encoder import BatchEncoder, Encoder
from pipeline.features.pooling import PooledBatchEncoder, PooledEncoder
from pipeline.params.encoders import NO_POOL, EncoderParams
from pipeline.params.params import MediaLimits

# kind -> module and class; imported only when asked for, so that `--help` stays light
REGISTRY: dict[str, dict[str, str]] = {
    "text": {"hf": "pipeline.features.text.hf:TransformerStates"},
    "audio": {
        "fbank": "pipeline.features.audio.fbank:Fbank",
        "hf_audio": "pipeline.features.audio.hf_audio:AudioStates",
        "librosa33": "pipeline.features.audio.librosa33:Librosa33",
        "opensmile": "pipeline.features.audio.opensmile:OpenSmile",
        "waveform16k": "pipeline.features.audio.waveform16k:Waveform16k",
        "whisper": "pipeline.features.audio.whisper:WhisperStates",
    },
    "visual": {
        "blendshapes": "pipeline.features.visual.blendshapes:Blendshapes",
        "facecrops": "pipeline.features.visual.facecrops:FaceCrops",
        "facemesh": "pipeline.features.visual.facemesh:FaceMesh",
        "hf_vision": "pipeline.features.visual.hf_vision:VisionStates",
        "openface": "pipeline.features.visual.openface:OpenFace",
        "pyfeat": "pipeline.features.visual.pyfeat:PyFeat",
    },
}


def build_encoder(
    modality: str, name: str, params: EncoderParams, limits: MediaLimits, device: str = "cpu"
) -> Encoder:
    """The encoder that params.yaml configures as `<modality>.<name>`, pooled if it says so, not loaded yet.

    `device` is cpu, cuda or cuda:<index>; auto means cpu, where a row's bytes depend on its clip alone.
    """
    check_spelling(device)
    kinds = REGISTRY[modality]
    if params.kind not in kinds:
        raise ParamsError(
            f"{modality}.{name}.kind is {params.kind!r}; {modality} encoders are of kind {', '.join(kinds)}"
        )
    module, _, class_name = kinds[params.kind].partition(":")
    kind: type[Encoder] = getattr(importlib.import_module(module), class_name)
    encoder = kind(name, params, limits, "cpu" if device == "auto" else device)
    pool = getattr(params, "pool", NO_POOL)
    if pool == NO_POOL:
        return encoder
    if isinstance(encoder, BatchEncoder):
        return PooledBatchEncoder(encoder, pool)
    return PooledEncoder(encoder, pool)
