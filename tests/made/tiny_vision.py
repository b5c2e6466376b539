"""Tiny random vision transformers of all kinds, with the file that says how each wants its pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZE = 32  # pixels of both sides, after preprocessing
SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": SIZE,
    "patch_size": 8,
    "initializer_range": 0.3,  # at the usual 0.02 so small a model hardly tells pictures apart
}
FRAMES = 4  # that the video model sees as one, two of them a token


def _clip() -> tuple[Any, Any]:
    from transformers import CLIPConfig, CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    small = {key: value for key, value in SIZES.items() if not key.startswith(("image", "patch"))}
    config = CLIPConfig(
        text_config={**small, "vocab_size": 9, "max_position_embeddings": 8},
        vision_config=SIZES,
        projection_dim=8,
    )
    return CLIPModel(config), CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size=SIZE)


def _siglip() -> tuple[Any, Any]:
    from transformers import SiglipVisionConfig, SiglipVisionModel
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    processor = SiglipImageProcessorPil(size={"height": SIZE, "width": SIZE})
    return SiglipVisionModel(SiglipVisionConfig(**SIZES)), processor


def _dinov2() -> tuple[Any, Any]:
    from transformers import Dinov2Config, Dinov2Model
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

    larger = {**SIZES, "image_size": 56}  # its positions are interpolated to the size of the pictures
    processor = BitImageProcessorPil(size={"shortest_edge": 36}, crop_size={"height": SIZE, "width": SIZE})
    return Dinov2Model(Dinov2Config(**larger)), processor


def _vit() -> tuple[Any, Any]:
    from transformers import ViTConfig, ViTModel
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    processor = ViTImageProcessorPil(size={"height": SIZE, "width": SIZE})
    return ViTModel(ViTConfig(**SIZES)), processor


def _videomae() -> tuple[Any, Any]:
    from transformers import VideoMAEConfig, VideoMAEModel
    from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil

    processor = VideoMAEImageProcessorPil(size={"shortest_edge": SIZE}, crop_size=SIZE)
    return VideoMAEModel(VideoMAEConfig(**SIZES, num_frames=FRAMES, tubelet_size=2)), processor


KINDS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "clip": _clip,
    "siglip": _siglip,
    "dinov2": _dinov2,
    "vit": _vit,
    "videomae": _videomae,
}


def save_tiny_vision(folder: Path, kind: str, seed: int = 0) -> Path:
    """A checkpoint of a kind; gives `folder` back."""
    import torch

    torch.manual_seed(seed)
    model, processor = KINDS[kind]()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
