"""Knowledge refinement of KHaR (3.4): a modality's mixture of experts, and what table 3 puts in its place.

Each gives x̂_m (B, F) of X_m (B, T, D), and the usage of its experts, which only the mixture has. [D] = our
decision: the paper leaves k, the experts' width and the level of the rows open, and of the other three it
gives no more than names. Equation numbers are the paper's.

Shapes: B clips, T steps, D width of X_m, F width of x̂_m, E experts. Masks: True = real. What stands in masked
steps is finite and has no effect; a clip without a real step gives anything finite.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.core.blocks import Linear, full_precision, mean_over_time, together
from models.core.method import attended
from pipeline.core.errors import ParamsError

SMALLEST_NOISE = 1e-2  # standard deviation
ATTENTION_HEADS = 4  # [D]
KERNEL = 3  # [D] steps of the convolution


def squared_cv(values: Tensor) -> Tensor:
    """Squared coefficient of variation, unbiased variance / mean²: (E,) -> scalar; 0 for one value.

    The balance of a mixture's experts, KHaR (6); Shazeer et al., ICLR 2017.
    """
    values = full_precision(values)
    if values.numel() == 1:
        return values.sum() * 0.0
    return values.var() / (values.mean().square() + 1e-10)


def chance_of_choice(clean: Tensor, drawn: Tensor, spread: Tensor, k: int) -> Tensor:
    """P(an expert is among the k if its own noise were drawn anew, the others' as drawn): (..., E) each.

    Φ((clean - the k-th largest of the others) / spread): what a row adds to the smooth load of Shazeer et
    al., appendix A.

    Parameters
    ----------
    clean, drawn : scores without and with the noise, whose standard deviations are `spread`
    """
    if k == drawn.shape[-1]:  # all are chosen
        return torch.ones_like(drawn)
    largest = drawn.topk(k + 1, dim=-1).values
    last, next_one = largest[..., k - 1 : k], largest[..., k:]
    others = torch.where(drawn > next_one, next_one, last)  # the k-th largest without the expert's own
    return torch.special.ndtr((clean - others) / spread)


class SparseGate(nn.Module):
    """Which k of the experts each row goes to, and with which weights: KHaR (4).

    Always in float32 at least: rounded to bfloat16, scores tie, and the choice would follow the index.

    Parameters
    ----------
    noisy : adds N(0, 1) (softplus(x W_n) + 0.01) to the scores in training, as Shazeer et al. do
    smooth : how a row counts for the load: by `chance_of_choice`, which needs the noise, or by a softmax
    """

    def __init__(self, width: int, experts: int, k: int, *, noisy: bool = False, smooth: bool = False):
        super().__init__()
        if not 1 <= k <= experts:
            raise ParamsError(f"each row goes to k = {k} of {experts} experts; k must be 1 to {experts}")
        self.k, self.smooth = k, smooth
        self.score = nn.Linear(width, experts, bias=False)
        nn.init.normal_(self.score.weight, std=1e-2)  # zeros would tie all experts at the start
        self.noise = nn.Linear(width, experts, bias=False) if noisy else None
        if self.noise is not None:
            nn.init.zeros_(self.noise.weight)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(..., D) -> gates (..., E), k of them non-zero with sum 1; and what is added to the load, alike."""
        with torch.autocast(x.device.type, enabled=False):
            x = full_precision(x)
            clean = scores = self.score(x)
            spread = None if self.noise is None else F.softplus(self.noise(x)) + SMALLEST_NOISE
            if spread is not None and self.training:
                scores = clean + torch.randn_like(clean) * spread
            kept, chosen = scores.topk(self.k, dim=-1)
            gates = torch.zeros_like(scores).scatter(-1, chosen, kept.softmax(dim=-1))
            if self.smooth and spread is not None:
                return gates, chance_of_choice(clean, scores, spread, self.k)
            return gates, scores.softmax(dim=-1)


class Usage(NamedTuple):
    """How much a mixture's experts are used by its real rows, (E,) each."""

    importance: Tensor  # sum of the gates (6)
    load: Tensor  # sum of chances or of a softmax: the count that (6) may mean has no gradient [D]
    rows: Tensor  # that count, of the rows whose gate is not 0; for the curves


class Expert(nn.Sequential):
    """E_i: (..., D) -> (..., F), an MLP [P]; without the softmax that some public mixtures end in."""

    def __init__(self, width: int, out_width: int, hidden: int, dropout: float):
        super().__init__(Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), Linear(hidden, out_width))


class Mixture(nn.Module):
    """MoE_m (4), (5).

    Its rows are the real steps, whose outputs are averaged; or with `by_token` False the clips, averaged
    before. The paper's equations fit both; its argument is that pooling first loses what is fine [D].
    """

    def __init__(self, gate: SparseGate, experts: Iterable[Expert], *, by_token: bool):
        super().__init__()
        self.by_token = by_token
        self.gate = gate
        self.experts = nn.ModuleList(experts)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Usage]:
        """X_m (B, T, D), mask (B, T) -> x̂_m (B, F) and the experts' usage."""
        if self.by_token:
            mixed, usage = self.mix(x, mask)
            return mean_over_time(mixed, mask), usage
        return self.mix(mean_over_time(x, mask), mask.any(dim=1))

    def mix(self, rows: Tensor, real: Tensor) -> tuple[Tensor, Usage]:
        """Rows (..., D), real (...) bool -> (..., F) and the usage by the real rows."""
        gates, load = self.gate(rows)  # (4)
        # All experts see all rows: picking theirs would make a GPU wait. A gate of 0 stops the gradient too.
        each = full_precision(together(self.experts, rows.expand(len(self.experts), *rows.shape)))
        mixed = (gates.movedim(-1, 0)[..., None] * each).sum(dim=0)  # (5)
        sums = (
            weights.masked_fill(~real[..., None], 0.0).flatten(0, -2).sum(dim=0)
            for weights in (gates, load, (gates > 0).to(gates))
        )
        return mixed, Usage(*sums)


class ExpertRefinement(nn.Module):
    """MLP_m of table 3: one expert for every step, without a gate, and the mean of the steps [D]."""

    def __init__(self, expert: Expert):
        super().__init__()
        self.expert = expert

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, None]:
        """As `Mixture`, without usage."""
        return mean_over_time(self.expert(x), mask), None


class AttentionRefinement(nn.Module):
    """ATTN_m of table 3: self-attention, the mean of the steps, Linear [D]."""

    def __init__(self, width: int, out_width: int):
        super().__init__()
        if width % ATTENTION_HEADS:
            raise ParamsError(
                f"models.khar.refine is attention, but X_m's width of {width} does not divide into its "
                f"{ATTENTION_HEADS} heads; change models.khar.base.pretraining.width"
            )
        self.attention = nn.MultiheadAttention(width, ATTENTION_HEADS, batch_first=True)
        self.out = nn.Linear(width, out_width)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, None]:
        """As `Mixture`, without usage."""
        mixed, _ = self.attention(x, x, x, key_padding_mask=~attended(mask), need_weights=False)
        return self.out(mean_over_time(mixed, mask)), None


class ConvolutionRefinement(nn.Module):
    """CNN_m of table 3: one convolution over the steps, and their mean [D]."""

    def __init__(self, width: int, out_width: int):
        super().__init__()
        self.convolution = nn.Conv1d(width, out_width, KERNEL, padding=KERNEL // 2)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, None]:
        """As `Mixture`, without usage."""
        x = x.masked_fill(~mask[..., None], 0.0).transpose(1, 2)
        return mean_over_time(self.convolution(x).transpose(1, 2), mask), None
