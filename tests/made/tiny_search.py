"""Searches of the tiny method's settings, and what they wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.params.params import TrainParams
from pipeline.params.search import Dimension, SearchSpace
from pipeline.training.search import Search
from pipeline.training.study import Trial, open_study, trials_of
from pipeline.training.tune import Study

SETTINGS = {"training": {"epochs": 2}}
SPACE: SearchSpace = {
    "training.lr_other": Dimension(low=1e-4, high=1e-1, log=True),
    "weights.spread": Dimension(low=0.0, high=0.5),
    "training.batch_size": Dimension(low=4, high=12, step=4),
    "training.optimizer": Dimension(choices=["adam", "adamw"]),
}


def search(assembled: Path, space: SearchSpace = SPACE, **changes: Any) -> Search:
    chosen: dict[str, Any] = {
        "seeds": (7,),
        "settings": SETTINGS,
        "train": TrainParams(),
        "assembled": assembled,
        "source": assembled,
        "device": "cpu",
    }
    return Search("tiny", "tiny", space, **{**chosen, **changes})


def searched(root: Path, total: int, *arguments: Any, finalists: int = 2, **changes: Any) -> Study:
    study = Study(search(*arguments, **changes), root)
    study.run(total, finalists)
    return study


def trials_in(folder: Path) -> list[Trial]:
    """Those that a study's folder has, screened with seed 7."""
    return trials_of(open_study(folder, SPACE), "seed-7")


def contents(folder: Path) -> dict[str, Any]:
    """Everything but wall times: bytes of files, and the trials of the journal, where there is one."""
    files = {f.relative_to(folder): f for f in sorted(folder.rglob("*")) if f.is_file()}
    found: dict[str, Any] = {
        str(name): file.read_bytes()
        for name, file in files.items()
        if name.parts[0] != "logs" and name.name != "journal.log"
    }
    if (folder / "journal.log").exists():
        found["trials"] = trials_in(folder)
    return found
