"""Audio only: the sound alone decides; the reference without words and face.

    frames ─mean, standard deviation of the real ones─▶ Linear ─▶ ReLU ─▶ dropout ─▶ Linear ─▶ ŷ

It is of no paper. A clip without sound gets the score of the vector 0, which it had in training too.
"""

from __future__ import annotations

from models.core.pooled import PooledPerceptron, TextlessSettings


class AudioOnly(PooledPerceptron):
    """The model and its loss."""

    TERMS = ("prediction",)
    NEEDS = ("audio",)
    Config = TextlessSettings
    SCORES_ABSENT = True  # [D] the sound of some clips is nowhere, and a table is of all clips
