"""The three elementary right-handed rotation matrices, as textbooks write them; angles in radians."""

from __future__ import annotations

from math import cos, sin

import numpy as np


def about_x(a: float) -> np.ndarray:
    return np.array([[1, 0, 0], [0, cos(a), -sin(a)], [0, sin(a), cos(a)]])


def about_y(b: float) -> np.ndarray:
    return np.array([[cos(b), 0, sin(b)], [0, 1, 0], [-sin(b), 0, cos(b)]])


def about_z(c: float) -> np.ndarray:
    return np.array([[cos(c), -sin(c), 0], [sin(c), cos(c), 0], [0, 0, 1]])


def openface_matrix(rx: float, ry: float, rz: float) -> np.ndarray:
    """Rx Ry Rz, as OpenFace writes a head's turn."""
    return about_x(rx) @ about_y(ry) @ about_z(rz)
