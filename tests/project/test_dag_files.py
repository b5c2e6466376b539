"""dvc.yaml declares the code that computes numbers, and nothing that only carries them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from models import METHODS

# Modules that carry, name or report, but compute nothing that ends in a stage's output.
PLUMBING = {
    "models/__init__.py",
    "models/core/checkpoints.py",
    "models/parts/__init__.py",
    "pipeline/__init__.py",
    "pipeline/training/loop/checkpoint.py",
    "pipeline/corpora/clips.py",
    "pipeline/corpora/ingest.py",
    "pipeline/corpora/problems.py",
    "pipeline/params/assemble.py",
    "pipeline/training/loop/curves.py",
    "pipeline/core/devices.py",
    "pipeline/params/encoders.py",
    "pipeline/features/encoder.py",
    "pipeline/core/errors.py",
    "pipeline/execution/local.py",
    "pipeline/params/explain.py",
    "pipeline/store/store.py",
    "pipeline/transcripts/heard.py",
    # readers of foreign files for those who read three of a corpus' own
    *(f"pipeline/importers/{name}.py" for name in ("__init__", "imported", "joblib_files", "literals")),
    *(f"pipeline/importers/{name}.py" for name in ("opcodes", "pickles", "plain", "reader")),
    *(f"pipeline/importers/{name}.py" for name in ("signatures", "source", "stored")),
    "pipeline/core/paths.py",
    "pipeline/core/console.py",
    "pipeline/params/params.py",
    "pipeline/core/git.py",
    "pipeline/training/runs.py",
    "pipeline/evaluation/saved.py",
    "pipeline/evaluation/views_file.py",
    "pipeline/params/search.py",
    "pipeline/params/section.py",
    "pipeline/store/shard.py",
    "pipeline/media/shared.py",
    "pipeline/features/pretrained.py",
    "pipeline/text/__init__.py",
    "pipeline/params/transcribe.py",
    "pipeline/audio/__init__.py",
    "pipeline/visual/__init__.py",
}
LEARNING = {
    "models/misr/model.py",
    "models/core/blocks.py",
    "models/core/method.py",
    "models/core/backbones.py",
    "models/parts",
    "pipeline/training/loop/fabric.py",
    "pipeline/training/loop/optimizers.py",
    "pipeline/training/loop/train.py",
    "pipeline/datasets/training_set.py",
    "pipeline/datasets/splits.py",
}
FOLDERS = {"models/parts", "pipeline/corpora", "pipeline/importers"}  # declared as a whole
DECLARED = {
    "ingest": {
        "pipeline/corpora/clips.py",
        "pipeline/corpora",
        "pipeline/media/containers.py",
        "pipeline/media/decode.py",
        "pipeline/media/subtitles.py",
        "pipeline/transcripts/words.py",
    },
    "import": {
        "pipeline/corpora/clips.py",
        "pipeline/corpora/tables/csv.py",
        "pipeline/corpora/tables/labels.py",
        "pipeline/corpora/tables/values.py",
        "pipeline/media/containers.py",
        "pipeline/importers",
        "pipeline/media/decode.py",
        "pipeline/media/subtitles.py",
        "pipeline/transcripts/table.py",
        "pipeline/core/openface_layout.py",
        "pipeline/formats/openface_csv.py",
        "pipeline/transcripts/words.py",
    },
    "transcribe": {
        "models/core/backbones.py",
        "models/core/recognizers.py",
        "pipeline/transcripts/alignment.py",
        "pipeline/transcripts/recognition.py",
        "pipeline/media/containers.py",
        "pipeline/media/decode.py",
        "pipeline/media/subtitles.py",
        "pipeline/transcripts/stage.py",
        "pipeline/transcripts/table.py",
        "pipeline/transcripts/words.py",
    },
    "text": {"pipeline/features/text/hf.py", "models/core/backbones.py"},
    "audio": {
        "pipeline/features/audio/librosa33.py",
        "pipeline/features/audio/padded.py",
        "models/core/backbones.py",
        "pipeline/media/containers.py",
        "pipeline/media/decode.py",
    },
    "visual": {
        "pipeline/features/visual/facemesh.py",
        "pipeline/features/visual/face/action_units.py",
        "pipeline/features/visual/face/canonical.py",
        "pipeline/features/visual/face/geometry.py",
        "pipeline/core/openface_layout.py",
        "pipeline/features/visual/face/mesh.py",
        "pipeline/formats/openface_csv.py",
        "pipeline/media/containers.py",
        "pipeline/media/decode.py",
    },
    "assemble": {
        "pipeline/datasets/assembly/aligned.py",
        "pipeline/datasets/assembly/assemble.py",
        "pipeline/datasets/assembly/files.py",
        "pipeline/datasets/assembly/protocol.py",
        "pipeline/datasets/assembly/sequences.py",
        "pipeline/transcripts/words.py",
    },
    "pretrain": LEARNING | {"pipeline/training/loop/pretrain.py"},
    "train": LEARNING,
    "evaluate": LEARNING | {"pipeline/evaluation/evaluate.py", "pipeline/evaluation/metrics.py"},
    "inspect": LEARNING
    | {
        "pipeline/evaluation/evaluate.py",
        "pipeline/evaluation/inspect.py",
        "pipeline/evaluation/metrics.py",
        "pipeline/training/trained.py",
        "pipeline/evaluation/views/misr.py",
        "pipeline/evaluation/views/view.py",
    },
    "page": {
        "pipeline/evaluation/comparison.py",
        "pipeline/reports/figures.py",
        "pipeline/evaluation/metric_sums.py",
        "pipeline/evaluation/metrics.py",
        "pipeline/reports/page.py",
        "pipeline/reports/page_figures.py",
        "pipeline/reports/page_runs.py",
        "pipeline/reports/page_tables.py",
        "pipeline/reports/page_template.py",
        "pipeline/reports/report.py",
        "pipeline/reports/report_page.py",
        "pipeline/reports/tables.py",
        "pipeline/evaluation/significance.py",
        *(
            f"pipeline/tables/{name}.py"
            for name in ("__init__", "cmir", "khar", "mird", "misr", "rows", "slad")
        ),
    },
    "report": {"pipeline/reports/figures.py", "pipeline/reports/report.py"},
}
ITEM = {
    "text": {"kind": "hf"},
    "audio": {"kind": "librosa33"},
    "visual": {"kind": "facemesh"},
    "pretrain": {"method": "misr"},
    "train": {"method": "misr"},
    "evaluate": {"method": "misr"},
    "inspect": {"method": "misr"},
}


def code_of(stage: str, definition: dict[str, list[str]]) -> set[str]:
    """The stage's declared code files, its template filled in."""
    files = set()
    for dependency in definition["deps"]:
        for key, value in ITEM.get(stage, {}).items():
            dependency = dependency.replace(f"${{item.{key}}}", value)
        if dependency.endswith(".py") or dependency in FOLDERS:
            files.add(dependency)
    return files


