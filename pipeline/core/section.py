"""What every part of params.yaml is, the methods' settings too."""

from __future__ import annotations

from typing import Any, get_origin

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """A part of params.yaml: immutable, unknown keys are errors, true is no number and "1" neither."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _lists_are_tuples(cls, values: Any) -> Any:
        tuples = [name for name, field in cls.model_fields.items() if get_origin(field.annotation) is tuple]
        lists = [name for name in tuples if isinstance(values, dict) and isinstance(values.get(name), list)]
        return {**values, **{name: tuple(values[name]) for name in lists}} if lists else values
