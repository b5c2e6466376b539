"""SLaD's sub-modal labels, and the losses that they steer: sections 3.6 to 3.8 of the paper.

A sub-modal label is the sentiment of a clip's text or of its sound alone: (C,) numbers, one score in [-1, 1],
or the probabilities of more than two classes [D]. Equation numbers are the paper's.

Shapes: B clips, m labels of an item, N items. `rows`, (B,) or (N,) bool, leaves out clips that lack text or
sound: they are neither rows nor columns of a similarity.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from models.core.blocks import masked_logsumexp, masked_mean, pairs
from models.core.method import Task

EPSILON = 1e-8  # of (10), and of (20)


# ----------------------------------------------------------------------------------------- the labels (3.3)
def predicted_labels(predicted: Tensor, task: Task, scale: float) -> Tensor:
    """y^m of what the heads give: (..., B), or (..., B, classes) -> (..., B, C), no gradient.

    A score is divided by `scale`, for all constants of the paper mean [-1, 1]; a logit of two classes becomes
    2σ - 1.
    """
    predicted = predicted.detach()
    if task.classes > 2:
        return torch.softmax(predicted, dim=-1)
    scores = 2 * torch.sigmoid(predicted) - 1 if task.classes == 2 else (predicted / scale).clamp(-1, 1)
    return scores[..., None]


def annotated_labels(gold: Tensor, task: Task, scale: float) -> Tensor:
    """y^m of what is annotated, as `predicted_labels` has it; of two classes ±1. (..., B) finite."""
    if task.classes > 2:
        return F.one_hot(gold.long(), task.classes).to(gold)
    return (2 * gold - 1 if task.classes == 2 else (gold / scale).clamp(-1, 1))[..., None]


# ------------------------------------------------------------------------------------ how they agree (3.6)
def polarity(labels: Tensor) -> Tensor:
    """(..., C) -> (...): sign of a score, 0 = neutral; or number of the likeliest class, from 1."""
    return labels.squeeze(-1).sign() if labels.shape[-1] == 1 else labels.argmax(dim=-1) + 1


def relations(text: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
    """R_1 (7) and R_2 (8) of labels (B, C) each -> (B,) bool; R_3 (9) is what is neither.

    Two zeros satisfy both conditions; R_1 comes first [D].
    """
    incompatible = (polarity(text) != polarity(audio)) | (polarity(text) == 0)
    return incompatible, ~incompatible & (text == audio).all(dim=-1)


def label_similarity(text: Tensor, audio: Tensor, bandwidth: float) -> Tensor:
    """ω of (12): how much the two labels of a clip agree, in [0, 1]. (B, C) each -> (B,), no gradient.

    Without a stop a lower ω would lower the losses: flipping a predicted sign would be rewarded.
    """
    text, audio = text.detach(), audio.detach()
    incompatible, equal = relations(text, audio)
    first, second = (label.abs().amax(dim=-1) for label in (text, audio))  # of R_3: of one sign or class
    structure = 0.1 + 0.8 * torch.minimum(first, second) / (torch.maximum(first, second) + EPSILON)  # (10)
    structure = structure.masked_fill(equal, 1.0).masked_fill(incompatible, 0.0)
    distance = (text - audio).abs().sum(dim=-1) / (1 if text.shape[-1] == 1 else 2)
    value = torch.exp(-distance.square() / (2 * bandwidth**2))  # (11)
    return (structure * value).clamp(0, 1)


# --------------------------------------------------------------------- alignment and disentanglement (3.7)
def contrastive_loss(
    similarity: Tensor, weight: Tensor, rows: Tensor, top_k: int, temperature: float
) -> Tensor:
    """L_con (16): S (B, B), ω (B,), rows (B,) -> scalar; 0 without rows."""
    # (14) prints S_ij over the sum; the text says that the diagonal is the positive
    positive = similarity.diagonal()
    pull = masked_logsumexp(similarity, rows[None], dim=1) - positive
    negatives = similarity.masked_fill(~pairs(rows), -torch.inf)
    hardest = negatives.topk(min(top_k, len(rows)), dim=1).values  # (B, K)
    found = hardest > -torch.inf  # K is cut to the negatives that there are
    push = F.softplus(hardest.masked_fill(~found, 0.0)).masked_fill(~found, 0.0).sum(dim=1)
    push = push / found.sum(dim=1).clamp(min=1)  # (15)
    # λ is computed from the batch; detached [D], or pulling positives apart would cheapen the negatives
    factor = temperature * torch.sigmoid(masked_mean(positive, rows)).detach()
    return masked_mean(weight * (pull + factor * push), rows)


def hardest_negative(similarity: Tensor, rows: Tensor, target: str) -> Tensor:
    """r of (18): largest R_ij, (B, B) -> (B,), -inf where there is none.

    (17) and (18) push away *other* clips' specific features, the prose speaks of a clip's own two.
    """
    candidates = pairs(rows)
    if target != "offdiag":
        own = torch.diag(rows)
        candidates = own if target == "diag" else candidates | own
    return similarity.masked_fill(~candidates, -torch.inf).amax(dim=1)


def repulsion_loss(hardest: Tensor, weight: Tensor, margin: float) -> Tensor:
    """L_rep (18): r (B,), ω (B,) with 0 beside the rows -> scalar; 0 where every ω is."""
    return (weight * (hardest - margin).clamp(min=0)).sum() / weight.sum().clamp(min=EPSILON)


# ----------------------------------------------------------------------------- multi-label contrast (3.8)
def related(labels: Tensor) -> Tensor:
    """M of (19) with its diagonal: (N, m, C) labels of N items -> (N, N) bool.

    y_i · y_j > 0 of scores; with classes, where both have one in common (probabilities always overlap).
    """
    if labels.shape[-1] == 1:
        flat = labels.flatten(1)
        return (flat[:, None] * flat).sum(dim=-1) > 0
    kinds = polarity(labels)
    return (kinds[:, None] == kinds).any(dim=-1)


def overlap_weight(labels: Tensor, intersection: str = "fuzzy") -> Tensor:
    """W of (20), no gradient: (N, m, C) -> (N, N), by row.

    The paper intersects real numbers. fuzzy [D]: |y| = Σ |y_c|, |y ∩ y'| = Σ min(|y_c|, |y'_c|) where the
    signs are equal. crisp: sets of (modality, polarity), neutral ones belonging to none.
    """
    labels = labels.detach()
    if intersection == "crisp":
        kinds = polarity(labels)
        classes = labels.shape[-1]
        labels = kinds[..., None] if classes == 1 else F.one_hot(kinds - 1, classes).to(labels)
    flat = labels.flatten(1)  # (N, m C)
    size = flat.abs().sum(dim=-1)[:, None]  # |y_i|
    shared = torch.minimum(flat[:, None].abs(), flat.abs())
    common = shared.masked_fill(flat[:, None].sign() != flat.sign(), 0.0).sum(dim=-1)  # |y_i ∩ y_j|
    return common / (size + EPSILON) / (1 + size - common)  # K_s · K_d


def multilabel_loss(similarity: Tensor, labels: Tensor, rows: Tensor, intersection: str = "fuzzy") -> Tensor:
    """L_ml (21): S (N, N), labels (N, m, C), rows (N,) -> scalar; 0 where no two items are related."""
    others = pairs(rows)
    share = similarity - masked_logsumexp(similarity, others, dim=1)[:, None]
    costs = -overlap_weight(labels, intersection) * share
    return masked_mean(costs.masked_fill(~(others & related(labels)), 0.0).sum(dim=1), rows)
