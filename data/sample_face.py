"""A talking, smiling, frowning face from one still picture: the moving image of `make_sample.py`.

Picture: `skimage.data.astronaut()`, NASA's portrait of Eileen Collins, public domain.

FaceMesh is run once on the still. Its points become the control points of a thin-plate spline that maps every
frame pixel back to a picture pixel:

    moved   = expression(points)                 mouth, jaw, brows, lids, in picture pixels
    turned  = R(yaw, pitch, roll) (moved - c) + c + sway                    c = the middle of the head
    placed  = (turned - centre) * zoom + frame middle                       zoom < 0 in x mirrors
    picture = W placed + A,  the spline with W, A solved so that  placed -> points  exactly

Shoulders are pinned, hair moves with the head, and what lies behind the person is drawn anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import skimage.data
from mediapipe.python.solutions.face_mesh import FaceMesh
from mediapipe.python.solutions.selfie_segmentation import SelfieSegmentation

WIDTH, HEIGHT = 320, 240  # px, the frame
EASE = 1e-4  # how far the spline may pass by a control point: it then folds nowhere (frame widths^2)
GRID = 4  # px between the points where the spline is evaluated; between them the map is interpolated
ENLARGE = 3  # the still's face is small (92 px): FaceMesh is more exact on an enlarged picture

# FaceMesh point numbers; "left" is the left of the picture. Each pair: (left, right).
CORNERS = (61, 291)
UPPER_LIP = ((81, 82, 13, 312, 311), (39, 37, 0, 267, 269))  # inner rim, outer rim
LOWER_LIP = ((178, 87, 14, 317, 402), (181, 84, 17, 314, 405))
JAW = (176, 152, 400, 199)
CHEEKS = ((205, 50, 187), (425, 280, 411))
INNER_BROWS = ((55, 107), (285, 336))
OUTER_BROWS = ((70, 105, 52, 46), (300, 334, 282, 276))
UPPER_LIDS = (160, 159, 158, 385, 386, 387)
LOWER_LIDS = (144, 145, 153, 380, 374, 373)
STILL = (33, 133, 263, 362, 6, 197, 195, 4, 98, 327, 2)  # corners of the eyes, nose
OVAL = (10, 297, 284, 389, 454, 361, 397, 378, 149, 172, 132, 234, 162, 54, 67)
HAIR = (10, 297, 284, 389, 454, 234, 162, 54, 67)  # the part of the oval that hair surrounds

# Points outside the mesh, in picture pixels, and the share of the head's motion that they follow.
PINS = [(192, 196, 0.5), (260, 198, 0.5)]  # the neck
PINS += [(x, y, 0.0) for x, y in ((130, 190), (320, 190), (90, 300), (225, 260), (360, 300))]  # the shoulders
PINS += [(x, y, 0.0) for x, y in ((20, 20), (225, -80), (430, 20), (20, 160), (430, 160))]  # far behind


@dataclass(frozen=True)
class Look:
    """How one speaker is filmed. Fixed for all clips of a video."""

    zoom: float  # frame px per picture px
    stretch: float  # width : height of the face relative to the still
    mirror: bool
    centre: np.ndarray  # (2,) picture px that lies in the middle of the frame
    gain: np.ndarray  # (3,) factor for red, green, blue
    gamma: float
    backdrop: int  # 0 the still, blurred; 1 a vertical, 2 a diagonal, 3 a round gradient
    colours: np.ndarray  # (2, 3) from which to which the gradient runs, RGB 0..255


@dataclass(frozen=True)
class Pose:
    """The face in one frame. All zero: the mouth shut and level, the brows at rest, the head straight."""

    smile: float = 0.0  # -1 corners of the mouth down .. 1 up
    brows: float = 0.0  # -1 lowered and drawn together .. 1 raised
    mouth: float = 0.0  # 0 shut .. 1 open as in the still .. 1.5
    blink: float = 0.0  # 0 open .. 0.7 all but shut
    yaw: float = 0.0  # degrees
    pitch: float = 0.0  # degrees
    roll: float = 0.0  # degrees
    sway: tuple[float, float] = (0.0, 0.0)  # picture px


class Still:
    """The still picture, its mesh and the outline of the person."""

    def __init__(self) -> None:
        self.picture: np.ndarray = skimage.data.astronaut()  # (512, 512, 3) RGB
        height, width = self.picture.shape[:2]
        large = cv2.resize(self.picture, None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC)
        with FaceMesh(static_image_mode=True, refine_landmarks=True) as mesh:
            found = mesh.process(large).multi_face_landmarks[0].landmark
        # Tenths of a pixel: small differences between processors must not reach the frames.
        self.points = np.round([(p.x * width, p.y * height, p.z * width) for p in found], 1)  # (478, 3) px
        with SelfieSegmentation(model_selection=0) as person:
            mask = person.process(self.picture).segmentation_mask
        mask = cv2.ximgproc.guidedFilter(
            self.picture, np.round(mask, 2), radius=6, eps=40.0
        )  # edges of the picture
        self.alpha = np.clip((mask - 0.5) / 0.4, 0, 1)  # (512, 512)

    @cached_property
    def head(self) -> np.ndarray:
        """The middle of the head, (3,): between the ears."""
        return (self.points[234] + self.points[454]) / 2

    @cached_property
    def mouth_width(self) -> float:
        """The unit of all displacements, px."""
        left, right = self.points[list(CORNERS)]
        return float(np.linalg.norm(right - left))

    @cached_property
    def controls(self) -> tuple[list[int], np.ndarray]:
        """The numbers of the mesh points that steer the spline, and hair (n, 3) that goes with the head."""
        groups = (*UPPER_LIP, *LOWER_LIP, *CHEEKS, *INNER_BROWS, *OUTER_BROWS)
        flat = [number for group in groups for number in group]
        numbers = [*CORNERS, *flat, *JAW, *UPPER_LIDS, *LOWER_LIDS, *STILL, *OVAL]
        hair = self.points[list(HAIR)] - self.head
        hair[:, 0] *= 1.65
        hair[:, 1] *= np.where(hair[:, 1] < 0, 2.2, 1.2)
        hair[:, 2] = 0.0
        return list(dict.fromkeys(numbers)), hair + self.head

    def express(self, pose: Pose) -> np.ndarray:
        """All mesh points after the muscles moved, (478, 3) px. The still itself smiles with open lips."""
        at, unit = self.points.copy(), self.mouth_width
        # 1. Corners of the mouth: down and inwards from the still's smile; the lips follow as a parabola.
        middle = (self.points[CORNERS[0]] + self.points[CORNERS[1]]) / 2
        drop = (0.12 - 0.22 * pose.smile) * unit
        narrow = 0.07 - 0.10 * pose.smile
        lips = [number for rim in (*UPPER_LIP, *LOWER_LIP) for number in rim] + list(CORNERS)
        beside = (self.points[lips, 0] - middle[0]) / (unit / 2)  # -1 left corner .. 1 right corner
        at[lips, 0] -= beside * narrow * unit / 2
        at[lips, 1] += drop * (beside**2 - 0.25)
        for side, cheek in zip((1, -1), CHEEKS, strict=True):
            at[list(cheek), 0] += side * narrow * unit / 4
            at[list(cheek), 1] += 0.45 * drop
        # 2. Lips: shut to a line, with a third of the way from above, the rest and the chin from below.
        gap = self.points[list(LOWER_LIP[0]), 1] - self.points[list(UPPER_LIP[0]), 1]
        for upper_rim, lower_rim in zip(UPPER_LIP, LOWER_LIP, strict=True):
            at[list(upper_rim), 1] += 0.32 * (1 - pose.mouth) * gap
            at[list(lower_rim), 1] -= 0.60 * (1 - pose.mouth) * gap
        at[list(JAW), 1] += 0.10 * unit * (pose.mouth - 0.5)
        # 3. Brows.
        raised, lowered = max(pose.brows, 0.0), max(-pose.brows, 0.0)
        for side, inner, outer in zip((1, -1), INNER_BROWS, OUTER_BROWS, strict=True):
            at[list(inner), 1] += unit * (0.13 * lowered - 0.13 * raised)
            at[list(inner), 0] += side * unit * 0.05 * lowered
            at[list(outer), 1] += unit * (0.03 * lowered - 0.12 * raised)
        # 4. Lids.
        upper, lower = list(UPPER_LIDS), list(LOWER_LIDS)
        at[upper, 1] += 0.85 * pose.blink * (self.points[lower, 1] - self.points[upper, 1])
        return at

    def controls_at(self, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
        """Control points in the still and under a pose, each (n, 2) picture px."""
        numbers, hair = self.controls
        turn = rotation(pose.yaw, pose.pitch, pose.roll)
        pins = np.array(PINS)
        pin_points = np.column_stack([pins[:, :2], np.full(len(pins), self.head[2])])
        source = np.concatenate([self.points[numbers], hair, pin_points])
        moved = np.concatenate([self.express(pose)[numbers], hair, pin_points])
        share = np.concatenate([np.ones(len(numbers) + len(hair)), pins[:, 2]])[:, None]
        turned = (moved - self.head) @ turn.T + self.head + np.array([*pose.sway, 0.0])
        return source[:, :2], (share * turned + (1 - share) * moved)[:, :2]

    def person(self, look: Look) -> np.ndarray:
        """The still in a speaker's light, its outline as fourth channel, (512, 512, 4) float 0..255."""
        lit = 255 * (self.picture / 255.0) ** look.gamma * look.gain
        return np.dstack([np.clip(lit, 0, 255), 255 * self.alpha]).astype(np.float32)

    def backdrop(self, look: Look) -> np.ndarray:
        """What stands behind a speaker, (HEIGHT, WIDTH, 3) float 0..255."""
        if look.backdrop == 0:
            shrunk = cv2.resize(self.picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
            return cv2.GaussianBlur(shrunk, (0, 0), 14).astype(np.float32) * look.gain.astype(np.float32)
        y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
        mix = {1: y, 2: (x + y) / 2, 3: np.hypot(x - 0.5, y - 0.5) * 1.4}[look.backdrop][..., None]
        first, second = look.colours
        return ((1 - mix) * first + mix * second).astype(np.float32)


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Rotation matrix (3, 3) from degrees: x right, y down, z away from the viewer."""
    (a, b, c) = np.radians((yaw, pitch, roll))
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return about_z @ about_x @ about_y


def spline_map(placed: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Thin-plate spline from `placed` (n, 2) frame px to `source` (n, 2): its map (HEIGHT, WIDTH, 2)."""

    def kernel(points: np.ndarray) -> np.ndarray:  # r^2 log r^2, with r in frame widths
        squared = ((points[:, None, :] - placed[None]) ** 2).sum(-1) / WIDTH**2
        return squared * np.log(squared + 1e-12)

    count = len(placed)
    border = np.column_stack([np.ones(count), placed / WIDTH])
    system = np.block([[kernel(placed) + EASE * np.eye(count), border], [border.T, np.zeros((3, 3))]])
    weights = np.linalg.solve(system, np.concatenate([source, np.zeros((3, 2))]))
    ys, xs = np.mgrid[0 : HEIGHT + 1 : GRID, 0 : WIDTH + 1 : GRID]
    grid = np.column_stack([xs.ravel(), ys.ravel()]).astype(float)
    coarse = (
        kernel(grid) @ weights[:count] + np.column_stack([np.ones(len(grid)), grid / WIDTH]) @ weights[count:]
    )
    coarse = np.round(coarse, 3).reshape(*xs.shape, 2).astype(np.float32)  # no processor's last digits
    at_x, at_y = np.meshgrid(np.arange(WIDTH) / GRID, np.arange(HEIGHT) / GRID)
    return cv2.remap(
        coarse,
        at_x.astype(np.float32),
        at_y.astype(np.float32),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )


class Actor:
    """One speaker in front of the camera: call with a pose, get a frame (HEIGHT, WIDTH, 3) uint8 RGB."""

    def __init__(self, still: Still, look: Look) -> None:
        self.still, self.look = still, look
        self.person, self.behind = still.person(look), still.backdrop(look)
        self.zoom = look.zoom * np.array([-look.stretch if look.mirror else look.stretch, 1 / look.stretch])

    def __call__(self, pose: Pose) -> np.ndarray:
        source, posed = self.still.controls_at(pose)
        placed = (posed - self.look.centre) * self.zoom + np.array([WIDTH / 2, HEIGHT / 2])
        where = spline_map(placed, source)
        layer = cv2.remap(self.person, where, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        alpha = np.clip(layer[..., 3:] / 255, 0, 1)
        frame = alpha * layer[..., :3] + (1 - alpha) * self.behind
        return np.clip(np.round(frame), 0, 255).astype(np.uint8)
