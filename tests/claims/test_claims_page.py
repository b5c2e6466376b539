"""The page of a study, from measurements that are made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.claims.bench import RATES, SIZES, TEST_RHO, Measurements
from pipeline.claims.claims import CLAIMED
from pipeline.claims.figures import HELD
from pipeline.claims.page import study_blocks
from pipeline.core.errors import MsaError
from pipeline.reports.blocks import Block, Figures, Heading, Table, as_html, as_markdown

SEEDS = range(5)


def made(method: str, seeds: range = SEEDS) -> Measurements:
    """Everything that a claim asks for, around a level of the method's own; with its terms it is lower."""
    rng = np.random.default_rng(len(method))
    names = [f"error/{size}" for size in SIZES] + ["error/best", "error/constant", "agreeing", "contrary"]
    names += [f"{side}shift/{rho:g}" for side in ("", "plain/") for rho in TEST_RHO]
    names += [one.value for one in CLAIMED.get(method, ())] + [one.against for one in CLAIMED.get(method, ())]
    if method in ("misr", "cmir", "slad"):
        names += [
            f"{side}read/{p}/{key}" for side in ("", "without/") for p in ("linear", "mlp") for key in HELD
        ]
    if method == "slad":
        names += [f"{side}conflict/{rate:g}" for side in ("", "without/") for rate in RATES]
    own = [name for name in dict.fromkeys(names) if name and ":" not in name]
    return Measurements(
        method,
        {s: {n: 0.5 + 0.3 * n.startswith("without/") + rng.normal(scale=0.01) for n in own} for s in seeds},
    )


def test_the_page_has_every_claim_and_its_pictures(tmp_path: Path) -> None:
    found = {name: made(name) for name in ("misr", "cmir", "slad", "khar", "early_fusion", "late_fusion")}
    blocks = study_blocks(found, tmp_path)
    drawn = {file.stem for file in tmp_path.glob("*.png")}
    assert drawn == {
        *("misled_misr", "misled_cmir", "held_misr", "held_cmir", "held_slad"),
        *("conflict", "experts", "methods_clips", "methods_cue"),
    }
    assert sum(len(block.pictures) for block in blocks if isinstance(block, Figures)) == len(drawn)
    titles = [block.text for block in blocks if isinstance(block, Heading)]
    assert titles[1:3] == ["Invariance", "Private and shared"] and titles[-1] == "All methods"
    claims = [b for b in blocks if isinstance(b, Table) and b.head[1] == "claim"]
    assert sum(len(table.rows) for table in claims) == sum(len(CLAIMED[name]) for name in list(found)[:4])
    verdicts = {(str(row[0]), str(row[1])): row[-1] for table in claims for row in table.rows}
    assert verdicts["MISR", "the same, against itself without the invariance term"] == "shown"
    assert verdicts["CmIR", "MIG"] == "opposite"  # which should be higher
    everybody = blocks[-2]
    assert isinstance(everybody, Table) and len(everybody.rows) == len(found)
    assert "<svg" in as_html(blocks) or "image/svg" in as_html(blocks)
    assert "| **MISR** |" in as_markdown([block for block in blocks if isinstance(block, Block)], top=1)


def test_methods_of_other_seeds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MsaError, match="different seeds"):
        study_blocks({"misr": made("misr"), "cmir": made("cmir", range(3))}, tmp_path)
    with pytest.raises(MsaError, match="no measurements"):
        study_blocks({}, tmp_path)
