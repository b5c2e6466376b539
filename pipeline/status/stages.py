"""The stages of a DVC project: what each depends on, and what makes it stale by itself, in words.

Whether something differs is DVC's word; what differs is looked up in its cache, in git and in params.yaml.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, reduce
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import MsaError
from pipeline.params.differing import MISSING, differing
from pipeline.params.explain import one_line, shown, unknown
from pipeline.params.plain_yaml import read_yaml_file
from pipeline.status.contents import committed, present, recorded
from pipeline.status.differences import differences

if TYPE_CHECKING:
    from dvc.dependency import ParamsDependency
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc.stage import Stage

DAG = "dvc.yaml"


@dataclass(frozen=True)
class StageState:
    """A stage as it stands.

    Attributes
    ----------
    causes : what makes it stale by itself, in words
    makers : stage that it depends on -> the path that it takes from there
    """

    name: str
    causes: list[str]
    makers: dict[str, str]


def stage_states(names: Sequence[str] = ()) -> tuple[list[str], dict[str, StageState]]:
    """The stages asked for, and the states of them and of all that they depend on, what comes first first.

    Parameters
    ----------
    names : of stages of this folder's dvc.yaml (`train@misr-sample`), or of groups (`train`); none = all

    Raises
    ------
    MsaError : no project of DVC, one that DVC cannot read, or no such stage
    """
    if not Path(DAG).is_file():
        raise MsaError(f"{Path.cwd()} has no {DAG}; run this in the project's folder")
    with _opened() as repo:
        here = (stage for stage in repo.index.stages if Path(stage.path) == Path(DAG).absolute())
        known = {stage.addressing: stage for stage in here}
        asked = [*dict.fromkeys(chain.from_iterable(_named(name, known) for name in names))] or [*known]
        states: dict[str, StageState] = {}
        finder = CauseFinder()

        def add(stage: Stage) -> None:
            if (name := stage.addressing) in states:
                return
            above = list(repo.index.graph.successors(stage))
            for maker in above:
                add(maker)
            makers = {maker.addressing: _path_from(maker, stage) for maker in above}
            states[name] = StageState(name, [*finder.causes(stage)], makers)

        for name in asked:
            add(known[name])
        return asked, states


@contextmanager
def _opened() -> Iterator[Repo]:
    """The project; what DVC finds wrong is an error of ours."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            yield repo
    except DvcException as error:
        raise MsaError(one_line(str(error), most=400)) from error


def _named(name: str, known: Iterable[str]) -> list[str]:
    found = [stage for stage in known if name in (stage, stage.partition("@")[0])]
    if not found:
        raise MsaError(unknown("stage", name, known))
    return found


def _path_from(maker: Stage, stage: Stage) -> str:
    outs = [Path(out.fs_path) for out in maker.outs]
    return next((str(dep) for dep in stage.deps if _overlaps(Path(dep.fs_path), outs)), "")


def _overlaps(path: Path, places: Iterable[Path]) -> bool:
    return any(path.is_relative_to(one) or one.is_relative_to(path) for one in places)


class CauseFinder:
    """Finds causes, of stages in the order of the DAG; every file is read once."""

    def __init__(self) -> None:
        self._params = cache(read_yaml_file)
        self._changed: list[Path] = []  # outputs that are not as left; who reads them has no cause of its own

    def causes(self, stage: Stage) -> Iterator[str]:
        """What makes a stage stale by itself."""
        from dvc.dependency import ParamsDependency
        from dvc.stage import PipelineStage

        if isinstance(stage, PipelineStage):
            if not any(entry.hash_info for entry in (*stage.deps, *stage.outs)):
                yield "it never ran: dvc.lock has no entry for it"
                return
            if stage.cmd_changed:
                old = stage.dvcfile.lockfile_contents["stages"][stage.name]["cmd"]
                yield f"its command was {old!r}, now {stage.cmd!r}"
        if stage.is_callback or stage.always_changed:
            yield "it runs each time, as dvc.yaml asks"
        for dep in () if stage.frozen else stage.deps:
            if isinstance(dep, ParamsDependency):
                yield from self._settings(dep)
            elif not _overlaps(Path(dep.fs_path), self._changed) and (state := dep.status()):
                yield from _files(dep, state, "")
        for out in stage.outs:
            if state := out.status():
                self._changed.append(Path(out.fs_path))
                yield from _files(out, state, "its output ")

    def _settings(self, entry: ParamsDependency) -> Iterator[str]:
        if not entry.exists:
            yield f"{entry} is missing"
            return
        old, new = entry.hash_info.value or {}, self._params(Path(entry.fs_path))
        for key in entry.params:
            before, after = old.get(key, MISSING), reduce(_below, key.split("."), new)
            if key not in old:
                yield f"{key} is new in {DAG} ({entry})"
            elif before != after:
                for name, *values in differing(before, after, key):
                    yield f"{name} {_change(*values)} ({entry})"


def _below(tree: Any, name: str) -> Any:
    return tree.get(name, MISSING) if isinstance(tree, dict) else MISSING


def _change(old: Any, new: Any) -> str:
    if old is MISSING or new is MISSING:
        return f"{_value(new)} added" if old is MISSING else f"{_value(old)} removed"
    if isinstance(old, list) and isinstance(new, list):
        words = [f"{_value(one)} added" for one in new if one not in old]
        words += [f"{_value(one)} removed" for one in old if one not in new]
        if words:
            return ", ".join(words)
    return f"{_value(old)} -> {_value(new)}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return f"a section of {len(value)} keys"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else shown(value)


def _files(entry: Output, state: Any, what: str) -> Iterator[str]:
    """What differs in a dependency, or in an output."""
    path, (how, *_) = str(entry), state.values()
    if how == "deleted":
        yield f"{what}{path} is missing"
    elif how == "not in cache":
        yield f"{what}{path} is not in DVC's cache"
    elif not entry.hash_info:
        yield f"{what}{path} is new in {DAG}"
    elif how != "modified" or entry.protocol != "local":
        yield f"{what}{path}: {how}"
    else:
        now = present(entry)
        if (then := recorded(entry, Path())) is not None:
            for line in differences(path, then, now):
                yield what + line
            return
        before = f"{entry.meta.nfiles or 1} file(s), {entry.meta.size} bytes"
        line = f"{what}{path} changed: it had {before}, which neither a commit nor DVC's cache has"
        if (head := committed(entry, Path())) is not None:
            since = differences(path, head, now) or ["nothing"]
            line += f"; changed since {head.source}: {'; '.join(since)}"
        yield line
