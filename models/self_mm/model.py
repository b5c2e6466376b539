"""Self-MM: self-supervised multi-task learning, with generated unimodal labels.

Yu et al., "Learning Modality-Specific Representations with Self-Supervised Multi-Task Learning for Multimodal
Sentiment Analysis", AAAI 2021; the authors' code [C] and MMSA's [R] were read. In the paper's order:

    X^text ─first state─▶ ─┬──────────────▶ F_text ─▶ ŷ_text       s ∈ {text, audio, visual}
    X^s ─LSTM, Linear─▶ ───┼──────────────▶ F_s ─▶ ŷ_s
                           └─all of them──▶ F_fused ─▶ ŷ

ŷ_s learns a label y_s, which begins as y and moves from the second epoch on, by where F_s lies between the
centres of positive and negative clips in comparison with F_fused (memory.py). A clip weighs tanh |y_s − y|:
in the first epoch unimodal losses are 0. MMSA moves labels within the batches that it accumulates, and drops
those that are left over; here every batch is a step.

[D] Of classes no label is generated: ŷ_s learns the clip's class, at full weight.

Shapes: B clips, M modalities of the model, p width of F. A clip without a modality keeps its rows in every
shape: what F_fused reads of it is 0, its ŷ_s has no loss, and its F_s is not kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.core.batch import Batch
from models.core.blocks import full_precision, masked_mean, mean_over_time
from models.core.method import FusedOutput, Method
from models.core.recurrent import SentenceVector
from models.self_mm.memory import FUSED, Memory
from models.self_mm.settings import SelfMMSettings


@dataclass
class SelfMMOutput(FusedOutput):
    """`fused` is F_fused. By modality, empty where no term needs it:"""

    features: dict[str, Tensor]  # (B, p) F_s
    unimodal: dict[str, Tensor]  # ŷ_s, shaped as `prediction`


class SelfMM(Method):
    """The model and its losses; see the module's text."""

    TERMS = ("prediction", "unimodal")
    NEEDS = ("text", "audio", "visual")
    Config = SelfMMSettings
    config: SelfMMSettings

    def build(self, backbones: dict[str, nn.Module]) -> None:
        config = self.config
        self.sequence = nn.ModuleDict(
            {
                m: SentenceVector(
                    self.dims[m], getattr(config.hidden, m), getattr(config.sequence_width, m), dropout=0.0
                )
                for m in self.dims
                if m != "text"
            }
        )
        inputs = {
            m: getattr(config.sequence_width, m) if m in self.sequence else d for m, d in self.dims.items()
        }
        apart = inputs if config.weights.unimodal > 0 else {}
        branches = {FUSED: sum(inputs.values()), **apart}
        widths: dict[str, int] = {name: getattr(config.width, name) for name in branches}
        self.representation = nn.ModuleDict()
        self.head = nn.ModuleDict()
        for name, number in branches.items():
            w, dropout = widths[name], nn.Dropout(getattr(config.dropout, name))
            self.representation[name] = nn.Sequential(dropout, nn.Linear(number, w), nn.ReLU())
            self.head[name] = nn.Sequential(nn.Linear(w, w), nn.ReLU(), nn.Linear(w, self.task.outputs))
        generating = bool(apart) and self.task.classes == 0
        self.memory = Memory(widths) if generating else None

    def prepare(self, train: Iterable[Batch], valid: Iterable[Batch]) -> None:
        """Tell the memory of the training clips, which stand in it by name."""
        if self.memory is None:
            return
        clips = {
            clip_id: label
            for batch in train
            for clip_id, label, labeled in zip(
                batch.clip_ids, batch.label.tolist(), batch.labeled.tolist(), strict=True
            )
            if labeled
        }
        names, like = sorted(clips), self.memory.truth
        label = torch.tensor([clips[name] for name in names], dtype=like.dtype, device=like.device)
        self.memory.open(names, label)

    def forward(self, batch: Batch) -> SelfMMOutput:
        inputs = self.inputs(batch)
        vectors: dict[str, Tensor] = {}
        for m, source in inputs.items():
            if m in self.sequence:
                vector = self.sequence[m](source.values, source.mask)
            elif self.config.text_pooling == "cls":
                vector = source.values[:, 0]
            else:
                vector = mean_over_time(source.values, source.mask)
            vectors[m] = full_precision(vector).masked_fill(~source.present[:, None], 0.0)
        fused = self.represent(FUSED, torch.cat([*vectors.values()], dim=-1))
        wanted = vectors if self.training and "unimodal" in self.active_terms else {}
        features = {m: self.represent(m, vector) for m, vector in wanted.items() if m in self.head}
        return SelfMMOutput(
            prediction=self.task.predict(self.head[FUSED], fused),
            fused=fused,
            present=torch.stack([source.present for source in inputs.values()]),
            features=features,
            unimodal={m: self.task.predict(self.head[m], F) for m, F in features.items()},
        )

    def represent(self, name: str, vector: Tensor) -> Tensor:
        """F, (B, p) in float32 at least."""
        return full_precision(self.representation[name](vector))

    def losses(self, batch: Batch, output: SelfMMOutput, terms: Collection[str]) -> dict[str, Tensor]:
        """The asked terms, unweighted."""
        losses: dict[str, Tensor] = {}
        if "prediction" in terms:
            losses["prediction"] = self.task.loss(output.prediction, batch.label, among=batch.labeled)
        if "unimodal" in terms:  # [C] means over clips, not over their weights
            if not output.unimodal:
                raise ValueError("unimodal needs a forward in training mode with the term active")
            of_each = (output.unimodal.values(), output.present, self.targets(batch))
            parts = []
            for found, there, target in zip(*of_each, strict=True):
                errors = self.task.errors(found, target)
                if self.memory is not None:
                    errors = (target - batch.label).nan_to_num(0.0).abs().tanh() * errors
                parts.append(masked_mean(errors, batch.labeled & there))
            losses["unimodal"] = torch.stack(parts).sum()
        return losses

    def targets(self, batch: Batch) -> Tensor:
        """y_s, (M, B)."""
        if self.memory is None:
            return batch.label.expand(len(self.dims), -1)
        return self.memory.targets(batch.clip_ids, batch.label)

    @torch.no_grad()
    def remember(self, batch: Batch, output: SelfMMOutput) -> None:
        if self.memory is not None and output.features:
            features = {FUSED: output.fused, **output.features}
            self.memory.update(batch.clip_ids, features, output.present, batch.label, self.config.label_scale)

    @torch.no_grad()
    def diagnostics(self, batch: Batch, output: SelfMMOutput) -> dict[str, Tensor]:
        """By modality: the mean |y_s − y|, and the share of clips whose new label would end at a bound.

        Few do; a share that rises says that the representations collapse.
        """
        if self.memory is None or not output.features:
            return {}
        scale, curves = self.config.label_scale, {}
        raw, ready = self.memory.generated({FUSED: output.fused, **output.features}, batch.label, scale)
        shifts = (self.targets(batch) - batch.label).abs()
        for number, m in enumerate(self.dims):
            there = output.present[number] & batch.labeled
            curves[f"shift/{m}"] = masked_mean(shifts[number], there)
            at_bound = (raw[number].abs() >= scale).to(shifts)
            curves[f"bound/{m}"] = masked_mean(at_bound, there & ready[number])
        return curves

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Those of every method, with rates of their own for what is recurrent [R]."""
        training = self.config.training
        rates = {"audio": training.lr_audio, "visual": training.lr_visual}
        owner = {id(p): m for m, net in self.sequence.items() for p in net.parameters()}
        found = []
        for group in super().parameter_groups():
            for m in (None, *self.sequence):
                own = [p for p in group["params"] if owner.get(id(p)) == m]
                changed = {} if m is None else {"name": f"{m}_{group['name']}", "lr": rates[m]}
                if own:
                    found.append({**group, "params": own, **changed})
        return found
