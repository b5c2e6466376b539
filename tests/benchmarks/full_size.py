"""The methods at full size, clips as long as those of CMU-MOSI, and the step of the training loop.

BERT-base is built from its config, with random weights: no speed depends on their values. It stands for the
RoBERTa-base of SLaD too, which has the same layers; the frames of SLaD's sound are taken as extracted.

Token ids are those of the real transcripts. The label file has no times, so that the frames of a clip are
drawn: 2.9 words a second, give or take a quarter, at the rates below.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from made.tiny_batch import DIMS
from made.tiny_methods import VOCABULARY
from torch import Tensor
from transformers import BertConfig, BertModel

from models import METHODS
from models.core.backbones import load_tokenizer
from models.core.batch import Batch
from models.core.method import REGRESSION, Method
from pipeline.core.vocabulary import LABELS
from pipeline.datasets.splits import Ragged, Split, Streams, shuffled_batches
from pipeline.params.params import TrainParams
from pipeline.training.loop.compiling import compiled
from pipeline.training.loop.optimizers import open_optimizer
from pipeline.training.loop.train import active_weights

WORDS_A_SECOND = 2.9
FRAMES_IN_MEMORY = 4096  # all clips are cut from them
DEFAULTS = TrainParams()


@dataclass(frozen=True)
class Frames:
    """A modality as a method's paper has it on MOSI: features, longest sequence, frames a second."""

    width: int
    longest: int
    rate: float


MMSA = {"audio": Frames(5, 375, 22.5), "visual": Frames(20, 500, 30.0)}  # MMSA's unaligned file
FRAMES: dict[str, dict[str, Frames]] = {
    "text_only": {},
    "misr": MMSA,
    "cmir": MMSA,
    "slad": {"audio": Frames(768, 299, 50.0)},
    "mird": {"audio": Frames(33, 400, 43.0), "visual": Frames(709, 55, 30.0)},
    "khar": MMSA,
    "mag_bert": MMSA,
    "wsa_bert": MMSA,
    "ithp": MMSA,
    "tfn": MMSA,
    "lmf": MMSA,
    "mult": MMSA,
    "misa": MMSA,
    "mmim": MMSA,
    "self_mm": MMSA,
    "almt": MMSA,
    "kuda": MMSA,
    "mmml": {"audio": Frames(768, 299, 50.0)},
}


def full_size(
    name: str, frames: dict[str, Frames], bert: BertConfig | None = None, **settings: object
) -> Method:
    """A method in training mode with the settings of its paper, BERT-base (or another) learning with it.

    What every method pays at least is `text_only`: BERT with a linear layer.
    """
    method_class = METHODS[name].load()
    config = method_class.Config(text="finetune", **settings)
    backbone = BertModel(bert or BertConfig(), add_pooling_layer=False)
    widths = {m: kind.width for m, kind in frames.items()}
    method: Method = method_class(config, widths, REGRESSION, {"text": backbone})
    return method.train()


def narrow(name: str) -> Method:
    """As many layers as at full size, of little width, which reads batches of tests/made/tiny_batch.py."""
    widths = {m: replace(kind, width=DIMS[m]) for m, kind in FRAMES[name].items()}
    bert = BertConfig(hidden_size=24, num_attention_heads=2, intermediate_size=32, vocab_size=VOCABULARY)
    return full_size(name, widths, bert, **({"width": 24, "heads": 2} if name in ("slad", "mmml") else {}))


# ------------------------------------------------------------------------------------------------- clips
def mosi(shared: Path, method: Method, frames: dict[str, Frames], device: str = "cpu") -> Split:
    """The train split of CMU-MOSI, 1284 clips, as the method reads it."""
    with (shared / "datasets/mosi/label.csv").open(encoding="utf-8", newline="") as file:
        clips = [row for row in csv.DictReader(file) if row["mode"] == "train"]
    clips.sort(key=lambda row: (row["video_id"], int(row["clip_id"])))
    texts = [row["text"] for row in clips]
    random = np.random.default_rng(0)
    spoken = np.array([len(text.split()) for text in texts]) / WORDS_A_SECOND
    seconds = np.clip(spoken * random.lognormal(0, 0.25, len(clips)), 0.6, 30)
    counts = {m: (kind.rate * seconds).astype(int).clip(max=kind.longest) for m, kind in frames.items()}

    def streams(counts: dict[str, np.ndarray], texts: list[str], keep: Literal["first", "last"]) -> Streams:
        sequences = {m: random_frames(counts[m], kind.width, random, device) for m, kind in frames.items()}
        return sequences | {"tokens": tokens(texts, method.config.max_tokens, keep, device)}

    context, reading = None, method.reading()
    if reading.context:
        before = earlier([row["video_id"] for row in clips], reading.context)
        sums = {m: np.array([number[places].sum() for places in before]) for m, number in counts.items()}
        longest = {m: number.astype(int).clip(max=frames[m].longest) for m, number in sums.items()}
        joined = [" [SEP] ".join(texts[i] for i in places) for places in before]
        context = streams(longest, joined, reading.context_keep)
    own = streams(counts, texts, "first")
    labels = dict.fromkeys(LABELS, torch.full((len(clips),), torch.nan, device=device))
    labels["label"] = torch.tensor([float(row["label"]) for row in clips], device=device)
    return Split(
        [f"{row['video_id']}$_${row['clip_id']}" for row in clips],
        own,
        context,
        labels,
        torch.ones(len(clips), dtype=torch.bool, device=device),
        torch.stack([part.lengths for part in own.values()]).sum(dim=0),
    )


