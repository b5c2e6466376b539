"""SLaD: sub-modal label-aware disentanglement of text and audio.

Wang and Liu, "SLaD: Sub-modal Label-aware Disentanglement for Multimodal Sentiment Analysis", submitted to
ICLR 2026. No code of the authors is available. Equation numbers are the paper's; where the paper is silent,
the choice stands beside the line. Here is 3.1 to 3.5 and the objective; how text and sound are read is in
core/speech.py, what the labels y^m steer (3.6 to 3.8) in submodal.py. In the paper's order:

    text, audio ─encoders─▶ X^m ─alignment─▶ X'^m ─┬─▶ head ─▶ y^m (1, 2)              m ∈ {text, audio}
                                                   ├─▶ I^m (shared), S^m (its own)
                                                   └─ fuse(I^t, I^a), fuse(X'^t, X'^a) ─▶ 4 summaries ─▶ ŷ

Shapes: B clips, T steps, l bins of the sound (`aligned_steps`), d width, C entries of a sub-modal label (see
submodal.py). A clip without text or sound has a learnt vector as the only step of that stream, and is no row
or column of the similarities: `rows`, (B,) bool, leaves it out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from models.core.batch import Batch, Inputs, Sequences
from models.core.blocks import masked_mean, mean_over_time, row_similarity
from models.core.crossmodal import CrossModalEncoder
from models.core.method import Output
from models.core.speech import SpeechMethod
from models.slad.settings import SLaDSettings
from models.slad.submodal import (
    annotated_labels,
    contrastive_loss,
    hardest_negative,
    label_similarity,
    multilabel_loss,
    predicted_labels,
    relations,
    repulsion_loss,
)

LABEL_AWARE = ("contrastive", "repulsion", "multilabel")  # terms that sub-modal labels steer


@dataclass
class SLaDOutput(Output):
    """ŷ (B,), or (B, C), and pooled representations by modality; empty where not needed."""

    present: dict[str, Tensor]  # (B,) bool, the clip has the modality
    unimodal: dict[str, Tensor]  # (B,) y^m as the head gives it, or (B, C)
    invariant: dict[str, Tensor]  # (B, d) mean of I^m over time
    specific: dict[str, Tensor]  # (B, d) mean of S^m over time
    aligned: dict[str, Tensor]  # (B, d) mean of X'^m over time
    fused: Tensor  # (B, slots d) X^f, all summaries: what the classifier reads


class SLaD(SpeechMethod):
    """The model and its losses; see the module's text."""

    TERMS = ("prediction", "unimodal", *LABEL_AWARE)
    NEEDS = ("text", "audio")
    Config = SLaDSettings
    config: SLaDSettings

    def build(self, backbones: dict[str, nn.Module]) -> None:
        config = self.config
        super().build(backbones)
        width, dropout = config.width, config.dropout

        def each(*layers: Callable[[], nn.Module]) -> nn.ModuleDict:
            return nn.ModuleDict({m: nn.Sequential(*(layer() for layer in layers)) for m in self.NEEDS})

        linear, norm = partial(nn.Linear, width, width), partial(nn.LayerNorm, width)
        score = partial(nn.Linear, width, self.task.outputs)
        self.head = each(linear, nn.GELU, partial(nn.Dropout, dropout), score)
        self.invariant = each(linear, nn.GELU, norm)
        self.specific = each(linear, nn.GELU, norm)
        fusion = partial(CrossModalEncoder, width, config.fusion_layers, config.heads, config.feedforward)
        self.invariant_fusion, self.aligned_fusion = fusion(dropout), fusion(dropout)
        slots = 4 + (4 if config.context else 0) + (2 if config.use_specific_in_fusion else 0)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(slots * width, width), nn.ReLU(), score()
        )

    def schedule(self, term: str, progress: float) -> float:
        """A ramp over the first epoch [D] for what predicted labels steer: near 0 their signs are chance."""
        ramped = term in LABEL_AWARE and self.config.label_source == "pred"
        return min(1.0, progress * self.config.training.epochs) if ramped else 1.0

    def aligned(self, batch: Inputs) -> dict[str, Sequences]:
        """X'^m, (B, T, d) of text and (B, l, d) of audio, at least one step of each clip being real.

        The paper aligns both to one l and does not say how. [D] Text is left as it is, the sound is pooled
        into a fixed number of bins: were they as many as the batch's longest text, a clip's result would
        depend on its neighbours, and no layer needs streams of one length.
        """
        inputs = self.inputs(batch)
        audio = inputs["audio"]
        pooled = pooled_into_bins(audio.values, audio.mask, self.config.aligned_steps)
        everywhere = audio.present[:, None].expand(pooled.shape[:2])
        return self.streams(inputs | {"audio": Sequences(pooled, everywhere, audio.present)})

    def summaries(self, aligned: dict[str, Sequences], invariant: dict[str, Tensor]) -> list[Tensor]:
        """Four of (B, d): of I^t and I^a (3, 4), of X'^t and X'^a (5, 6)."""
        text, audio = (aligned[name] for name in self.NEEDS)
        of_invariant = self.invariant_fusion(invariant["text"], invariant["audio"], text.mask, audio.mask)
        return [*of_invariant, *self.aligned_fusion(text.values, audio.values, text.mask, audio.mask)]

    def forward(self, batch: Batch) -> SLaDOutput:
        """ŷ; in training also what the active terms need.

        Raises
        ------
        MsaError : the batch has no context, which the model reads; see also `Method.inputs`
        """
        aligned = self.aligned(batch)
        invariant = {m: self.invariant[m](x.values) for m, x in aligned.items()}  # (B, T, d)
        summaries = self.summaries(aligned, invariant)
        if self.config.context:
            before = self.aligned(self.context_of(batch))  # which enters ŷ alone, no loss
            summaries += self.summaries(before, {m: self.invariant[m](x.values) for m, x in before.items()})
        asked = self.active_terms if self.training else frozenset()
        own: dict[str, Tensor] = {}
        if "repulsion" in asked or self.config.use_specific_in_fusion:
            own = {m: mean_over_time(self.specific[m](x.values), x.mask) for m, x in aligned.items()}
        if self.config.use_specific_in_fusion:
            summaries += own.values()
        fused = torch.cat(summaries, dim=-1)
        prediction = self.task.predict(self.classifier, fused)
        present = {m: x.present for m, x in aligned.items()}
        if asked <= {"prediction"}:
            return SLaDOutput(prediction, present, {}, {}, own, {}, fused)
        pooled = {m: mean_over_time(x.values, x.mask) for m, x in aligned.items()}
        unimodal = {m: self.task.predict(self.head[m], x) for m, x in pooled.items()}  # (1), (2)
        shared = {m: mean_over_time(invariant[m], x.mask) for m, x in aligned.items()}
        return SLaDOutput(prediction, present, unimodal, shared, own, pooled, fused)

    def submodal_labels(self, batch: Batch, output: SLaDOutput) -> tuple[Tensor, Tensor]:
        """y^m (2, B, C), text first, no gradient: just predicted by the heads, or annotated; and rows."""
        rows = output.present["text"] & output.present["audio"]
        if self.config.label_source == "pred":
            predicted = torch.stack([output.unimodal[m] for m in self.NEEDS])  # (2, B), or (2, B, C)
            return predicted_labels(predicted, self.task, self.config.label_scale), rows
        gold = torch.stack([self.target(batch, m) for m in self.NEEDS])  # (2, B)
        labels = annotated_labels(gold.nan_to_num(0.0), self.task, self.config.label_scale)
        return labels, rows & gold.isfinite().all(dim=0)

    def weight(self, labels: Tensor, rows: Tensor) -> Tensor:
        """ω (12), (B,), 0 beside the rows."""
        if not self.config.label_aware:
            return rows.to(labels)
        return label_similarity(labels[0], labels[1], self.config.bandwidth).masked_fill(~rows, 0.0)

    def similarity(self, features: dict[str, Tensor]) -> Tensor:
        """S (13) or R (17), (B, B): text by row, audio by column."""
        return row_similarity(features["text"], features["audio"], self.config.temperature)

    def losses(self, batch: Batch, output: SLaDOutput, terms: Collection[str]) -> dict[str, Tensor]:
        """The asked terms of (22), unweighted."""
        needed = {"repulsion": output.specific}
        for term in terms:
            if term != "prediction" and not (output.unimodal and needed.get(term, output.invariant)):
                raise ValueError(f"{term} needs a forward in training mode with the term active")
        config = self.config
        losses: dict[str, Tensor] = {}
        if "prediction" in terms:  # L_cls of ŷ
            losses["prediction"] = self.task.loss(output.prediction, batch.label, batch.labeled)
        if "unimodal" in terms:  # L_cls of both y^m
            known = {m: batch.labeled & output.present[m] for m in self.NEEDS}
            parts = [self.task.loss(y, self.target(batch, m), known[m]) for m, y in output.unimodal.items()]
            losses["unimodal"] = torch.stack(parts).sum()
        if not set(terms) & set(LABEL_AWARE):
            return losses
        labels, rows = self.submodal_labels(batch, output)
        weight = self.weight(labels, rows)
        shared = self.similarity(output.invariant)
        if "contrastive" in terms:
            sides = [shared, shared.T] if config.symmetric else [shared]
            parts = [contrastive_loss(s, weight, rows, config.top_k, config.temperature) for s in sides]
            losses["contrastive"] = torch.stack(parts).mean()
        if "repulsion" in terms:
            hardest = hardest_negative(self.similarity(output.specific), rows, config.rep_target)
            losses["repulsion"] = repulsion_loss(hardest, weight, config.margin)
        if "multilabel" in terms:
            sets = labels.transpose(0, 1)  # (B, 2, C)
            if config.ml_items == "2B":  # text and audio apart, each with a cosine to all
                items = torch.cat([output.invariant[m] for m in self.NEEDS])
                shared = row_similarity(items, items, config.temperature)
                sets, rows = labels.flatten(0, 1)[:, None], rows.repeat(2)  # (2B, 1, C)
            losses["multilabel"] = multilabel_loss(shared, sets, rows, config.intersection)
        return losses

    @torch.no_grad()
    def diagnostics(self, batch: Batch, output: SLaDOutput) -> dict[str, Tensor]:
        """Mean ω, how often each relation holds, and how often L_rep has nothing left to push."""
        if not output.unimodal:
            return {}
        labels, rows = self.submodal_labels(batch, output)
        first, second = relations(labels[0], labels[1])
        shares = {"R1": first, "R2": second, "R3": ~(first | second)}
        curves = {f"relation/{name}": masked_mean(state.float(), rows) for name, state in shares.items()}
        curves["omega"] = masked_mean(self.weight(labels, rows), rows)
        if output.specific:
            hardest = hardest_negative(self.similarity(output.specific), rows, self.config.rep_target)
            curves["within_margin"] = masked_mean((hardest <= self.config.margin).float(), rows)
        return curves


def pooled_into_bins(values: Tensor, mask: Tensor, bins: int) -> Tensor:
    """Adaptive average pooling of the n real frames of each clip: (B, T, D), mask (B, T) -> (B, bins, D).

    Bin b is the mean of the frames ⌊b n / bins⌋ to ⌈(b + 1) n / bins⌉ - 1, so that bins share frames where
    there are fewer than bins, and none is empty. A clip without a frame gives zeros.
    """
    number = mask.sum(dim=1)[:, None, None]  # n, (B, 1, 1)
    place = mask.cumsum(dim=1)[:, None] - 1  # of a frame among the real ones, (B, 1, T)
    edge = torch.arange(bins + 1, device=mask.device)[:, None]  # (bins + 1, 1)
    first = edge[:-1] * number // bins  # (B, bins, 1)
    beyond = -(-edge[1:] * number // bins)
    member = mask[:, None] & (place >= first) & (place < beyond)  # (B, bins, T)
    return member.to(values) @ values / (beyond - first).clamp(min=1)
