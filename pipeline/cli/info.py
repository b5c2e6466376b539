"""`msa-cli info`: what a Parquet file of ours, a folder of them, or a run is; `methods`: which there are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.options import AsJson
from pipeline.core.console import say, show
from pipeline.core.errors import FormatError, MsaError
from pipeline.core.paths import given_run

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from rich.console import RenderableType

    from pipeline.store.shard import FeatureRow

SHOWN_COLUMNS = 40  # of the statistics; --json has all
RUN_CONFIG = "config.json"


def info(
    file: Annotated[
        Path,
        typer.Argument(
            help="A feature file or other Parquet file of the pipeline, a folder of them, a training set, "
            "or a run."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Explain a file: what it holds, how it was made, its columns, counts and a few statistics."""
    described = describe(given_run(file))
    if as_json:
        say(json.dumps(described, indent=2, ensure_ascii=False), in_json=True)
    else:
        show(*render(described))


def methods(as_json: AsJson = False) -> None:
    """List the methods: what each is, of which paper, and what it can read; docs/methods.md has more."""
    from rich.table import Table

    from models import METHODS

    rows: list[dict[str, Any]] = [
        {"method": name, "what": entry.title, "paper": entry.paper, "reads": list(entry.needs)}
        for name, entry in METHODS.items()
    ]
    if as_json:
        say(json.dumps(rows, indent=2, ensure_ascii=False), in_json=True)
        return
    table = Table("method", "what", "paper", "reads", show_lines=True)
    for row in rows:
        table.add_row(
            row["method"], row["what"], row["paper"] or "none", ", ".join(row["reads"]) or "nothing"
        )
    show(table)


