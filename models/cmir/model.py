"""CmIR: causal modality-invariant representations.

"Learning Invariant Modality Representation for Robust Multimodal Learning from a Causal Inference
Perspective", ACL 2026, arXiv 2604.18460. There is no code of the authors, and only a digest of the paper was
at hand: it has no equation numbers and no sizes. What it does not say is our decision, beside the line.

    clip ─feature─▶ X_m ─g_m─┬─▶ Z_inv ─┬─ concat over m ─▶ predictor ─▶ ŷ       m ∈ {text, audio, visual}
                     │       └─▶ Z_spu ─┴─ r_m ─▶ X̂_m
                     └─ + α(e) ε ─g_m─▶ Z_inv^(e), e = 1..K "virtual environments", in training alone

    L = L_pred + Σ_m (λ1 R_inv + λ2 R_dec + λ3 R_rec)

X_m stands for the paper's "original features": tokens cannot be perturbed, and after the encoders all
modalities are alike.

Shapes: B clips, T steps, x = d_x, z = d_z, C classes, K environments, E views of a clip. A clip without a
modality keeps its rows in every shape; the predictor sees zeros there, and the terms leave them out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.cmir.features import SequenceFeature, TextFeature
from models.cmir.settings import CmIRSettings
from models.core.batch import Batch, Sequences
from models.core.blocks import full_precision, length_shares, masked_mean, row_similarity
from models.core.method import Method, Output
from models.core.noise import batch_deviations, corrupt, noisy_embeddings, standard_deviation


@dataclass
class CmIROutput(Output):
    """ŷ (B,), from the invariant halves alone, and representations by modality."""

    present: dict[str, Tensor]  # (B,) bool, the clip has the modality
    features: dict[str, Tensor]  # (B, x) X_m
    invariant: dict[str, Tensor]  # (B, z) Z_inv
    spurious: dict[str, Tensor]  # (B, z) Z_spu
    views: dict[str, Tensor]  # (E, B, z) Z_inv in the environments; empty where not needed
    noisy_predictions: Tensor | None  # (E, B) or (E, B, C) ŷ of the noisy ones; None where not needed
    reconstruction: dict[str, Tensor]  # (B, x) X̂_m; empty where not needed


def perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """The paper's "simple MLP". No dropout: views of a clip must differ by their noise alone."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def invariance_penalty(views: Tensor, present: Tensor, reduction: str) -> Tensor:
    """R_inv of one modality: (E, B, z), present (B,) -> scalar, over ordered pairs of views.

    `sum`: the paper's Σ_{e1≠e2} ‖Z^(e1) − Z^(e2)‖₁ of a clip, as a mean over clips. `mean`: over pairs and
    widths too, which is a share 1 / (E (E − 1) z) of it.
    """
    gaps = (views[:, None] - views[None]).abs().sum(dim=(0, 1))  # (B, z)
    if reduction == "sum":
        return masked_mean(gaps.sum(dim=-1), present)
    number = len(views)
    return masked_mean(gaps, present) / (number * (number - 1))


def decorrelation_penalty(
    invariant: Tensor, spurious: Tensor, present: Tensor, alpha_off: float, reduction: str
) -> Tensor:
    """R_dec of one modality: (B, z), (B, z), present (B,) -> scalar.

    C are the cosines of all invariant with all spurious halves, (B, B), a row a clip. The paper's weighted
    Frobenius norm is read as weights of the squares.
    `sum`: the squared norm, Σ_i C_ii² + α_off Σ_{i≠j} C_ij². `mean`: of a clip's row, a share 1 / B of it.
    """
    squares = row_similarity(invariant, spurious).square()  # (B, B)
    known = present[:, None] & present
    weighted = torch.full_like(squares, alpha_off).fill_diagonal_(1.0) * squares
    total = weighted.masked_fill(~known, 0.0).sum()
    return total if reduction == "sum" else total / present.sum().clamp(min=1)


def reconstruction_penalty(x: Tensor, rebuilt: Tensor, present: Tensor, reduction: str) -> Tensor:
    """R_rec of one modality: X_m and X̂_m (B, x), present (B,) -> scalar, without a gradient to X_m.

    `sum`: the paper's ‖X_m − X̂_m‖₂² of a clip, as a mean over clips. `mean`: over widths too, which is a
    share 1 / x of it. X_m is detached: a constant X_m would be a free minimum.
    """
    squares = (x.detach() - rebuilt).square()
    return masked_mean(squares.sum(dim=-1) if reduction == "sum" else squares, present)


