"""States of a vision transformer of the hub (CLIP, SigLIP, DINOv2, ViT, VideoMAE) on faces or whole frames.

sampled frames > aligned faces, or whole frames > resized and scaled > encoder > mean of `layers`, as float16

A model of pictures gives a row a frame: the state of its class token, or the mean over its patches. A model
of videos (VideoMAE) gives a row for every `num_frames` frames, in the middle of their times; the last ones
end with the clip, and of a shorter clip frames are repeated, evenly. `pool` makes one row a clip of them.

Faces are found, chosen and aligned as `facecrops` does, at the model's own size. Column `success` is 1 where
there is one; other rows are zero. A model of videos sees the frames with a face one after the other; where
there are none it gives one row of zeros. Whole frames have no such column; of them the model sees what its
own preprocessing leaves, often the middle square.

The states are those before a pooling head, in CLIP also before its last norm. The model is frozen. Up to
FORWARD pictures of a clip are a forward, on CPU on one thread: a row's bytes depend on its clip alone.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from models.core.checkpoints import Part, model_folder
from models.core.loading import importing_models, load_config, load_weights
from pipeline.core.errors import MissingModelError, ParamsError, first_line
from pipeline.execution.gpu import Prepared
from pipeline.features.checkpoint import PREPROCESSOR, preprocessor
from pipeline.features.encoder import Clip, Encoded
from pipeline.features.pretrained import PretrainedStates, stored
from pipeline.features.visual.facecrops import FaceCrops
from pipeline.features.visual.frames import clip_frames
from pipeline.features.visual.preprocessing import Preprocessing
from pipeline.params.encoders import FaceCropsParams, FaceDetection, Source, TransformerVision
from pipeline.params.explain import settings_of

FORWARD = 16  # pictures at once
MOST_SPECIAL = 16  # tokens before those of the patches: a class token, registers


@dataclass(frozen=True, eq=False)
class PreparedPictures:
    """What a model is to see of a clip.

    Attributes
    ----------
    pictures : shape (n, size, size, 3), uint8
    shown : shape (n,), which of the clip's frames they are
    times : of all sampled frames, seconds, float32
    note : damage, faces
    """

    source: Source
    pictures: np.ndarray
    shown: np.ndarray
    times: np.ndarray
    note: str


class VisionStates(PretrainedStates):
    """Frozen features of a vision transformer (kind `hf_vision`)."""

    modality = "visual"
    LIBRARIES: tuple[str, ...] = ("av", "numpy", "pillow", "torch", "transformers")
    PARTS: ClassVar[tuple[Part, ...]] = ("config", "weights")

    params: TransformerVision

    def check_settings(self) -> None:
        if self.params.picture == "face":
            self.LIBRARIES = tuple(dict.fromkeys((*self.LIBRARIES, *FaceCrops.LIBRARIES)))

    # ----------------------------------------------------------------------------------------- the checkpoint
    def read_config(self, source: Source) -> Any:
        config = load_config(*source)
        config = getattr(config, "vision_config", config)  # of a model of pictures and text the tower
        if not all(isinstance(getattr(config, key, None), int) for key in ("patch_size", "hidden_size")):
            raise ParamsError(
                f"{self.key}.model: {source[0]} is of type {config.model_type!r}, expected a transformer "
                "over patches of pictures (CLIP, SigLIP, DINOv2, ViT, VideoMAE), e.g. "
                "openai/clip-vit-base-patch32"
            )
        return config

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """The checkpoint's own."""
        (model, revision) = self.sources[0]
        numbers = preprocessor((model, revision), "image_processor")
        if not numbers:
            folder = model_folder(model, revision, ("config",))
            raise MissingModelError(
                f"{self.key}.model: {model} has no {PREPROCESSOR} in {folder}, which says how its "
                "pictures are prepared; put that file of the model there"
            )
        return Preprocessing.of(numbers, model)

    @property
    def _config(self) -> Any:
        return self.configs[self.sources[0]]

    @property
    def _together(self) -> int:
        """Pictures that the model sees as one: 1, or the frames of a model of videos."""
        return int(getattr(self._config, "num_frames", 1))

    def read_backbone(self, source: Source) -> Any:
        """The model, which has seen a black picture of its size; ParamsError where it could not."""
        import torch

        with importing_models():
            from transformers import AutoModel
            from transformers.models.auto.modeling_auto import MODEL_MAPPING
        config = self._config
        if type(config) not in MODEL_MAPPING:
            raise ParamsError(
                f"{self.key}.model: transformers has no plain encoder for {config.model_type!r}"
            )
        options: dict[str, Any] = {
            "dtype": torch.bfloat16 if self.params.precision == "bf16" else torch.float32
        }
        architecture: Any = MODEL_MAPPING[type(config)]
        if "add_pooling_layer" in inspect.signature(architecture).parameters:
            options["add_pooling_layer"] = False
        if self.device.startswith("cuda"):
            torch.backends.cudnn.allow_tf32 = False  # convolutions would have 10 bits otherwise
        model: Any = load_weights(AutoModel, *source, config, optional="pooler.", **options)
        size = self.preprocessing.size
        shape = (1, self._together, 3, size, size) if self._is_video else (1, 3, size, size)
        try:
            with torch.inference_mode():
                seen = model(torch.zeros(shape, dtype=options["dtype"])).last_hidden_state
        except Exception as error:  # each architecture has its own
            raise ParamsError(
                f"{self.key}.model: {source[0]} cannot read pictures of {size} x {size} pixels, as its "
                f"{PREPROCESSOR} makes them: {first_line(error)}"
            ) from error
        patches = (size // config.patch_size) ** 2 * self._together // getattr(config, "tubelet_size", 1)
        self._special = seen.shape[1] - patches if seen.ndim == 3 else -1
        if not 0 <= self._special <= MOST_SPECIAL:
            raise ParamsError(
                f"{self.key}.model: {source[0]} returns states of shape {tuple(seen.shape)}, expected one "
                f"for each of {patches} patches; use a plain vision transformer"
            )
        if not self._special and self.params.tokens == "cls":
            raise ParamsError(
                f"{self.key}.tokens is cls, but {source[0]} has no class token; set tokens: patches"
            )
        return model

    @property
    def _is_video(self) -> bool:
        return hasattr(self._config, "num_frames")

    @property
    def column_names(self) -> list[str]:
        flags = ["success"] if self.params.picture == "face" else []
        return [*flags, *(f"h_{column}" for column in range(self._config.hidden_size))]

    @property
    def dim(self) -> int:
        return len(self.column_names)

    @property
    def frame_rate(self) -> float | None:
        return None if self._is_video else self.params.fps

    @property
    def provenance(self) -> dict[str, Any]:
        known = super().provenance  # whose `model` does not tell whether a hub's preprocessor file is here
        seen = vars(self.preprocessing)
        known["preprocessing"] = {key: np.asarray(value).ravel().tolist() for key, value in seen.items()}
        if self.params.picture == "face":
            known["faces"] = self._faces.model_identity
        return known

    # ------------------------------------------------------------------------------------------- the pictures
    @cached_property
    def _faces(self) -> FaceCrops:
        """What finds and aligns faces, at the model's size."""
        settings = {key: getattr(self.params, key) for key in FaceDetection.model_fields}
        settings["size"] = self.preprocessing.size
        return FaceCrops(self.name, settings_of(FaceCropsParams, settings, f"{self.key}.model"), self.limits)

    def load_preparer(self) -> None:
        """Make ready what finds faces, or resizes frames."""
        _ = self.preprocessing
        if self.params.picture == "face":
            self._faces.load()

    def prepare(self, clip: Clip) -> Prepared:
        """The pictures of a clip, at the model's size."""
        source, size = self.source(clip), self.preprocessing.size
        if self.params.picture == "face":
            crops = self._faces.encode(clip)
            assert crops.times is not None
            times, note, pictures = crops.times, crops.note, crops.features.reshape(-1, size, size, 3)
            shown = np.flatnonzero(crops.features.any(axis=1))
            pictures = pictures[shown]
        else:
            notes: list[str] = []
            seen = [
                (frame.time_s, self.preprocessing.square(frame.image))
                for frame in clip_frames(clip, self.limits, self.params, notes)
            ]
            times, note = np.array([time for time, _ in seen], np.float32), "; ".join(notes)
            pictures, shown = np.stack([picture for _, picture in seen]), np.arange(len(seen))
        content = PreparedPictures(source, pictures, shown, times, note)
        return Prepared(content, max(pictures.nbytes, 1))

    # --------------------------------------------------------------------------------------------- the states
    def states(self, source: Source, contents: list[PreparedPictures]) -> list[np.ndarray]:
        """States of clips, (n_rows of pictures, D) each; batches never mix clips."""
        return [self._of_clip(source, content) for content in contents]

    def _of_clip(self, source: Source, content: PreparedPictures) -> np.ndarray:
        import torch

        weights = next(self.backbone(source).parameters())
        groups, step = self._groups(len(content.pictures)), max(1, FORWARD // self._together)
        rows = np.zeros((len(groups), self._config.hidden_size), np.float32)
        for at in range(0, len(groups), step):
            some = groups[at : at + step]  # (b, frames)
            pixels = self.preprocessing.scaled(content.pictures[some.ravel()])
            if self._is_video:
                pixels = pixels.reshape(*some.shape, *pixels.shape[1:])
            states = self.forward(source, torch.from_numpy(pixels).to(weights.device, weights.dtype))
            first = self.params.tokens == "cls"
            rows[at : at + step] = states[:, 0] if first else states[:, self._special :].mean(axis=1)
        return rows

    def _groups(self, n: int) -> np.ndarray:
        """Which of n pictures each row is made of, shape (n_rows, pictures that the model sees as one)."""
        width = self._together
        if n <= width:
            starts = np.zeros(min(n, 1), np.int64)
            inside = np.linspace(0, max(n - 1, 0), width).round().astype(np.int64)
        else:
            starts = np.append(np.arange(0, n - width, width), n - width)
            inside = np.arange(width)
        return starts[:, None] + inside

    def encoded(self, content: PreparedPictures, states: np.ndarray) -> Encoded:
        times = content.times
        if self._is_video:
            groups = content.shown[self._groups(len(content.shown))]
            seen = np.ones(max(len(groups), 1), np.bool_) * bool(len(groups))
            times = times[groups].mean(axis=1) if len(groups) else (times[[0]] + times[[-1]]) / 2
        else:
            seen = np.isin(np.arange(len(times)), content.shown)
        rows = np.zeros((len(seen), self.dim), np.float32)
        rows[seen, -states.shape[1] :] = states
        if self.params.picture == "face":
            rows[:, 0] = seen
        return Encoded(stored(rows), times.astype(np.float32), content.note)
