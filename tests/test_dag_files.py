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
    "models/checkpoints.py",
    "models/core/__init__.py",
    "models/core/loading.py",
    "models/parts/__init__.py",
    "pipeline/__init__.py",
    "pipeline/checkpoint.py",
    "pipeline/clips.py",
    "pipeline/corpora/__init__.py",
    "pipeline/corpora/problems.py",
    "pipeline/assemble_params.py",
    "pipeline/curves.py",
    "pipeline/devices.py",
    "pipeline/encoder_params.py",
    "pipeline/encoders.py",
    "pipeline/errors.py",
    "pipeline/executor.py",
    "pipeline/explain.py",
    "pipeline/features.py",
    # readers of foreign files for those who read three of a corpus' own
    *(f"pipeline/importers/{name}.py" for name in ("__init__", "imported", "joblib_files", "literals")),
    *(f"pipeline/importers/{name}.py" for name in ("opcodes", "pickles", "plain", "reader")),
    *(f"pipeline/importers/{name}.py" for name in ("signatures", "source", "stored")),
    "pipeline/layout.py",
    "pipeline/logs.py",
    "pipeline/params.py",
    "pipeline/revisions.py",
    "pipeline/runs.py",
    "pipeline/saved_results.py",
    "pipeline/views_file.py",
    "pipeline/search_space.py",
    "pipeline/section.py",
    "pipeline/shards.py",
    "pipeline/shared_decoding.py",
    "pipeline/states.py",
    "pipeline/text/__init__.py",
    "pipeline/transcribe_params.py",
    "pipeline/audio/__init__.py",
    "pipeline/audio/compiled.py",
    "pipeline/visual/__init__.py",
}
LEARNING = {
    "models/misr.py",
    "models/common.py",
    "models/method.py",
    "models/backbones.py",
    "models/parts",
    "pipeline/fabric.py",
    "pipeline/optimizers.py",
    "pipeline/train.py",
    "pipeline/training_set.py",
    "pipeline/batches.py",
}
FOLDERS = {"models/parts", "pipeline/corpora", "pipeline/importers"}  # declared as a whole
DECLARED = {
    "ingest": {
        "pipeline/clips.py",
        "pipeline/corpora",
        "pipeline/containers.py",
        "pipeline/media.py",
        "pipeline/subtitles.py",
        "pipeline/words.py",
    },
    "import": {
        "pipeline/clips.py",
        "pipeline/corpora/csv_table.py",
        "pipeline/corpora/label_csv.py",
        "pipeline/corpora/label_values.py",
        "pipeline/containers.py",
        "pipeline/importers",
        "pipeline/media.py",
        "pipeline/subtitles.py",
        "pipeline/transcripts.py",
        "pipeline/visual/layout.py",
        "pipeline/visual/openface_csv.py",
        "pipeline/words.py",
    },
    "transcribe": {
        "models/backbones.py",
        "pipeline/alignment.py",
        "pipeline/asr.py",
        "pipeline/containers.py",
        "pipeline/media.py",
        "pipeline/subtitles.py",
        "pipeline/transcribe.py",
        "pipeline/transcripts.py",
        "pipeline/whisper.py",
        "pipeline/words.py",
    },
    "text": {"pipeline/text/hf.py", "models/backbones.py"},
    "audio": {
        "pipeline/audio/librosa33.py",
        "pipeline/audio/padded.py",
        "models/backbones.py",
        "pipeline/containers.py",
        "pipeline/media.py",
    },
    "visual": {
        "pipeline/visual/facemesh.py",
        "pipeline/visual/action_units.py",
        "pipeline/visual/canonical_face.py",
        "pipeline/visual/face.py",
        "pipeline/visual/layout.py",
        "pipeline/visual/mesh.py",
        "pipeline/visual/openface_csv.py",
        "pipeline/containers.py",
        "pipeline/media.py",
    },
    "assemble": {
        "pipeline/aligned.py",
        "pipeline/assemble.py",
        "pipeline/assembled_files.py",
        "pipeline/protocol.py",
        "pipeline/sequences.py",
        "pipeline/words.py",
    },
    "pretrain": LEARNING | {"pipeline/pretrain.py"},
    "train": LEARNING,
    "evaluate": LEARNING | {"pipeline/evaluate.py", "pipeline/metrics.py"},
    "inspect": LEARNING
    | {
        "pipeline/evaluate.py",
        "pipeline/inspection.py",
        "pipeline/metrics.py",
        "pipeline/trained.py",
        "pipeline/views/misr.py",
        "pipeline/views/view.py",
    },
    "page": {
        "pipeline/comparison.py",
        "pipeline/figures.py",
        "pipeline/metric_sums.py",
        "pipeline/metrics.py",
        "pipeline/page.py",
        "pipeline/page_figures.py",
        "pipeline/page_runs.py",
        "pipeline/page_tables.py",
        "pipeline/page_template.py",
        "pipeline/report.py",
        "pipeline/report_page.py",
        "pipeline/results_table.py",
        "pipeline/significance.py",
        *(
            f"pipeline/tables/{name}.py"
            for name in ("__init__", "cmir", "khar", "mird", "misr", "rows", "slad")
        ),
    },
    "report": {"pipeline/figures.py", "pipeline/report.py"},
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
    if "models/misr.py" in declared:
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
