"""Memory of an import, measured in a process of its own: `python import_memory.py FOLDER MB`.

Writes a pickle like MMSA's of CMU-MOSEI (50 x 768, 500 x 74 and 500 x 35 float32 a clip, protocol 4) whose
largest array has so many megabytes, imports it, and prints JSON: `largest_mb`, `file_mb`, and `above_mb`, by
how much the most memory that the process ever had lies above that of an import of a few clips.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

MB = 1e6
SHARES = {"train": 0.7, "valid": 0.1, "test": 0.2}
SHAPES = {"text": (50, 768), "audio": (500, 74), "vision": (500, 35)}


def content(clips: int) -> dict[str, dict[str, Any]]:
    """Splits of so many train clips and the others in proportion; all steps are real."""
    import numpy as np

    random = np.random.default_rng(0)
    found: dict[str, dict[str, Any]] = {}
    for split, share in SHARES.items():
        count = max(1, round(clips * share / SHARES["train"]))
        found[split] = {
            "id": np.array([f"{split}{i // 4}$_${i % 4}" for i in range(count)]),
            "raw_text": np.array([f"words {i}" for i in range(count)]),
            "regression_labels": random.uniform(-3, 3, count).astype(np.float32),
            **{name: random.random((count, *shape), np.float32) for name, shape in SHAPES.items()},
        }
    return found


def peak_mb() -> float:
    """The most memory that this process ever had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / MB


def imported(file: Path, project: Path) -> None:
    from pipeline.imports.convert import convert
    from pipeline.params.params import ImportParams

    convert("big", ImportParams(kind="mmsa_pickle", root=str(file)), 16, project)


def main() -> None:
    folder, largest = Path(sys.argv[1]), float(sys.argv[2])
    small, large = folder / "small.pkl", folder / "large.pkl"
    if len(sys.argv) == 3:  # the files are made in this process, and read in another
        step = SHAPES["text"][0] * SHAPES["text"][1] * 4 / MB
        for file, clips in ((small, 3), (large, round(largest / step))):
            with file.open("wb") as out:
                pickle.dump(content(clips), out, protocol=4)
        subprocess.run([sys.executable, *sys.argv, "read"], check=True)
        return
    imported(small, folder / "first")
    before = peak_mb()
    imported(large, folder / "second")
    sizes = {"largest_mb": largest, "file_mb": round(large.stat().st_size / MB, 1)}
    print(json.dumps({**sizes, "above_mb": round(peak_mb() - before, 1)}))


if __name__ == "__main__":
    main()
