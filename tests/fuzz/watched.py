"""A process that reads damaged files, and who watches it.

A reader may return, or raise an MsaError whose message is one short line that names the file. All else
is a finding: another exception, a signal, too much time or memory, a file written elsewhere, a program
started, a connection opened.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fuzz.targets import PROJECT, TARGETS, Target

from pipeline.core.errors import LONGEST, LabelFileError, MsaError, TooManyFailedError

SECONDS = 20.0  # of the processor for one input
PATIENCE = 10  # times as long on the clock: the machine may have other work
BYTES = 600_000_000  # of memory, beyond what the process has before
LISTING = (LabelFileError, TooManyFailedError)  # they list problems, one a line
CODE = ("pipeline/", "models/", "tests/")
FORBIDDEN = {
    *("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pty.spawn", "subprocess.Popen"),
    *("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "urllib.Request"),
    *("pickle.find_class", "ctypes.dlopen"),
}
PATHS = {"shutil.rmtree": 1} | {f"os.{name}": 1 for name in ("mkdir", "remove", "rmdir", "truncate")}
PATHS |= {f"os.{name}": 2 for name in ("rename", "link", "symlink")}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True)
class Outcome:
    """What became of an input: `accepted`, `refused`, or a finding, with its place and story."""

    kind: str
    place: str = ""
    story: str = ""

    @property
    def fault(self) -> bool:
        return self.kind not in ("accepted", "refused")

    @property
    def identity(self) -> str:
        return f"{self.kind} in {self.place}"


# ------------------------------------------------------------------------------------------- inside of it
class Forbidden(BaseException):
    """Not an Exception, so that nobody takes it for a damaged file."""


class Guard:
    """Raises at what no reader of files has to do, while it is on; a hook cannot be taken away again."""

    def __init__(self, scratch: Path):
        self.scratch, self.on, self.caught = os.path.realpath(scratch) + os.sep, False, ""
        sys.addaudithook(self.see)

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        paths: tuple[Any, ...] = arguments[: PATHS.get(event, 0)]
        if paths and event.startswith("os.") and isinstance(arguments[-1], int) and arguments[-1] >= 0:
            paths = ()  # below an open folder: rmtree, which was seen itself
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
            paths = arguments[:1]
        if event in FORBIDDEN or not all(map(self.inside, paths)):
            self.caught = f"{event} {str(arguments)[:200]}"
            raise Forbidden(self.caught)

    def inside(self, path: Any) -> bool:
        """Whether something lies in the scratch folder; numbers of open files do."""
        if isinstance(path, int):
            return True
        return os.path.realpath(os.fsdecode(path)).startswith((self.scratch, os.devnull))


def serve(pipe: Connection, targets: Mapping[str, Target], scratch: Path, memory: int) -> None:
    """Read input after input as told: (target, name of the file that is damaged, its bytes) -> Outcome."""
    stories = (scratch / "crash.txt").open("w")
    faulthandler.enable(stories)
    faulthandler.register(signal.SIGUSR1, stories)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.dont_write_bytecode = True
    tempfile.tempdir = str(scratch)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries complain of every damaged file
    guard, ready = Guard(scratch), set()
    while True:
        name, file, data = pipe.recv()
        target, seeds, out = targets[name], scratch / name / "seeds", scratch / name / "out"
        if name not in ready:
            out.mkdir(parents=True)
            ready.add(name)
            suffixes = {path.suffix: path for path in seed_files(target, seeds)}
            for path in suffixes.values():  # what is imported late is imported now
                attempt(target, seeds, path, out)
        path = seeds / file
        whole = path.read_bytes()
        path.write_bytes(data)
        pipe.send("begins")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        held = rss(os.getpid())
        guard.caught, guard.on = "", True
        outcome = attempt(target, seeds, path, out)
        guard.on = False
        path.write_bytes(whole)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if guard.caught:
            outcome = Outcome("forbidden", guard.caught.split()[0], guard.caught)
        elif after > before and after - held > memory and not outcome.fault:
            outcome = Outcome("memory", f"{name} {path.suffix}", f"{after - held:,} bytes for a moment")
        pipe.send(outcome)


def attempt(target: Target, folder: Path, file: Path, out: Path) -> Outcome:
    """One reading; only `Forbidden` and what is no Exception at all end it otherwise."""
    try:
        target.read(folder, file, out)
    except MsaError as error:
        fault = wrong_message(error, file, folder)
        return Outcome(fault, where(error), repr(str(error))[:1000]) if fault else Outcome("refused")
    except BaseException as error:
        story = "".join(traceback.format_exception(error))[-3000:]
        return Outcome(type(error).__name__, where(error), story)
    return Outcome("accepted")


def wrong_message(error: MsaError, file: Path, folder: Path) -> str:
    """What is wrong with what an error says; empty where nothing is. It names the file or its folder."""
    said = str(error)
    lines = said.split("\n")
    if len(lines) > 1 and not isinstance(error, LISTING):
        return "message of several lines"
    if max(map(len, lines)) > LONGEST:
        return "long message"
    whole = re.search(re.escape(str(folder)) + r"(?!/)", said) is not None
    named = (file.name, file.stem, file.parent.name, "datasets.", "imports.", ".settings", ".yaml")
    return "" if whole or any(name in said for name in named) else "message without a file"


def where(error: BaseException) -> str:
    """The last line of the project's own code that an exception went through, and the last one at all."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if relative(frame.filename).startswith(CODE)]
    frame = (own or frames)[-1]
    return f"{relative(frame.filename)}:{frame.lineno}"


