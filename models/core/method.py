"""The contract of a method: its settings, its task, what it reads of a training set, and its interface.

Shapes: B clips, T time steps, D width, C classes. Masks: True = real.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from models.core.backbones import Tokenizer, load_text_backbone, load_tokenizer, longest_input
from models.core.batch import Batch, Inputs, Reading, Sequences, Tokens
from models.core.blocks import full_precision, masked_mean
from models.core.packing import text_rows
from pipeline.core.errors import MsaError, ParamsError
from pipeline.core.section import Section

Share = Annotated[float, Field(ge=0, lt=1)]


class Training(Section):
    """How a method is optimised. A method's own section gives the two learning rates their defaults."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr_backbone: NonNegativeFloat  # of the fine-tuned encoders
    lr_other: NonNegativeFloat  # of everything else
    weight_decay: NonNegativeFloat = 0.0  # never on biases, LayerNorm, learned tokens and positions
    momentum: Share = 0.0  # of sgd
    batch_size: PositiveInt = 32
    epochs: PositiveInt = 100
    warmup: Share = 0.1  # share of the epochs (or steps) in which the learning rate rises linearly
    schedule: Literal["cosine", "linear", "constant", "ramp"] = "cosine"  # ramp rises in the whole run
    schedule_every: Literal["epoch", "step"] = "epoch"  # when the learning rate moves on
    patience: PositiveInt = 15  # epochs without a better validation score before training stops


class MethodSettings(Section):
    """The part of a method's settings that the pipeline reads."""

    weights: Section  # one number a loss term; 0 = the term is not computed
    training: Training
    text: Literal["frozen", "finetune"] = "frozen"  # extracted features, or an encoder that learns too
    text_backbone: str = "minilm"  # of finetune: `minilm`, a local folder or a hub id
    text_revision: str | None = None  # commit hash of a hub id
    max_tokens: Annotated[int, Field(ge=3)] = 50  # of finetune: tokens of a clip, special ones included
    pretraining: Section = Section()  # what is learnt before; empty for methods that have none

    def open_backbones(self, config_only: bool = False) -> dict[str, nn.Module]:
        """The encoders that learn with the method, by modality.

        Parameters
        ----------
        config_only : random weights of the right shapes, for a run whose own weights follow
        """
        if self.text == "frozen":
            return {}
        return {"text": load_text_backbone(self.text_backbone, self.text_revision, config_only=config_only)}


