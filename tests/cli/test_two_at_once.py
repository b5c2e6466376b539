"""Two of every command that writes, started at once: the end is that of one run, byte for byte.

`MSA_REPEAT=20` runs each pair so many times, in turns with and without what an earlier run left.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# what a forked process then need not import
import pytest
from made import made_arrays
from made.workspace import SMALL, SMALL_KHAR, Workspace, copy_corpus

import pipeline.corpora.ingest
import pipeline.datasets.assembly.assemble
import pipeline.evaluation.evaluate
import pipeline.imports.convert
import pipeline.reports.report
import pipeline.training.stage  # noqa: F401
from pipeline.cli.app import main
from pipeline.core.vocabulary import MODALITIES
from pipeline.training.loop import train

REPEAT = int(os.environ.get("MSA_REPEAT", "1"))
FORK = multiprocessing.get_context("fork")
TRAIN = "stage train misr mine --seed 1 --device cpu"
ENCODERS = {"audio": "waveform16k"}
if REPEAT > 1:  # dear ones, of the same command
    ENCODERS |= {"text": "minilm", "visual": "facecrops"}
SET = {"text": "mine/text-imported", "audio": "mine/audio-imported", "visual": "none", "waveform": "none"}
RESULT = "results/mine/misr"
# in the order of the DAG: a command, and what it writes
STAGES: dict[str, list[str]] = {
    "stage ingest sample": ["data/clips/sample.parquet"],
    "stage import mine": ["data/clips/mine.parquet", "data/transcripts/mine.parquet", "data/features/mine"],
    "stage transcribe sample": ["data/transcripts/sample.parquet"],
    **{
        f"stage {kind} sample {name} --workers 1": [f"data/features/sample/{kind}-{name}"]
        for kind, name in ENCODERS.items()
    },
    "stage assemble mine": ["data/assembled/mine"],
    TRAIN: ["runs/misr-mine/1"],
    "stage train khar mine --device cpu --workers 1": ["runs/khar-mine"],
    "stage evaluate misr mine": [f"{RESULT}/metrics.json", f"{RESULT}/predictions.parquet"],
    "stage report": [f"reports/{name}" for name in ("report.md", "index.html", "curves.tsv")],
}
PAIRS = [(words, words) for words in STAGES] + [
    (TRAIN, "train --config run.json --device cpu"),
    ("stage report", "report"),
]


def start(folder: Path, words: str, at: float) -> Any:
    """A process that runs a command in a project at that time, and writes what it says to `<its id>.log`."""

    def run() -> None:
        os.chdir(folder)
        log = os.open(folder.parent / f"{os.getpid()}.log", os.O_CREAT | os.O_WRONLY)
        sys.stdout = sys.stderr = os.fdopen(log, "w", buffering=1)
        program: Callable[[], Any] = train.main if words.startswith("train ") else main
        sys.argv = words.split() if program is train.main else ["msa-cli", *words.split()]
        time.sleep(max(0.0, at - time.time()))
        sys.exit(program())

    process = FORK.Process(target=run)
    process.start()
    return process


def end(folder: Path, process: Any) -> tuple[int, str]:
    """Its exit code and what it said."""
    process.join(120)
    log = folder.parent / f"{process.pid}.log"
    said = log.read_text(encoding="utf-8")
    log.unlink()
    return process.exitcode, said


def together(folder: Path, *commands: str) -> list[tuple[int, str]]:
    """Commands that begin 20 ms after each other."""
    begin = time.time() + 0.1
    processes = [start(folder, words, begin + 0.02 * place) for place, words in enumerate(commands)]
    return [end(folder, process) for process in processes]


def content(folder: Path) -> dict[str, bytes]:
    """Every file of the project but the logs, which tell of clocks."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path): (folder / path).read_bytes() for path in files if path.parts[0] != "logs"}


@pytest.fixture(scope="module")
def one_run(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Path:
    """A project in which every stage has run once."""
    folder = tmp_path_factory.mktemp("two") / "project"
    copy_corpus(project / "data/sample", folder / "data/sample")
    shutil.copy(project / "params.yaml", folder)
    made_arrays.make(folder / "data/raw/mine")
    small = {"training": {"epochs": 4}}
    Workspace(folder).edit(
        models_run=["misr"],
        seeds=[1],
        shards=3,
        visual__facecrops__fps=1,
        imports__mine={"kind": "arrays", "root": "data/raw/mine", "settings": made_arrays.SETTINGS},
        assemble__mine={"dataset": "mine", "metrics": "mmsa", **SET},
        datasets_run=["mine"],
        models__misr__corpora__mine={**SMALL, **small},
        models__khar__corpora__mine={**SMALL_KHAR, **small},
    )
    for words in STAGES:
        code, said = end(folder, start(folder, words, 0.0))
        assert code == 0, f"{words}: {said}"
    assert end(folder, start(folder, f"{TRAIN} --write-config run.json", 0.0))[0] == 0
    assert end(folder, start(folder, "report", 0.0))[0] == 0
    return folder


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=[f"{one}, {other}" for one, other in PAIRS])
def test_two_at_once_end_as_one(one_run: Path, one: str, other: str) -> None:
    once = content(one_run)
    extraction = one.startswith(tuple(f"stage {modality}" for modality in MODALITIES))
    try:
        for repetition in range(REPEAT):
            for out in STAGES.get(one, []) if repetition % 2 == 0 else ():
                path = one_run / out
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            ended = together(one_run, one, other)
            if extraction:  # the second says that it cannot help
                busy = [said for code, said in ended if code]
                assert len(busy) < 2 and all("another run is working on these" in said for said in busy)
            else:
                assert [code for code, _ in ended] == [0, 0], ended
            found = content(one_run)
            assert found.keys() == once.keys()
            assert [path for path in once if found[path] != once[path]] == []
    finally:  # one pair is no other's matter
        for path in content(one_run).keys() - once.keys():
            (one_run / path).unlink()
        for path, before in once.items():
            (one_run / path).parent.mkdir(parents=True, exist_ok=True)
            (one_run / path).write_bytes(before)
