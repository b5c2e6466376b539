"""The memory of an import grows by less than a file's largest array, whatever the file's size (`make bench`).

On MMSA's layout with CMU-MOSEI's shapes: 56 MB above that of a tiny import for a file of 173 MB whose
largest array has 50 MB, 118 to 129 MB for 519 MB and 150 MB. A shard, a sixteenth of a modality, is in memory
at once.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.benchmark

SIZES = (50, 150)  # MB of the largest array


def test_memory_of_an_import(tmp_path: Path) -> None:
    program = Path(__file__).parent / "import_memory.py"
    above = []
    for size in SIZES:
        folder = tmp_path / str(size)
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, str(program), str(folder), str(size)], capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout)
        print(found)
        assert found["above_mb"] < 1.5 * size
        above.append(found["above_mb"])
    slope = (above[1] - above[0]) / (SIZES[1] - SIZES[0])
    print(f"{slope:.2f} of the largest array")
    assert slope < 1
