"""A disk without room: every writer fails with one line that names its file, and what was there is whole."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from made.feature_rows import META, make_row
from made.tiny_runs import made_run, made_set, tiny_params

from pipeline.core.errors import of_system
from pipeline.core.files import write_json
from pipeline.corpora.clips import ClipFacts, clip_table, write_clips
from pipeline.datasets.assembly.files import write_set
from pipeline.datasets.assembly.gathered import GatheredSequences
from pipeline.evaluation.evaluate import evaluate
from pipeline.predict.report import write_predictions
from pipeline.reports.report import report
from pipeline.store.shard import write_rows
from pipeline.training.findings import write_table
from pipeline.training.loop.checkpoint import Checkpoint, State
from pipeline.training.study import Trial
from pipeline.transcripts.table import TRANSCRIPTS, write_transcripts

SPLITS = ["test", "train", "valid"]
LINE = "{}(/[^ ]*)?: cannot be written: (No space left on device|File too large); free some space, or .*"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an assembled set, a run of MISR, and its results."""
    folder = tmp_path_factory.mktemp("full")
    made_run(folder, "misr", made_set(folder / "set"))
    results(folder, folder)
    return folder


def results(here: Path, disk: Path) -> None:
    evaluate([here / "misr-run"], here / "set", disk / "results/tiny/misr", "mmsa", device="cpu")


def assembled(here: Path, disk: Path) -> None:
    table = pa.table({"clip_id": ["a", "b", "c"], "split": SPLITS})
    values = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    text, sound = (
        GatheredSequences(here, np.dtype(np.float32), 3),
        GatheredSequences(here, np.dtype(np.int16), 1),
    )
    for name in "abc":
        text.add(name, values)
        sound.add(name, np.zeros((9, 1), np.int16))
    stats = {
        "modalities": {"text": {"dim": 3, "max_steps": 2, "columns": [], "normalized": []}},
        "waveform": {},
    }
    write_set(table, {"text": text}, sound, stats, disk / "set")


def checkpoint(here: Path, disk: Path) -> None:
    model = torch.nn.Linear(9, 9)
    saved = Checkpoint(disk / "checkpoint")
    saved._saved_at = -1e9
    saved.save_if_due(State(), model, [torch.optim.Adam(model.parameters())], torch.Generator())


def run(here: Path, disk: Path) -> None:
    made_run(disk, "misr", here / "set")


def clips(here: Path, disk: Path) -> None:
    row = {"clip_id": "a$_$1", "video_id": "a", "split": "train", "status": "ok", "language": "en"}
    path = disk / "clips.parquet"
    write_clips(
        clip_table([row | {"label": float(path.exists())}]), path, ClipFacts("tiny", "en", (-3.0, 3.0))
    )


def transcripts(here: Path, disk: Path) -> None:
    path = disk / "transcripts.parquet"  # equal rows would not be written again
    write_transcripts(pa.Table.from_pylist([{"clip_id": str(path.exists())}], TRANSCRIPTS), path)


WRITERS: dict[str, Callable[[Path, Path], object]] = {
    "shard": lambda here, disk: write_rows(disk / "shard.parquet", map(make_row, "abc"), META),
    "clips": clips,
    "transcripts": transcripts,
    "assembled set": assembled,
    "checkpoint": checkpoint,
    "run": run,
    "results": results,
    "report": lambda here, disk: report(tiny_params(), here / "results", disk / "reports"),
    "predictions": lambda here, disk: write_predictions([], FACTS, disk / "predicted"),
    "table of trials": lambda here, disk: write_table([Trial(0, {"a": 1})], ["a"], [1], disk / "trials.tsv"),
    "JSON": lambda here, disk: write_json(list(range(99)), disk / "one.json"),
}
FACTS = SimpleNamespace(class_names=())


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """No block of this file system is free."""
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    yield
    filler.unlink()


@contextmanager
def limited(disk: Path) -> Iterator[None]:
    """No file may be longer than eight bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system; skips where nobody may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root can mount a small file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def content(disk: Path) -> dict[Path, bytes]:
    """All files but the state of a training, which the next one removes."""
    files = (path for path in disk.rglob("*") if path.is_file() and path.parent != disk / "state")
    return {path: path.read_bytes() for path in files if "live" not in path.parts}


def check(here: Path, disk: Path, name: str, without_room: Callable[[Path], object]) -> None:
    WRITERS[name](here, disk)
    before = content(disk)
    with without_room(disk), pytest.raises(OSError) as caught:  # type: ignore[attr-defined]  # noqa: PT011
        WRITERS[name](here, disk)
    assert re.fullmatch(LINE.format(re.escape(str(disk))), of_system(caught.value))
    assert ".tmp" not in str(caught.value.filename)
    assert content(disk) == before


@pytest.mark.usefixtures("capsys")  # else what is printed goes to a file
@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_may_not_grow(here: Path, tmp_path: Path, name: str) -> None:
    check(here, tmp_path, name, limited)


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk(here: Path, disk: Path, name: str) -> None:
    check(here, disk, name, full)


def test_the_command_says_it_in_one_line(
    disk: Path, project: Path, cli: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(disk)
    shutil.copy(project / "params.yaml", disk)
    with full(disk):
        code, said = cli("stage", "train", "misr", "sample", "--seed", 1, "--write-config", "run.json")
    assert (code, said.splitlines()) == (
        1,
        [
            "msa-cli: run.json: cannot be written: No space left on device; free some space, or write to "
            "another folder"
        ],
    )
    assert [path.name for path in disk.iterdir()] == ["params.yaml"]
