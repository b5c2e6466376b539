"""`msa-cli new`: a method, an encoder or a corpus that works, to be changed into one's own."""

from __future__ import annotations

import importlib.util
import keyword
import re
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.core.console import note, say
from pipeline.core.errors import MsaError, ParamsError


class What(StrEnum):
    """What can be made."""

    method = "method"
    encoder = "encoder"
    corpus = "corpus"


SECTIONS = {  # of CONTRIBUTING.md, and what its example is called
    What.method: ("Add a method", "means"),
    What.encoder: ("Add an encoder", "loudness"),
    What.corpus: ("Add a corpus", "talks"),
}
NEXT = {
    What.method: "then document it: a row in docs/methods.md, a section `## {title}` in docs/baselines.md, "
    "and `python docs/settings.py`; its paper in its first lines, or its name in "
    "tests/models/test_methods_found.py",
    What.encoder: "then document it: a row in docs/features.md",
    What.corpus: "then document it: a row in docs/corpora.md",
}


def new(
    what: Annotated[What, typer.Argument(metavar="WHAT", help="method, encoder or corpus.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name: letters, digits and _.")],
) -> None:
    """Create a working method, encoder or corpus, with its test and its section of params.yaml.

    Run it in the project's folder. It is the example of CONTRIBUTING.md under another name; change it into
    your own. A method is trained and reported by the next `dvc repro`.

    Example: msa-cli new method demo && dvc repro
    """
    from pipeline.cli.templates import PAGE, Template
    from pipeline.core.stage_code import PROJECT
    from pipeline.params.params import PARAMS_FILE, load_params

    project = Path()
    if not (project / PAGE).exists() or project.resolve() != PROJECT:
        raise MsaError(
            f"this is not the project whose code this msa-cli runs; run it in {PROJECT}, or install the "
            "project of this folder (pip install -e .)"
        )
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise ParamsError(
            f"{name!r} cannot name a {what}: expected lower-case letters, digits and _, starting with a "
            "letter, and not a Python keyword"
        )
    heading, example = SECTIONS[what]
    params = load_params(PARAMS_FILE)
    template = Template.read((project / PAGE).read_text("utf-8"), heading, {example: name})
    _check(what, name)
    if what == What.method:
        of_sets = template.params["models"][name]["corpora"]
        template.params["models"][name]["corpora"] = {name: {} for name in params.datasets_run} | of_sets
    written = template.write(project)
    python = [path for path in written if path.endswith(".py")]
    if importlib.util.find_spec("ruff") is not None:
        subprocess.run([sys.executable, "-m", "ruff", "format", "--quiet", *python], check=False)
    for path in written:
        say(f"  {path}")
    tests = [path for path in written if path.startswith("tests/")]
    note(f"next: python -m pytest {' '.join(tests)}", stdout=True)
    for command in template.commands if what != What.method else ["dvc repro"]:
        note(f"  {command}", stdout=True)
    note(f"  {NEXT[what].format(title=name.replace('_', ' ').title())}", stdout=True)


def _check(what: What, name: str) -> None:
    """MsaError where the name is taken."""
    from models import METHODS
    from pipeline.corpora.ingest import KINDS
    from pipeline.features.registry import REGISTRY

    taken = {
        What.method: METHODS,
        What.encoder: [kind for kinds in REGISTRY.values() for kind in kinds],
        What.corpus: KINDS,
    }
    if name in taken[what] or name in ("core", "none"):
        raise MsaError(f"{name}: the name is taken or reserved; choose another")
