"""One more method is one folder and one section of params.yaml: `dvc repro` trains, evaluates, reports it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from made.tiny_set import write_tiny_set
from made.workspace import Workspace
from ruamel.yaml import YAML

pytestmark = pytest.mark.slow

LEARNING = ("train", "evaluate", "report")
BASE = {  # what dvc.yaml names of every method, and one setting of its own
    "text": "frozen",
    "text_backbone": "minilm",
    "text_revision": None,
    "max_tokens": 50,
    "pretraining": {},
    "width": 8,
}
MODEL = '''
"""Mean of each modality over time, and a linear layer."""

from __future__ import annotations

import torch
from torch import nn

from models.core.blocks import mean_over_time
from models.core.method import Method, MethodSettings, Output, Training
from pipeline.core.section import Section


class MeanWeights(Section):
    prediction: float = 1.0


class MeanTraining(Training):
    lr_backbone: float = 0.0
    lr_other: float = 0.05
    epochs: int = 3


class MeanSettings(MethodSettings):
    weights: MeanWeights = MeanWeights()
    training: MeanTraining = MeanTraining()
    width: int = 4


class MeanRegressor(Method):
    TERMS = ("prediction",)
    NEEDS = ("text", "audio", "visual")
    Config = MeanSettings

    def build(self, backbones):
        self.hidden = nn.Linear(sum(self.dims.values()), self.config.width)
        self.head = nn.Linear(self.config.width, self.task.outputs)

    def forward(self, batch):
        means = [mean_over_time(part.values, part.mask) for part in self.inputs(batch).values()]
        return Output(self.task.predict(self.head, torch.tanh(self.hidden(torch.cat(means, dim=-1)))))

    def losses(self, batch, output, terms):
        return {"prediction": self.task.loss(output.prediction, batch.label, batch.labeled)}
'''


class CopiedProject(Workspace):
    """A project whose own copy of the code runs."""

    def environment(self) -> dict[str, str]:
        return super().environment() | {"PYTHONPATH": str(self.folder)}


def copy_project(folder: Path, project: Path) -> CopiedProject:
    """The project with a small training set that is there already, and no stages before it."""
    for package in ("pipeline", "models"):
        shutil.copytree(project / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(project / name, folder / name)
    shutil.copytree(project / "data/assembled/none", folder / "data/assembled/none")
    yaml = YAML()
    dag = yaml.load(project / "dvc.yaml")
    stages = {name: stage for name, stage in dag["stages"].items() if name in LEARNING}
    yaml.dump({**dag, "stages": stages}, folder / "dvc.yaml")
    write_tiny_set(folder / "data/assembled/sample")
    workspace = CopiedProject(folder)
    workspace.run("git", "init", "-q")
    workspace.run("dvc", "init", "-q")
    return workspace


def test_one_folder_and_one_section_are_a_method(project: Path, tmp_path: Path) -> None:
    workspace = copy_project(tmp_path, project)
    (tmp_path / "models/sixth").mkdir()
    (tmp_path / "models/sixth/model.py").write_text(MODEL, encoding="utf-8")
    workspace.edit(models__sixth={"base": BASE, "corpora": {"sample": {}}})
    workspace.edit(models_run=["sixth"], datasets_run=["sample"], seeds=[1])

    ran, _ = workspace.repro()

    assert ran == {"train@sixth-sample", "evaluate@sixth-sample", "report"}
    config = read(tmp_path / "runs/sixth-sample/1/config.json")
    assert config["params"]["width"] == 8 and "models/sixth/model.py" in config["code"]
    assert not [name for name in config["code"] if name.startswith("models/misr")]
    assert 0 <= read(tmp_path / "results/sample/sixth/metrics.json")["mae"]["mean"] <= 6
    views = read(tmp_path / "results/sample/sixth/views.json")["seeds"]["1"]
    assert views["worst"] and len(views["panels"]) == 1 and not views["notes"]  # what every method shows
    assert not views["maps"]  # its output is no `FusedOutput`
    for name in ("report.md", "index.html"):
        assert "sixth" in (tmp_path / "reports" / name).read_text(encoding="utf-8"), name

    edit(tmp_path / "models/sixth/model.py", "torch.tanh", "torch.relu")
    assert "train@sixth-sample" in workspace.run("dvc", "status")
    edit(tmp_path / "models/sixth/model.py", "torch.relu", "torch.tanh")
    edit(tmp_path / "models/misr/model.py", "LOGVAR_BOUND = 4.0", "LOGVAR_BOUND = 5.0")
    assert "up to date" in workspace.run("dvc", "status")  # another method's folder is none of its own


def read(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
