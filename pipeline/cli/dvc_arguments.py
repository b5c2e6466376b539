"""What a stage of dvc.yaml is called with: names of params.yaml, which no command there may have.

DVC puts names into commands as they are, for a shell to read. So `msa-cli stage text` without arguments asks
the variable DVC_STAGE (`text@sample-minilm`) of which entry it is, and params.yaml, once that is checked.
"""

from __future__ import annotations

import os
from itertools import product
from typing import Any

from typer.core import TyperGroup

from pipeline.core.vocabulary import MODALITIES


class StageGroup(TyperGroup):
    """Commands that take their arguments from DVC where they are given none."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, given = super().resolve_command(ctx, args)
        stage, _, entry = os.environ.get("DVC_STAGE", "").rpartition(":")[2].partition("@")
        return name, command, given or (arguments(stage, entry) if entry and stage == name else [])


def arguments(stage: str, entry: str) -> list[str]:
    """Of the command `stage`, for this key of dvc.yaml's `foreach` or `matrix`."""
    from pipeline.params.params import load_params

    params = load_params()
    if stage in MODALITIES:
        job = getattr(params.jobs, stage)[entry]
        return [job.dataset, job.encoder]
    sets = params.robust.sets if stage == "robust" else params.datasets_run
    runs = {f"{method}-{name}": [method, name] for method, name in product(params.models_run, sets)}
    return runs.get(entry, [entry])
