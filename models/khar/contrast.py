"""KHaR's contrast of clips by their labels (3.6); equation numbers are the paper's.

Shapes: B clips, F width of x̂_m.
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
    positive, negative = label_pairs(label, labeled, kappa)
    own = torch.diag(labeled)
    names = tuple(refined)
    similarities, above, below = [], [], []  # (B, B) each: ln δ, in the numerator, in the denominator
    for i, first in enumerate(names):
        for j, second in enumerate(names):
            both = present[first][:, None] & present[second]
            pulled = (positive | own if i < j else positive) & both
            similarities.append(row_similarity(refined[first], refined[second], temperature))
            above.append(pulled)
            below.append(pulled | negative & both)
    similarity, numerator, denominator = (torch.cat(parts, dim=1) for parts in (similarities, above, below))
    counts = numerator.any(dim=1)
    ratio = masked_logsumexp(similarity, denominator, dim=1).masked_fill(~counts, 0.0)
    ratio = ratio - masked_logsumexp(similarity, numerator, dim=1).masked_fill(~counts, 0.0)
    return masked_mean(ratio, counts)
