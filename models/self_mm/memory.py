"""What Self-MM keeps of each training clip over the epochs, and the unimodal labels that it makes of it.

Shapes: B clips of a batch, N training clips, M modalities of the model, p width of a representation F.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

FUSED = "fused"  # stands first among the representations
SMALLEST = 1e-8  # [C] of a distance that divides


def relative_distance(positive: Tensor, negative: Tensor) -> Tensor:
    """R of the distances to the two centres: how much nearer the positive one is."""
    return (negative - positive) / (positive + SMALLEST)


def shifted_label(own: Tensor, fused: Tensor, label: Tensor, scale: float) -> Tensor:
    """A modality's label from R of its representation and R of the fused one, within ±scale.

    The mean of two readings: the labels relate as the R do, or they differ as the R do. Where the fused R is
    near 0 the first has no bound, and the label jumps to ±scale.
    """
    ratio = own / (fused + SMALLEST) * label
    return (0.5 * ratio + 0.5 * (label + own - fused)).clamp(-scale, scale)


class Memory(nn.Module):
    """Representations and generated labels by training clip: buffers, so that a saved state has them.

    How many clips there are is told by `open`, or by the state that is loaded: a trained run is opened
    without its training set. Clips that it was not told of have their own label, and are not kept.
    """

    labels: Tensor  # (M, N) y_s
    truth: Tensor  # (N,) y_m
    visits: Tensor  # (N,) steps that the clip has been in: its epoch
    known: Tensor  # (1 + M, N) bool, whether there is a representation: fused, then of the modalities

    def __init__(self, widths: dict[str, int]):
        """Width of each representation by name, the fused one first."""
        super().__init__()
        self.names = tuple(widths)
        self.rows: dict[str, int] = {}
        self.register_buffer("labels", torch.zeros(len(widths) - 1, 0))
        self.register_buffer("truth", torch.zeros(0))
        self.register_buffer("visits", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("known", torch.zeros(len(widths), 0, dtype=torch.bool))
        for name, width in widths.items():
            self.register_buffer(f"features_{name}", torch.zeros(0, width))

    def open(self, clip_ids: Sequence[str], label: Tensor) -> None:
        """Begin with these clips; their unimodal labels are the multimodal ones, (N,)."""
        number = len(clip_ids)
        self.rows = {clip_id: row for row, clip_id in enumerate(clip_ids)}
        self.truth = label.clone()
        self.labels = label.repeat(len(self.names) - 1, 1)
        self.visits = torch.zeros_like(label, dtype=torch.int64)
        self.known = self.visits.new_zeros(len(self.names), number).bool()
        for name in self.names:
            width = self.features(name).shape[1]
            setattr(self, f"features_{name}", label.new_zeros(number, width))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        for name, buffer in list(self.named_buffers()):
            if prefix + name in state_dict:  # with the number of clips that is there
                setattr(self, name, buffer.new_zeros(state_dict[prefix + name].shape))
        super()._load_from_state_dict(state_dict, prefix, *others)

    def features(self, name: str) -> Tensor:
        """(N, p)."""
        found: Tensor = getattr(self, f"features_{name}")
        return found

    def places(self, clip_ids: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Clips of the batch that it knows, by their number in the batch and here."""
        found = [(place, self.rows[one]) for place, one in enumerate(clip_ids) if one in self.rows]
        table = torch.tensor(found, dtype=torch.int64, device=self.truth.device).view(-1, 2)
        return table[:, 0], table[:, 1]

    def targets(self, clip_ids: Sequence[str], label: Tensor) -> Tensor:
        """y_s of each modality, (M, B)."""
        found = label.repeat(len(self.names) - 1, 1)
        at, rows = self.places(clip_ids)
        found[:, at] = self.labels[:, rows].to(found)
        return found

    def relative(self, name: str, values: Tensor) -> tuple[Tensor, Tensor]:
        """R of representations (B, p), (B,), and whether there are both centres, a scalar.

        A centre is the mean over all clips with a positive (negative) label, as they were last seen.
        """
        kept, known = self.features(name), self.known[self.names.index(name)]
        found = []
        for side in (known & (self.truth > 0), known & (self.truth < 0)):
            centre = (kept * side[:, None]).sum(dim=0) / side.sum().clamp(min=1)
            found.append(((values.to(kept) - centre).norm(dim=-1), side.any()))
        (positive, some), (negative, others) = found
        return relative_distance(positive, negative), some & others

    def generated(self, features: dict[str, Tensor], label: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """New labels of each modality, (M, B), and whether its centres are there, (M, 1)."""
        fused, there = self.relative(FUSED, features[FUSED])
        labels, ready = [], []
        for name in self.names[1:]:
            own, both = self.relative(name, features[name])
            labels.append(shifted_label(own, fused, label.to(own), scale))
            ready.append(there & both)
        return torch.stack(labels), torch.stack(ready)[:, None]

    def update(
        self,
        clip_ids: Sequence[str],
        features: dict[str, Tensor],
        present: Tensor,
        label: Tensor,
        scale: float,
    ) -> None:
        """Labels from the centres as they are, from a clip's second visit on; then the representations.

        Features (B, p) by name, present (M, B), label (B,).
        """
        at, rows = self.places(clip_ids)
        features = {name: values[at] for name, values in features.items()}
        present = present[:, at]
        raw, ready = self.generated(features, label[at], scale)
        old = self.labels[:, rows]
        epoch = (self.visits[rows] + 1).to(old)
        moved = (epoch - 1) / (epoch + 1) * old + 2 / (epoch + 1) * raw
        self.labels[:, rows] = torch.where(ready & present & (epoch > 1), moved, old)
        there = torch.cat([torch.ones_like(present[:1]), present])
        for name, one in zip(self.names, there, strict=True):
            kept = self.features(name)
            kept[rows] = torch.where(one[:, None], features[name].to(kept), kept[rows])
        self.known[:, rows] |= there
        self.visits[rows] += 1
