"""`face: speaking`: of several faces the one whose lips move with the sound."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made.face_meshes import LIMITS, build, column, encode
from made.media_factory import make_clip

from pipeline.core.errors import ParamsError
from pipeline.features.encoder import Clip, Encoded
from pipeline.features.registry import build_encoder
from pipeline.features.visual.face import mesh
from pipeline.features.visual.face.speaking import persons, speaking_faces, together
from pipeline.features.visual.frames import clip_frames
from pipeline.media.decode import Frame, waveform
from pipeline.params.encoders import FaceCropsParams, FaceMeshParams

pytestmark = pytest.mark.filterwarnings("ignore:SymbolDatabase.GetPrototype")

RATE, SIZE = 16_000, (640, 480)
TIMES = np.arange(75) / 25


def face(x: float, lips: float = 0.0, width: float = 0.1) -> np.ndarray:
    """A mesh whose box has its centre at (x, 0.5), and whose lips are `lips` pixels apart."""
    points = np.full((478, 3), (x, 0.5, 0.0))
    points[33], points[263] = (x - width / 2, 0.4, 0), (x + width / 2, 0.4, 0)
    points[13], points[14] = (x, 0.6, 0), (x, 0.6 + lips / SIZE[1], 0)
    return points


def syllables(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A voice of 3 s that swells 4 times a second, irregularly, and the lips that go with it, (75,)."""
    random = np.random.default_rng(seed)
    at = np.cumsum(random.uniform(0.15, 0.4, 12))
    swell = [
        np.exp(-0.5 * ((t[:, None] - at) / 0.05) ** 2).sum(1) for t in (np.arange(3 * RATE) / RATE, TIMES)
    ]
    return swell[0] * random.normal(0, 0.1, 3 * RATE), 10 * swell[1]


# ------------------------------------------------------------------------------------------------- by numbers
def test_a_person_is_where_its_face_was() -> None:
    left, right = np.linspace(0.2, 0.3, 5), np.linspace(0.8, 0.7, 5)
    # the mesh gives them in any order, and the left one is away for a while
    seen = [
        [face(left[0]), face(right[0])],
        [face(right[1]), face(left[1])],
        [face(right[2])],
        [],
        [face(left[4])],
    ]
    assert persons(seen, [SIZE] * 5) == [[0, 1], [1, 0], [1], [], [0]]
    assert persons([[face(0.2)], [face(0.4)]], [SIZE] * 2) == [[0], [1]]  # farther than its box is long
    assert persons([[face(0.2)], [face(0.29)]], [SIZE] * 2) == [[0], [0]]


def test_the_correlation_is_that_of_syllables() -> None:
    pairs = [syllables(seed) for seed in range(6)]
    table = np.array([[together(lips, TIMES, sound, RATE) for _, lips in pairs] for sound, _ in pairs])
    assert np.diag(table).min() > 0.6 and np.abs(table[~np.eye(6, dtype=bool)]).mean() < 0.25
    assert (table.argmax(1) == np.arange(6)).all()
    sound, lips = pairs[1]
    # what is loud for long says nothing: a mouth that is open as long as somebody else speaks
    slow = np.where((TIMES > 0.5) & (TIMES < 2.5), 10.0, 0.0)
    talk = sound * np.interp(np.arange(3 * RATE) / RATE, TIMES, slow)
    assert together(slow, TIMES, talk, RATE) < 0.3
    assert together(np.zeros(75), TIMES, sound, RATE) == together(lips, TIMES, np.zeros(3 * RATE), RATE) == 0
    seen = np.arange(75) % 10 > 2  # frames without this face, at irregular times
    assert together(lips[seen], TIMES[seen], sound, RATE) > 0.5


def test_the_speaker_is_chosen_in_every_frame() -> None:
    sound, lips = syllables(1)
    _, others = syllables(2)
    seen = [
        [face(0.2, a), face(0.8, b)] if i % 2 else [face(0.8, b), face(0.2, a)]
        for i, (a, b) in enumerate(zip(lips, others, strict=True))
    ]
    seen[10], seen[11] = [], [face(0.8)]  # nobody; only the listener
    chosen = speaking_faces(seen, [SIZE] * 75, TIMES.tolist(), sound, RATE)
    assert chosen[10] is None and chosen[11] == 0
    sides = [seen[i][k][0, 0] for i, k in enumerate(chosen) if k is not None and i != 11]
    assert set(sides) == {0.2}


