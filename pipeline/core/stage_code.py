"""The code that each stage's output depends on, said once: for dvc.yaml, runs, searches and comparisons.

Folders count with everything below them. What is nowhere here (settings and their checks, commands, workers,
logs, how features lie on disk) changes no number of a stage's output.
"""

from __future__ import annotations

METHOD = "models/${item.method}"  # as in dvc.yaml

_LEARN = (
    "models/core",
    METHOD,
    "pipeline/core/waveform.py",
    "pipeline/datasets/splits.py",
    "pipeline/datasets/training_set.py",
    "pipeline/training/loop",
)
_ENCODE = (
    "models/core/backbones.py",
    "models/core/loading.py",
    "pipeline/features/encoder.py",
    "pipeline/features/pretrained.py",
)

STAGE_CODE: dict[str, tuple[str, ...]] = {
    "ingest": ("pipeline/corpora", "pipeline/formats", "pipeline/media"),
    "transcribe": (
        "models/core/backbones.py",
        "models/core/loading.py",
        "pipeline/core/waveform.py",
        "pipeline/media",
        "pipeline/transcripts",
    ),
    "import": (
        "pipeline/core/columns.py",
        "pipeline/core/openface_layout.py",
        "pipeline/corpora",
        "pipeline/formats",
        "pipeline/imports",
        "pipeline/transcripts/table.py",
        "pipeline/transcripts/words.py",
    ),
    "text": (*_ENCODE, "pipeline/features/text"),
    "audio": (*_ENCODE, "pipeline/core/waveform.py", "pipeline/features/audio", "pipeline/media"),
    "visual": (
        "pipeline/core/openface_layout.py",
        "pipeline/features/encoder.py",
        "pipeline/features/visual",
        "pipeline/formats/openface_csv.py",
        "pipeline/media",
    ),
    "assemble": ("pipeline/core/waveform.py", "pipeline/datasets/assembly", "pipeline/transcripts/words.py"),
    "pretrain": _LEARN,
    "train": _LEARN,
    # a run's config.json holds the hashes of what it was trained with, so that its code counts here too
    "evaluate": ("pipeline/evaluation/evaluate.py", "pipeline/evaluation/metrics.py"),
    "inspect": (
        "pipeline/evaluation/evaluate.py",
        "pipeline/evaluation/inspect.py",
        "pipeline/evaluation/views",
        "pipeline/training/runs.py",
    ),
    "report": ("pipeline/reports",),
    "page": ("pipeline/evaluation", "pipeline/reports"),
}


def code_of(stage: str, method: str = "") -> list[str]:
    """Files and folders of a stage, relative to the project; of one method where it is a stage of methods."""
    return [path.replace(METHOD, f"models/{method}") for path in STAGE_CODE[stage]]
