"""A corpus of hostile files goes through the DAG and `extract`: every file becomes the row that it deserves.

hostile_corpus.txt is the truth: of each clip the status of its row in the clip table and in the features, and
words of the reason or note. What is not there must not be found, and what is passed over must be told.
"""

from __future__ import annotations

import io
import unicodedata
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from made.hostile_corpus import make_hostile_corpus

from pipeline.cli.app import main
from pipeline.core.names import escaped
from pipeline.core.vocabulary import FAILED, OK, SEPARATOR
from pipeline.corpora.clips import read_clips
from pipeline.store.shard import read_rows
from pipeline.store.store import FeatureStore

pytestmark = pytest.mark.slow

PARAMS = """
datasets: {hostile: {kind: folder, root: corpus}}
visual: {facemesh: {kind: facemesh, fps: 5}}
assemble:
  hostile:
    dataset: hostile
    text: hostile/text-minilm
    audio: hostile/audio-librosa33
    visual: none  # no face is seen in any clip
    waveform: none
shards: 2
max_failed_fraction: 1
"""
LABELS = """
file,label,split
sidecars/plain,1.5,train
sidecars/bom,-1,train
sidecars/crlf,0,valid
sidecars/utf-16,2,test
"""
FEATURES = {"text": "minilm", "audio": "librosa33", "visual": "facemesh"}
STEPS = (
    "ingest",
    "transcribe",
    *(f"{modality} {encoder}" for modality, encoder in FEATURES.items()),
    "assemble",
)
PASSED_OVER = {
    "nodes/dangling.mp4": "a broken link",
    "nodes/gone": "a broken link",
    "nodes/itself.mp4": "a broken link",
    "nodes/loop": "a link to a folder already read",
    "sidecars/dangling.srt": "a broken link",
}

LONG, TWO = f"names/{'y' * 251}", "names/two kinds"

Outcome = tuple[str, str]  # a status, and words of its reason or note
Outcomes = dict[str, Outcome]  # by clip, as `shown`


def truth(column: str) -> Outcomes:
    lines = Path(__file__).with_name("hostile_corpus.txt").read_text(encoding="utf-8").splitlines()
    head, *rows = ([cell.strip() for cell in line.split(" | ")] for line in lines if " | " in line)
    cells = {row[0]: row[head.index(column)] for row in rows}
    return {clip: (cell.partition(": ")[0], cell.partition(": ")[2]) for clip, cell in cells.items()}


def shown(clip_id: str) -> str:
    """An id as it stands in the table, one line of visible characters."""
    composed = unicodedata.is_normalized("NFC", clip_id)
    return escaped(clip_id if composed else ascii(clip_id)[1:-1]).replace(SEPARATOR, "/", 1).strip()


def assert_as_due(found: Outcomes, due: Outcomes) -> None:
    """All that differs at once; words must be in the note, in any case."""
    assert found.keys() == due.keys()
    wrong = [
        f"{clip} is {status}: {note!r}, expected {due[clip]}"
        for clip, (status, note) in found.items()
        if status != due[clip][0] or due[clip][1].lower() not in note.lower()
    ]
    assert not wrong, "\n".join(wrong)


def run(folder: Path, *words: str) -> tuple[int, str]:
    """Exit code of a command in that folder, and what it printed on a screen that takes nothing but UTF-8."""
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, "utf-8", errors="strict", write_through=True) as screen:
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(screen), redirect_stderr(screen):
            patch.chdir(folder)
            patch.setenv("COLUMNS", "500")
            patch.setattr("sys.argv", ["msa-cli", *words])
            code = main() or 0
        return code, raw.getvalue().decode()


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A project with the corpus after all stages, and what each printed."""
    project = tmp_path_factory.mktemp("hostile")
    make_hostile_corpus(project / "corpus")
    (project / "corpus/labels.csv").write_text(LABELS)
    (project / "params.yaml").write_text(PARAMS)
    outputs = {}
    for step in STEPS:
        command, *encoder = step.split()
        code, outputs[command] = run(project, "stage", command, "hostile", *encoder)
        assert code == 0, outputs[command]
    return project, outputs


def test_the_clip_table_has_a_row_for_every_file(printed: tuple[Path, dict[str, str]]) -> None:
    rows = read_clips(printed[0] / "data/clips/hostile.parquet").to_pylist()
    found = {shown(row["clip_id"]): (OK if row["status"] == OK else FAILED, row["status"]) for row in rows}
    assert_as_due(found, truth("ingest"))


@pytest.mark.parametrize("modality", FEATURES)
def test_features_have_a_row_for_every_clip(printed: tuple[Path, dict[str, str]], modality: str) -> None:
    folder = printed[0] / "data/features/hostile" / f"{modality}-{FEATURES[modality]}"
    features = FeatureStore(folder).read()
    assert features is not None
    found = {shown(row.clip_id): (row.status, row.error) for row in features.rows.values()}
    assert_as_due(found, truth(modality))


def test_what_is_passed_over_is_told(printed: tuple[Path, dict[str, str]]) -> None:
    project, outputs = printed
    code, validated = run(project, "validate", "hostile")
    assert code == 0
    for path, reason in PASSED_OVER.items():
        assert f"{path}: {reason}" in outputs["ingest"]
        assert reason in validated


def test_extract_gives_the_same_rows(printed: tuple[Path, dict[str, str]]) -> None:
    """A cheaper encoder of sound stands for all: what becomes of a file does not hang on it."""
    project = printed[0]
    words = ("--audio-encoder", "waveform16k", "--text-encoder", "none", "--visual-encoder", "none")
    code, output = run(project, "extract", "--video", "corpus", "--out", "out", *words)
    assert code == 1 and "Traceback" not in output
    for path, reason in PASSED_OVER.items():
        assert f"corpus/{path}: skipped: {reason}" in output
    found: dict[str, Any] = {}
    for file in (project / "out").rglob("audio.parquet"):
        (row,) = read_rows(file).rows.values()
        place = file.parent.relative_to(project / "out").as_posix().removesuffix(".features")
        found[shown(place.replace("/", SEPARATOR, 1))] = (row.status, row.error)
    # what differs by its suffix alone is two outputs here, and this name leaves none for a folder
    assert {found.pop(f"names/two kinds.{suffix}")[0] for suffix in ("mkv", "mp4")} == {OK}
    assert f"{LONG}.mp4: nothing could be extracted: the name of its output folder is too long" in output
    due = {clip: outcome for clip, outcome in truth("audio").items() if clip not in (TWO, LONG)}
    # clips without media of a corpus have a file here, and a waveform needs no whole frame of librosa's
    due |= {clip: (FAILED, "rename the file") for clip, (_, words) in due.items() if words == "missing media"}
    due |= dict.fromkeys(("short/one sample", "short/ten samples"), (OK, ""))
    assert_as_due(found, due)
