"""`make fuzz`: damaged files through the product's readers, for some minutes.

A finding becomes a file of `findings`, and so a test (test_findings.py).
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.mutate import mutated
from fuzz.targets import TARGETS, Target
from fuzz.watched import Outcome, Worker, seed_files

FINDINGS = Path(__file__).parent / "findings"
MINIMIZED_S = 4.0  # spent on making a finding smaller
EVERY_S = 30.0  # a line of progress


@dataclass
class Lane:
    """Findings and counts of all workers.

    Attributes
    ----------
    seeds : target -> name of a file -> its bytes
    counts : (target, accepted | refused | finding) -> inputs
    found : identity of a finding -> the target that had it first
    spent : target -> seconds, divided by its share
    """

    targets: Mapping[str, Target]
    seed: str
    into: Path
    ends: float
    seeds: dict[str, dict[str, bytes]] = field(default_factory=dict)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    spent: Counter[str] = field(default_factory=Counter)
    numbers: Counter[str] = field(default_factory=Counter)
    found: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def work(self, worker: Worker) -> None:
        """Inputs of the target that had the least time, until the time is over."""
        while time.monotonic() < self.ends:
            with self.lock:
                name = min(self.targets, key=lambda name: self.spent[name])
                self.numbers[name] += 1
                number = self.numbers[name]
                self.spent[name] += 0.001  # the other worker takes another target
            began = time.monotonic()
            file, data = self.input(name, number)
            outcome = worker.run(name, file, data)
            with self.lock:
                self.spent[name] += (time.monotonic() - began) / self.targets[name].share
                self.counts[name, "finding" if outcome.fault else outcome.kind] += 1
                new = outcome.fault and outcome.identity not in self.found
                if new:
                    self.found[outcome.identity] = name
            if new:
                self.write(name, number, file, smaller(worker, name, file, data, outcome), outcome)
        worker.close()

    def input(self, name: str, number: int) -> tuple[str, bytes]:
        """The file that is damaged and its bytes; the same for the same seed, target and number."""
        rng = random.Random(f"{self.seed} {name} {number}")
        files = self.seeds[name]
        file = rng.choice(list(files))
        suffix = Path(file).suffix
        others = [data for other, data in files.items() if other.endswith(suffix)]
        return file, mutated(files[file], others, suffix, rng)

    def write(self, name: str, number: int, file: str, data: bytes, outcome: Outcome) -> None:
        digest = hashlib.sha256(data).hexdigest()[:8]
        path = self.into / f"{name}-{digest}-{file.replace('/', '+')}"
        self.into.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        with self.lock:
            print(f"FINDING {path.name} (--seed {self.seed}, input {number}): {outcome.identity}")
            print(outcome.story, end="\n\n")

    def table(self) -> str:
        lines = [f"{'target':<26}{'inputs':>9}{'accepted':>10}{'refused':>9}{'findings':>10}{'a second':>10}"]
        for name in self.targets:
            accepted, refused, faults = (
                self.counts[name, kind] for kind in ("accepted", "refused", "finding")
            )
            total = accepted + refused + faults
            different = list(self.found.values()).count(name)
            rate = total / max(self.spent[name] * self.targets[name].share, 1e-9)
            lines.append(f"{name:<26}{total:>9}{accepted:>10}{refused:>9}{different:>10}{rate:>10.1f}")
        return "\n".join(lines)


def smaller(worker: Worker, name: str, file: str, data: bytes, outcome: Outcome) -> bytes:
    """The input without what the finding does not need; as it is where each try costs a process."""
    ends, size = time.monotonic() + MINIMIZED_S, len(data) // 2
    while outcome.kind not in ("time", "memory") and size and time.monotonic() < ends:
        at = 0
        while at < len(data) and time.monotonic() < ends:
            shorter = data[:at] + data[at + size :]
            if worker.run(name, file, shorter).identity == outcome.identity:
                data = shorter
            else:
                at += size
        size //= 2
    return data


def fuzz(targets: Mapping[str, Target], minutes: float, seed: str, workers: int, into: Path) -> Lane:
    """All targets for some minutes; prints findings, progress and a table."""
    lane = Lane(targets, seed, into, time.monotonic() + 60 * minutes)
    with tempfile.TemporaryDirectory(prefix="msa-fuzz-") as scratch:
        for name, target in targets.items():
            folder = Path(scratch, "seeds", name)
            files = seed_files(target, folder)
            lane.seeds[name] = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
        lane.ends = time.monotonic() + 60 * minutes
        with ThreadPoolExecutor(workers) as pool:
            places = [Path(scratch, f"worker{number}") for number in range(workers)]
            busy = [pool.submit(lane.work, Worker(place, targets)) for place in places]
            while wait(busy, timeout=EVERY_S).not_done:
                print(f"{sum(lane.counts.values())} inputs, {len(lane.found)} findings", flush=True)
            for worker in busy:
                worker.result()  # raises what went wrong in the lane itself
    print(lane.table())
    return lane


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--into", type=Path, default=FINDINGS)
    parser.add_argument("targets", nargs="*", default=list(TARGETS), help="all where none is named")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # of what the mutator writes
    chosen = {name: TARGETS[name] for name in asked.targets}
    return bool(fuzz(chosen, asked.minutes, asked.seed, asked.workers, asked.into).found)


if __name__ == "__main__":
    sys.exit(main())
