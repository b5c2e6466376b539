"""Claims as pages: of one method, and of a study of many."""

from __future__ import annotations

from pipeline.claims.bench import Measurements
from pipeline.claims.claims import claims_of, findings
from pipeline.reports.blocks import Block, Heading, Table


def method_blocks(found: Measurements) -> list[Block]:
    """The claims of one method, and everything that was measured."""
    tested = findings({found.method: found}, {found.method: claims_of(found.method)})
    rows = [[f.claim.words, f"{f.difference:+.3f}", f.verdict] for f in tested]
    return [Heading(f"{found.method}: claims", 1), Table(["claim", "difference", "verdict"], rows)]
