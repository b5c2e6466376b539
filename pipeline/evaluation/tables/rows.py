"""What a table of a paper is here: rows of settings, beside the numbers that the paper prints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

NO_SHARES = ("mae", "corr")  # metrics; all else is printed in percent


@dataclass(frozen=True)
class Row:
    """One training of the table, or one for each seed.

    Attributes
    ----------
    label : as the paper calls it, or nearly
    overrides : dotted keys below `models.<method>.base` and their values; what is not named stays as it is in
        params.yaml, so a row without any is the full model
    paper : corpus -> metric by our name -> number as printed, shares in percent
    without : modalities that the training set is assembled without
    pretrain_on : training set whose labels pretrain, `pretrain_on` of params.yaml; empty = as it is there
    blocked : why we cannot run it; empty where we can
    method : whose row it is; empty = the table's, None = of none that we have, so that it is printed alone
    """

    label: str
    overrides: Mapping[str, object] = field(default_factory=dict)
    paper: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    pretrain_on: str = ""
    blocked: str = ""
    method: str | None = ""


@dataclass(frozen=True)
class PaperTable:
    """A table or a figure of a paper.

    Attributes
    ----------
    method, name : what `msa-cli table` is asked for
    title : where it is in the paper, and what it asks
    remarks : misprints, and what the paper leaves open
    without_unimodal_labels : what it means for the rows that a corpus has no labels of text and audio alone
    """

    method: str
    name: str
    title: str
    rows: tuple[Row, ...]
    remarks: tuple[str, ...] = ()
    without_unimodal_labels: str = ""

    @property
    def corpora(self) -> list[str]:
        """Those that the paper prints numbers of, in its order."""
        return list(dict.fromkeys(corpus for row in self.rows for corpus in row.paper))

    def metrics(self, corpus: str) -> set[str]:
        """Names of what the paper prints of a corpus."""
        return {name for row in self.rows for name in row.paper.get(corpus, {})}


def printed(metrics: str, numbers: str) -> dict[str, float]:
    """Names and numbers in one order, blanks between."""
    return dict(zip(metrics.split(), map(float, numbers.split()), strict=True))


def plain_name(corpus: str) -> str:
    """CMU-MOSI, MOSI and mosi are one name."""
    return re.sub(r"^(cmu|ch)-|[^a-z0-9]", "", corpus.lower())
