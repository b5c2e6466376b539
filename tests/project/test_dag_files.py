"""The code of every stage: dvc.yaml has that of the one list, and the list has all that a stage runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from models import METHODS
from pipeline.core.stage_code import LOCK, STAGE_CODE, WOKEN_BY_LOCK, code_of
from pipeline.corpora import ingest
from pipeline.features.registry import REGISTRY
from pipeline.imports import registry
from pipeline.store.fingerprint import SourceCode, stage_hashes

POOLING = "pipeline.features.pooling:PooledEncoder"
# Where each stage's work begins; `:*` = all of a module. Modules that are chosen by name stand beside it.
ENTRIES: dict[str, list[str]] = {
    "ingest": [
        "pipeline.corpora.ingest:ingest",
        "pipeline.corpora.clips:write_clips",
        *(f"pipeline.corpora.kinds.{kind}:*" for kind in ingest.KINDS),
    ],
    "transcribe": [
        "pipeline.transcripts.stage:transcribe_dataset",
        "pipeline.transcripts.table:write_transcripts",
    ],
    "import": [
        "pipeline.imports.convert:convert",
        *(f"pipeline.imports.kinds.{kind}:*" for kind in registry.KINDS),
    ],
    **{modality: [*encoders.values(), POOLING] for modality, encoders in REGISTRY.items()},
    "assemble": ["pipeline.datasets.assembly.assemble:assemble"],
    "train": ["pipeline.training.loop.pretrain:pretrain", "pipeline.training.loop.train:train"],
    "evaluate": ["pipeline.evaluation.evaluate:evaluate"],
    "robust": ["pipeline.robustness.robust:robust"],
    "report": ["pipeline.reports.report:report"],
}
# What stages run besides, and which decides nothing of their outputs; LEFT_OUT of fingerprint.py as well.
CARRIERS = {
    "models/__init__.py",  # names of methods
    "pipeline/core/lean_imports.py",  # what libraries open
    "pipeline/core/names.py",  # refuses ids
    "pipeline/core/row_file.py",  # carries rows
    "pipeline/core/section.py",  # how settings are checked
    "pipeline/corpora/clips.py",  # names of columns; ids
    "pipeline/core/vocabulary.py",  # names
    "pipeline/features/registry.py",  # names of encoders
    "pipeline/evaluation/saved.py",  # reads and writes results
    "pipeline/training/loop/curves.py",
    "pipeline/training/runs.py",
}
OF_METHODS = [stage for stage in STAGE_CODE if stage in ("train", "evaluate", "robust")]
CASES = [
    *((stage, "") for stage in STAGE_CODE if stage not in OF_METHODS),
    *((stage, method) for stage in OF_METHODS for method in METHODS),
]


@pytest.fixture(scope="module")
def stages(project: Path) -> dict[str, dict[str, Any]]:
    tree = YAML(typ="safe").load(project / "dvc.yaml")["stages"]
    return {name: stage.get("do", stage) for name, stage in tree.items()}


@pytest.fixture(scope="module")
def source(project: Path) -> SourceCode:
    return SourceCode(project)


def below(file: str, places: list[str]) -> bool:
    return any(file == place or file.startswith(f"{place}/") for place in places)


def run_by(stage: str, method: str, source: SourceCode) -> set[str]:
    """Files of ours that a stage runs, found from its entries."""
    entries = list(ENTRIES[stage])
    if method:
        entries.append(f"{METHODS[method].module}:{METHODS[method].class_name}")
    if stage == "evaluate":
        own = (source.project / f"pipeline/evaluation/views/{method}.py").is_file()
        entries.append(f"pipeline.evaluation.views.{method if own else 'fused'}:*")
    modules = {module for module, _ in source.definitions(*entries)}
    return {
        file.relative_to(source.project).as_posix() for module in modules if (file := source.file(module))
    }


# ------------------------------------------------------------------------------------------------- one list
def test_stages_declare_the_code_of_the_list(stages: dict[str, dict[str, Any]]) -> None:
    declared = {
        name: {path for path in stage["deps"] if path.startswith(("models/", "pipeline/"))}
        for name, stage in stages.items()
    }
    assert declared == {name: set(paths) for name, paths in STAGE_CODE.items()}


def test_the_stages_of_the_list_depend_on_the_lock(stages: dict[str, dict[str, Any]]) -> None:
    """And nothing that they make is removed before they run, so that what stays the same keeps its bytes."""
    assert {name for name, stage in stages.items() if LOCK in stage["deps"]} == set(WOKEN_BY_LOCK)
    outs = [out for name in WOKEN_BY_LOCK for out in stages[name]["outs"]]
    assert all(isinstance(out, dict) and {"persist": True} in out.values() for out in outs)


@pytest.mark.parametrize(("stage", "method"), CASES)
def test_the_list_has_what_a_stage_runs_and_nothing_else(source: SourceCode, stage: str, method: str) -> None:
    ran, listed = run_by(stage, method, source), code_of(stage, method)
    # the code that a run was trained with is in its config.json, on which these depend
    known = listed + (code_of("train", method) if stage in ("evaluate", "robust") else [])
    assert {file for file in ran if not below(file, known)} <= CARRIERS
    assert [place for place in listed if not any(below(file, [place]) for file in ran)] == []


# ------------------------------------------------------------------------------------------ hashes of runs
def test_hashes_are_of_the_listed_files(project: Path) -> None:
    found = stage_hashes("train", "slad")
    assert set(found) == {
        file.relative_to(project).as_posix()
        for place in code_of("train", "slad")
        for file in ([project / place] if place.endswith(".py") else (project / place).rglob("*.py"))
    }
    assert {"models/slad/model.py", "models/slad/submodal.py", "models/core/blocks.py"} <= set(found)


def test_a_change_in_a_methods_folder_is_that_methods_alone(project: Path, tmp_path: Path) -> None:
    for package in ("models", "pipeline"):
        shutil.copytree(project / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))

    def hashes() -> dict[str, dict[str, str]]:
        return {method: SourceCode(tmp_path).hashes(code_of("train", method)) for method in METHODS}

    before = hashes()
    for file, added, changed in (
        ("models/core/blocks.py", "# nothing new", set()),
        ("models/khar/refinement.py", "NEW = 1", {"khar"}),
        ("pipeline/training/loop/optimizers.py", "NEW = 1", set(METHODS)),
        ("pipeline/evaluation/metrics.py", "NEW = 1", set()),
    ):
        text = (tmp_path / file).read_text(encoding="utf-8")
        (tmp_path / file).write_text(f"{text}\n{added}\n", encoding="utf-8")
        assert {method for method, found in hashes().items() if found != before[method]} == changed, file
        (tmp_path / file).write_text(text, encoding="utf-8")


# ----------------------------------------------------------------------------------------- what is not there
def test_no_execution_setting_is_in_a_command_or_param(stages: dict[str, dict[str, Any]]) -> None:
    for name, stage in stages.items():
        text = f"{stage['cmd']} {stage.get('params', '')}"
        for word in ("workers", "device", "executor", "timeout", "fresh"):
            assert word not in text, name


def test_no_stage_depends_on_a_parent_folder_of_outputs(stages: dict[str, dict[str, Any]]) -> None:
    parents = {
        "data",
        "data/features",
        "data/clips",
        "data/assembled",
        "runs",
        "data/transcripts",
    }
    for name, stage in stages.items():
        assert not parents & set(stage["deps"]), name
