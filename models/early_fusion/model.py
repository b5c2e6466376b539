"""Early fusion: the pooled features of all modalities end to end, and one hidden layer.

    text ── mean ──────────────────────┐
    audio ─ mean, standard deviation ──┼─▶ Linear ─▶ ReLU ─▶ dropout ─▶ Linear ─▶ ŷ
    visual  mean, standard deviation ──┘

It is of no paper, and the oldest way to join modalities: nothing in it knows that there are several. What a
clip lacks is 0.
"""

from __future__ import annotations

from models.core.pooled import PooledPerceptron, PooledSettings


class EarlyFusion(PooledPerceptron):
    """The model and its loss."""

    TERMS = ("prediction",)
    NEEDS = ("text", "audio", "visual")
    Config = PooledSettings
