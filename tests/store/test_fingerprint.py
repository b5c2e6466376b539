"""The code hash of encoders: who uses a number, told by hand, and by watching what runs."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from made.code_changes import edited
from made.media_factory import make_clip, tone

from pipeline.features.encoder import Clip
from pipeline.features.registry import REGISTRY, build_encoder
from pipeline.params.params import Params
from pipeline.store.fingerprint import LEFT_OUT, OURS, SourceCode, code_hash

ENCODERS = {kind: entry for kinds in REGISTRY.values() for kind, entry in kinds.items()}
SOUND = {"fbank", "hf_audio", "librosa33", "opensmile", "waveform16k", "whisper"}
FACES = {"blendshapes", "facecrops", "facemesh", "hf_vision"}  # which listen to who speaks, too
FRAMES = {*FACES, "pyfeat"}  # OpenFace's program decodes for itself
STATES = {"hf", "hf_audio", "hf_vision", "whisper"}
GEOMETRY = {"facemesh", "openface", "pyfeat"}  # those that have columns of landmarks

# file, what stands there once, what takes its place, and the encoders whose numbers it may change
CHANGES: list[tuple[str, str, str, set[str]]] = [
    (
        "models/core/backbones.py",
        "config.mask_feature_prob = 0.0",
        "config.mask_feature_prob = 0.1",
        {"hf_audio"},
    ),
    ("models/core/backbones.py", "config.pad_token_id + 1 if", "config.pad_token_id + 2 if", {"hf"}),
    ("pipeline/features/pretrained.py", "layers == [-1]:", "layers == [-2]:", STATES),
    ("pipeline/features/text/hf.py", "[1] = token + 1", "[1] = token + 2", {"hf"}),
    ("pipeline/core/waveform.py", "SAMPLE_RATE = 16_000", "SAMPLE_RATE = 16_001", SOUND - {"librosa33"}),
    ("pipeline/core/waveform.py", "FULL_SCALE = 32_768", "FULL_SCALE = 32_767", {"waveform16k"}),
    ("pipeline/features/audio/hf_audio.py", "FORWARD_SAMPLES = 240", "FORWARD_SAMPLES = 241", {"hf_audio"}),
    ("pipeline/features/audio/padded.py", "self._stride + 1", "self._stride + 2", {"hf_audio"}),
    ("pipeline/features/audio/librosa33.py", "N_MFCC = 20", "N_MFCC = 21", {"librosa33"}),
    ("pipeline/features/audio/fbank.py", "FrameGrid(400, 160)", "FrameGrid(400, 161)", {"fbank"}),
    ("pipeline/features/audio/whisper.py", "OVERLAP_S = 2.0", "OVERLAP_S = 1.0", {"whisper"}),
    (
        "pipeline/features/audio/hf_audio.py",
        "(self.reach - 1) / 2",
        "(self.reach - 2) / 2",
        {"fbank", "hf_audio", "whisper"},
    ),
    ("pipeline/features/audio/opensmile.py", "SHORTEST = 960", "SHORTEST = 961", {"opensmile"}),
    ("pipeline/features/audio/waveform16k.py", "_SCALE - 1)", "_SCALE - 2)", {"waveform16k"}),
    ("pipeline/media/blocks.py", "AUDIO_JUMP_S = 0.1", "AUDIO_JUMP_S = 0.2", SOUND | FACES),
    ("pipeline/media/decode.py", "min(tick / 2, 0.0005)", "min(tick / 2, 0.0006)", FRAMES),
    ("pipeline/media/decoding.py", "BAD_PACKETS_MAX = 100", "BAD_PACKETS_MAX = 101", {*ENCODERS} - {"hf"}),
    (
        "pipeline/core/openface_layout.py",
        'in "xy" for point in range(68)',
        'in "xy" for point in range(69)',
        GEOMETRY,
    ),
    ("pipeline/core/openface_layout.py", "for mode in range(34)", "for mode in range(35)", {"openface"}),
    (
        "pipeline/features/visual/face/mesh.py",
        "MESH_POINTS = 478",
        "MESH_POINTS = 479",
        FACES,
    ),
    ("pipeline/features/visual/face/speaking.py", "SLOW_S = 0.1", "SLOW_S = 0.2", FACES),
    ("pipeline/features/visual/face/canonical.py", "(2, 2, 0.0, 7.5", "(2, 2, 0.0, 7.6", {"facemesh"}),
    (
        "pipeline/features/visual/face/canonical.py",
        "    127, 234, 93",
        "    126, 234, 93",
        {"facemesh", "pyfeat"},
    ),
    (
        "pipeline/features/visual/face/action_units.py",
        "_CORNERS = rows((61, 291))",
        "_CORNERS = rows((61, 290))",
        {"facemesh"},
    ),
    ("pipeline/features/visual/face/geometry.py", "return cls(500.0", "return cls(501.0", {"facemesh"}),
    ("pipeline/features/visual/facecrops.py", "((0.3427, ", "((0.3428, ", {"facecrops", "hf_vision"}),
    ("pipeline/features/visual/hf_vision.py", "FORWARD = 16", "FORWARD = 17", {"hf_vision"}),
    ("pipeline/features/visual/preprocessing.py", "1 / 255", "1 / 256", {"hf_vision"}),
    ("pipeline/formats/openface_csv.py", "_SLACK_S = 0.0005", "_SLACK_S = 0.0006", {"openface"}),
    ("pipeline/features/visual/openface.py", "len(tables) != 1:", "len(tables) != 2:", {"openface"}),
    (
        "pipeline/features/visual/pyfeat.py",
        "to_numpy(np.float64) > 0)",
        "to_numpy(np.float64) > 1)",
        {"pyfeat"},
    ),
    # numbers that decide how long a stage takes, what is refused, or what is learnt
    ("pipeline/execution/local.py", "ATTEMPTS = 2", "ATTEMPTS = 3", set()),
    ("pipeline/params/encoders.py", "size: int = Field(112", "size: int = Field(113", set()),
    ("pipeline/training/loop/scoring.py", "EVALUATION_BATCH = 64", "EVALUATION_BATCH = 65", set()),
]


def copied(project: Path, folder: Path) -> Path:
    """A copy of the packages."""
    for package in OURS:
        shutil.copytree(project / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def code(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(project, tmp_path_factory.mktemp("code"))


def hashes(code: Path) -> dict[str, str]:
    source = SourceCode(code)
    return {kind: source.hash(entry) for kind, entry in ENCODERS.items()}


@pytest.fixture(scope="module")
def before(code: Path) -> dict[str, str]:
    return hashes(code)


# ------------------------------------------------------------------------------------ what makes rows stale
@pytest.mark.parametrize(("file", "old", "new", "stale"), CHANGES)
def test_a_number_makes_those_stale_that_use_it(
    code: Path, before: dict[str, str], file: str, old: str, new: str, stale: set[str]
) -> None:
    assert sum(a != b for a, b in zip(old, new, strict=True)) == 1
    edited(code / file, old, new)
    try:
        assert {kind for kind, known in hashes(code).items() if known != before[kind]} == stale
    finally:
        edited(code / file, new, old)


def test_the_changes_are_in_ten_modules_that_compute_features() -> None:
    assert len({file for file, *_, stale in CHANGES if stale}) >= 10


def test_hashes_differ_and_are_those_of_the_encoders(before: dict[str, str]) -> None:
    params = Params()
    assert len({*before.values()}) == len(ENCODERS)
    for modality, name in (("text", "minilm"), ("audio", "librosa33"), ("visual", "facemesh")):
        encoder = build_encoder(modality, name, params.encoder(modality, name), params.media)
        assert encoder.provenance["code"] == before[encoder.params.kind] == code_hash(type(encoder))


# --------------------------------------------------------------------------------------------- what does not
class Retold(ast.NodeTransformer):
    """Other docstrings, other words of errors, another log line in every function; comments are gone."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        documented = ast.get_docstring(node) is not None
        rest = node.body[1:] if documented else node.body
        node.body = [*ast.parse("'Other words.'; print('here'); log.debug('%s', 1)").body, *rest]
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        node.body = [*ast.parse("'Other words.'").body, *node.body[ast.get_docstring(node) is not None :]]
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc.args, node.exc.keywords = [ast.Constant("other words")], []
        return node


