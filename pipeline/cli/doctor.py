"""`msa-cli doctor`: is this machine fit, and which encoders can run on it now?"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipeline.cli.options import ParamsFile
from pipeline.core.console import show
from pipeline.core.errors import MsaError
from pipeline.core.vocabulary import MODALITIES

if TYPE_CHECKING:
    from rich.table import Table

    from pipeline.params.params import Params

EXTRAS = {
    "feat": ("pyfeat", "py-feat's detectors"),
    "ray": ("ray", "extraction on several machines"),
    "opensmile": ("opensmile", "eGeMAPS (research licence)"),
    "torchaudio": ("torchaudio", "Kaldi's log-mel bands"),
    "parselmouth": ("praat", "Praat's pitch (GPL-3)"),
    "faster_whisper": ("asr-fast", "Whisper in int8 on a CPU"),
}
NEIGHBOURS = {  # packages with compiled code for one torch; a broken one of the first two breaks transformers
    "torchaudio": "error",
    "torchvision": "error",
    "torchcodec": "warning",
}


def doctor(params: ParamsFile = None) -> None:
    """Check this machine: packages, devices, weights, and which encoders can run now."""
    from pipeline.params.params import load_params

    checks = examine(load_params(params))
    show(render(checks))
    if any(check.level == "error" for check in checks):
        raise typer.Exit(1)


@dataclass(frozen=True)
class Check:
    """One line of the report; level is ok, note, warning or error."""

    level: str
    what: str
    found: str


def examine(params: Params) -> list[Check]:
    """All checks; imports the heavy libraries, so it takes seconds."""
    return [*_interpreter(), *_lock(), *_torch(), *_opencv(), *_encoders(params), *_extras()]


def _interpreter() -> list[Check]:
    good = sys.version_info >= (3, 11)
    python = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    cores = f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} for this process"
    return [
        Check("ok" if good else "error", "python", python if good else f"{python}; 3.11 or later is needed"),
        Check("ok", "cores", cores),
    ]


def _lock(project: Path | None = None) -> list[Check]:
    """Packages whose version is not that of the lock; nothing where there is none, as in a wheel."""
    from pipeline.core.stage_code import LOCK, PROJECT, unlike_lock

    project = project or PROJECT
    if not (project / LOCK).is_file():
        return []
    found = [
        Check("warning", name, f"{installed} is installed, {LOCK} has {locked}")
        for name, (installed, locked) in unlike_lock(project=project).items()
    ]
    if not found:
        return [Check("ok", "lock", f"installed packages match {LOCK}")]
    return [*found, Check("warning", "how to fix", f"pip install -c {LOCK} -e .   (in {project})")]


def _torch() -> list[Check]:
    try:
        import torch
    except (ImportError, OSError) as error:
        return [
            Check("error", "torch", f"cannot be imported ({error}); run pip install -c constraints.txt -e .")
        ]
    from importlib.metadata import version

    cuda = torch.cuda.is_available()
    device = f"CUDA {torch.version.cuda}, {torch.cuda.get_device_name()}" if cuda else "CPU only"
    checks = [Check("ok", "torch", f"{torch.__version__}, {device}")]
    broken = {}
    for name, level in NEIGHBOURS.items():
        if importlib.util.find_spec(name) is None:
            continue
        if reason := _import_failure(name):
            broken[name] = level
            checks.append(Check(level, name, f"{version(name)} cannot be imported with this torch: {reason}"))
        else:
            checks.append(Check("ok", name, version(name)))
    if broken:
        found = f"pip uninstall -y {' '.join(broken)}   ("
        found += "transformers breaks with them: " if "error" in broken.values() else ""
        found += (
            "built for another torch, or for CUDA with a torch for CPU; py-feat needs torchvision 0.28 and "
            "torchcodec 0.13 with torch 2.13, and FFmpeg's libraries)"
        )
        checks.append(Check("error" if "error" in broken.values() else "warning", "how to fix", found))
    return checks


def _import_failure(module: str) -> str | None:
    """Why a module that is installed cannot be imported, None where it can."""
    try:
        importlib.import_module(module)
    except Exception as error:  # ImportError, OSError or RuntimeError, by package and version
        return f"{type(error).__name__}: {error}".splitlines()[0][:160]
    return None


def _opencv() -> list[Check]:
    from importlib.metadata import distributions, version

    wheels = sorted(
        {name for wheel in distributions() if (name := wheel.metadata["Name"]).lower().startswith("opencv")}
    )
    if len(wheels) > 1:
        found = f"{', '.join(wheels)} overwrite one another; keep only opencv-contrib-python"
        return [Check("error", "opencv", found)]
    return [Check("ok", "opencv", f"{wheel} {version(wheel)}") for wheel in wheels]


def _encoders(params: Params) -> list[Check]:
    """Load each configured encoder that has its files here, for that is the only proof; ask no hub."""
    from pipeline.features.fetch import needed
    from pipeline.features.registry import build_encoder
    from pipeline.params.encoders import Pretrained

    checks = []
    for modality in MODALITIES:
        for name, settings in getattr(params, modality).items():
            needs = needed(modality, name, settings) if isinstance(settings, Pretrained) else []
            languages = len(settings.checkpoints()) if isinstance(settings, Pretrained) else 1
            if len(needs) - 1 < languages:  # at least one of its models is here
                try:
                    encoder = build_encoder(modality, name, settings, params.media)
                    encoder.load()
                    found = "; ".join([f"runs ({encoder.dim} columns)", *needs])
                    checks.append(Check("ok", f"{modality} encoder {name}", found))
                    continue
                except MsaError as error:
                    found = f"cannot run here: {error}"
                except Exception as error:  # a library that is broken here
                    found = f"does not load: {type(error).__name__}: {error}".splitlines()[0]
            else:
                found = f"needs {'; '.join(needs)}"
            wanted = any(job.encoder == name for job in getattr(params.jobs, modality).values())
            level = "error" if wanted else "note"
            checks.append(Check(level, f"{modality} encoder {name}", found))
    return checks


def _extras() -> list[Check]:
    from importlib.metadata import PackageNotFoundError, version

    checks = []
    for module, (extra, purpose) in EXTRAS.items():
        if importlib.util.find_spec(module) is None:
            found = f"not installed ({purpose}): pip install 'msa-pipeline[{extra}]'"
            checks.append(Check("note", f"extra {extra}", found))
        elif reason := _import_failure(module):
            found = f"installed, but cannot be imported: {reason}; pip install 'msa-pipeline[{extra}]'"
            checks.append(Check("warning", f"extra {extra}", found))
        else:
            checks.append(Check("ok", f"extra {extra}", f"imports ({purpose})"))
    for package in ("dvc", "dvclive"):
        try:
            checks.append(Check("ok", package, version(package)))
        except PackageNotFoundError:
            checks.append(Check("warning", package, "not installed; `dvc repro` needs it"))
    return checks


def render(checks: list[Check]) -> Table:
    """The report for a terminal."""
    from rich.table import Table
    from rich.text import Text

    colours = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "red"}
    table = Table("", "what", "found")
    for check in checks:
        table.add_row(Text(check.level, colours[check.level]), check.what, check.found)
    return table
