"""Visual only: the face alone decides; the reference without words and voice.

    frames ─mean, standard deviation of the real ones─▶ Linear ─▶ ReLU ─▶ dropout ─▶ Linear ─▶ ŷ

It is of no paper. A clip without a face gets the score of the vector 0, which it had in training too.
"""

from __future__ import annotations

from models.core.pooled import PooledPerceptron, TextlessSettings


class VisualOnly(PooledPerceptron):
    """The model and its loss."""

    TERMS = ("prediction",)
    NEEDS = ("visual",)
    Config = TextlessSettings
    SCORES_ABSENT = True  # [D] the face of some clips is nowhere, and a table is of all clips