def describe(path: Path) -> dict[str, Any]:
    """Facts of a file or folder as plain data: `kind`, `path` and what belongs to that kind.

    Raises
    ------
    MsaError : nothing is there
    FormatError : it is not one of ours
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipeline.formats.text import read_json
    from pipeline.store.found import feature_streams
    from pipeline.store.shard import META_KEY, read_meta, stream_rows

    if not path.exists():
        raise MsaError(f"{path}: no such file or folder")
    if path.is_dir():
        if (path / RUN_CONFIG).exists():
            config = read_json(path / RUN_CONFIG)
            files = {file.name: file.stat().st_size for file in sorted(path.iterdir()) if file.is_file()}
            return {"kind": "run", "path": str(path), "config": config, "bytes": files}
        if (path / "stats.json").exists():
            facts = {"kind": "training set", "path": str(path)}
            return facts | {"stats": read_json(path / "stats.json")}
        streams = feature_streams(path)
        if not streams:
            inside = [str(file) for file in sorted(path.glob("*.parquet"))]
            way_out = f"; give one of {', '.join(inside)}" if inside else ""
            raise FormatError(
                f"{path}: neither a run ({RUN_CONFIG}), a training set (stats.json) nor a folder with "
                f"feature files{way_out}"
            )
        described = [_describe_features(path, stream.meta, stream.rows()) for stream in streams.values()]
        if len(described) == 1:
            return described[0]
        return {
            "kind": "features of several encoders",
            "path": str(path),
            "encoders": dict(zip(streams, described, strict=True)),
        }
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise FormatError(
            f"{path}: not a Parquet file; give a file or folder that the pipeline wrote"
        ) from error
    if META_KEY in (schema.metadata or {}):
        return _describe_features(path, read_meta(path), stream_rows(path))
    return _describe_table(path, schema)


@dataclass
class ColumnStatistics:
    """Mean, standard deviation and range of each column, clip by clip: an hour of sound need not fit at once.

    Attributes
    ----------
    lengths : frames of each clip
    mean, squares : (D,) float64, the mean so far, and the squared distances from it added up
    low, high : (D,) float64
    """

    lengths: list[int] = field(default_factory=list)
    mean: Any = 0.0
    squares: Any = 0.0
    low: Any = inf
    high: Any = -inf

    def add(self, block: np.ndarray) -> None:
        """The (n, D) frames of one more clip (Chan's update of mean and squares)."""
        import numpy as np

        before, n = sum(self.lengths), len(block)
        mean = block.mean(0, dtype=np.float64)
        step = mean - self.mean
        self.squares = self.squares + np.square(block - mean).sum(0) + step**2 * before * n / (before + n)
        self.mean = self.mean + step * n / (before + n)
        self.low, self.high = np.minimum(self.low, block.min(0)), np.maximum(self.high, block.max(0))
        self.lengths.append(n)

    def columns(self, names: list[str]) -> dict[str, dict[str, float]]:
        import numpy as np

        if not self.lengths:
            return {name: {} for name in names}
        deviation = np.sqrt(self.squares / sum(self.lengths))
        rows = np.stack([self.mean, deviation, self.low, self.high], axis=1).tolist()
        return {
            name: dict(zip(("mean", "sd", "min", "max"), row, strict=True))
            for name, row in zip(names, rows, strict=True)
        }


def _describe_features(path: Path, meta: dict[str, Any], rows: Iterable[FeatureRow]) -> dict[str, Any]:
    from pipeline.core.vocabulary import OK

    statistics = ColumnStatistics()
    status: Counter[str] = Counter()
    notes: dict[str, str] = {}
    for row in rows:
        status[row.status] += 1
        if row.error or row.status != OK:
            notes[row.clip_id] = f"{row.status}: {row.error}"
        if row.features is not None:
            statistics.add(row.features)
    total = sum(statistics.lengths)
    return {
        "kind": "features",
        "path": str(path),
        "provenance": {key: value for key, value in meta.items() if key != "column_names"},
        "clips": status.total(),
        "status": dict(status),
        "frames": {
            "total": total,
            "shortest": min(statistics.lengths, default=0),
            "longest": max(statistics.lengths, default=0),
        },
        **({"seconds": round(total / meta["frame_rate"], 2)} if meta["frame_rate"] else {}),
        "notes": notes,
        "columns": statistics.columns(meta["column_names"]),
    }


def _describe_table(path: Path, schema: pa.Schema) -> dict[str, Any]:
    """A clip table, transcripts, a split of a training set, predictions: any flat Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    columns: dict[str, Any] = {}
    for name in table.column_names:
        column = table[name]
        columns[name] = {"type": str(column.type), "null": column.null_count}
        if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
            values = column.drop_null().to_numpy()
            if len(values):
                found = {"mean": values.mean(), "sd": values.std(), "min": values.min(), "max": values.max()}
                columns[name] |= {key: float(value) for key, value in found.items()}
    facts = {
        key.decode(): json.loads(value)
        for key, value in (schema.metadata or {}).items()
        if key.startswith(b"msa.")
    }
    counted = {}
    for name in ("split", "status", "language", "source"):
        if name in table.column_names:
            counted[name] = {str(key): count for key, count in Counter(table[name].to_pylist()).items()}
    return {
        "kind": "table",
        "path": str(path),
        "provenance": facts,
        "rows": table.num_rows,
        "counts": counted,
        "columns": columns,
    }


def render(described: dict[str, Any]) -> list[RenderableType]:
    """The facts for a terminal."""
    from rich.table import Table
    from rich.text import Text
    from rich.tree import Tree

    if "encoders" in described:
        return [_overview(described)]
    tree = Tree(Text.assemble((described["path"], "bold"), f": {described['kind']}"))
    for key, value in described.items():
        if key not in ("path", "kind", "columns"):
            _grow(tree, key, value)
    shown: list[RenderableType] = [tree]
    columns = described.get("columns", {})
    if columns:
        names = list(dict.fromkeys(key for entry in columns.values() for key in entry))
        table = Table("column", *names, title=f"{len(columns)} columns")
        for name, entry in list(columns.items())[:SHOWN_COLUMNS]:
            cells = (entry.get(key, "") for key in names)
            shown_cells = (f"{cell:.5g}" if isinstance(cell, float) else str(cell) for cell in cells)
            table.add_row(name, *shown_cells)
        if len(columns) > SHOWN_COLUMNS:
            table.add_row(f"... {len(columns) - SHOWN_COLUMNS} more (--json has all)")
        shown.append(table)
    return shown


def _overview(described: dict[str, Any]) -> RenderableType:
    """A line an encoder."""
    from rich.table import Table

    heads = ("stream", "encoder", "columns", "frames", "clips", "status", "fingerprint")
    table = Table(*heads, title=f"{described['path']}: {described['kind']}")
    for name, one in described["encoders"].items():
        made = one["provenance"]
        status = ", ".join(f"{count} {status}" for status, count in one["status"].items())
        cells = (name, made["encoder"], len(one["columns"]), one["frames"]["total"], one["clips"], status)
        table.add_row(*map(str, cells), made["fingerprint"][:12])
    table.caption = "columns, settings and notes of one of them: msa-cli info FILE, or --json for all"
    return table


def _grow(tree: Any, key: str, value: Any) -> None:
    if isinstance(value, dict) and value:
        branch = tree.add(str(key))
        for inner, item in list(value.items())[:SHOWN_COLUMNS]:
            _grow(branch, inner, item)
    elif isinstance(value, list) and len(value) > 8:
        tree.add(f"{key}: {len(value)} values, {value[0]} ... {value[-1]}")
    else:
        tree.add(f"{key}: {value}")
