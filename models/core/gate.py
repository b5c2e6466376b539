"""MAG, the multimodal adaptation gate: words shifted by what other modalities say beside them.

Rahman et al., "Integrating Multimodal Information in Large Pretrained Transformers", ACL 2020. Equation
numbers are those of MIRD, which has it with a sigmoid.

Shapes: B clips, T words, W width of a word, d_m of what modality m says beside it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from models.core.blocks import full_precision


class MultimodalAdaptationGate(nn.Module):
    """Words shifted by what other modalities (d_m wide) add to them, (3) to (6)."""

    def __init__(
        self,
        width: int,
        dims: dict[str, int],
        gate: Literal["sigmoid", "relu"] = "sigmoid",
        epsilon: float = 1.0,
        dropout: float = 0.5,
    ):
        super().__init__()
        self.activation = torch.sigmoid if gate == "sigmoid" else torch.relu
        self.epsilon = epsilon
        self.gate = nn.ModuleDict({name: nn.Linear(dim + width, width) for name, dim in dims.items()})
        self.project = nn.ModuleDict({name: zero_linear(dim, width) for name, dim in dims.items()})
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, words: Tensor, parts: dict[str, Tensor]) -> Tensor:
        """LayerNorm and dropout of w + λh; arguments and shape as of `shift`."""
        return self.dropout(self.norm(full_precision(words) + self.shift(words, parts)))

    def parts(self, words: Tensor, beside: dict[str, Tensor], known: dict[str, Tensor]) -> dict[str, Tensor]:
        """g^m ⊙ Linear(x^m) by modality, (B, T, W); g^m = act(Linear([x^m; w])) (3).

        words (B, T, W), beside (B, T, d_m); known (B,) or (B, T), where nothing is known the part is 0.
        """
        words, found = full_precision(words), {}
        for name, project in self.project.items():
            unknown = ~known[name].view(len(words), -1, 1)
            x = full_precision(beside[name]).masked_fill(unknown, 0.0)
            gate = self.activation(self.gate[name](torch.cat([x, words], dim=-1)))
            found[name] = full_precision(gate * project(x)).masked_fill(unknown, 0.0)
        return found

    def shift(self, words: Tensor, parts: dict[str, Tensor]) -> Tensor:
        """λh with h = Σ_m of the parts (4): (B, T, W), (B, T, W) by modality -> (B, T, W)."""
        words = full_precision(words)
        total = sum(parts.values(), start=torch.zeros_like(words))
        return shift_scale(words, total, self.epsilon) * total


def zero_linear(features: int, width: int) -> nn.Linear:
    """A Linear that gives 0 at the start [D]: no word is shifted, for BERT knows its own words alone."""
    linear = nn.Linear(features, width)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def shift_scale(words: Tensor, shift: Tensor, epsilon: float) -> Tensor:
    """λ of (6), min(ε ‖w‖ / (‖h‖ + 1e-6), 1): (..., D), (..., D) -> (..., 1), so that ‖λh‖ ≤ ε ‖w‖."""
    word, length = (x.norm(dim=-1, keepdim=True) for x in (words, shift))
    return (epsilon * word / (length + 1e-6)).clamp(max=1.0).masked_fill(length == 0, 1.0)
