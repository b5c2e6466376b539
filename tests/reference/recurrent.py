"""An LSTM from its definition: NumPy, float64, one clip, step by step."""

from __future__ import annotations

import numpy as np

Arrays = dict[str, np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def linear(x: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def lstm(steps: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    """The hidden state after each of the steps: (T, F) -> (T, W)."""
    state = cell = np.zeros(weights[f"{name}.weight_hh_l0"].shape[1])
    found = []
    for step in steps:
        gates = weights[f"{name}.weight_ih_l0"] @ step + weights[f"{name}.bias_ih_l0"]
        gates = gates + weights[f"{name}.weight_hh_l0"] @ state + weights[f"{name}.bias_hh_l0"]
        enter, forget, new, leave = np.split(gates, 4)
        cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(new)
        state = sigmoid(leave) * np.tanh(cell)
        found.append(state)
    return np.array(found)


def recurrent(steps: np.ndarray, weights: Arrays, name: str, *, both: bool) -> tuple[np.ndarray, np.ndarray]:
    """(T, F) of a clip -> states (T, W) and the last of each direction (W,)."""
    ahead = lstm(steps, weights, f"{name}.ahead")
    if not both:
        return ahead, ahead[-1]
    back = lstm(steps[::-1], weights, f"{name}.back")
    return np.concatenate([ahead, back[::-1]], axis=1), np.concatenate([ahead[-1], back[-1]])


def sentence_vector(steps: np.ndarray, weights: Arrays, name: str, *, both: bool) -> np.ndarray:
    """(T, F) of a clip -> (width,)."""
    _, last = recurrent(steps, weights, f"{name}.recurrent", both=both)
    return linear(last, weights, f"{name}.project.1")
