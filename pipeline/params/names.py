"""What may be a name, a path or a language in params.yaml; names become files, folders and DVC stages."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from pipeline.core.vocabulary import NONE
from pipeline.params.explain import shown

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
LONGEST = 64
OF_A_JOB = 2 * LONGEST + 1  # <dataset>-<encoder>


def as_name(value: str, longest: int = LONGEST) -> str:
    """The name itself; ValueError where it cannot be one."""
    if value == NONE or len(value) > longest or not NAME.fullmatch(value):
        raise ValueError(
            f"{shown(value)} is not a name: expected letters, digits, `_` and `-`, at most {longest}, not "
            f"starting with `-`, and not {NONE}"
        )
    return value


def _as_folder(value: str) -> str:
    if value != NONE:
        try:
            dataset, folder = value.split("/")
            as_name(dataset), as_name(folder, OF_A_JOB)
        except ValueError:
            raise ValueError(
                f"{shown(value)} is not a folder of data/features: expected <dataset>/<modality>-<encoder>, "
                f"or {NONE}"
            ) from None
    return value


def _as_path(value: str) -> str:
    if not value.strip() or not value.isprintable() or "://" in value:
        raise ValueError(f"{shown(value)} is not a path: expected a file or folder on this machine")
    return value


def as_language(value: str) -> str:
    """The code itself; ValueError where it is none."""
    if not re.fullmatch("[a-z]{2,3}", value):
        raise ValueError(
            f"{shown(value)} is not an ISO 639 code in lower case: `en` is English, `zh` Chinese"
        )
    return value


Name = Annotated[str, AfterValidator(as_name)]
JobName = Annotated[str, AfterValidator(lambda value: as_name(value, OF_A_JOB))]
FeatureFolder = Annotated[str, AfterValidator(_as_folder)]
"""`<dataset>/<modality>-<encoder>` below data/features, or `none`"""
LocalPath = Annotated[str, AfterValidator(_as_path)]
Language = Annotated[str, AfterValidator(as_language)]
"""ISO 639-1 or 639-3 code"""