def earlier(videos: list[str], number: int) -> list[list[int]]:
    """Rows of up to `number` clips before each clip in its video; the clips of a video stand in order."""
    rows: dict[str, list[int]] = defaultdict(list)
    before = []
    for row, video in enumerate(videos):
        before.append(rows[video][-number:])
        rows[video].append(row)
    return before


def tokens(texts: list[str], longest: int, keep: Literal["first", "last"], device: str) -> Ragged:
    """Ids by the bundled tokenizer, whose vocabulary is BERT's; none of an empty text."""
    tokenizer = load_tokenizer("minilm")
    ids = tokenizer.encode(texts, longest, keep)
    ids = [row if text else row[:0] for row, text in zip(ids, texts, strict=True)]
    flat = np.concatenate([*ids, [tokenizer.pad_id]]).astype(np.int64)
    return Ragged.of(flat, np.array([len(row) for row in ids]), device)


def random_frames(counts: np.ndarray, width: int, random: np.random.Generator, device: str) -> Ragged:
    """Clips of so many frames, all from the same few in memory."""
    flat = random.normal(size=(FRAMES_IN_MEMORY + 1, width)).astype(np.float32)
    flat[-1] = 0.0
    lengths = torch.from_numpy(counts.astype(np.int64))
    starts = torch.from_numpy(random.integers(0, FRAMES_IN_MEMORY - counts))
    return Ragged(torch.from_numpy(flat).to(device), starts.to(device), lengths.to(device), lengths)


def padded_to_the_longest(split: Split) -> Split:
    """The split in which every batch is as long as the longest clip of all."""

    def longest(part: Ragged) -> Ragged:
        return replace(part, lengths=torch.full_like(part.lengths, int(part.lengths.max())))

    assert split.context is None
    return replace(split, streams={name: longest(part) for name, part in split.streams.items()})


def sample_of_batches(split: Split, size: int, number: int) -> list[Tensor]:
    """Row numbers of batches that stand for an epoch with buckets: in the middle of equal parts by length."""
    order = torch.Generator().manual_seed(0)
    batches = shuffled_batches(split.lengths, size, DEFAULTS.pool_batches, order)
    batches = [rows for rows in batches if len(rows) == size]  # without what is left at the end
    batches.sort(key=lambda rows: int(split.lengths[rows].sum()))
    return [batches[(2 * i + 1) * len(batches) // (2 * number)] for i in range(number)]


# -------------------------------------------------------------------------------------------------- step
class Trainer:
    """A method with its optimisers, and the step of pipeline/training/loop/train.py in either precision."""

    def __init__(self, method: Method, device: str = "cpu", mode: str = "none"):
        self.method, self.mode = method, mode
        self.forward_pass, self.losses = compiled(method, mode, torch.device(device))
        self.weights = active_weights(method)
        method.active_terms = frozenset(self.weights)
        self.method.to(device)
        self.optimizer = open_optimizer(method.parameter_groups(), method.config.training)
        groups = method.estimator_groups()
        self.estimators = torch.optim.Adam(groups, fused=True) if groups else None
        self.learning = [p for group in self.optimizer.param_groups for p in group["params"]]

    def step(self, batch: Batch, precision: str = "fp32", estimator_steps: int | None = None) -> None:
        """One update.

        Parameters
        ----------
        estimator_steps : T', None = the method's own
        """
        if self.mode == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()
        method, output = self.method, self.forward(batch, precision)
        for _ in range(method.estimator_steps() if estimator_steps is None else estimator_steps):
            assert self.estimators is not None
            self.estimators.zero_grad()
            method.estimator_loss(batch, output).backward()
            self.estimators.step()
        total = self.objective(batch, output)
        self.optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.learning, DEFAULTS.gradient_clip)
        self.optimizer.step()

    def forward_and_backward(self, batch: Batch, precision: str) -> None:
        """What of a step is the model's own; the losses lie between the two."""
        self.objective(batch, self.forward(batch, precision)).backward()
        self.method.zero_grad()

    def forward(self, batch: Batch, precision: str) -> Any:
        """What the method gives."""
        with torch.autocast(batch.labeled.device.type, torch.bfloat16, enabled=precision == "bf16"):
            return self.forward_pass(batch)

    def objective(self, batch: Batch, output: Any) -> Tensor:
        """What an update of the model minimises."""
        losses = self.losses(batch, output, self.weights)
        return torch.stack([weight * losses[term] for term, weight in self.weights.items()]).sum()
