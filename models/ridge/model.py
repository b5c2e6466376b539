"""Ridge: linear regression with an L2 penalty on the pooled features, logistic regression for classes.

    pooled features ─z-score─▶ z      b, w = argmin Σ (y - b - w·z)² + α |w|²      b + w·z ─▶ ŷ

It is of no paper, and what every course teaches first. scikit-learn solves it (Ridge; LogisticRegression with
C = 1/α) on the training clips; α is the one of ALPHAS with the lowest validation loss. Steps change nothing.
A text encoder that others fine-tune stays as it comes here.

Shapes: N clips of a split, P width of all pooled vectors, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.core.batch import Batch
from models.core.method import FusedOutput, MethodSettings
from models.core.pooled import FittedTraining, PooledMethod, PredictionWeight, pooled, pooled_width
from pipeline.core.errors import MsaError

ALPHAS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # [D]
SD_FLOOR = 1e-6  # of a column; below it is rounding
RARE = -10.0  # logit of a class that no training clip has, below those of others


class RidgeSettings(MethodSettings):
    """Settings of ridge, section `models.ridge` of params.yaml."""

    weights: PredictionWeight = PredictionWeight()
    training: FittedTraining = FittedTraining()


class Ridge(PooledMethod):
    """The model and its loss. No step moves it: the learning rates are 0."""

    TERMS = ("prediction",)
    NEEDS = ("text", "audio", "visual")
    Config = RidgeSettings
    config: RidgeSettings
    shift: Tensor
    scale: Tensor
    alpha: Tensor

    def build(self, backbones: dict[str, nn.Module]) -> None:
        width = sum(pooled_width(name, dim) for name, dim in self.dims.items())
        self.score = nn.Linear(width, self.task.outputs)
        self.register_buffer("shift", torch.zeros(width))  # (P,) mean and standard deviation in training
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("alpha", torch.zeros(()))  # the one that was chosen

    def vectors(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """(B, P) pooled vectors, (B, P) whether the clip has the modality of the column, (M, B) presence."""
        sources = self.inputs(batch)
        parts = [pooled(name, source) for name, source in sources.items()]
        present = [source.present for source in sources.values()]
        known = [has[:, None].expand_as(part) for has, part in zip(present, parts, strict=True)]
        return torch.cat(parts, dim=-1), torch.cat(known, dim=-1), torch.stack(present)

    def forward(self, batch: Batch) -> FusedOutput:
        x, known, present = self.vectors(batch)
        z = ((x - self.shift) / self.scale).masked_fill(~known, 0.0)  # absent: the mean of training
        return FusedOutput(self.task.predict(self.score, z), z, present)

    def diagnostics(self, batch: Batch, output: FusedOutput) -> dict[str, Tensor]:
        return {"alpha": self.alpha}

    # ---------------------------------------------------------------------------------------------- the fit
    @torch.no_grad()
    def prepare(self, train: Iterable[Batch], valid: Iterable[Batch]) -> None:
        """z-scores and weights of the training clips, α by the validation clips.

        MsaError where scikit-learn is not there, or all training clips are of one class.
        """
        try:
            from sklearn import linear_model
            from threadpoolctl import threadpool_limits
        except (ImportError, OSError) as error:
            raise MsaError(
                f"ridge needs scikit-learn ({error}); pip install scikit-learn, or train it "
                "where it is installed"
            ) from error
        was = self.training
        self.eval()  # a text encoder has dropout
        x, known, y = self._table(train)
        columns = np.ma.masked_array(x, ~known)
        shift = columns.mean(axis=0).filled(0.0)
        scale = columns.std(axis=0).filled(0.0)
        scale[scale < SD_FLOOR] = 1.0  # a column that never changes
        self.shift.copy_(torch.from_numpy(shift))
        self.scale.copy_(torch.from_numpy(scale))
        z = np.where(known, (x - shift) / scale, 0.0)
        x, known, truth = self._table(valid)
        unseen = np.where(known, (x - shift) / scale, 0.0)
        found = []
        with threadpool_limits(1):  # sums in one order
            for alpha in ALPHAS:
                weight, bias = self._fitted(linear_model, alpha, z, y)
                scores = torch.from_numpy(unseen @ weight.T + bias)
                loss = self.task.loss(self.task.shaped(scores), torch.from_numpy(truth)).item()
                found.append((loss, alpha, weight, bias))
        _, alpha, weight, bias = min(found, key=lambda fit: fit[0])
        self.score.weight.copy_(torch.from_numpy(weight))
        self.score.bias.copy_(torch.from_numpy(bias))
        self.alpha.fill_(alpha)
        self.train(was)

    def _table(self, batches: Iterable[Batch]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(N, P) pooled vectors, (N, P) whether they are known, (N,) labels; float64, labeled clips alone."""
        parts: list[tuple[Any, ...]] = []
        for batch in batches:
            x, known, _ = self.vectors(batch)
            parts.append(tuple(part[batch.labeled].cpu().numpy() for part in (x, known, batch.label)))
        vectors, has, label = (np.concatenate(column) for column in zip(*parts, strict=True))
        return vectors.astype(np.float64), has, label.astype(np.float64)

    def _fitted(
        self, linear_model: Any, alpha: float, z: np.ndarray, y: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(outputs, P) weights and (outputs,) intercepts, which are not penalised."""
        if self.task.classes == 0:
            line = linear_model.Ridge(alpha=alpha).fit(z, y)
            return line.coef_[None], np.atleast_1d(line.intercept_)
        seen = np.unique(y.astype(int))
        if len(seen) < 2:
            raise MsaError(
                f"ridge: all {len(y)} training clips are of class {seen[0]}, so there is nothing to "
                "learn; choose other splits, or remove ridge from models_run"
            )
        fit = linear_model.LogisticRegression(C=1 / alpha, max_iter=1000).fit(z, y)
        if self.task.outputs == 1:
            return fit.coef_, fit.intercept_
        weight, bias = np.zeros((self.task.classes, z.shape[1])), np.full(self.task.classes, RARE)
        if len(seen) == 2:  # scikit-learn has one logit then
            weight[seen[1]], bias[seen[1]], bias[seen[0]] = fit.coef_[0], fit.intercept_[0], 0.0
        else:
            weight[seen], bias[seen] = fit.coef_, fit.intercept_
        return weight, bias
