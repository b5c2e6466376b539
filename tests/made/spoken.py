"""The sample's sentences as a batch: tokens, the bundled MiniLM's states of them, and grades as labels."""

from __future__ import annotations

import csv
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from made.tiny_batch import random_batch

from models.core.backbones import load_text_backbone, load_tokenizer
from models.core.batch import Batch, Sequences, Tokens

SENTENCES = Path(__file__).parents[2] / "data/sample/sentences.csv"
MAX_TOKENS = 50


@cache
def spoken_batch() -> Batch:
    """All of them, `text` (B, T, 384) beside `tokens`; audio and visual are random, as of `random_batch`."""
    with SENTENCES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    encoded = [
        torch.from_numpy(ids)
        for ids in load_tokenizer("minilm").encode([r["text"] for r in rows], MAX_TOKENS)
    ]
    ids = torch.nn.utils.rnn.pad_sequence(encoded, batch_first=True)
    mask = torch.arange(ids.shape[1]) < torch.tensor([len(part) for part in encoded])[:, None]
    with torch.no_grad():
        minilm = load_text_backbone("minilm", None).eval()
        states = minilm(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    everyone = torch.ones(len(rows), dtype=torch.bool)
    return replace(
        random_batch(len(rows)),
        text=Sequences(states * mask[..., None], mask, everyone),
        tokens=Tokens(ids, mask, everyone),
        label=torch.tensor([float(row["grade"]) for row in rows]),
    )
