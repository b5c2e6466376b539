"""Names that a shell completes: what the project in the working folder has.

A shell asks at each TAB, so params.yaml is read in C and not checked, and nothing that computes is imported.
Where a file cannot be read, there is nothing to complete.
"""

from __future__ import annotations

from pathlib import Path

import typer

PARAMS, DAG = Path("params.yaml"), Path("dvc.yaml")


def datasets() -> list[str]:
    """Corpora of raw clips."""
    return _keys("datasets")


def imports() -> list[str]:
    """Corpora of ready-made features."""
    return _keys("imports")


def training_sets() -> list[str]:
    return _keys("assemble")


def all_sets() -> list[str]:
    """Corpora, imports and training sets, each name once."""
    return [*dict.fromkeys([*datasets(), *imports(), *training_sets()])]


def methods() -> list[str]:
    from models import METHODS

    return [*METHODS]


def methods_and_groups() -> list[str]:
    """What `models_run` takes."""
    return [*methods(), *_keys("groups")]


def text_encoders() -> list[str]:
    return _keys("text")


def audio_encoders() -> list[str]:
    return _keys("audio")


def visual_encoders() -> list[str]:
    return _keys("visual")


def encoders() -> list[str]:
    """Of all modalities."""
    return [*text_encoders(), *audio_encoders(), *visual_encoders()]


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
