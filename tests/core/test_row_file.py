"""Rows on the disk: what was added is what is read, at any place and from many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pipeline.core import row_file
from pipeline.core.row_file import RowFile


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_rows_are_read_at_any_place(shape: tuple[int, ...], tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    parts = [random.integers(-99, 99, (n, *shape)).astype(np.int16) for n in (4, 0, 1, 1000)]
    file = RowFile(tmp_path, np.dtype(np.int16), shape)
    assert list(tmp_path.iterdir()) == []  # it has no name, so that nothing is left of a killed process
    for part in parts[:3]:
        file.add(part)
    early = np.empty((5, *shape), np.int16)
    file.read(0, early)  # between two additions
    file.add(parts[3].astype(np.float64))
    everything = np.concatenate(parts)
    assert file.rows == len(everything)
    np.testing.assert_array_equal(early, everything[:5])

    def read(start: int) -> np.ndarray:
        out = np.empty((7, *shape), np.int16)
        file.read(start, out)
        return out

    starts = random.integers(0, len(everything) - 7, 200).tolist()
    with ThreadPoolExecutor(4) as pool:
        for start, found in zip(starts, pool.map(read, starts), strict=True):
            np.testing.assert_array_equal(found, everything[start : start + 7])


def test_a_read_only_folder_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_file.os, "access", lambda path, mode: False)
    monkeypatch.setattr(row_file.tempfile, "tempdir", str(tmp_path))
    file = RowFile(tmp_path / "not there", np.dtype(np.float32), (2,))
    file.add(np.ones((3, 2)))
    out = np.zeros((3, 2), np.float32)
    file.read(0, out)
    assert (out == 1).all()


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_file.tempfile, "TemporaryFile", lambda **_: open("/dev/full", "wb", 0))  # noqa: SIM115
    file = RowFile(tmp_path, np.dtype(np.float32))
    with pytest.raises(OSError, match=r"cannot be written: No space left.*free some space") as caught:
        file.add(np.zeros(9))
    assert caught.value.filename == str(tmp_path)
