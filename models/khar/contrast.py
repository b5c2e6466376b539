"""KHaR's contrast of clips by their labels (3.6); equation numbers are the paper's.

Shapes: B clips, M modalities, F width of x̂_m.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.core.blocks import masked_logsumexp, masked_mean, pairs, row_similarity

TOLERANCE = 1e-6  # of κ: in float32 0.6 - 0.2 and 3.0 - 2.6 are greater than 0.4


def label_pairs(label: Tensor, labeled: Tensor, kappa: float | None) -> tuple[Tensor, Tensor]:
    """Positive and negative pairs of clips (13), (14); no clip is a pair with itself.

    label (B,), NaN where not labeled, labeled (B,) bool -> two of (B, B) bool. The paper's example (1.0 and
    1.3 are a pair, 1.0 and 2.0 are not) holds on labels as they are. Without κ pairs are those of one class.
    """
    near = (label[:, None] - label).abs() <= (kappa or 0.0) + TOLERANCE
    known = pairs(labeled)
    return near & known, ~near & known


def sentiment_contrast(
    refined: dict[str, Tensor],
    present: dict[str, Tensor],
    label: Tensor,
    labeled: Tensor,
    kappa: float | None,
    temperature: float,
) -> Tensor:
    """L_CL (15) to (21): scalar. (18) writes (i, j) where (i, k) is meant.

    The ratio of (21) is a clip's: all its similarities with positives over all its similarities, of every
    ordered pair of modalities; and among the positives, once for every unordered pair, the clip's own
    modalities with each other. What a clip has not is in neither sum; clips without a positive do not count.
    refined (B, F) and present (B,) bool are by modality.
    """
    positive, negative = (rows[:, None] for rows in label_pairs(label, labeled, kappa))  # (B, 1, B)
    vectors, known = torch.stack(list(refined.values())), torch.stack(list(present.values()))  # (M, B, F)
    number, clips = known.shape
    first = torch.arange(number, device=label.device)[:, None] < torch.arange(number, device=label.device)
    own = (
        torch.diag(labeled)[:, None] & first[:, None, :, None]
    )  # (M, B, M, B), once for a pair of modalities
    both = known[..., None, None] & known
    above = (positive | own) & both  # in the numerator
    below = above | (negative & both)  # in the denominator
    rows = vectors.flatten(0, 1)
    similarity = row_similarity(rows, rows, temperature).view(both.shape)  # ln δ
    similarity, numerator, denominator = (
        part.transpose(0, 1).reshape(clips, -1) for part in (similarity, above, below)
    )
    counts = numerator.any(dim=1)
    ratio = masked_logsumexp(similarity, denominator, dim=1).masked_fill(~counts, 0.0)
    ratio = ratio - masked_logsumexp(similarity, numerator, dim=1).masked_fill(~counts, 0.0)
    return masked_mean(ratio, counts)
