"""Work measured side by side, and what other programs took of the machine meanwhile."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

CALM = 0.1  # cores that other programs may take while a round is measured


def others_cpu_s() -> float:
    """Seconds of CPU that other programs have taken so far; 0 where the system does not tell."""
    try:
        user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split()[1:10])
    except OSError:
        return 0.0
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK") - time.process_time()


def measure(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock and seconds of CPU."""
    start, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - cpu


@dataclass
class Rounds:
    """CPU seconds of several works of one thread, measured in turns, so that other load hits all alike.

    Other programs still slow them down through the memory and the caches that they share.
    """

    works: dict[str, Callable[[], object]]
    repeats: dict[str, int] = field(default_factory=dict)
    """how often a work does what is to be timed, where not once"""
    seconds: dict[str, list[float]] = field(default_factory=dict)
    others: list[float] = field(default_factory=list)
    """cores that other programs took in each round"""

    def run(self, rounds: int) -> Rounds:
        """Each work once to set up threads and memory, then `rounds` times in turns."""
        for work in self.works.values():
            work()
        for _ in range(rounds):
            begin, before = time.perf_counter(), others_cpu_s()
            for name, work in self.works.items():
                spent = measure(work)[1] / self.repeats.get(name, 1)
                self.seconds.setdefault(name, []).append(spent)
            self.others.append((others_cpu_s() - before) / (time.perf_counter() - begin))
        return self

    @property
    def load(self) -> float:
        """Cores that other programs took in most rounds."""
        return statistics.median(self.others)

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    def ratio(self, above: str, below: str) -> float:
        """Median of the rounds' ratios."""
        return statistics.median(a / b for a, b in zip(self.seconds[above], self.seconds[below], strict=True))

    def hold(self, kept: bool, limit: str) -> None:
        """Fail where a limit is not kept; skip instead where other programs may be the reason."""
        if not kept and self.load > CALM:
            pytest.skip(f"{limit}; but other programs took {self.load:.1f} cores meanwhile")
        assert kept, f"{limit}: {self.seconds}"
