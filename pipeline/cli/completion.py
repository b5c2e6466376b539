"""Names that a shell completes: what the project in the working folder has.

A shell asks at each TAB, so params.yaml is read in C and not checked, and nothing that computes is imported.
Where a file cannot be read, there is nothing to complete.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import typer

PARAMS, DAG = Path("params.yaml"), Path("dvc.yaml")


def _names(*sections: str) -> Callable[[], list[str]]:
    """What asks for the names in sections of params.yaml, each once."""
    return lambda: [*dict.fromkeys(name for section in sections for name in _keys(section))]


datasets = _names("datasets")  # corpora of raw clips
imports = _names("imports")  # corpora of ready-made features
training_sets = _names("assemble")
all_sets = _names("datasets", "imports", "assemble")
text_encoders = _names("text")
audio_encoders = _names("audio")
visual_encoders = _names("visual")
encoders = _names("text", "audio", "visual")


def methods() -> list[str]:
    from models import METHODS

    return [*METHODS]


def methods_and_groups() -> list[str]:
    """What `models_run` takes."""
    return [*methods(), *_keys("groups")]


def encoders_of_stage(ctx: typer.Context) -> list[str]:
    """Of the modality that the stage is called after."""
    return _keys(ctx.info_name or "")


def stages() -> list[str]:
    """Of dvc.yaml; those of one `foreach` or `matrix` by their common name."""
    return _keys("stages", DAG)


def run_folders() -> list[str]:
    """`runs/misr-mosi` for all seeds, and `runs/misr-mosi/1111`."""
    seeds = sorted(file.parent for file in Path("runs").glob("*/*/config.json"))
    return [*map(str, dict.fromkeys([*(seed.parent for seed in seeds), *seeds]))]


def run_names() -> list[str]:
    """`misr-mosi` for all seeds, and `misr-mosi/1111`."""
    return [folder.partition("/")[2] for folder in run_folders()]


def result_names() -> list[str]:
    """`misr-mosi`, of what was evaluated."""
    found = sorted(Path("results").glob("*/*/metrics.json"))
    return [f"{file.parent.name}-{file.parent.parent.name}" for file in found]


def _keys(section: str, file: Path = PARAMS) -> list[str]:
    """Of a mapping at the top of a YAML file; its values are parsed, but not made."""
    from ruamel.yaml import YAML, MappingNode
    from ruamel.yaml.error import YAMLError

    try:
        root = YAML(typ="safe").compose(file)
    except (OSError, YAMLError, ValueError):
        return []
    if not isinstance(root, MappingNode):
        return []
    values = (value for key, value in root.value if key.value == section)
    return [key.value for value in values if isinstance(value, MappingNode) for key, _ in value.value]