def relative(name: str) -> str:
    return name.removeprefix(f"{PROJECT}/")


def seed_files(target: Target, folder: Path) -> list[Path]:
    """Makes a target's seeds; those that are damaged."""
    folder.mkdir(parents=True)
    target.make(folder)
    return sorted(path for path in folder.rglob("*") if path.suffix in target.suffixes)


def rss(process: int) -> int:
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize()


def cpu(process: int) -> float:
    """Seconds of the processor that a process has had."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# -------------------------------------------------------------------------------------------- who watches it
class Worker:
    """A process that reads damaged files, started anew when one of them ended it.

    Parameters
    ----------
    scratch : an empty folder
    seconds, memory : limits of one input: of the processor, and bytes beyond what the process has before
    """

    def __init__(
        self,
        scratch: Path,
        targets: Mapping[str, Target] = TARGETS,
        seconds: float = SECONDS,
        memory: int = BYTES,
    ):
        self.scratch, self.targets, self.seconds, self.memory = scratch, targets, seconds, memory
        self.context = multiprocessing.get_context("forkserver")  # processes with all imports and no threads
        self.context.set_forkserver_preload(["fuzz.targets"])
        with patch.dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)):
            forkserver.ensure_running()
        self.process: Any = None

    def run(self, name: str, file: str, data: bytes) -> Outcome:
        """What a reader makes of an input."""
        if self.process is None:
            self.start()
        self.pipe.send((name, file, data))
        self.pipe.recv()  # once it begins
        try:  # all that asks of a process which may be gone by now
            base, began, worked = rss(self.process.pid), time.monotonic(), cpu(self.process.pid)
            while not self.pipe.poll(0.02):
                if rss(self.process.pid) - base > self.memory:
                    return self.end("memory")
                slow = cpu(self.process.pid) - worked > self.seconds
                if slow or time.monotonic() - began > PATIENCE * self.seconds:
                    return self.end("time")
            outcome: Outcome = self.pipe.recv()
        except (EOFError, OSError, IndexError):  # the last of a process that has just ended
            return self.end("")
        if outcome.kind == "memory":
            self.close()
        return outcome

    def start(self) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        self.pipe, other = self.context.Pipe()
        self.process = self.context.Process(
            target=serve, args=(other, self.targets, self.scratch, self.memory), daemon=True
        )
        self.process.start()
        other.close()

    def end(self, kind: str) -> Outcome:
        """The finding of a process that is ended, or has ended itself; its last trace says where it was."""
        if kind:
            os.kill(self.process.pid, signal.SIGUSR1)
            time.sleep(0.2)
        else:
            self.process.join(self.seconds)
        exit_code = self.process.exitcode
        self.close()
        story = (self.scratch / "crash.txt").read_text("utf-8", "replace")
        lines = [line.strip() for line in story.splitlines() if line.lstrip().startswith("File ")]
        own = [line for line in lines if relative(line.split('"')[1]).startswith(CODE)]
        _, file, rest = (own or lines or ['File "nowhere"'])[0].split('"')
        if not kind:
            kind = signal.Signals(-exit_code).name if exit_code < 0 else f"exit {exit_code}"
        return Outcome(kind, relative(file) + rest.split(" in ")[0].replace(", line ", ":"), story[-3000:])

    def close(self) -> None:
        if self.process is not None:
            self.pipe.close()
            self.process.kill()
            self.process.join()
            self.process = None


def replayed(finding: Path, worker: Worker) -> Outcome:
    """What becomes of a finding's file now."""
    parts = re.fullmatch(r"(.+)-[0-9a-f]{8}-(.+)", finding.name)
    assert parts is not None, f"{finding.name}: expected <target>-<hash>-<file>"
    return worker.run(parts[1], parts[2].replace("+", "/"), finding.read_bytes())
