"""The section `tune` of params.yaml: for each method, which settings are searched, and where.

    tune:
      misr:
        training.lr_other: {low: 1.0e-4, high: 1.0e-2, log: true}   # any number in between
        layers: {low: 1, high: 4, step: 1}                          # whole numbers
        invariance_over: {choices: [batch, clip]}

A key is a path below `models.<method>.base`. What is not named stays as it is.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError, model_validator

from pipeline.core.errors import ParamsError
from pipeline.core.section import Section
from pipeline.params.explain import explain, settings_of, unknown

if TYPE_CHECKING:
    from optuna.trial import Trial

    from models.core.method import MethodSettings

EDGE = 0.02  # share of a range that is its end
Scalar = bool | int | float | str | None
DIGITS = 4  # of a drawn number
INSIDE = 0.381966  # share of a range at which a number with digits lies, to see whether such a one is taken


class Dimension(Section):
    """One searched setting: `low` and `high` with `log` or `step`, or `choices`."""

    low: float | None = None
    """smallest value"""
    high: float | None = None
    """largest value, itself possible"""
    log: bool = False
    """orders of magnitude are equally likely, for learning rates and weights"""
    step: int | None = Field(None, ge=1)
    """whole numbers: low, low + step ... high"""
    choices: list[Scalar] | None = None
    """one of these, in no order"""

    @model_validator(mode="after")
    def _is_one_kind(self) -> Dimension:
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log or self.step is not None:
                raise ValueError("has choices and a range; give choices, or low and high")
            if len(set(self.choices)) < max(len(self.choices), 2):
                raise ValueError(f"choices is {self.choices}, expected at least two that differ")
            return self
        if self.low is None or self.high is None:
            raise ValueError("needs low and high ({low: 0.1, high: 1.0}), or choices ({choices: [a, b]})")
        ends = f"low is {self.low:g} and high {self.high:g}"
        if self.low >= self.high:
            raise ValueError(f"{ends}; low must be below high")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low:g}; log needs numbers above 0")
        if self.step is None:
            return self
        if self.log:
            raise ValueError("has log and step; give one of them")
        if not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError(f"{ends}; step needs whole numbers; list others as choices")
        if (self.high - self.low) % self.step:
            raise ValueError(
                f"high {self.high:g} is not reached from low {self.low:g} in steps of {self.step}"
            )
        return self

    def suggest(self, trial: Trial, key: str) -> None:
        """Have Optuna draw the key's value of a trial, if it has none yet."""
        if self.choices is not None:
            trial.suggest_categorical(key, self.choices)
        elif self.step is not None:
            trial.suggest_int(key, *map(int, self._ends()), step=self.step)
        else:
            trial.suggest_float(key, *self._ends(), log=self.log)

    def holds(self, value: Scalar) -> bool:
        """True where the value is one of those that can be drawn."""
        if self.choices is not None:
            return any(type(choice) is type(value) and choice == value for choice in self.choices)
        low, high = self._ends()
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            return False
        return self.step is None or (value - low) % self.step == 0

    def _ends(self) -> tuple[float, float]:
        assert self.low is not None
        assert self.high is not None
        return self.low, self.high

    def rounded(self, value: Scalar) -> Scalar:
        """A drawn number with few digits, so that what is written down is what was trained."""
        if self.low is None or self.high is None or self.step is not None or not isinstance(value, float):
            return value
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def at_an_end(self, value: Scalar) -> bool:
        """True where a number lies within 2 % of an end of its range, in the range's own scale."""
        if self.low is None or self.high is None or not isinstance(value, int | float):
            return False
        scale = math.log if self.log else float
        low, high, place = scale(self.low), scale(self.high), scale(value)
        return not low + EDGE * (high - low) < place < high - EDGE * (high - low)

    def probes(self) -> list[Scalar]:
        """Values that a method must accept if it is to accept all."""
        if self.choices is not None:
            return list(self.choices)
        low, high = self._ends()
        return [low, low + INSIDE * (high - low), high] if self.step is None else [int(low), int(high)]


SearchSpace = dict[str, Dimension]


def check_space(
    method: str, space: SearchSpace, config: type[MethodSettings], settings: Mapping[str, Any]
) -> None:
    """Every key is a setting of the method, every value of its range one that it accepts; else ParamsError.

    A range is tried with all else as params.yaml has it for the dataset. Values that do not go together (a
    width and a number of heads, say) are found by the trial that draws them.
    """
    known = dict(leaves(settings_of(config, settings, f"models.{method}.base").model_dump()))
    if not space:
        raise ParamsError(f"tune.{method} names no setting; write at least one with its range")
    for key, dimension in space.items():
        where = f"tune.{method}.{key}"
        if any(name.startswith(f"{key}.") for name in known):
            raise ParamsError(f"{where}: {key!r} is a section; name one of its settings, as {key}.NAME")
        if key not in known:
            raise ParamsError(unknown(f"tune.{method}: setting", key, known))
        for value in dimension.probes():
            try:
                config.model_validate(with_values(settings, {key: value}))
            except ValidationError as error:
                raise ParamsError(f"{where}: {explain(error, config)}; change its range") from error


def leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of everything that is no section; an empty section has none."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def with_values(settings: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the settings with values at dotted keys; ParamsError where a key leads through a value."""
    tree = copy.deepcopy(dict(settings))
    for key, value in values.items():
        *sections, last = key.split(".")
        section = tree
        for name in sections:
            if section.get(name) is None:
                section[name] = {}
            section = section[name]
            if not isinstance(section, dict):
                raise ParamsError(f"{name!r} is a value, not a section")
        section[last] = value
    return tree
