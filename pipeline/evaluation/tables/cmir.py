"""Tables of CmIR (ACL 2026): only a digest of the paper was at hand, which prints no numbers."""

from __future__ import annotations

from pipeline.evaluation.tables.rows import PaperTable, Row

TABLES = (
    PaperTable(
        "cmir",
        "constraints",
        "without one of the three constraints",
        (
            Row("CmIR"),
            Row("w/o invariance", {"weights.invariance": 0}),
            Row("w/o decorrelation", {"weights.decorrelation": 0}),
            Row("w/o reconstruction", {"weights.reconstruction": 0}),
        ),
        ("the paper's numbers were not at hand; it says that every one of the constraints is needed",),
    ),
)
