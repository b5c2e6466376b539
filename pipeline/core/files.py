"""Files: hashed, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replaced_folder(out: Path) -> Iterator[Path]:
    """An empty folder to fill, which at the end takes the place of `out`: that is never half written."""
    for left in out.parent.glob(f".{out.name}.*.tmp"):  # by a run that was killed while writing
        shutil.rmtree(left, ignore_errors=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        shutil.rmtree(out, ignore_errors=True)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(content: dict[str, Any], path: Path) -> None:
    """Keys sorted, so that equal content has equal bytes."""
    path.write_text(
        json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n",
        encoding="utf-8",
    )


def file_hash(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
