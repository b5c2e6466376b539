"""The code and the libraries that each stage's output depends on: for dvc.yaml, runs, searches, comparisons.

Folders count with everything below them. What is nowhere here (settings and their checks, commands, workers,
logs, how features lie on disk) changes no number of a stage's output.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]  # where the packages lie, also when they are installed
LOCK = "constraints.txt"  # in the project: the version of every library
# Stages that run when the lock changes, and keep each row that the new libraries do not touch. Others keep
# nothing: any new version would train all runs again. A run's config.json says what it was trained with.
WOKEN_BY_LOCK = ("ingest", "transcribe", "import", "text", "audio", "visual")

METHOD = "models/${item.method}"  # as in dvc.yaml

_LEARN = (
    "models/core",
    METHOD,
    "pipeline/core/waveform.py",
    "pipeline/datasets/rows.py",
    "pipeline/datasets/splits.py",
    "pipeline/datasets/training_set.py",
    "pipeline/training/loop",
)
_ENCODE = (
    "models/core/backbones.py",
    "models/core/loading.py",
    "pipeline/features/checkpoint.py",
    "pipeline/features/encoder.py",
    "pipeline/features/pooling.py",
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
        *_ENCODE,
        "pipeline/core/openface_layout.py",
        "pipeline/features/visual",
        "pipeline/formats/openface_csv.py",
        "pipeline/media",
    ),
    "assemble": ("pipeline/core/waveform.py", "pipeline/datasets/assembly", "pipeline/transcripts/words.py"),
    "train": _LEARN,
    # a run's config.json holds the hashes of what it was trained with, so that its code counts here too
    "evaluate": (
        "pipeline/evaluation/calibration.py",
        "pipeline/evaluation/evaluate.py",
        "pipeline/evaluation/inspect.py",
        "pipeline/evaluation/metrics.py",
        "pipeline/evaluation/tasks.py",
        "pipeline/evaluation/views",
        "pipeline/training/runs.py",
    ),
    # as of evaluate: the code that the runs were trained with counts by their config.json
    "robust": (
        "pipeline/datasets/assembly/aligned.py",
        "pipeline/datasets/assembly/files.py",
        "pipeline/evaluation/evaluate.py",
        "pipeline/evaluation/metrics.py",
        "pipeline/evaluation/robust_results.py",
        "pipeline/evaluation/significance.py",
        "pipeline/media/words.py",
        "pipeline/robustness",
        "pipeline/training/runs.py",
    ),
    "report": ("pipeline/core/spreadsheets.py", "pipeline/evaluation", "pipeline/reports"),
}


def code_of(stage: str, method: str = "") -> list[str]:
    """Files and folders of a stage, relative to the project; of one method where it is a stage of methods."""
    return [path.replace(METHOD, f"models/{method}") for path in STAGE_CODE[stage]]


def unlike_lock(names: Iterable[str] | None = None, project: Path = PROJECT) -> dict[str, tuple[str, str]]:
    """Packages (all, or these) whose installed version is not that of the lock: name -> (installed, locked).

    Empty where there is no lock, as in an installed wheel. What is not installed is no difference, nor is a
    build of the locked version (`+cpu`), nor pip itself, which is not installed by the lock.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lock = project / LOCK
    lines = lock.read_text(encoding="utf-8").splitlines() if lock.is_file() else []
    wanted = None if names is None else {canonicalize_name(name) for name in names}
    found: dict[str, tuple[str, str]] = {}
    for line in (line.partition("#")[0].strip() for line in lines):
        name = canonicalize_name(line.partition("==")[0])
        if not line or name == "pip" or (wanted is not None and name not in wanted):
            continue
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue
        if not Requirement(line).specifier.contains(installed, prereleases=True):
            found[name] = installed, line.partition("==")[2]
    return found
