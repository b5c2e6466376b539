"""The feature store of one (dataset, modality, encoder): fixed hash buckets, incremental, same bytes.

`data/features/<dataset>/<modality>-<encoder>/shard-NNN.parquet`. A shard is kept when its fingerprint and
its (clip, source) rows are as wanted; else only the missing rows are computed and the shard is rewritten
whole, so that its bytes do not depend on the history. One added clip rewrites one shard.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.core.console import note
from pipeline.core.errors import FormatError, IncompleteError, ParamsError, TooManyFailedError
from pipeline.core.files import lock
from pipeline.core.vocabulary import FAILED
from pipeline.store.shard import (
    FeatureRow,
    Features,
    check_data,
    read_ledger,
    read_meta,
    read_rows,
    size_warning,
    stream_rows,
    write_rows,
)

FLUSH_SECONDS = 60.0  # a killed run loses at most this much work


@dataclass
class Update:
    """What one run of an extraction did."""

    total: int = 0
    kept: int = 0
    computed: int = 0
    missing: int = 0
    """wanted rows that are not there, because only a part was asked for"""
    status: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)  # clip id -> reason

    def add(self, rows: Iterable[FeatureRow]) -> None:
        """Count the status of finished rows."""
        for row in rows:
            self.status[row.status] += 1
            if row.status == FAILED:
                self.failed[row.clip_id] = row.error

    def check(self, max_failed_fraction: float) -> None:
        """Refuse what should not pass for done.

        Raises
        ------
        IncompleteError : some of the wanted rows are not there
        TooManyFailedError : more than that share of the clips failed
        """
        if self.missing:
            raise IncompleteError(
                f"{self.missing} of {self.total} clips are missing: --only (MSA_ONLY) selected others; "
                "run the stage without it"
            )
        if self.total and len(self.failed) / self.total > max_failed_fraction:
            listed = "\n".join(f"  - {clip}: {reason}" for clip, reason in sorted(self.failed.items())[:20])
            more = f"\n  ... and {len(self.failed) - 20} more" if len(self.failed) > 20 else ""
            raise TooManyFailedError(
                f"{len(self.failed)} of {self.total} clips failed, more than max_failed_fraction = "
                f"{max_failed_fraction:g} in params.yaml; all others were written. Fix or remove them "
                "(MSA_RETRY_FAILED=1 or --retry-failed tries them again), or raise the fraction:\n"
                f"{listed}{more}"
            )


@dataclass(frozen=True)
class StorePart:
    """What of a store one run works on.

    Attributes
    ----------
    first, step : shards first, first + step, ...: how several machines share the work
    clips : these clips alone, which are computed even if they are there; empty = all
    """

    first: int = 0
    step: int = 1
    clips: frozenset[str] = frozenset()


EVERYTHING = StorePart()


def parse_part(shards: str | None, clips: Collection[str] | None, number: int) -> StorePart:
    """The part that `--shards FIRST::STEP` and `--only CLIP_ID ...` ask for, of so many shards.

    Raises
    ------
    ParamsError : not of that form, or no shard is left
    """
    first, step = 0, 1
    if shards is not None:
        found = re.fullmatch(r"(\d+)::(\d+)", shards)
        if found is None or int(found[2]) < 1 or int(found[1]) >= min(number, int(found[2])):
            raise ParamsError(
                f"--shards {shards}: expected FIRST::STEP with FIRST below STEP and below {number} (`shards` "
                "in params.yaml), e.g. 3::8 for the fourth of eight machines"
            )
        first, step = int(found[1]), int(found[2])
    return StorePart(first, step, frozenset(clips or ()))


@dataclass(frozen=True)
class FeatureStore:
    """The shards of one folder."""

    folder: Path

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("shard-*.parquet"))

    def meta(self) -> dict[str, Any] | None:
        """The footer of the shards; None for a folder without any (`data/features/none`).

        Raises
        ------
        FormatError : shards of different fingerprints lie together, or one is not readable
        """
        metas = {path: read_meta(path) for path in self.files()}
        first = next(iter(metas.values()), None)
        for path, meta in metas.items():
            if first is not None and meta["fingerprint"] != first["fingerprint"]:
                raise FormatError(
                    f"{path}: made with other settings than its neighbours; run its stage again"
                )
        return first

    def read(self) -> Features | None:
        """All rows; None for a folder without shards. FormatError: see `meta`."""
        return self._gathered(lambda path: read_rows(path).rows)

    def ledger(self) -> Features | None:
        """All rows without what the encoder gave: who is there, with which status. Else as `read`."""
        return self._gathered(read_ledger)

    def _gathered(self, read_file: Callable[[Path], dict[str, FeatureRow]]) -> Features | None:
        meta = self.meta()
        if meta is None:
            return None
        return Features(
            meta, {clip_id: row for path in self.files() for clip_id, row in read_file(path).items()}
        )

    def stream(self) -> Iterator[FeatureRow]:
        """All rows, shard by shard, few of them in memory at a time. Else as `read`."""
        self.meta()
        return chain.from_iterable(map(stream_rows, self.files()))

    def update(
        self,
        wanted: dict[str, str],
        meta: dict[str, Any],
        shards: int,
        compute: Callable[[list[str]], Iterable[FeatureRow]],
        *,
        part: StorePart = EVERYTHING,
        fresh: bool = False,
        retry_failed: bool = False,
        on_plan: Callable[[int, int], None] | None = None,
        describe: Callable[[], dict[str, Any]] = dict,
    ) -> Update:
        """Bring the store (or a part of it) to exactly the wanted rows, computing only what is missing.

        Parameters
        ----------
        wanted : clip id -> source_sha256
        meta : the footer of every shard, with `fingerprint`
        shards : number of files; all of them exist afterwards, and no other
        compute : gives a FeatureRow for each asked clip id, in any order
        part : the shards or clips that are worked on; what is not asked for stays as it is
        fresh : recompute everything that is worked on
        retry_failed : compute failed rows again, not only transient ones
        on_plan : called with (kept, to compute) before the work begins
        describe : gives what else the footer has; called once, and only where something is written
        """
        footer = cache(lambda: meta | describe())
        if fresh:
            footer()  # its errors come before anything is removed
        self.folder.mkdir(parents=True, exist_ok=True)
        busy = f"{self.folder}: another run is working on these features; wait for it, or end it"
        # shares of several machines go together; the folder's own lock leaves no file in it
        with lock(self.folder, busy, shared=part.step > 1 and not part.clips):
            whole = part == EVERYTHING
            if whole and fresh:
                for path in self.files():  # if this run is killed, the next goes on where it stopped
                    path.unlink()
            ledgers = {path.name: _ledger(path, meta["fingerprint"]) for path in self.files()}
            if whole and self._reshard(footer, shards, ledgers):
                ledgers = {path.name: _ledger(path, meta["fingerprint"]) for path in self.files()}
            others = [name for name, found in ledgers.items() if found is None]
            if part.clips and others:
                raise ParamsError(
                    f"--only: {self.folder / others[0]} was made with other settings (or is damaged) and "
                    "would lose its other clips; run the stage without --only"
                )
            members: dict[int, set[str]] = defaultdict(set)
            for clip_id in wanted:
                members[bucket_of(clip_id, shards)].add(clip_id)
            kept: dict[int, dict[str, FeatureRow]] = {}  # ledger rows, without features
            missing: dict[int, set[str]] = {}  # of the shards that must be written
            for bucket in range(part.first, shards, part.step):
                found = None if fresh and not part.clips else ledgers.get(shard_name(bucket))
                kept[bucket] = {
                    clip_id: row
                    for clip_id, row in (found or {}).items()
                    if clip_id in members[bucket]
                    and (
                        clip_id not in part.clips
                        if part.clips
                        else row.source_sha256 == wanted[clip_id]
                        and not row.transient
                        and not (retry_failed and row.status == FAILED)
                    )
                }
                lacking = members[bucket] - kept[bucket].keys()
                todo = lacking & part.clips if part.clips else lacking
                if todo or (not part.clips and (found is None or set(found) != members[bucket])):
                    missing[bucket] = todo
            report = Update(
                total=sum(len(members[bucket]) for bucket in kept),
                kept=sum(map(len, kept.values())),
                computed=sum(map(len, missing.values())),
            )
            report.missing = report.total - report.kept - report.computed
            if on_plan:
                on_plan(report.kept, report.computed)
            self._fill(kept, missing, footer, compute, shards)
            for rows in kept.values():
                report.add(rows.values())
            if not whole:  # others may be at work in this folder
                return report
            expected = {shard_name(bucket) for bucket in range(shards)}
            for path in [*self.folder.glob("*.parquet"), *self.folder.glob(".*.tmp")]:
                if path.name not in expected:
                    path.unlink()
            if warning := size_warning(self.files(), shards):
                note(f"warning: {warning}")
            return report

    def _fill(
        self,
        kept: dict[int, dict[str, FeatureRow]],
        missing: dict[int, set[str]],
        footer: Callable[[], dict[str, Any]],
        compute: Callable[[list[str]], Iterable[FeatureRow]],
        shards: int,
    ) -> None:
        """Compute the missing rows bucket by bucket; write a bucket when it is complete, or now and then."""
        pending: dict[int, list[FeatureRow]] = defaultdict(list)

        def write(bucket: int) -> None:
            path = self.folder / shard_name(bucket)
            old = read_rows(path).rows if kept[bucket] else {}
            write_rows(path, [*(old[clip_id] for clip_id in kept[bucket]), *pending[bucket]], footer())
            for row in pending.pop(bucket):
                row.features = row.times = None  # written: only the ledger stays in memory
                kept[bucket][row.clip_id] = row

        for bucket, clips in missing.items():
            if not clips:  # rows were removed, or the file does not exist yet
                write(bucket)
        todo = [clip_id for bucket in missing for clip_id in sorted(missing[bucket])]
        last_flush = time.monotonic()
        for row in compute(todo) if todo else ():
            bucket = bucket_of(row.clip_id, shards)
            pending[bucket].append(row)
            missing[bucket].discard(row.clip_id)
            if not missing[bucket]:
                write(bucket)
            elif time.monotonic() - last_flush > FLUSH_SECONDS:
                for open_bucket in list(pending):
                    write(open_bucket)
                last_flush = time.monotonic()

    def _reshard(
        self,
        footer: Callable[[], dict[str, Any]],
        shards: int,
        found: dict[str, dict[str, FeatureRow] | None],
    ) -> bool:
        """Move rows that were made with these settings for another number of shards: no clip is computed.

        A killed run loses at most the rows that it was about to write: the next one computes them.
        """
        for left in self.folder.glob(".resharding-*"):
            shutil.rmtree(left)
        ledgers = {self.folder / name: ledger or {} for name, ledger in found.items()}
        moved: dict[int, dict[Path, list[str]]] = {bucket: defaultdict(list) for bucket in range(shards)}
        for path, ledger in ledgers.items():
            for clip_id in ledger:
                moved[bucket_of(clip_id, shards)][path].append(clip_id)
        if all(path.name == shard_name(bucket) for bucket, mine in moved.items() for path in mine):
            return False
        with TemporaryDirectory(prefix=".resharding-", dir=self.folder) as temporary:
            for bucket, places in moved.items():  # one new shard in memory, at the price of reading again:
                rows: dict[str, FeatureRow] = {}  # twice where the number is doubled
                for path, mine in places.items():
                    old = read_rows(path).rows
                    rows |= {clip_id: deepcopy(old[clip_id]) for clip_id in mine}  # not all of the shard
                write_rows(Path(temporary) / shard_name(bucket), rows.values(), footer())
            made = {path.name for path in Path(temporary).iterdir()}
            for name in sorted(made):
                os.replace(Path(temporary) / name, self.folder / name)
            for path in ledgers:
                if path.name not in made:
                    path.unlink()
        return True


def _ledger(path: Path, fingerprint: str) -> dict[str, FeatureRow] | None:
    """Who is in a shard that was made with these settings; None where it is missing, damaged or other."""
    try:
        if not path.exists() or read_meta(path)["fingerprint"] != fingerprint:
            return None
        check_data(path)
        return read_ledger(path)
    except FormatError:
        return None


def bucket_of(clip_id: str, shards: int) -> int:
    """The shard of a clip: a stable hash, so that a new clip rewrites one shard and moves no other."""
    return int.from_bytes(hashlib.sha256(clip_id.encode()).digest()[:8], "big") % shards


def shard_name(bucket: int) -> str:
    return f"shard-{bucket:03d}.parquet"
