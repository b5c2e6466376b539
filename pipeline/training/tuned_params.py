"""Values that a search found, written down: into params.yaml, or as a DVC experiment that leaves it alone.

They go under `models.<method>.corpora.<dataset>`, whose section overrules `base`, so that other corpora keep
their own. All else of the file stays, to the byte.

The experiment is a commit on the present one that nothing was run for: the tracked files as they are in the
working folder, with the new params.yaml, under the name where DVC looks for experiments. `dvc exp apply NAME`
brings it into the working folder and `dvc repro` trains it. The working folder and git's index stay as they
are.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.core.errors import MsaError, ParamsError
from pipeline.params.edit import with_value
from pipeline.params.params import PARAMS_FILE
from pipeline.params.search import with_values
from pipeline.training.trials import plain

AUTHOR = {"NAME": "msa-cli", "EMAIL": "msa-cli@localhost"}  # where git knows none


def with_tuned(text: str, method: str, dataset: str, values: Mapping[str, Any]) -> str:
    """The text of params.yaml with values by dotted key under `models.<method>.corpora.<dataset>`.

    Raises
    ------
    ParamsError : the text has no such section, or one that is written in a way that cannot be edited
    """
    from ruamel.yaml import YAML

    place = ("models", method, "corpora", dataset)
    wanted = YAML(typ="safe").load(text)
    section: Any = wanted
    for name in place:
        section = section.get(name) if isinstance(section, dict) else None
    if not isinstance(section, dict):
        raise ParamsError(
            f"{PARAMS_FILE}: {'.'.join(place)} is missing; write `{dataset}: {{}}` there, the values go "
            "below it"
        )
    edited = text
    for key, value in reversed(list(values.items())):  # each new one goes in front of the others
        edited = with_value(edited, (*place, *key.split(".")), as_yaml(value))
    wanted["models"][method]["corpora"][dataset] = with_values(section, values)
    if YAML(typ="safe").load(edited) != wanted:
        raise ParamsError(
            f"{PARAMS_FILE}: the values cannot be written under {'.'.join(place)}, which shares its text "
            "with another section (an anchor, say); write the section out"
        )
    return edited


def as_yaml(value: object) -> str:
    """A plain value as YAML of any version reads it back."""
    from ruamel.yaml import YAML

    text = plain(value)
    if isinstance(value, float) and "e" in text and "." not in text:
        return text.replace("e", ".0e")  # 1e-05 is a word to YAML 1.1
    return json.dumps(value) if YAML(typ="safe").load(text) != value else text


def baseline() -> str:
    """The commit that an experiment starts from.

    Raises
    ------
    MsaError : the current folder is no DVC project in git with a commit
    """
    if not Path("dvc.yaml").exists():
        raise MsaError(f"{Path.cwd()} has no dvc.yaml, so no DVC experiment can be made; use --write")
    try:
        return _git("rev-parse", "--verify", "HEAD")
    except MsaError as error:
        raise MsaError(
            f"a DVC experiment starts from a commit ({error}); make one, or use --write"
        ) from error


def save_experiment(name: str, text: str) -> None:
    """A DVC experiment of the working folder with `text` as its params.yaml; one of that name is replaced.

    Raises
    ------
    MsaError : the current folder is no project in git with a commit, or git fails
    """
    head = baseline()
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"  # of our own: git's stays as it is
        shutil.copy(_git("rev-parse", "--git-path", "index"), index)
        own = {"GIT_INDEX_FILE": str(index)}
        _git("add", "--update", "--", ":/", **own)
        blob = _git("hash-object", "-w", "--stdin", stdin=text)
        place = _git("rev-parse", "--show-prefix") + PARAMS_FILE
        _git("update-index", "--add", "--cacheinfo", f"100644,{blob},{place}", **own)
        tree = _git("write-tree", **own)
    commit = _git("commit-tree", tree, "-p", head, "-m", f"msa-cli tune: {name}", **_author())
    _git("update-ref", f"refs/exps/{head[:2]}/{head[2:]}/{name}", commit)


def _author() -> dict[str, str]:
    """What git needs to commit, where its settings do not say it."""
    try:
        _git("var", "GIT_AUTHOR_IDENT")
        return {}
    except MsaError:
        return {
            f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in AUTHOR.items()
        }


def _git(*command: str, stdin: str | None = None, **environment: str) -> str:
    """What a git command prints, without the end of the line."""
    try:
        done = subprocess.run(
            ["git", *command], input=stdin, env=os.environ | environment, capture_output=True, text=True
        )
    except FileNotFoundError as error:
        raise MsaError("git is not installed, and DVC experiments lie in it; use --write") from error
    if done.returncode:
        raise MsaError(f"git {command[0]}: {done.stderr.strip() or f'left with {done.returncode}'}")
    return done.stdout.rstrip("\n")
