"""What an encoder is: one clip in, one (frames x dim) array with times out.

params.yaml gives each configured encoder a name and its `kind`; the fingerprint says when two of them compute
the same numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pipeline.core.errors import ClipError
from pipeline.core.files import json_hash
from pipeline.execution.gpu import Prepared
from pipeline.params.encoders import EncoderParams
from pipeline.params.params import MediaLimits
from pipeline.store.fingerprint import code_hash


@dataclass(frozen=True)
class Clip:
    """What an encoder may look at.

    Attributes
    ----------
    clip_id : `video_id$_$clip_id`, or the file's stem for a single clip
    path : the media file, None for text-only corpora
    start_s, end_s : the part of the file that is this clip, seconds; None = from the beginning / to the end
    text : the transcript, None where there is none
    language : ISO 639-1 code, e.g. `en`
    """

    clip_id: str
    path: Path | None = None
    start_s: float | None = None
    end_s: float | None = None
    text: str | None = None
    language: str = "en"


@dataclass
class Encoded:
    """The features of one clip.

    Attributes
    ----------
    features : shape (n_frames, dim), n_frames >= 1, in the encoder's `dtype`, finite
    times : shape (n_frames,), float32, centres of the frames in seconds from the clip's start; None for text
        and for waveforms, whose sample j is at j / frame_rate
    note : what a reader should know of a good row ("no face in 75 frames", "silent"); empty if nothing
    token_ids, char_start, char_end : shape (n_frames,), int32; text only; special tokens included with
        offsets -1; offsets count characters of the clip's text
    """

    features: np.ndarray
    times: np.ndarray | None = None
    note: str = ""
    token_ids: np.ndarray | None = None
    char_start: np.ndarray | None = None
    char_end: np.ndarray | None = None


class Encoder(ABC):
    """One modality's feature extractor.

    Construction is cheap and imports nothing heavy; `load` reads the weights, once a process.
    `encode` sees one clip and keeps nothing of it: on CPU the bytes of a row depend on no neighbour.
    """

    modality: str
    dtype: ClassVar[str] = "float32"  # NumPy name of the stored type
    LIBRARIES: tuple[str, ...]  # distributions that compute the numbers
    CPU_ONLY: ClassVar[bool] = False  # whatever device is asked for

    def __init__(self, name: str, params: EncoderParams, limits: MediaLimits, device: str = "cpu"):
        self.name = name
        self.params = params
        self.limits = limits
        self.device = "cpu" if self.CPU_ONLY else device
        self.check_settings()

    def check_settings(self) -> None:  # noqa: B027  (many have nothing to check)
        """Raise ParamsError where the settings do not fit each other or what the encoder can do."""

    @property
    def needs_media(self) -> bool:
        """Whether a clip without its media file fails; encoders of text or of ready tables do without."""
        return self.modality != "text"

    @property
    @abstractmethod
    def column_names(self) -> list[str]:
        """One name a column of the features."""

    @property
    def dim(self) -> int:
        return len(self.column_names)

    @property
    def frame_rate(self) -> float | None:
        """Frames a second where it is fixed, None where it follows the source."""
        return None

    @property
    def model_identity(self) -> str:
        """What the weights are: SHA-256 of a folder's files, or `hub id@commit`; `none` without weights."""
        return "none"

    @abstractmethod
    def load(self) -> None:
        """Bring the model into memory; raises MissingModelError or MissingDependencyError."""

    @abstractmethod
    def encode(self, clip: Clip) -> Encoded:
        """Features of one clip.

        Raises
        ------
        AbsentError : the source has not this modality
        ClipError : it should have worked and did not
        """

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the numbers come from, for the footer and the fingerprint."""
        return {
            "modality": self.modality,
            "encoder": self.name,
            "params": self.params.model_dump(mode="json", exclude={"pool"}),  # it is after the encoder
            "limits": self.limits.model_dump(mode="json") if self.modality != "text" else {},
            "model": self.model_identity,
            "device": self.device.split(":")[0],
            "code": code_hash(type(self)),
            "libraries": {name: version(name) for name in sorted(self.LIBRARIES)},
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of what decides the numbers; neither the given name nor the device does."""
        known = {key: value for key, value in self.provenance.items() if key not in ("encoder", "device")}
        return json_hash(known)


class BatchEncoder(Encoder):
    """An encoder that gains from batches on CUDA: `encode` is `infer` of one clip that was prepared.

    On CPU one clip a forward, never padded. On CUDA the batches are padded and masked; the promise there is
    closeness (1e-3 in fp32), not equality.
    """

    @abstractmethod
    def load_preparer(self) -> None:
        """Bring what `prepare` needs into memory: no weights, nothing on a GPU."""

    @abstractmethod
    def prepare(self, clip: Clip) -> Prepared:
        """Decode or tokenise one clip; errors as `encode` has them."""

    @abstractmethod
    def infer(self, prepared: list[Prepared]) -> list[Encoded | ClipError]:
        """Features of some clips in one padded forward, in their order; a clip's own failure is its error."""

    def encode(self, clip: Clip) -> Encoded:
        (outcome,) = self.infer([self.prepare(clip)])
        if isinstance(outcome, ClipError):
            raise outcome
        return outcome
