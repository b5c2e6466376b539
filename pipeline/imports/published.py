"""What the field's papers and repositories publish about their files: numbers of clips, and checksums.

A file that differs is imported all the same; the import says by how much, because two copies of a corpus
often have other numbers of clips (CMU-MOSI 2183 or 2199, CH-SIMS v2 2721 or 2722 for training).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.vocabulary import TEST, TRAIN, VALID
from pipeline.corpora.kinds import mosei, mosi, sims, simsv2
from pipeline.formats.source import Source

SIZES = {
    "CMU-MOSI": tuple(mosi.PUBLISHED.values()),
    "CMU-MOSEI": tuple(mosei.PUBLISHED.values()),
    "CH-SIMS": tuple(sims.PUBLISHED.values()),
    "CH-SIMS v2 (supervised)": tuple(simsv2.PUBLISHED.values()),
}
"""Clips of train, valid and test"""

SUMS = {
    "78e0f8b5ef8ff71558e7307848fc1fa929ecb078203f565ab22b9daab2e02524": "MOSI/Processed/unaligned_50.pkl",
    "d3994fd25681f9c7ad6e9c6596a6fe9b4beb85ff7d478ba978b124139002e5f9": "MOSI/Processed/aligned_50.pkl",
    "ad8b23d50557045e7d47959ce6c5b955d8d983f2979c7d9b7b9226f6dd6fec1f": "MOSEI/Processed/unaligned_50.pkl",
    "45eccfb748a87c80ecab9bfac29582e7b1466bf6605ff29d3b338a75120bf791": "MOSEI/Processed/aligned_50.pkl",
    "c9e20c13ec0454d98bb9c1e520e490c75146bfa2dfeeea78d84de047dbdd442f": "SIMS/Processed/unaligned_39.pkl",
}
"""SHA-256 of MMSA's five files, from the README of thuiar/MMSA"""

NEAR = 0.05  # a copy of a corpus lacks no more than this part of any split


def about_sizes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A note where the numbers of clips are nearly those of a known corpus, or just those."""
    found = _sizes(rows)
    for corpus, sizes in SIZES.items():
        if found == sizes:
            return [f"{_slashed(found)} clips, as published for {corpus}"]
    for corpus, sizes in SIZES.items():
        if all(abs(here - there) <= NEAR * there for here, there in zip(found, sizes, strict=True)):
            change = "/".join(f"{here - there:+d}" for here, there in zip(found, sizes, strict=True))
            return [
                f"{_slashed(found)} clips; {corpus} is published with {_slashed(sizes)} ({change}): "
                "results are comparable only with those of the same copy"
            ]
    return []


def about_sum(source: Source, path: Path, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A note on whether the file is one of MMSA's; only a file with the right numbers of clips is hashed."""
    if _sizes(rows) not in SIZES.values():
        return []
    (digest,) = source.hashes([path]).values()
    if digest in SUMS:
        return [f"{path.name} is MMSA's {SUMS[digest]}: its SHA-256 matches the published one"]
    return [f"{path.name} is not one of the files whose SHA-256 MMSA publishes; it may be a modified copy"]


def _sizes(rows: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    counts = Counter(row["split"] for row in rows)
    return tuple(counts[split] for split in (TRAIN, VALID, TEST))


def _slashed(numbers: tuple[int, ...]) -> str:
    return "/".join(map(str, numbers))
