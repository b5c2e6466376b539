"""Every method that has a tests/tiny_<name>.py, batches that it can read, and the loop's step on them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from made.tiny_batch import fill_masked, random_batch
from torch import Tensor

from models import METHODS
from models.core.batch import Batch
from models.core.method import REGRESSION, Method, Task

NAMES = [name for name in METHODS if (Path(__file__).parent / f"tiny_{name}.py").is_file()]
VOCABULARY = 40  # of the text encoders in tiny_finetuned
FITTED = ("constant", "ridge")  # by `prepare`: their learning rates are 0
# settings of tiny_finetuned, so that utterances before are read too
CONTEXTUAL = {"slad": {"context": 2}, "mmml": {"context": 2}}


def tiny(name: str, task: Task = REGRESSION, **settings: object) -> Method:
    """A small model in training mode, without dropout unless asked."""
    method: Method = importlib.import_module(f"made.tiny_{name}").tiny(task=task, **settings)
    return ready(method)


def tiny_finetuned(name: str, task: Task = REGRESSION, **settings: object) -> Method:
    """The same with a text encoder that learns, and with a context where the method has one."""
    settings = {**CONTEXTUAL.get(name, {}), **settings}
    method: Method = importlib.import_module(f"made.tiny_{name}").tiny_finetuned(task=task, **settings)
    return ready(method)


def ready(method: Method) -> Method:
    """In training mode, with the terms active that have a weight."""
    method.active_terms = frozenset(terms_of(method))
    return method.train()


def terms_of(method: Method) -> list[str]:
    """Terms whose weight is not 0, as training asks for them."""
    return [term for term in method.TERMS if getattr(method.config.weights, term) > 0]


def batch_for(method: Method, clips: int = 4, **options: Any) -> Batch:
    """`random_batch` with what the method reads: tokens, utterances before, classes."""
    options.setdefault("vocabulary", VOCABULARY if method.backbone is not None else None)
    return random_batch(clips, context=method.reading().context > 0, classes=method.task.classes, **options)


def leaving_something(method: Method, absent: set[tuple[int, str]]) -> set[tuple[int, str]]:
    """What is absent, but for clips of which the method would see nothing: it refuses to score these."""
    return {(clip, key) for clip, key in absent if any((clip, own) not in absent for own in method.dims)}


def weights_of(method: Method) -> dict[str, np.ndarray]:
    """Parameters by name, as NumPy has them."""
    return {name: value.detach().numpy() for name, value in method.named_parameters()}


def weighted(method: Method, losses: dict[str, Tensor]) -> Tensor:
    """The objective: the terms by their weights, added up."""
    return torch.stack([getattr(method.config.weights, term) * value for term, value in losses.items()]).sum()


def check_absent_is_unread(make: Callable[[], Method], batch: Batch, value: float) -> None:
    """`value` in everything absent and masked changes no bit of prediction, losses and gradients.

    Parameters
    ----------
    make : gives the same method each time
    """
    results = []
    for version in (batch, fill_masked(batch, value)):
        method = make()
        method.zero_grad()
        torch.manual_seed(1)  # of the noise
        output = method(version)
        losses = method.losses(version, output, method.TERMS)
        weighted(method, losses).backward()
        gradients = [p.grad.clone() for p in method.parameters() if p.grad is not None]
        assert all(gradient.isfinite().all() for gradient in gradients)
        results.append([output.prediction, *losses.values(), *gradients])
    for before, after in zip(*results, strict=True):
        assert torch.equal(before, after)


def losses_of(method: Method, batch: Batch) -> dict[str, Tensor]:
    """The asked terms, and what the estimators minimise as `estimators`."""
    output = method(batch)
    losses = method.losses(batch, output, terms_of(method))
    if method.estimator_steps():
        losses["estimators"] = method.estimator_loss(batch, output)
    return losses


def objective(method: Method, losses: dict[str, Tensor], progress: float = 1.0) -> Tensor:
    """What one update of the model minimises."""
    return torch.stack(
        [
            getattr(method.config.weights, term) * method.schedule(term, progress) * value
            for term, value in losses.items()
            if term != "estimators"
        ]
    ).sum()


def gradients(method: Method, losses: dict[str, Tensor]) -> dict[str, Tensor | None]:
    """Of the objective; of the estimators' loss for their parameters. Those that are frozen are left out."""
    apart = [p for group in method.estimator_groups() for p in group["params"]]
    ids = {id(parameter) for parameter in apart}
    named = {name: p for name, p in method.named_parameters() if p.requires_grad}
    own = {name: p for name, p in named.items() if id(p) not in ids}
    found = torch.autograd.grad(
        objective(method, losses), list(own.values()), allow_unused=True, retain_graph=True
    )
    result: dict[str, Tensor | None] = dict(zip(own, found, strict=True))
    if apart:
        theirs = torch.autograd.grad(losses["estimators"], apart, allow_unused=True)
        names = {id(p): name for name, p in named.items()}
        result |= {names[id(p)]: gradient for p, gradient in zip(apart, theirs, strict=True)}
    return result


class Loop:
    """The training loop's step: estimators first on the same forward pass, then the model."""

    def __init__(self, method: Method, lr: float):
        self.method = method
        groups, apart = method.parameter_groups(), method.estimator_groups()
        for group in groups:
            group["lr"] = lr
        self.optimizer: Any = torch.optim.Adam(groups)
        self.estimators: Any = torch.optim.Adam(apart) if apart else None
        self.model: Any = method

    def step(self, batch: Batch, progress: float = 1.0) -> dict[str, float]:
        """One update; the terms before it, and the first loss of the estimators."""
        method, output = self.method, self.model(batch)
        values: dict[str, float] = {}
        for _ in range(method.estimator_steps()):
            loss = method.estimator_loss(batch, output)
            values.setdefault("estimators", loss.item())
            self.estimators.zero_grad()
            loss.backward()
            self.estimators.step()
        losses = method.losses(batch, output, terms_of(method))
        assert all(value.dtype in (torch.float32, torch.float64) for value in losses.values())
        self.optimizer.zero_grad()
        objective(method, losses, progress).backward()
        torch.nn.utils.clip_grad_norm_([p for g in self.optimizer.param_groups for p in g["params"]], 1.0)
        self.optimizer.step()
        method.remember(batch, output)
        return {term: value.item() for term, value in losses.items()} | values