# ------------------------------------------------------------------------------------------------ as encoders
@pytest.mark.parametrize("kind", [FaceMeshParams, FaceCropsParams])
def test_too_few_frames_to_read_lips(kind: type[FaceMeshParams | FaceCropsParams]) -> None:
    params = kind(face="speaking", fps=5)
    with pytest.raises(ParamsError, match=r"visual\.mine\.fps is 5, .* takes 12 frames a second or more"):
        build_encoder("visual", "mine", params, LIMITS)


def without_mesh(monkeypatch: pytest.MonkeyPatch, seen: list[list[np.ndarray]]) -> Any:
    """An encoder of crops to which the frames show these faces."""
    monkeypatch.setattr(mesh.MeshEncoder, "load", lambda self: setattr(self, "_graph", object()))
    given = iter([[mesh.Face(one) for one in faces] for faces in seen])
    monkeypatch.setattr(mesh.MeshEncoder, "_process", lambda self, frame, first: next(given))
    return build_encoder("visual", "mine", FaceCropsParams(face="speaking", size=16), LIMITS)


@pytest.mark.parametrize(
    ("sound", "note"),
    [
        (None, "the largest face, for nothing tells who speaks: .*no audio track"),
        (np.zeros(RATE), "the largest face, for nothing tells who speaks: the sound is silent"),
    ],
)
def test_nothing_to_hear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sound: np.ndarray | None, note: str
) -> None:
    clip = Clip("a", make_clip(tmp_path / "a.mkv", times=[i / 25 for i in range(4)], sound=sound))
    small, large = face(0.3), face(0.7, width=0.2)
    encoder = without_mesh(monkeypatch, [[small, large], [large, small], [small], []])
    notes: list[str] = []
    tracked = list(encoder.tracked_frames(clip, notes))
    taken = [seen.face and seen.face.mesh for seen in tracked]
    assert taken[0] is taken[1] is large and taken[2] is small and taken[3] is None
    assert [seen.faces for seen in tracked] == [2, 2, 1, 0]
    assert len(notes) == 1
    assert re.fullmatch(note, notes[0]), notes


def test_one_face_needs_no_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = Clip("a", make_clip(tmp_path / "a.mkv", times=[i / 25 for i in range(3)]))
    notes: list[str] = []
    encoder = without_mesh(monkeypatch, [[face(0.3)], [], [face(0.5)]])
    assert [seen.face is not None for seen in encoder.tracked_frames(clip, notes)] == [True, False, True]
    assert not notes


# ------------------------------------------------------------------------------------------------- real faces
@pytest.mark.shared
def test_two_talkers_and_their_mirror_image(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = shared / "clips/awkward/two_faces_two_voices.mp4"
    asked: list[tuple[Any, ...]] = []

    def listened(*given: Any) -> list[int | None]:
        asked.append(given)
        return speaking_faces(*given)

    def mirrored(*given: Any) -> Iterator[Frame]:
        for frame in clip_frames(*given):
            yield replace(frame, image=frame.image[:, ::-1])

    def right_of(encoded: Encoded) -> set[bool]:
        return set((column(encoded, "x_30") > 360).tolist())

    monkeypatch.setattr(mesh, "speaking_faces", listened)
    encoder = build(face="speaking")
    straight = encode(encoder, clip)
    monkeypatch.setattr(mesh, "clip_frames", mirrored)
    turned = encode(encoder, clip)
    assert straight.note == turned.note == "2 faces in 75 of 75 frames"
    # both voices at once: one face is taken throughout, and in the mirror image the same person
    assert len(right_of(straight)) == len(right_of(turned)) == 1
    assert right_of(straight) != right_of(turned)
    # each voice by itself: the left talker's is lbbc2a, the right one's sbia1a
    for (faces, sizes, times, _, rate), left in zip(asked, ("lbbc2a", "sbia1a"), strict=True):
        for name in ("lbbc2a", "sbia1a"):
            sound = waveform(shared / "clips/grid" / f"{name}.mpg", LIMITS, sample_rate=rate)
            chosen = speaking_faces(faces, sizes, times, sound, rate)
            sides = {faces[i][k][1, 0] < 0.5 for i, k in enumerate(chosen) if k is not None}
            assert sides == {name == left}, name