def files_of(declared: set[str], project: Path) -> set[str]:
    """The declared files, those of declared folders one by one, and every method's."""
    files = {name for name in declared if name.endswith(".py")}
    for folder in FOLDERS & declared:
        files |= {f"{folder}/{path.name}" for path in (project / folder).glob("*.py")}
    if "models/misr/model.py" in declared:
        files |= {f"{entry.module.replace('.', '/')}.py" for entry in METHODS.values()}
    return files


def imported(file: Path, project: Path) -> set[str]:
    """Files of ours that a file imports, anywhere in it but for type checking."""
    found: set[str] = set()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.split(".")[0] in ("pipeline", "models"):
                path = Path(*name.split("."))
                for candidate in (path.with_suffix(".py"), path / "__init__.py"):
                    if (project / candidate).is_file():
                        found.add(candidate.as_posix())
    return found


def undeclared(declared: set[str], project: Path) -> set[str]:
    """Files of ours that the declared ones import, but not through plumbing, and that are not declared."""
    reached, todo = set(declared), list(declared)
    while todo:
        new = imported(project / todo.pop(), project) - reached
        reached |= new
        todo += [file for file in new if file not in PLUMBING]
    return {file for file in reached - declared if file.rpartition("/")[0] not in declared}


@pytest.fixture(scope="module")
def stages(project: Path) -> dict[str, dict[str, list[str]]]:
    tree = YAML(typ="safe").load(project / "dvc.yaml")["stages"]
    return {name: stage.get("do", stage) for name, stage in tree.items()}


@pytest.mark.parametrize("stage", sorted(DECLARED))
def test_declared_code(stage: str, stages: dict[str, dict[str, list[str]]], project: Path) -> None:
    assert code_of(stage, stages[stage]) == DECLARED[stage]
    assert undeclared(files_of(DECLARED[stage], project), project) <= PLUMBING


@pytest.mark.parametrize("kind", ["facecrops", "openface", "pyfeat"])
def test_declared_code_of_other_visual_encoders(kind: str, project: Path) -> None:
    declared = {name.replace("facemesh", kind) for name in DECLARED["visual"]}
    assert undeclared(declared, project) <= PLUMBING


def test_every_stage_is_looked_at(stages: dict[str, dict[str, list[str]]]) -> None:
    assert set(stages) == set(DECLARED)


def test_no_execution_setting_is_in_a_command_or_param(stages: dict[str, dict[str, list[str]]]) -> None:
    for name, stage in stages.items():
        text = f"{stage['cmd']} {stage.get('params', '')}"
        for word in ("workers", "device", "executor", "timeout", "fresh"):
            assert word not in text, name


def test_no_stage_depends_on_a_parent_folder_of_outputs(stages: dict[str, dict[str, list[str]]]) -> None:
    parents = {
        "data",
        "data/features",
        "data/clips",
        "data/assembled",
        "runs",
        "pretrained",
        "data/transcripts",
    }
    for name, stage in stages.items():
        assert not parents & set(stage["deps"]), name