def test_comments_docstrings_log_lines_and_errors_do_not_count(
    project: Path, before: dict[str, str], tmp_path: Path
) -> None:
    for file in copied(project, tmp_path).rglob("*.py"):
        file.write_text(ast.unparse(Retold().visit(ast.parse(file.read_bytes()))), encoding="utf-8")
    assert hashes(tmp_path) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("pipeline.media.decode", "pipeline.pictures.reading"),
        ("pipeline.features.visual.face.geometry", "pipeline.geometry"),
        ("pipeline.features.pretrained", "models.states"),
    ],
)
def test_a_moved_file_does_not_count(
    project: Path, before: dict[str, str], tmp_path: Path, old: str, new: str
) -> None:
    code = copied(project, tmp_path)
    place = code.joinpath(*new.split(".")).with_suffix(".py")
    place.parent.mkdir(exist_ok=True)
    code.joinpath(*old.split(".")).with_suffix(".py").rename(place)
    assert any(known != before[kind] for kind, known in hashes(code).items())  # imports lead nowhere
    for file in code.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        file.write_text(re.sub(rf"{re.escape(old)}\b(?!\.)", new, text), encoding="utf-8")
    assert hashes(code) == before


def test_how_a_definition_is_imported_does_not_count(
    project: Path, before: dict[str, str], tmp_path: Path
) -> None:
    code = copied(project, tmp_path)
    file = code / "pipeline/features/visual/face/mesh.py"
    edited(
        file,
        "from pipeline.media.decode import SILENCE_DBFS, Frame, level_dbfs, waveform\n",
        "from pipeline.media import decode as media\n"
        "from pipeline.media.decode import SILENCE_DBFS, level_dbfs\n",
    )
    edited(file, "= waveform(", "= media.waveform(")
    assert hashes(code) == before


