"""What runs are under corruptions, as tables and pictures read it: `results/<set>/<method>/robust.json`.

pipeline/robustness makes it, and says what the kinds are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.core.files import read_described
from pipeline.evaluation.saved import ROBUST

FORMAT = 1
ALL = "all"  # modalities, together
NOISE = ("gaussian", "laplace", "erase")
KINDS = (*NOISE, "frames", "blocks", "subsets", "shared", "imbalanced")
RECORDINGS = ("white", "babble", "mute", "blur", "lowres", "occlude", "eyes", "mouth", "freeze")
ALL_KINDS = (*KINDS, *RECORDINGS)
SUBSETS = ("T", "A", "V", "TA", "TV", "AV", "TAV")  # what is left: text, audio, visual
KEYS = (
    *("method", "dataset", "regime", "reads", "identity", "metric_set", "class_names"),
    *("n", "floors", "clean", "kinds"),
)


def read_robust(folder: Path) -> dict[str, Any]:
    """robust.json of a folder of results; FormatError where there is none, or of another format."""
    what = "what runs are under corruptions"
    return read_described(folder / ROBUST, what, FORMAT, "run `msa-cli robust`", KEYS)
