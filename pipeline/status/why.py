"""`msa-cli why`: what makes stages stale, each cause once, found up the DAG to where it began."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.params.explain import some_of
from pipeline.status.stages import StageState, stage_states

MOST = 6  # stages in a line


@dataclass(frozen=True)
class Cause:
    """Something that differs.

    Attributes
    ----------
    stages : those that it makes stale by itself
    way : of one stage that was asked for: from it up to one of those, by (path, stage that makes it)
    """

    words: str
    stages: list[str]
    way: list[tuple[str, str]]


@dataclass(frozen=True)
class Staleness:
    """Stages that were asked for, those of them that are stale, and why."""

    asked: list[str]
    stale: list[str]
    causes: list[Cause]


def why(names: Sequence[str] = ()) -> Staleness:
    """What makes these stages stale, all of the folder's if none is named; see stage_states for errors."""
    asked, states = stage_states(names)
    found: dict[str, list[str]] = {}
    stale: set[str] = set()
    for state in states.values():  # what comes first is first
        for words in state.causes:
            found.setdefault(words, []).append(state.name)
        if state.causes or stale & state.makers.keys():
            stale.add(state.name)
    causes = [
        Cause(words, stages, _way(asked[0], stages, states) if len(asked) == 1 else [])
        for words, stages in found.items()
    ]
    causes.sort(key=lambda cause: len(cause.way))  # what is its own comes first
    return Staleness(asked, [name for name in asked if name in stale], causes)


def _way(stage: str, causes: Sequence[str], states: dict[str, StageState]) -> list[tuple[str, str]]:
    """The shortest one up to a stage that has a cause of its own."""
    ways: deque[tuple[str, list[tuple[str, str]]]] = deque([(stage, [])])
    while ways:
        name, way = ways.popleft()
        if name in causes:
            return way
        ways += [(maker, [*way, (path, maker)]) for maker, path in states[name].makers.items()]
    return []


def lines(found: Staleness) -> list[str]:
    """In words, a cause a line."""
    one = len(found.asked) == 1
    if not found.stale:
        who = found.asked[0] if one else f"all {len(found.asked)} stages"
        return [f"{who} {'is' if one else 'are'} up to date"]
    if one:
        causes = [f"- {_upwards(cause)}{cause.words}" for cause in found.causes]
        return [f"{found.asked[0]} is stale:", *causes]
    direct = {stage for cause in found.causes for stage in cause.stages}
    follow = [stage for stage in found.stale if stage not in direct]
    return [
        f"{len(found.stale)} of {len(found.asked)} stages are stale:",
        *(f"- {cause.words} ({some_of(cause.stages, MOST)})" for cause in found.causes),
        *([f"and those that depend on them: {some_of(follow, MOST)}"] if follow else []),
    ]


def _upwards(cause: Cause) -> str:
    if not cause.way:
        return ""
    (path, maker), *above = cause.way
    from_there = "".join(f", from {path} of {stage}" for path, stage in above)
    return f"{path} is made by {maker}{from_there}, which is stale: "
