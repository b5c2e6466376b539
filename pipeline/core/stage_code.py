"""The code that each stage's output depends on, said once: for dvc.yaml, runs, searches and comparisons.

Folders count with everything below them. What is nowhere here (settings and their checks, commands, workers,
logs, how features lie on disk) changes no number of a stage's output.
"""

from __future__ import annotations

METHOD = "models/${item.method}"  # as in dvc.yaml

_READ = ("pipeline/datasets/splits.py", "pipeline/datasets/training_set.py")
_LEARN = ("models/core", METHOD, *_READ, "pipeline/training/loop")
_ENCODE = ("models/core/backbones.py", "pipeline/features/encoder.py", "pipeline/features/pretrained.py")

STAGE_CODE: dict[str, tuple[str, ...]] = {
    "ingest": ("pipeline/corpora", "pipeline/media"),
    "transcribe": ("models/core/backbones.py", "pipeline/media", "pipeline/transcripts"),
    "import": (
        "pipeline/corpora",
        "pipeline/formats",
        "pipeline/imports",
        "pipeline/media",
        "pipeline/transcripts/table.py",
    ),
    "text": (*_ENCODE, "pipeline/features/text"),
    "audio": (*_ENCODE, "pipeline/features/audio", "pipeline/media"),
    "visual": ("pipeline/features/encoder.py", "pipeline/features/visual", "pipeline/media"),
    "assemble": ("pipeline/datasets/assembly", "pipeline/transcripts/words.py"),
    "pretrain": _LEARN,
    "train": _LEARN,
    "evaluate": (*_LEARN, "pipeline/evaluation/evaluate.py", "pipeline/evaluation/metrics.py"),
    "inspect": (*_LEARN, "pipeline/evaluation/inspect.py", "pipeline/evaluation/views"),
    "report": ("pipeline/reports",),
    "page": ("pipeline/evaluation", "pipeline/reports"),
}


def code_of(stage: str, method: str = "") -> list[str]:
    """Files and folders of a stage, relative to the project; of one method where it is a stage of methods."""
    return [path.replace(METHOD, f"models/{method}") for path in STAGE_CODE[stage]]
