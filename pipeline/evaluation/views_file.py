"""The file of a run's views, `results/<dataset>/<method>-<seed>.views.json`; inspect.py describes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.core.errors import FormatError

FORMAT = 1


def views_file(metrics: Path) -> Path:
    """Where the views lie, beside a run's metrics `<method>-<seed>.json`."""
    return metrics.with_name(f"{metrics.stem}.views.json")


def write_views(views: dict[str, Any], path: Path) -> dict[str, Any]:
    """Write views, with the format's version, which are returned too.

    In the order given, which is that of modalities, terms and series; equal views have equal bytes.
    """
    written = {"format": FORMAT, **views}
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(written, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    path.write_text(text + "\n", encoding="utf-8")
    return written


def read_views(path: Path) -> dict[str, Any] | None:
    """The views of a run, None where there are none.

    Raises
    ------
    FormatError : not a file of views, or of another format version
    """
    if not path.is_file():
        return None
    again = "run its inspect stage again (`dvc repro`)"
    try:
        views: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = views["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path}: not the views of a run ({error!r}); {again}") from error
    if version != FORMAT:
        raise FormatError(f"{path}: views of format {version}, this version reads {FORMAT}; {again}")
    return views