def test_what_is_left_out_is_there(project: Path) -> None:
    for module in LEFT_OUT:
        assert SourceCode(project).file(module), module


def test_an_encoder_from_elsewhere_has_a_hash() -> None:
    class Mine(dict[str, int]): ...

    assert code_hash(Mine) != code_hash(Retold)


# -------------------------------------------------------------------------------------- watched while it runs
def run_by(work: Callable[[], Any], project: Path) -> set[tuple[str, str]]:
    """(module, name) of every function or class of ours of which a line runs, in any thread."""
    seen: set[tuple[str, str]] = set()

    def see(frame: Any, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(tuple(f"{project / package}/" for package in OURS)):
            module = ".".join(Path(file).relative_to(project).with_suffix("").parts)
            seen.add((module.removesuffix(".__init__"), frame.f_code.co_qualname.partition(".")[0]))

    threading.setprofile(see)
    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return {(module, name) for module, name in seen if not name.startswith("<")}


@pytest.mark.parametrize(
    ("modality", "name"),
    [
        ("text", "minilm"),
        ("audio", "librosa33"),
        ("audio", "waveform16k"),
        ("visual", "facemesh"),
        ("visual", "facecrops"),
    ],
)
def test_what_runs_is_in_the_hash(project: Path, tmp_path: Path, modality: str, name: str) -> None:
    clip = make_clip(tmp_path / "a.mkv", times=[0.0, 0.1, 0.2], size=(320, 240), sound=tone(220, 1.0, 16_000))
    params = Params()
    encoder = build_encoder(modality, name, params.encoder(modality, name), params.media)

    def work() -> None:
        encoder.load()
        encoder.encode(Clip("a", clip, start_s=0.1, text="so it goes"))
        assert len(encoder.column_names) == encoder.dim

    work()  # what libraries import and compile at first would be watched too, which is slow
    ran = run_by(work, project)
    counted = set(SourceCode(project).definitions(ENCODERS[encoder.params.kind]))
    left_out = {
        (module, name) for module, name in ran if f"{module}.".startswith(tuple(f"{m}." for m in LEFT_OUT))
    }
    assert ran - left_out <= counted
    assert any(module.startswith("pipeline.") and module != type(encoder).__module__ for module, _ in ran)


# -------------------------------------------------------------------------------------------------- a stage
def test_a_changed_number_recomputes_the_rows_of_its_store_alone(project: Path, tmp_path: Path) -> None:
    code = copied(project, tmp_path / "code")
    names = {"audio": "waveform16k", "visual": "facecrops"}
    (tmp_path / "corpus/Raw/v").mkdir(parents=True)
    for number in range(2):
        make_clip(
            tmp_path / f"corpus/Raw/v/{number}.mp4",
            times=[0.0, 0.1],
            video_codec="mpeg4",
            audio_codec="aac",
            sound=tone(200 + number, 0.3, 16_000),
        )
    rows = "".join(f"v,{number},words,0.5,train\n" for number in range(2))
    (tmp_path / "corpus/label.csv").write_text(f"video_id,clip_id,text,label,mode\n{rows}")
    (tmp_path / "params.yaml").write_text("datasets: {mine: {root: corpus}}\nshards: 1\n")

    def stage(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli.app", "stage", *words, "--workers", "1"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(code), "NO_COLOR": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def both() -> dict[str, str]:
        said = {modality: stage(modality, "mine", name) for modality, name in names.items()}
        return {modality: " ".join(text.partition(": ")[2].split()[:5]) for modality, text in said.items()}

    stage("ingest", "mine")
    assert both() == {"audio": "0 kept, 2 to compute", "visual": "0 kept, 2 to compute"}
    edited(code / "pipeline/media/blocks.py", "AUDIO_JUMP_S = 0.1", "# seconds\nAUDIO_JUMP_S = 0.1")
    edited(code / "pipeline/features/visual/facecrops.py", "((0.3427, ", "((0.3428, ")
    assert both() == {"audio": "2 kept, 0 to compute", "visual": "0 kept, 2 to compute"}
    footer = pq.read_schema(tmp_path / "data/features/mine/audio-waveform16k/shard-000.parquet").metadata
    assert SourceCode(code).hash(ENCODERS["waveform16k"]).encode() in b"".join(footer.values())
