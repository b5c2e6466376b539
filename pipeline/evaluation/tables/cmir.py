"""Tables of CmIR (ACL 2026): only a digest of the paper was at hand, which prints no numbers."""

from __future__ import annotations

from pipeline.evaluation.tables.comparison import comparison
from pipeline.evaluation.tables.rows import PaperTable, Row

VARIED = {  # beside the model as it is: setting, and its values below and above the default's
    "λ1": ("weights.invariance", (3e-5, 3e-3)),
    "λ2": ("weights.decorrelation", (0.03, 3.0)),
    "λ3": ("weights.reconstruction", (8e-5, 8e-3)),
    "K": ("environments", (2, 4, 5)),
    "α(1)": ("alpha", (0.05, 0.2, 0.5)),
}

TABLES = (
    comparison(
        "cmir",
        "beside other methods",
        {"CmIR": {}},
        {},
        ("the paper's numbers were not at hand; the rows are those of the other papers",),
    ),
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
    PaperTable(
        "cmir",
        "sensitivity",
        "weights of the constraints, number and noise of the environments, and what is predicted from",
        (
            Row("CmIR"),
            *(
                Row(f"{name} {value:g}", {key: value})
                for name, (key, values) in VARIED.items()
                for value in values
            ),
            Row("one environment a clip", {"env_mode": "assigned"}),
            Row("predicting from noisy views too", {"predict_views": "all"}),
        ),
        (
            "the paper's numbers were not at hand; it says that K, α(1) and the λ need careful tuning",
            "R_inv is a sum over K (K - 1) pairs of environments: more of them also weigh more",
        ),
    ),
)
