"""What `make fuzz` once found stays fixed; and the lane finds faults of every kind that are planted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fuzz.lane import FINDINGS, fuzz
from fuzz.targets import TARGETS, Target
from fuzz.watched import Worker, replayed

from pipeline.core.errors import FormatError


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    made = Worker(tmp_path_factory.mktemp("fuzz") / "scratch")
    yield made
    made.close()


@pytest.mark.parametrize("finding", sorted(FINDINGS.glob("*-*")), ids=lambda path: path.name)
def test_a_finding_stays_fixed(finding: Path, worker: Worker) -> None:
    outcome = replayed(finding, worker)
    assert not outcome.fault, f"{outcome.identity}\n{outcome.story}"


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_accepted(name: str, tmp_path: Path) -> None:
    """Only then is what lies behind a reader's first check attacked."""
    target, out = TARGETS[name], tmp_path / "out"
    seeds = tmp_path / "seeds"
    for folder in (seeds, out):
        folder.mkdir()
    target.make(seeds)
    files = [path for path in sorted(seeds.rglob("*")) if path.suffix in target.suffixes]
    assert files
    for file in files[:: 1 if name in ("files", "pickle", "captions") else 5]:
        target.read(seeds, file, out)


# --------------------------------------------------------------------------------------------- planted faults
def plant(folder: Path) -> None:
    (folder / "a.txt").write_text("fine " * 20)


def read(folder: Path, file: Path, out: Path) -> None:
    """Refuses in good words, and has the fault that stands in the file."""
    words = file.read_text("utf-8", "replace").split()
    if "fine" not in words:
        raise FormatError(f"{file}: not fine")
    for word in words:
        FAULTS.get(word, str)()


def refuse_badly() -> None:
    raise FormatError("a.txt: one\ntwo")


def spin() -> None:
    while True:
        pass


held: list[bytes] = []
FAULTS: dict[str, Callable[[], object]] = {
    "KeyError": lambda: {}["x"],
    "time": lambda: time.sleep(100),
    "time_in_tests": spin,
    "memory": lambda: held.append(b"x" * 200_000_000),
    "SIGSEGV": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "exit_3": lambda: os._exit(3),
    "message_of_several_lines": refuse_badly,
    "open": lambda: Path("/var/tmp/msa-outside").write_text("x"),
    "os.mkdir": lambda: Path("/var/tmp/msa-outside").mkdir(),
    "subprocess.Popen": lambda: subprocess.run(["true"], check=True),
    "os.system": lambda: os.system("true"),
    "socket.connect": lambda: socket.socket().connect(("127.0.0.1", 9)),
}
PLANTED = {"planted": Target(plant, read, (".txt",))}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    made = Worker(tmp_path_factory.mktemp("planted") / "scratch", PLANTED, seconds=0.5, memory=100_000_000)
    yield made
    made.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_seen_and_the_next_input_is_read(fault: str, planted: Worker) -> None:
    outcome = planted.run("planted", "a.txt", f"fine {fault}".encode())
    assert fault.replace("_", " ") in outcome.identity
    assert planted.run("planted", "a.txt", b"fine").kind == "accepted"
    assert planted.run("planted", "a.txt", b"bad").kind == "refused"


def fragile(folder: Path, file: Path, out: Path) -> None:
    """Breaks where the file is not UTF-8."""
    file.read_text("utf-8")


def test_the_lane_writes_a_finding_that_fails_until_it_is_fixed(tmp_path: Path) -> None:
    broken = {"fragile": Target(plant, fragile, (".txt",))}
    lane = fuzz(broken, 0.05, "1", 2, tmp_path / "findings")
    (finding,) = (tmp_path / "findings").iterdir()
    assert list(lane.found) == [
        "UnicodeDecodeError in tests/fuzz/test_findings.py:" + str(line_of(fragile) + 2)
    ]
    assert len(finding.read_bytes()) == 1  # made as small as can be
    assert lane.counts["fragile", "accepted"] and not lane.counts["fragile", "refused"]
    for targets, fault in ((broken, True), ({"fragile": PLANTED["planted"]}, False)):
        worker = Worker(tmp_path / "scratch", targets)
        assert replayed(finding, worker).fault is fault
        worker.close()


def line_of(function: Callable[..., object]) -> int:
    return function.__code__.co_firstlineno


def test_inputs_are_those_of_their_seed(tmp_path: Path) -> None:
    first, same, other = (
        fuzz({"captions": TARGETS["captions"]}, 0.001, seed, 1, tmp_path) for seed in ("7", "7", "8")
    )
    inputs = [[lane.input("captions", number) for number in range(50)] for lane in (first, same, other)]
    assert inputs[0] == inputs[1] != inputs[2]
