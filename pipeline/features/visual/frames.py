"""The frames of a clip as encoders of pictures want them."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.core.errors import AbsentError
from pipeline.features.encoder import Clip
from pipeline.media.decode import Frame, frames
from pipeline.params.encoders import FaceDetection, PyFeatParams
from pipeline.params.params import MediaLimits


def clip_frames(
    clip: Clip, limits: MediaLimits, params: FaceDetection | PyFeatParams, notes: list[str]
) -> Iterator[Frame]:
    """The clip's frames at `params.fps`, one in memory at a time; `notes` and later errors: `decode.frames`.

    AbsentError, at once, where the clip has no media file.
    """
    if clip.path is None:
        raise AbsentError("no video file")
    return frames(
        clip.path,
        limits,
        fps=params.fps,
        max_long_side=params.max_long_side,
        start_s=clip.start_s,
        end_s=clip.end_s,
        notes=notes,
    )
