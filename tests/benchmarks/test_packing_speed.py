"""A step of MiniLM that learns from clips as long as MOSI's: several in a row against a clip a row."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from timing import Rounds

from models.core.backbones import load_text_backbone
from models.core.packing import PackedRows, TextRows

pytestmark = pytest.mark.benchmark

CLIPS, LONGEST = 32, 50
MEAN, SHAPE = 14.8, 2.2  # tokens of MOSI's clips: about a gamma distribution
FASTER = 1.6  # at least


def test_a_packed_step_is_faster() -> None:
    torch.manual_seed(0)
    backbone = load_text_backbone("minilm").train()
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=1e-5, fused=True)
    rng = np.random.default_rng(0)
    lengths = torch.from_numpy(rng.gamma(SHAPE, MEAN / SHAPE, CLIPS).astype(int).clip(3, LONGEST))
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    ids = torch.randint(1000, 30_000, mask.shape).masked_fill(~mask, 0)

    def step(rows_of: Callable[[], TextRows]) -> None:
        optimizer.zero_grad()
        rows = rows_of()
        rows.unpack(backbone(**rows.inputs).last_hidden_state)[mask].square().mean().backward()
        optimizer.step()

    rounds = Rounds(
        {
            "packed": lambda: step(lambda: PackedRows(ids, mask, backbone.config)),
            "padded": lambda: step(lambda: TextRows(ids, mask)),
        }
    ).run(5)
    padded, packed = (min(rounds.seconds[name]) for name in ("padded", "packed"))
    padding = mask.numel() / int(mask.sum())
    print(f"\n{padding:.1f} steps for a real one; packed {padded / packed:.2f} times faster (CPU seconds)")
    assert padded / packed > FASTER
