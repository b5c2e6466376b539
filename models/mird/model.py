"""MIRD: representations disentangled by minimising their mutual information.

Qian et al., "Mutual Information-based Representations Disentanglement for Unaligned Multimodal Language
Sequences". Equation numbers are the paper's; the authors' code was read, and where it differs from the paper
stands beside the lines. In the paper's order, m ∈ {text, audio, visual}:

    X^m ─LSTM─▶ z^m (private)              X^text, X^audio, X^visual ─WSA-BERT─▶ z^S (shared)
    [z^S; z^text; z^audio; z^visual] ─▶ regressor ─▶ ŷ              [z^S; z^m] ─LSTM─▶ X̂^m, in training alone

Before each update of the model the estimators of (12) take T' steps on (22). Clips without a label join all
terms but the first.

The shared encoder (3.3) is in shared.py; private encoders and decoders (3.2, 3.4) and the estimators of
mutual information (3.5) are in disentangle.py.

Shapes: B clips, T steps, d width of a representation, P pairs. A clip without a modality keeps its rows in
every shape: its z^m is 0, and terms leave it out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.core.batch import Batch, Reading, Sequences, Tokens
from models.core.blocks import full_precision, length_shares, mean_over_time
from models.core.method import Method, Output
from models.mird.disentangle import (
    Clubs,
    Decoder,
    PrivateEncoder,
    Reconstruction,
    log_mean,
    orthogonality,
    standardized,
)
from models.mird.settings import MIRDSettings
from models.mird.shared import SharedEncoder
from pipeline.core.errors import ParamsError


@dataclass
class MIRDOutput(Output):
    """ŷ (B,) and representations by modality."""

    present: dict[str, Tensor]  # (B,) bool; True for "shared"
    z: dict[str, Tensor]  # (B, d) z^m, 0 where absent, and z^S as "shared"
    pooled: dict[str, Tensor]  # (B, D) X^m as the estimators see it, no gradient; empty where not needed
    reconstruction: dict[str, Reconstruction]  # empty where not needed


class MIRD(Method):
    """The model and its losses; see the module's text."""

    TERMS = ("prediction", "reconstruction", "information", "orthogonality")
    NEEDS = ("text", "audio", "visual")
    Config = MIRDSettings
    config: MIRDSettings

    def build(self, backbones: dict[str, nn.Module]) -> None:
        config = self.config
        if "text" not in self.dims:
            raise ParamsError(
                "MIRD needs text, whose words carry its shared representation; name a text folder under "
                "`assemble`, or set models.mird.base.text to finetune in params.yaml"
            )
        tokenizer = self.tokenizer if self.backbone is not None else None
        no_words = tokenizer.encode([""], config.max_tokens)[0].tolist() if tokenizer else []
        self.shared = SharedEncoder(config, self.dims, self.backbone, no_words)

        # 3.2 and 3.4: widths of a private encoder's input and of a decoder's output
        d, private = config.width, tuple(self.dims) if config.private else ()
        encoded, decoded = dict(self.dims), dict(self.dims)
        self.private_backbone: Any = backbones.get("private")
        self.token_table: nn.Embedding | None = None
        if self.backbone is not None:
            encoded["text"], decoded["text"] = config.token_width, self.backbone.config.vocab_size
            if private and self.private_backbone is None:
                self.token_table = nn.Embedding(decoded["text"], encoded["text"])
        self.private = nn.ModuleDict({m: PrivateEncoder(encoded[m], d) for m in private})
        if self.private_backbone is not None:
            self.private["text"] = nn.Sequential(
                nn.Dropout(config.pool_dropout), nn.Linear(self.dims["text"], d)
            )
        reconstructed = private if config.weights.reconstruction > 0 else ()
        self.decoder = nn.ModuleDict({m: Decoder(2 * d, decoded[m]) for m in reconstructed})

        # 3.5: θ_var has (first, second) for q(second | first); the code turns all but (text, audio)
        names = [m for m in ("visual", "text", "audio") if m in private]
        with_shared = [(m, "shared") for m in names]
        self.latent_pairs = [*combinations(names, 2), *with_shared]
        self.input_pairs = with_shared if config.mi_pairs == "nine" else []  # the first stands for X^m
        widths = [d] * len(self.latent_pairs) + [self.dims[m] for m, _ in self.input_pairs]
        wanted = bool(private) and config.weights.information > 0
        self.estimators = Clubs(widths, d, config.estimator_hidden) if wanted else None

        self.regressor = nn.Sequential(  # f_reg of (17)
            nn.Linear((1 + len(private)) * d, config.regressor_width),
            nn.ReLU(),
            nn.Dropout(config.regressor_dropout),
            nn.Linear(config.regressor_width, self.task.outputs),
        )

    def reading(self) -> Reading:
        return replace(super().reading(), unlabeled=self.config.unlabeled_ratio)

    def forward(self, batch: Batch) -> MIRDOutput:
        """ŷ and the representations; in training also what active terms ask for beside these."""
        sources = self.sources(batch)
        text = sources["text"]
        others = {m: x for m, x in sources.items() if m != "text" and isinstance(x, Sequences)}
        shared, words = self.shared(text, others, self.backbone)
        present = {m: source.present for m, source in sources.items()}
        present["shared"] = torch.ones_like(text.present)
        z = {"shared": full_precision(shared)}  # (7)
        for m in self.private:  # (1)
            z[m] = full_precision(self.encode(m, sources[m])).masked_fill(~present[m][:, None], 0.0)
        prediction = self.task.predict(self.regressor, torch.cat(list(z.values()), dim=-1))  # (16), (17)
        inputs: dict[str, Tensor] = {}
        reconstruction: dict[str, Reconstruction] = {}
        if self.training and self.estimator_steps() > 0:
            sequences = {"text": words, **others}
            for m, _ in self.input_pairs:
                inputs[m] = mean_over_time(sequences[m].values, sequences[m].mask).detach()
        if self.training and "reconstruction" in self.active_terms:
            for m in self.decoder:  # (8)
                reconstruction[m] = self.reconstruct(m, sources[m], torch.cat([z["shared"], z[m]], dim=-1))
        return MIRDOutput(prediction, present, z, inputs, reconstruction)

    def encode(self, name: str, source: Sequences | Tokens) -> Tensor:
        """z^m of a modality, (B, d), whatever it may be where the clip has none."""
        encoder = self.private[name]
        if isinstance(source, Sequences):
            return encoder(source.values, source.mask)
        if self.token_table is not None:
            return encoder(self.token_table(source.ids), source.mask)
        reader = self.shared.reader
        assert reader is not None
        ids, mask = reader.token_inputs(source, self.private_backbone)
        rows = reader.rows(self.private_backbone, ids, mask)
        return encoder(reader.pooled(self.private_backbone, rows, mask))

    def reconstruct(self, name: str, source: Sequences | Tokens, start: Tensor) -> Reconstruction:
        """X̂^m beside X^m, over the batch's steps, or `decoder_steps` of them without `recon_mask`."""
        longest: int = getattr(self.config.decoder_steps, name)
        mask, steps = source.mask, source.mask.shape[1]
        extra = (min(longest, steps) if self.config.recon_mask else longest) - steps  # below 0 cuts
        if isinstance(source, Tokens):
            target = F.pad(source.ids, (0, extra), value=self.backbone.config.pad_token_id or 0)
        else:
            target = F.pad(source.values, (0, 0, 0, extra))
        mask = F.pad(mask, (0, extra)) if self.config.recon_mask else source.present[:, None]
        return Reconstruction(self.decoder[name](start, steps + extra), target, mask.expand(target.shape[:2]))

    # -------------------------------------------------------------------------------------- losses (3.6, 3.7)
    def losses(self, batch: Batch, output: MIRDOutput, terms: Collection[str]) -> dict[str, Tensor]:
        """The asked terms of (21), unweighted, and that of (9)."""
        z, present, zero = output.z, output.present, output.prediction.new_zeros(())
        losses: dict[str, Tensor] = {}
        if "prediction" in terms:  # L_reg (18)
            errors = self.task.errors(output.prediction, batch.label)
            errors = errors.square() if self.task.classes == 0 else errors
            losses["prediction"] = log_mean(errors, batch.labeled)
        if "reconstruction" in terms:  # L_recon (19)
            if self.decoder and not output.reconstruction:
                raise ValueError("reconstruction needs a forward in training mode with the term active")
            rows = self.rows(batch, "reconstruction")[:, None]
            parts = (log_mean(x.errors(), x.mask & rows) for x in output.reconstruction.values())
            losses["reconstruction"] = sum(parts, start=zero)
        if "information" in terms:  # L_mim (20); the loop clears the gradient left at the estimators
            losses["information"] = self.bounds(batch, output).sum() if self.estimators is not None else zero
        if "orthogonality" in terms:  # (9) of all pairs that Î has
            rows = self.rows(batch, "information")
            parts = (
                orthogonality(z[a], z[b], present[a] & rows, present[b] & rows) for a, b in self.latent_pairs
            )
            losses["orthogonality"] = sum(parts, start=zero)
        return losses

    def rows(self, batch: Batch, term: str) -> Tensor:
        """Clips that join a term, (B,) bool: those without a label only where `unlabeled_use` has it."""
        joins = self.config.unlabeled_use in ("both", term)
        return torch.ones_like(batch.labeled) if joins else batch.labeled

    # ------------------------------------------------------------------------------------- estimators (3.5)
    def estimator_steps(self) -> int:
        used = self.estimators is not None and "information" in self.active_terms
        return self.config.estimator_steps if used else 0

    def estimator_groups(self) -> list[dict[str, Any]]:
        if self.estimators is None:
            return []
        return [{"params": list(self.estimators.parameters()), "lr": self.config.estimator_lr}]

    def estimator_loss(self, batch: Batch, output: MIRDOutput) -> Tensor:
        """L_lld (22): the negative log-likelihood of all pairs."""
        assert self.estimators is not None
        still = replace(output, z={name: z.detach() for name, z in output.z.items()})
        return self.estimators.nll(*self.paired(batch, still)).sum()

    def bounds(self, batch: Batch, output: MIRDOutput) -> Tensor:
        """Î of each pair, latent ones first, (P,)."""
        assert self.estimators is not None
        return self.estimators.upper_bounds(*self.paired(batch, output))

    def paired(self, batch: Batch, output: MIRDOutput) -> tuple[list[Tensor], Tensor, Tensor]:
        """x of each pair, P of (B, x_width); its y, (P, B, d); and the clips that have both, (P, B)."""
        if self.input_pairs and not output.pooled:
            raise ValueError("information needs a forward in training mode with the term active")
        z, present, rows = output.z, output.present, self.rows(batch, "information")
        if self.config.mi_norm == "batch":
            among = torch.stack([rows & present[name] for name in z])
            z = dict(zip(z, standardized(torch.stack([*z.values()]), among), strict=True))
        pairs = self.latent_pairs + self.input_pairs
        xs = [z[x] for x, _ in self.latent_pairs] + [output.pooled[x] for x, _ in self.input_pairs]
        return (
            xs,
            torch.stack([z[y] for _, y in pairs]),
            torch.stack([rows & present[x] & present[y] for x, y in pairs]),
        )

    @torch.no_grad()
    def diagnostics(self, batch: Batch, output: MIRDOutput) -> dict[str, Tensor]:
        """Standard deviation of each z over the clips, a mean over its widths: without `mi_norm`, one below ½
        puts Î to sleep, as the estimators' variance is bounded. And the mean Î of latent pairs, and of those
        with an X^m.
        """
        curves: dict[str, Tensor] = {}
        for name, z in output.z.items():
            known = output.present[name][:, None]
            count = known.sum().clamp(min=1)
            centred = (z - z.sum(dim=0) / count).masked_fill(~known, 0.0)  # absent ones are 0
            curves[f"std/{name}"] = (centred.square().sum(dim=0) / count).sqrt().mean()
        if self.training and self.estimator_steps() > 0:
            latent, inputs = self.bounds(batch, output).split([len(self.latent_pairs), len(self.input_pairs)])
            curves["bound/latent"] = latent.mean()
            if self.input_pairs:
                curves["bound/inputs"] = inputs.mean()
        return curves

    def internals(self, batch: Batch, output: MIRDOutput) -> dict[str, dict[str, float]]:
        """`length`: share of z^S ("shared") and of each z^m in the squared length of all that ŷ reads."""
        return {"length": length_shares(output.z)}
