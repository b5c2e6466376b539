"""New corpora and imports entered into params.yaml (comments kept), and links to them in data/raw.

What is written is all that DVC needs to know: the corpus, its extraction jobs, a training set (or one for
each fold), and an entry under `corpora` of every method. A name that is there already is never overwritten.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import ParamsError
from pipeline.params import NO_TABLES, NONE, Params, check_params

RAW = Path("data/raw")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
VISUAL_COLUMNS = ("AU*", "pose_R*", "gaze_angle_*", "success")  # of our own visual encoders: no raw landmarks


@dataclass
class Entry:
    """What is to be registered.

    Attributes
    ----------
    section : `datasets` or `imports`
    corpus : the entry itself: kind, root, language, task, ...
    metrics : metric set of the training set
    encoders : modality -> encoder of params.yaml, or `none`; of a dataset these become jobs
    features : modality -> folder of data/features or `none`: what the training set is made of
    folds : of a cross-validation: as many training sets, one a fold; 0 = the corpus' own splits
    by : what the folds keep apart
    """

    name: str
    section: str
    corpus: dict[str, Any]
    metrics: str
    encoders: Mapping[str, str] = field(default_factory=dict)
    features: Mapping[str, str] = field(default_factory=dict)
    folds: int = 0
    by: str = "speaker"

    def sets(self) -> dict[str, dict[str, Any]]:
        """The training sets by name."""
        streams = ("text", "audio", "visual", "waveform")
        one: dict[str, Any] = {"dataset": self.name, "metrics": self.metrics}
        one |= {stream: self.features.get(stream, NONE) for stream in streams}
        if self.section == "datasets" and one["visual"] != NONE:
            one["columns"] = {"visual": list(VISUAL_COLUMNS)}
        if not self.folds:
            return {self.name: one}
        folds = ({"number": self.folds, "fold": fold, "by": self.by} for fold in range(self.folds))
        return {f"{self.name}-f{fold['fold']}": {**one, "protocol": {"folds": fold}} for fold in folds}


def check_name(name: str) -> None:
    """Refuse a name that cannot be one of files, folders and DVC stages."""
    if not NAME.fullmatch(name):
        raise ParamsError(
            f"--name {name!r}: expected letters, digits, `_` and `-`, at most 64, beginning with no `-`"
        )


def link(name: str, paths: Sequence[Path]) -> Path:
    """data/raw/<name> as a link to one folder, or a folder of links to files; the same links again are fine.

    Raises
    ------
    ParamsError : a path does not exist, two have one name, or something else lies in that place
    """
    for path in paths:
        if not path.exists():
            raise ParamsError(f"{path}: no such file or folder")
    place = RAW / name
    if len(paths) == 1 and paths[0].is_dir():
        _link(place, paths[0])
        return place
    names = [path.name for path in paths]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ParamsError(f"{', '.join(twice)}: several files of that name; rename them, or give a folder")
    if place.is_symlink():
        raise ParamsError(f"{place} is a link to {os.readlink(place)}; choose another --name, or remove it")
    place.mkdir(parents=True, exist_ok=True)
    for path in paths:
        _link(place / path.name, path)
    return place


def _link(place: Path, target: Path) -> None:
    target = target.resolve()
    if place.resolve() == target:
        return
    if place.exists() or place.is_symlink():
        raise ParamsError(
            f"{place} is there already, and is not {target}; choose another --name, or remove it"
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target, target_is_directory=target.is_dir())


def register(entry: Entry, params: Params, file: Path, *, run: bool = True) -> list[str]:
    """Write an entry into params.yaml; the keys that were written.

    Parameters
    ----------
    params : those of the file, checked
    run : also add the training sets to `datasets_run`

    Raises
    ------
    ParamsError : the name is taken, or the result would not be valid; then nothing is written
    """
    from ruamel.yaml import YAML

    taken = [*params.datasets, *params.imports, *params.assemble]
    if clash := [name for name in (entry.name, *entry.sets()) if name in taken]:
        raise ParamsError(f"{file}: {clash[0]!r} is there already; choose another --name, or remove it there")
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096  # no line is broken anew
    tree: Any = yaml.load(file.read_text(encoding="utf-8"))
    written = [f"{entry.section}.{entry.name}"]
    _section(tree, entry.section)[entry.name] = entry.corpus
    for modality, encoder in entry.encoders.items():
        if encoder != NONE:
            kind = params.encoder(modality, encoder)
            job = {"dataset": entry.name, "encoder": encoder, "kind": kind.kind}
            if modality == "visual":
                job["source"] = getattr(kind, "csv", None) or NO_TABLES
            _section(tree, "jobs", modality)[f"{entry.name}-{encoder}"] = _flow(job)
            written.append(f"jobs.{modality}.{entry.name}-{encoder}")
    for name, chosen in entry.sets().items():
        _section(tree, "assemble")[name] = chosen
        written.append(f"assemble.{name}")
        for method in tree.get("models") or {}:
            corpora = _section(tree, "models", method, "corpora")
            if name not in corpora:
                corpora[name] = _flow({})
        if run:
            tree.setdefault("datasets_run", []).append(name)
            written.append(f"datasets_run: {name}")
    text = io.StringIO()
    yaml.dump(tree, text)
    check_params(YAML(typ="safe").load(text.getvalue()), f"{file} with {entry.name}")
    file.write_text(text.getvalue(), encoding="utf-8")
    return written


def _section(tree: Any, *path: str) -> Any:
    """The mapping at that path; one that is empty (`{}`) is written a line an entry from now on."""
    for key in path:
        if not tree.get(key):
            tree[key] = {}
        tree = tree[key]
        if hasattr(tree, "fa") and not tree:
            tree.fa.set_block_style()
    return tree


def _flow(mapping: dict[str, Any]) -> Any:
    """A mapping that is written on one line."""
    from ruamel.yaml.comments import CommentedMap

    written = CommentedMap(mapping)
    written.fa.set_flow_style()
    return written
