"""Tables of MISR (Findings of ACL 2025); its numbers are those of models/misr's protocol on CMU-MOSI."""

from __future__ import annotations

from pipeline.evaluation.tables.rows import PaperTable, Row, printed

METRICS = "acc2_has0 acc2_non0 f1_has0 f1_non0 acc7 mae corr"
FULL = "86.01 88.11 86.10 88.15 49.85 0.671 0.819"


def _row(label: str, numbers: str, out: str = "", predict_from: str = "") -> Row:
    """Without the term `out`, from H^u and the modality `predict_from`."""
    overrides: dict[str, object] = {"predict_from": [predict_from]} if predict_from else {}
    overrides |= {f"weights.{out}": 0} if out else {}
    return Row(label, overrides, {"MOSI": printed(METRICS, numbers)})


TABLES = (
    PaperTable(
        "misr",
        "4",
        "Table 4: without one of the constraints",
        (
            _row("MISR", FULL),
            _row("w/o L_NA", "85.28 87.65 85.31 87.68 48.10 0.663 0.817", "prior"),
            _row("w/o L_CMA", "85.71 87.76 85.76 87.81 48.83 0.674 0.811", "alignment"),
            _row("w/o L_DR", "84.84 87.50 85.02 87.59 48.54 0.685 0.806", "reconstruction"),
            _row("w/o L_IC", "85.13 87.35 85.23 87.39 47.86 0.682 0.814", "invariance"),
        ),
        (
            "the paper's MAE without L_NA is lower than with it: not every constraint helps every metric",
            "the average drop without L_IC is 1.42 % in the paper's table and 1.43 % in its text",
        ),
    ),
    PaperTable(
        "misr",
        "8",
        "Table 8: predicting from another environment, with and without L_IC",
        (
            _row("N1: H^u, with L_IC", FULL),
            _row("N2: H^u and text, with L_IC", "85.88 87.95 85.91 87.91 49.55 0.678 0.804", "", "text"),
            _row(
                "N3: H^u and text, w/o L_IC",
                "85.77 87.66 85.74 87.62 48.73 0.684 0.799",
                "invariance",
                "text",
            ),
            _row("N4: H^u and audio, with L_IC", "85.83 87.88 85.92 87.76 48.70 0.681 0.806", "", "audio"),
            _row(
                "N5: H^u and audio, w/o L_IC",
                "85.40 87.33 85.56 87.40 48.21 0.690 0.801",
                "invariance",
                "audio",
            ),
        ),
        ("the paper calls its rows partial examples; there is none for the visual cue",),
    ),
)
