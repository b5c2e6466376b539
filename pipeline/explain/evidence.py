"""What inside a modality carries a prediction: evidence of each word and of each stretch of sound and
pictures.

*Occlusion* (Zeiler and Fergus, 2014; the default): a window slides over the places of a modality, and what
lies in it is removed, as if it had never been there (evaluation/removal.py). The evidence of a place is the
prediction minus that without it, a mean over the windows that hold it. A window is one word, or two stretches
of time.

*Integrated gradients* (Sundararajan et al., 2017): the path from zeros to the values that the run reads, of
all modalities at once, in PATH steps (midpoints); the evidence of a place is the sum over its steps and their
features of value x mean gradient. Those of all steps add up to the prediction minus that of zeros. Features
are scaled, so that zero is the training clips' mean where a modality is normalised; fine-tuned text is
integrated over the embeddings of its tokens, sound over its samples.

Evidence is in label units, or of classes in probability of the predicted class: > 0 raises it.

Shapes: V variants of a clip, T steps, n places, K numbers a clip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from models.core.batch import Batch, Tokens
from models.core.blocks import changed_output
from models.core.method import Method
from pipeline.core.errors import MsaError
from pipeline.evaluation.removal import keeping, stream_of, take
from pipeline.evaluation.shapley import scores
from pipeline.explain.places import Place

How = Literal["occlusion", "gradients"]
WINDOWS = {"text": 1, "audio": 2, "visual": 2}  # places
BATCH = 64  # variants a pass
PATH = 32


@dataclass(frozen=True)
class ReadClip:
    """One clip as a method reads it, and the number that is explained.

    Attributes
    ----------
    batch : of the clip alone
    column : which of the K numbers: 0 of a regression, else the predicted class
    places : of each modality
    """

    method: Method
    batch: Batch
    baseline: np.ndarray
    column: int
    places: Mapping[str, Sequence[Place]]

    def steps(self, modality: str, chosen: np.ndarray) -> np.ndarray:
        """(V, n) bool of places -> (V, T) of the steps that are in them."""
        found = stream_of(self.batch, modality)
        assert found is not None
        steps = np.zeros((len(chosen), found[1].mask.shape[1]), np.bool_)
        for place, own in zip(self.places[modality], chosen.T, strict=True):
            steps[:, place.first : place.last] |= own[:, None]
        return steps

    def worth(self, removed: Mapping[str, np.ndarray]) -> np.ndarray:
        """(V,) predictions without the places that are removed: modality -> (V, n) bool."""
        count = len(next(iter(removed.values())))
        found = []
        for at in range(0, count, BATCH):
            part = {modality: chosen[at : at + BATCH] for modality, chosen in removed.items()}
            variants = take(self.batch, torch.zeros(min(BATCH, count - at), dtype=torch.int64))
            for modality, chosen in part.items():
                variants = keeping(variants, modality, torch.from_numpy(~self.steps(modality, chosen)))
            found.append(scores(self.method, variants, self.baseline)[:, self.column])
        return np.concatenate(found)


def evidence(clip: ReadClip, how: How = "occlusion") -> dict[str, np.ndarray]:
    """Modality -> (n,) evidence of its places."""
    return gradients(clip) if how == "gradients" else occlusion(clip)


def occlusion(clip: ReadClip) -> dict[str, np.ndarray]:
    """See the module's text."""
    whole = scores(clip.method, clip.batch, clip.baseline)[0, clip.column]
    found = {}
    for modality, places in clip.places.items():
        count, width = len(places), WINDOWS[modality]
        starts = np.arange(1 - width, count)[:, None]
        inside = (np.arange(count) >= starts) & (np.arange(count) < starts + width)  # (windows, n)
        lost = whole - clip.worth({modality: inside})
        found[modality] = (inside * lost[:, None]).sum(axis=0) / inside.sum(axis=0)
    return found


def gradients(clip: ReadClip) -> dict[str, np.ndarray]:
    """See the module's text; MsaError where words before the clip would take part in the path."""
    method, batch = clip.method, clip.batch
    if batch.tokens is not None and batch.context is not None and batch.context.tokens is not None:
        raise MsaError(
            "--gradients: the run's fine-tuned text encoder also reads the utterances before the clip, "
            "whose words would be on the same path; use occlusion"
        )
    share = (torch.arange(PATH, device=batch.labeled.device) + 0.5) / PATH
    path = take(batch, torch.zeros(PATH, dtype=torch.int64))
    moving: dict[str, Tensor] = {}
    changed: dict[str, Any] = {}
    for modality in clip.places:
        found = stream_of(path, modality)
        assert found is not None
        name, part = found
        if not isinstance(part, Tokens):
            scale = share.view(-1, *(1,) * (part.values.dim() - 1))
            moving[modality] = (part.values * scale).requires_grad_()
            changed[name] = replace(part, values=moving[modality])

    def embedded(words: Tensor) -> Tensor:
        if "text" not in moving:  # looked up once: there is no context
            moving["text"] = (words.detach() * share[:, None, None]).requires_grad_()
        return moving["text"]

    hooked: AbstractContextManager[None] = nullcontext()
    if batch.tokens is not None and "text" in clip.places:
        hooked = changed_output(method.backbone.get_input_embeddings(), embedded)
    # recurrent layers of cuDNN have no way back in evaluation mode
    with hooked, torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        prediction = method(replace(path, **changed)).prediction.float()
        wanted = method.task.probabilities(prediction) if method.task.classes else prediction[:, None]
        slopes = torch.autograd.grad(wanted[:, clip.column].sum(), list(moving.values()), allow_unused=True)
    result = {}
    for (modality, values), slope in zip(moving.items(), slopes, strict=True):
        whole = values.detach() / share.view(-1, *(1,) * (values.dim() - 1))
        terms = torch.zeros_like(whole) if slope is None else whole * slope
        of_steps = terms.mean(dim=0).double()
        of_steps = of_steps.sum(dim=-1) if of_steps.dim() == 2 else of_steps  # (T,)
        steps = of_steps.cpu().numpy()
        result[modality] = np.array([steps[p.first : p.last].sum() for p in clip.places[modality]])
    return {modality: result[modality] for modality in clip.places}