@dataclass(frozen=True)
class Task:
    """What is predicted: a score, or one of C classes; and the task loss that all methods share.

    A regression and two classes have one output a clip, `prediction` (..., B); more classes have C of
    them, (..., B, C). Labels are (B,) float32: the score, or the index of the class.
    """

    classes: int = 0  # 0 = a regression

    @property
    def outputs(self) -> int:
        """Numbers that a head gives for each clip."""
        return self.classes if self.classes > 2 else 1

    def shaped(self, scores: Tensor) -> Tensor:
        """A head's (..., B, outputs) as a prediction in float32 at least: (..., B), or (..., B, C)."""
        return full_precision(scores if self.outputs > 1 else scores.squeeze(-1))

    def predict(self, head: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """What the head gives for x, (..., B, D), `shaped`; computed in float32 at least, under autocast too.

        A bfloat16 has eight bits of precision: different clips would get the same prediction.
        """
        with torch.autocast(x.device.type, enabled=False):
            return self.shaped(head(full_precision(x)))

    def errors(self, prediction: Tensor, label: Tensor) -> Tensor:
        """Loss of each clip, (..., B): |ŷ − y|, binary cross-entropy of the logit, or cross-entropy.

        A clip without a label (NaN) has some finite value, to be masked.
        """
        target = label.nan_to_num(0.0)
        if self.classes == 0:
            return (prediction - target).abs()
        if self.classes == 2:
            target = target.to(prediction).expand_as(prediction)
            return F.binary_cross_entropy_with_logits(prediction, target, reduction="none")
        chosen = target.long().expand(prediction.shape[:-1])[..., None]
        return -torch.log_softmax(prediction, dim=-1).gather(-1, chosen).squeeze(-1)

    def loss(self, prediction: Tensor, label: Tensor, among: Tensor | None = None) -> Tensor:
        """Mean of `errors` over the clips `among` ((B,) bool; None = all), scalar; 0 where there is none."""
        errors = self.errors(prediction, label)
        return errors.mean() if among is None else masked_mean(errors, among)

    def probabilities(self, prediction: Tensor) -> Tensor:
        """(B,) or (B, C) logits of a classification -> (B, C), rows sum to 1."""
        if self.classes == 2:
            positive = torch.sigmoid(prediction)
            return torch.stack([1 - positive, positive], dim=-1)
        return torch.softmax(prediction, dim=-1)

    def decide(self, prediction: Tensor) -> Tensor:
        """(B,) the predicted class: logit > 0, or the largest of C."""
        return (prediction > 0).long() if self.classes == 2 else prediction.argmax(dim=-1)


REGRESSION = Task()


@dataclass
class Output:
    """What `forward` gives; a method adds its representations."""

    prediction: Tensor  # (B,) sentiment in the label's unit, (B,) logit of two classes, or (B, C) logits


@dataclass
class FusedOutput(Output):
    """The output of a method that joins its modalities in one vector a clip."""

    fused: Tensor  # (B, D) what the head reads, before its dropout
    present: Tensor  # (M, B) bool, the clip has that modality of the method's `dims`


class Method(nn.Module, ABC):
    """One paper's model with its losses.

    The loop sets `active_terms`, calls the module on a batch (hooks and autocast act there), then
    `losses` outside autocast, and alone multiplies by the weights and adds up. `output` is what `forward`
    gave, of the method's own class.

    Parameters
    ----------
    config : the method's `Config`
    dims : feature width of each modality of the training set; a modality that is not in it is built
        without its branch. With `text: finetune` the text branch is always there.
    task : what is predicted
    backbones : encoders to fine-tune in place of those that the config names, by modality
    """

    TERMS: ClassVar[tuple[str, ...]]  # names of the loss terms
    NEEDS: ClassVar[tuple[str, ...]]  # modalities that it can use
    Config: ClassVar[type[MethodSettings]]
    SCORES_ABSENT: ClassVar[bool] = False  # a clip with none of its modalities is scored, not refused

    def __init__(
        self,
        config: MethodSettings,
        dims: dict[str, int],
        task: Task = REGRESSION,
        backbones: dict[str, nn.Module] | None = None,
    ):
        super().__init__()
        self.config = config
        self.task = task
        self.active_terms = frozenset(self.TERMS)  # in training, `forward` computes what these need
        opened: dict[str, Any] = dict(config.open_backbones() if backbones is None else backbones)
        self.backbone: Any = opened.get("text")  # a transformers model where the text encoder learns
        self.audio_backbone: Any = opened.get("audio")  # one where the encoder of the sound learns
        if self.backbone is not None:
            longest = longest_input(self.backbone.config)
            if longest is not None and config.max_tokens > longest:
                raise ParamsError(
                    f"max_tokens is {config.max_tokens}, but the text encoder {config.text_backbone!r} has "
                    f"positions for at most {longest}; lower it under `models` in params.yaml"
                )
        widths = dims | {name: backbone.config.hidden_size for name, backbone in opened.items()}
        self.dims = {name: widths[name] for name in self.NEEDS if name in widths}
        if not self.dims and self.NEEDS:
            raise ParamsError(
                f"{type(self).__name__}: the training set has none of {', '.join(self.NEEDS)}; "
                "name a feature folder of one under `assemble` in params.yaml, let a text encoder learn from "
                "the transcripts (`text: finetune`), or remove the method from models_run"
            )
        self.build(opened)

    @abstractmethod
    def build(self, backbones: dict[str, nn.Module]) -> None:
        """Make the layers; `config`, `task` and `dims` are known, and the encoders that learn are given."""

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The fine-tuned encoder's tokenizer; None with frozen text."""
        if self.config.text == "frozen":
            return None
        return load_tokenizer(self.config.text_backbone, self.config.text_revision)

    def reading(self) -> Reading:
        """What the method reads of a training set beside its feature sequences."""
        return Reading(
            self.tokenizer,
            self.config.max_tokens,
            modalities=tuple(self.dims),
            absent=self.SCORES_ABSENT,
        )

    @classmethod
    def pretraining_methods(cls, config: Any, dims: dict[str, int]) -> dict[str, Method]:
        """What is trained before all else: by modality, a method that learns its label from it alone.

        Of methods with a pretraining (`models.METHODS`); empty where the config switches it off.
        """
        return {}

    def load_pretrained(self, folder: Path) -> None:
        """Take `<modality>.safetensors`, the weights of `pretraining_methods` once they are trained."""

    def prepare(self, train: Iterable[Batch], valid: Iterable[Batch]) -> None:
        """Learn from all clips what no step does: a closed form, or a place for something of each clip.

        Runs once, before the first step of every training; a saved state is laid over it. What has to stay
        is a parameter or a buffer.
        """

    def calibrate(self, valid: Iterable[Batch]) -> None:
        """Choose by all validation clips what no step learns, before the validation loss of every epoch.

        What is chosen is a buffer: with the weights of an epoch it is kept, or left.
        """

    @abstractmethod
    def forward(self, batch: Batch) -> Output:
        """Predictions, and in training what the active terms need."""

    @abstractmethod
    def losses(self, batch: Batch, output: Any, terms: Collection[str]) -> dict[str, Tensor]:
        """The asked terms: unweighted scalars in float32 at least. Runs no layer but estimators."""

    def schedule(self, term: str, progress: float) -> float:
        """Multiplier of a term's weight when the share `progress` in [0, 1] of the training is done."""
        return 1.0

    def diagnostics(self, batch: Batch, output: Any) -> dict[str, Tensor]:
        """Scalars that are worth a curve besides the losses, detached."""
        return {}

    def remember(self, batch: Batch, output: Any) -> None:
        """Keep of a step, in buffers, what later ones need; runs after the update of the model."""

    def internals(self, batch: Batch, output: Any) -> dict[str, dict[str, float]]:
        """What the method weighs in a batch of one clip: name -> modality -> share in [0, 1].

        For `msa-cli predict`; what belongs to all modalities together is called "shared".
        """
        return {}

    def estimator_steps(self) -> int:
        """Updates of the estimators before each update of the model; 0 = there are none."""
        return 0

    def estimator_groups(self) -> list[dict[str, Any]]:
        """Optimiser groups (Adam) of the estimators, which `parameter_groups` leaves out."""
        return []

    def estimator_loss(self, batch: Batch, output: Any) -> Tensor:
        """What the estimators minimise: a scalar on detached representations, in float32 at least."""
        raise NotImplementedError(f"{type(self).__name__} has no estimators")

    def sources(self, inputs: Inputs) -> dict[str, Sequences | Tokens]:
        """The modalities of the model, with nothing left of what lies in masked steps and absent clips.

        Absent values are replaced, not multiplied by zero, so that they may even be NaN. A clip without a
        real step counts as absent. Fine-tuned text stays token ids.

        Raises
        ------
        MsaError : the batch has no place for a modality of the model, or (in evaluation) a clip has none
        """
        found: dict[str, Sequences | Tokens] = {}
        for name in self.dims:
            finetuned = name == "text" and self.backbone is not None
            source: Sequences | Tokens | None = inputs.tokens if finetuned else getattr(inputs, name)
            if source is None:
                raise MsaError(f"the model was built with {name}, but the batch has no {name}")
            mask = source.mask & source.present[:, None]
            if isinstance(source, Tokens):
                padding = self.backbone.config.pad_token_id or 0
                found[name] = Tokens(source.ids.masked_fill(~mask, padding), mask, mask.any(dim=1))
            else:
                values = source.values.masked_fill(~mask[..., None], 0.0)
                found[name] = Sequences(values, mask, mask.any(dim=1))
        if isinstance(inputs, Batch) and not self.training and not self.SCORES_ABSENT:
            self.refuse_empty(inputs, {name: source.present for name, source in found.items()})
        return found

    def refuse_empty(self, batch: Batch, present: dict[str, Tensor]) -> None:
        """MsaError where a clip has no modality of the model, (B,) bool each.

        For evaluation: assembly leaves such clips out of a training set, and looking makes a GPU wait.
        """
        usable = torch.stack(list(present.values())).any(dim=0).tolist()
        refused = [clip for clip, ok in zip(batch.clip_ids, usable, strict=True) if not ok]
        if refused:
            raise MsaError(
                f"{', '.join(refused)}: no {', no '.join(present)}; a clip needs at least one modality "
                "of the model; remove it"
            )

    def inputs(self, batch: Inputs) -> dict[str, Sequences]:
        """`sources`, with the last hidden states of the text encoder in place of token ids."""
        return {
            name: self.encode_text(source) if isinstance(source, Tokens) else source
            for name, source in self.sources(batch).items()
        }

    def encode_text(self, tokens: Tokens) -> Sequences:
        """Last hidden states (B, T, D), zero where masked."""
        rows = text_rows(self.backbone.config, tokens.ids, attended(tokens.mask), self.training)
        states = rows.unpack(self.backbone(**rows.inputs).last_hidden_state)
        values = states.masked_fill(~tokens.mask[..., None], 0.0)
        return Sequences(values, tokens.mask, tokens.present)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Optimiser groups: fine-tuned encoders and the rest, each with and without weight decay.

        Frozen parameters (`requires_grad` False) and those of the estimators are in none.
        """
        training = self.config.training
        apart = {id(parameter) for group in self.estimator_groups() for parameter in group["params"]}
        groups: dict[str, dict[str, Any]] = {}
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad or id(parameter) in apart:
                continue
            part = "backbone" if name.split(".")[0].endswith("backbone") else "other"
            decays = parameter.dim() > 1 and "token" not in name.split(".")[-1] and "position" not in name
            group = groups.setdefault(
                part if decays else f"{part}_no_decay",
                {
                    "params": [],
                    "lr": training.lr_backbone if part == "backbone" else training.lr_other,
                    "weight_decay": training.weight_decay if decays else 0.0,
                },
            )
            group["params"].append(parameter)
        return [{"name": name, **group} for name, group in groups.items()]


def attended(mask: Tensor) -> Tensor:
    """(B, T) bool -> the same, with the first step of empty rows: a softmax over no key would be NaN."""
    filled = mask.clone()
    filled[:, 0] |= ~mask.any(dim=1)
    return filled