class CmIR(Method):
    """The model and its losses; see the module's text."""

    TERMS = ("prediction", "invariance", "decorrelation", "reconstruction")
    NEEDS = ("text", "audio", "visual")
    Config = CmIRSettings
    config: CmIRSettings

    def build(self, backbones: dict[str, nn.Module]) -> None:
        config, names = self.config, tuple(self.dims)
        x, z = config.d_x, config.d_z
        self.feature = nn.ModuleDict(
            {m: (TextFeature if m == "text" else SequenceFeature)(self.dims[m], config) for m in names}
        )
        self.encoder = nn.ModuleDict({m: perceptron(x, config.hidden, 2 * z) for m in names})  # g_m
        rebuilt = names if config.weights.reconstruction > 0 else ()
        self.decoder = nn.ModuleDict({m: perceptron(2 * z, config.hidden, x) for m in rebuilt})  # r_m
        self.predictor = nn.Sequential(
            nn.Linear(len(names) * z, config.predictor_width),
            nn.ReLU(),
            nn.Dropout(config.predictor_dropout),
            nn.Linear(config.predictor_width, self.task.outputs),
        )

    def forward(self, batch: Batch) -> CmIROutput:
        """ŷ and the representations; noisy views and reconstruction in training, for active terms alone."""
        inputs = self.corrupted_inputs(batch)
        present = {m: source.present for m, source in inputs.items()}
        features = {m: self.embed(m, source) for m, source in inputs.items()}  # X_m
        invariant, spurious = {}, {}
        for m, x in features.items():
            invariant[m], spurious[m] = self.halves(m, x)
        prediction = self.predict(invariant, present)
        views, reconstruction, noisy_predictions = {}, {}, None
        from_all = self.config.predict_views == "all" and "prediction" in self.active_terms
        if self.training and (from_all or "invariance" in self.active_terms):
            views = {m: self.views(m, inputs[m], features[m], invariant[m]) for m in inputs}
        if views and from_all:
            noisy = {m: x[1:] if self.has_clean_view else x for m, x in views.items()}
            noisy_predictions = torch.stack(
                [
                    self.predict(dict(zip(noisy, halves, strict=True)), present)
                    for halves in zip(*noisy.values(), strict=True)
                ]
            )
        if self.training and "reconstruction" in self.active_terms:
            for m, decoder in self.decoder.items():
                reconstruction[m] = full_precision(decoder(torch.cat([invariant[m], spurious[m]], dim=-1)))
        return CmIROutput(
            prediction, present, features, invariant, spurious, views, noisy_predictions, reconstruction
        )

    def corrupted_inputs(self, batch: Batch) -> dict[str, Sequences]:
        """`inputs`, in training with `train_noise`. σ is the batch's, in place of the train split's; hit
        tokens of fine-tuned text have a noisy embedding, or none.
        """
        kind, rate = self.config.train_noise, self.config.train_noise_rate
        if not self.training or kind == "none":
            return self.inputs(batch)
        std = batch_deviations(batch, self.backbone)
        with noisy_embeddings(self.backbone, kind, rate, std.get("tokens")):
            return self.inputs(corrupt(batch, kind, rate, std))

    def embed(self, name: str, source: Sequences) -> Tensor:
        """X_m of a modality, (B, x) in float32 at least.

        Layer-normalised, so that the noise has a unit, and without a learned scale: the model could make
        the noise meaningless by growing it.
        """
        x = full_precision(self.feature[name](source.values, source.mask))
        return F.layer_norm(x, x.shape[-1:])

    def halves(self, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
        """g_m: X_m (..., x) -> Z_inv, Z_spu, (..., z) each, in float32 at least."""
        invariant, spurious = full_precision(self.encoder[name](x)).chunk(2, dim=-1)
        if self.config.z_norm == "layernorm":  # without scale and shift
            return F.layer_norm(invariant, invariant.shape[-1:]), F.layer_norm(spurious, spurious.shape[-1:])
        return invariant, spurious

    def predict(self, invariant: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """Z_inv of all modalities -> ŷ, (B,) or (B, C)."""
        known = [half.masked_fill(~present[m][:, None], 0.0) for m, half in invariant.items()]
        return self.task.predict(self.predictor, torch.cat(known, dim=-1))

    @property
    def has_clean_view(self) -> bool:
        """Whether the first of the views is the clean one."""
        return self.config.env_mode == "assigned" or self.config.include_clean

    def views(self, name: str, source: Sequences, x: Tensor, invariant: Tensor) -> Tensor:
        """Z_inv of a modality in the environments that are compared, (E, B, z).

        One environment after the other, in the shape of the clean X_m: in one product of all of them equal
        rows may differ in their last bits, and so would views without noise.
        """
        if self.config.noise_site == "frame" and name != "text":
            frames = self.noisy(source.values)
            copies = [self.embed(name, replace(source, values=values)) for values in frames]
        else:
            copies = self.noisy(x)
        views = [self.halves(name, copy)[0] for copy in copies]
        if self.has_clean_view:
            views.insert(0, invariant)
        return torch.stack(views)

    def noisy(self, values: Tensor) -> list[Tensor]:
        """x + α(e) ε with α(e) = α(1) e, in the shape of x: for e = 1..K, or one random e for each clip."""
        alpha, number = self.config.alpha, self.config.environments
        if self.config.env_mode == "all":
            return [values + alpha * e * torch.randn_like(values) for e in range(1, number + 1)]
        shape = (len(values), *[1] * (values.dim() - 1))
        e = torch.randint(1, number + 1, shape, device=values.device).to(values.dtype)
        return [values + alpha * e * torch.randn_like(values)]

    def losses(self, batch: Batch, output: CmIROutput, terms: Collection[str]) -> dict[str, Tensor]:
        """The asked terms, unweighted; the constraints are summed over the modalities."""
        config, present, zero = self.config, output.present, output.prediction.new_zeros(())
        losses: dict[str, Tensor] = {}
        if "prediction" in terms:  # L_pred: of the clean features, or a mean over the noisy copies too
            noisy = () if output.noisy_predictions is None else output.noisy_predictions
            errors = [
                self.task.loss(y, batch.label, among=batch.labeled) for y in (output.prediction, *noisy)
            ]
            losses["prediction"] = torch.stack(errors).mean()
        if "invariance" in terms:  # R_inv: gradient through all views
            if not output.views:
                raise ValueError("invariance needs a forward in training mode with the term active")
            parts = (invariance_penalty(x, present[m], config.inv_reduction) for m, x in output.views.items())
            losses["invariance"] = sum(parts, start=zero)
        if "decorrelation" in terms:  # R_dec
            halves = ((output.invariant[m], output.spurious[m], present[m]) for m in self.dims)
            parts = (decorrelation_penalty(*each, config.alpha_off, config.dec_reduction) for each in halves)
            losses["decorrelation"] = sum(parts, start=zero)
        if "reconstruction" in terms:  # R_rec
            if not output.reconstruction:
                raise ValueError("reconstruction needs its decoders, and training mode with the term active")
            parts = (
                reconstruction_penalty(output.features[m], rebuilt, present[m], config.rec_reduction)
                for m, rebuilt in output.reconstruction.items()
            )
            losses["reconstruction"] = sum(parts, start=zero)
        return losses

    @torch.no_grad()
    def diagnostics(self, batch: Batch, output: CmIROutput) -> dict[str, Tensor]:
        """Spread of Z_inv over the clips, a mean over its widths; and R_inv as a mean over this spread.

        R_inv is small where Z_inv keeps still, which is wanted, and where it is small itself, which is not.
        Without a spread the second is 0.
        """
        curves: dict[str, Tensor] = {}
        for m, invariant in output.invariant.items():
            curves[f"std/{m}"] = std = standard_deviation(invariant, output.present[m]).mean()
            if output.views:
                gap = invariance_penalty(output.views[m], output.present[m], "mean")
                curves[f"gap_over_std/{m}"] = torch.where(std > 0, gap / std.clamp(min=1e-12), 0.0)
        return curves

    def internals(self, batch: Batch, output: CmIROutput) -> dict[str, dict[str, float]]:
        """`invariant`: share of Z_inv in the squared length of both halves; ŷ reads Z_inv alone."""
        shares = {
            m: length_shares({"invariant": half, "spurious": output.spurious[m]})["invariant"]
            for m, half in output.invariant.items()
        }
        return {"invariant": shares}
