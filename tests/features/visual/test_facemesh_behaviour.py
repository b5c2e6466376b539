"""Can the face mesh's columns be trusted? Against what a person sees and hears in real clips.

What is written down here of the clips (who blinks when, where a smile begins) was seen on their pictures, not
taken from the encoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.features.encoder import Clip, Encoded
from pipeline.features.registry import build_encoder
from pipeline.features.visual.face import mesh
from pipeline.features.visual.face.geometry import COLUMNS
from pipeline.features.visual.facemesh import FaceMesh
from pipeline.media.decode import Frame, frames, waveform
from pipeline.params.encoders import FaceMeshParams as Params
from pipeline.params.params import MediaLimits

pytestmark = [
    pytest.mark.shared,
    pytest.mark.filterwarnings("ignore:SymbolDatabase.GetPrototype"),
]

LIMITS = MediaLimits()
SUCCESS = COLUMNS.index("success")
EYES_SHUT = {  # in frame k, counted from 0
    "bbaf2n": [43, 51],
    "brbk7n": [21, 22],
    "lbax4n": [28, 29],
    "lrwp9a": [73],
    "sbwe5n": [24, 25],
    "swwp2s": [27, 44],
}
NEVER_BLINK = ["lbbc2a", "sbia1a"]
GRID = [*EYES_SHUT, *NEVER_BLINK]
# the 68 landmarks of the mirrored face: jaw, brows, nose, eyes, lips
# fmt: off
MIRRORED = [
    16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0,
    26, 25, 24, 23, 22, 21, 20, 19, 18, 17,
    27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
]
# fmt: on


def build(**params: Any) -> FaceMesh:
    encoder = build_encoder("visual", "facemesh", Params(**params), LIMITS)
    assert isinstance(encoder, FaceMesh)
    encoder.load()
    return encoder


@pytest.fixture(scope="module")
def encoder() -> FaceMesh:
    return build()


@pytest.fixture(scope="module")
def talkers(encoder: FaceMesh, shared: Path) -> dict[str, Encoded]:
    return {name: encoder.encode(Clip(name, shared / "clips/grid" / f"{name}.mpg")) for name in GRID}


def column(encoded: Encoded, name: str) -> np.ndarray:
    return encoded.features[:, COLUMNS.index(name)].astype(float)


def columns(encoded: Encoded, *beginnings: str) -> np.ndarray:
    chosen = [i for i, name in enumerate(COLUMNS) if name.startswith(beginnings)]
    return encoded.features[:, chosen].astype(float)


# -------------------------------------------------------------------------------------------- left and right
def test_a_mirrored_clip_has_mirrored_points_and_gaze(
    encoder: FaceMesh, talkers: dict[str, Encoded], shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    biases = []
    for name in ("bbaf2n", "lbbc2a", "swwp2s"):
        images = [frame.image[:, ::-1] for frame in frames(shared / "clips/grid" / f"{name}.mpg", LIMITS)]

        def pictures(*_: object, images: list[np.ndarray] = images, **__: object) -> Iterator[Frame]:
            return (Frame(np.ascontiguousarray(image), i / 25, 1.0) for i, image in enumerate(images))

        monkeypatch.setattr(mesh, "clip_frames", pictures)
        mirrored = encoder.encode(Clip(name, Path("pictures")))
        monkeypatch.undo()
        both = (talkers[name].features[:, SUCCESS] == 1) & (mirrored.features[:, SUCCESS] == 1)
        assert both.mean() > 0.95
        straight, other = (
            columns(encoded, "x_", "y_")[both].reshape(-1, 2, 68) for encoded in (talkers[name], mirrored)
        )
        other[:, 0] = 360 - other[:, 0]
        # the mesh itself is about a pixel off between a picture and its mirror image
        off = np.median(np.hypot(*(straight - other[:, :, MIRRORED]).swapaxes(0, 1)), axis=0)
        assert np.median(off) < 1.5 and off.max() < 6, name
        swapped = np.median(np.hypot(*(straight - other).swapaxes(0, 1)))
        assert swapped > 25, name  # left stays left: points that are not swapped are far off
        gaze = [
            np.degrees(np.median(columns(e, "gaze_angle")[both], axis=0)) for e in (talkers[name], mirrored)
        ]
        biases.append((gaze[0][0] + gaze[1][0]) / 2)
        assert abs(biases[-1]) < 2, (name, gaze)
        assert abs(gaze[0][1] - gaze[1][1]) < 3, (name, gaze)
        units = [np.median(columns(e, "AU")[both], axis=0) for e in (talkers[name], mirrored)]
        np.testing.assert_allclose(*units, atol=0.04, err_msg=name)  # both sides are averaged
    assert abs(np.mean(biases)) < 1, biases  # the mesh's own is taken away


# -------------------------------------------------------------------------------------- eyes, lips and voice
def test_shut_eyes_raise_the_blink(talkers: dict[str, Encoded]) -> None:
    for name, shut in EYES_SHUT.items():
        blink = column(talkers[name], "AU45_mesh")
        assert (blink[shut] - np.median(blink) > 0.035).all(), name
    for name in NEVER_BLINK:
        blink = column(talkers[name], "AU45_mesh")
        assert blink.max() - np.median(blink) < 0.02, name


def test_the_mouth_opens_with_the_voice(talkers: dict[str, Encoded], shared: Path) -> None:
    """Lips and jaw follow the loudness of each frame's 40 ms of sound; brows little (OpenFace's .19)."""
    pooled: dict[str, list[np.ndarray]] = {name: [] for name in ("AU25_mesh", "AU26_mesh", "AU01_mesh")}
    voice = []
    for name, encoded in talkers.items():
        sound = waveform(shared / "clips/grid" / f"{name}.mpg", LIMITS, sample_rate=16_000)
        assert encoded.times is not None
        starts = np.round(encoded.times[:-1].astype(float) * 16_000).astype(int)
        level = np.log([np.sqrt(np.mean(sound[at : at + 640] ** 2)) + 1e-3 for at in starts])
        voice.append((level - level.mean()) / level.std())
        loud = level > np.median(level)
        for unit, parts in pooled.items():
            values = column(encoded, unit)[:-1]
            parts.append((values - values.mean()) / values.std())
            difference = values[loud].mean() - values[~loud].mean()
            assert (difference > 0.01) if unit != "AU01_mesh" else (abs(difference) < 0.01), (name, unit)
    heard = np.concatenate(voice)
    together = {unit: np.corrcoef(np.concatenate(parts), heard)[0, 1] for unit, parts in pooled.items()}
    assert together["AU25_mesh"] > 0.3 and together["AU26_mesh"] > 0.4, together
    assert abs(together["AU01_mesh"]) < 0.35, together


def test_a_smile_that_comes_and_goes(encoder: FaceMesh, talkers: dict[str, Encoded], shared: Path) -> None:
    """One man, neutral for half a second, broadly smiling from 1 to 2.3 s, hardly in the last two frames."""
    encoded = encoder.encode(Clip("smile", shared / "clips/pyfeat/single_face.mp4"))
    assert encoded.times is not None
    smile = column(encoded, "AU12_mesh")
    before, after = smile[encoded.times < 0.5], smile[(encoded.times > 1.0) & (encoded.times < 2.28)]
    assert after.min() > before.max() + 0.08
    assert smile[-2:].max() < after.min()
    assert abs(np.median(before)) < 0.05
    talking = np.concatenate([column(talker, "AU12_mesh") for talker in talkers.values()])
    assert np.median(after) > np.percentile(talking, 95)


# ------------------------------------------------------------------------------------------- face or no face
def test_nobody_there(encoder: FaceMesh, shared: Path) -> None:
    encoded = encoder.encode(Clip("nobody", shared / "clips/pyfeat/no_face.mp4"))
    assert len(encoded.features) == 95
    assert not encoded.features.any()
    assert encoded.note == "no face in any of 95 frames"


@pytest.mark.parametrize(("name", "there"), [("face_noface", slice(0, 5)), ("noface_face", slice(-5, None))])
def test_somebody_leaves_or_comes(shared: Path, name: str, there: slice) -> None:
    encoded = build(fps=5).encode(Clip(name, shared / f"clips/pyfeat/{name}.mov"))
    success = encoded.features[:, SUCCESS]
    gone = slice(-5, None) if there.start == 0 else slice(0, 5)
    assert success[there].all() and not success[gone].any()
    assert np.abs(np.diff(success)).sum() <= 3  # once, not to and fro


# ----------------------------------------------------------------------------------- the same clip elsewhere
def test_a_lossless_copy_has_the_same_numbers(
    encoder: FaceMesh, talkers: dict[str, Encoded], shared: Path
) -> None:
    copy = encoder.encode(Clip("bbaf2n", shared / "clips/awkward/ffv1_flac.mkv"))
    assert copy.features.tobytes() == talkers["bbaf2n"].features.tobytes()


@pytest.mark.parametrize("name", ["mjpeg_pcm.avi", "vp9_opus.webm"])
def test_another_codec_changes_little(
    encoder: FaceMesh, talkers: dict[str, Encoded], shared: Path, name: str
) -> None:
    """MPEG-1 against Motion JPEG and VP9.

    Measured medians: 0.13 pixels, 0.002 rad of the pose, 0.006 rad of the gaze, 0.002 AU units; the 95th
    percentiles are four times as much. The bounds are twice what was measured.
    """
    copy = encoder.encode(Clip("bbaf2n", shared / "clips/awkward" / name))
    original = talkers["bbaf2n"]
    assert copy.times is not None and original.times is not None
    np.testing.assert_allclose(copy.times, original.times, atol=0.01)
    bounds = {("x_", "y_"): 0.27, ("pose_R",): 0.004, ("gaze_angle",): 0.012, ("AU",): 0.004}
    for kind, bound in bounds.items():
        difference = np.abs(columns(copy, *kind) - columns(original, *kind))
        assert np.median(difference) < bound, kind
        assert np.percentile(difference, 95) < 4.5 * bound, kind
