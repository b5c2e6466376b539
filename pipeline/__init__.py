"""From raw video clips to tracked, comparable metrics in multimodal sentiment analysis.

The rooms, from the ground up; each imports only what stands before it:

core         errors, vocabulary, paths, files, git, devices, console
params       params.yaml as typed objects
media        containers, frames, waveform, subtitles
formats      foreign files, read safely
store        Parquet with provenance
execution    items to processes, Ray or a GPU, and results back
corpora      raw corpora -> clip table
transcripts  what is said, and when
imports      ready-made features -> clip table, transcripts, feature stores
features     encoders and extraction
datasets     training sets, made and read
training     the loop, runs, search
evaluation   metrics, scoring, views, significance, comparison, the papers' tables
reports      pages, tables, pictures
claims       planted corpora, and what methods make of them
status       why a stage is stale, the list of runs, dvc.lock of two branches
predict      trained runs on new clips
validate     a corpus examined before anything is learnt
api          features, training sets and runs as Python objects: `import pipeline as msa`
exports      training sets in the formats of other projects
cli          one file a command

`models` stands beside `media` and imports `core` alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.api.clips import load_features
    from pipeline.api.runs import extract, load_run, predict
    from pipeline.api.sets import load_set

_PLACES = {
    "extract": "pipeline.api.runs",
    "load_features": "pipeline.api.clips",
    "load_run": "pipeline.api.runs",
    "load_set": "pipeline.api.sets",
    "predict": "pipeline.api.runs",
}
__all__ = ["extract", "load_features", "load_run", "load_set", "predict"]


def __getattr__(name: str) -> Any:
    """Imported when it is asked for: torch and its like take seconds."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
