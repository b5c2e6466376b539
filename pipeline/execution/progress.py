"""What a run of an extraction stage shows: progress while it works, then counts, failures by reason.

The summary is `logs/extraction-<dataset>-<modality>-<encoder>.json`, outside of all that DVC hashes: counts,
seconds, clips a second, and every failed clip with its reason.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from pathlib import Path

from rich.table import Table

from pipeline.core.console import note, progress_bar, say, show
from pipeline.core.files import write_json
from pipeline.core.vocabulary import FAILED
from pipeline.store.shard import FeatureRow
from pipeline.store.store import Update

NAMED_CLIPS = 3  # of each reason


class ExtractionReport:
    """Follows one stage from its plan to its end.

    `what` is its title, e.g. `audio librosa33 on sample`.
    """

    def __init__(self, what: str):
        self.what = what
        self.began = time.monotonic()
        self.done = self.failed = 0
        self.progress = progress_bar()
        self.bar = self.progress.add_task(what, total=None, note="")

    def plan(self, kept: int, missing: int) -> None:
        """Before the work: how much of it there is."""
        note(f"{self.what}: {kept} kept, {missing} to compute", stdout=True)
        self.progress.update(self.bar, total=missing, visible=missing > 0)

    def row(self, row: FeatureRow) -> None:
        """A clip is done."""
        self.done += 1
        self.failed += row.status == FAILED
        rate = f"{self.done / (time.monotonic() - self.began):.1f} clips/s"
        words = f"{rate}, {self.failed} failed" if self.failed else rate
        self.progress.update(self.bar, advance=1, note=words)

    def end(self, update: Update, logs: Path, name: str) -> None:
        """After the work: counts and failures for the reader, the summary for programs."""
        seconds = time.monotonic() - self.began
        counts = ", ".join(f"{count} {status}" for status, count in sorted(update.status.items()))
        rate = f", {self.done / seconds:.1f} clips/s" if self.done else ""
        say(f"{self.what}: {counts or 'no clips'}{rate}")
        if update.failed:
            show(failures(update.failed))
        summary = {
            "stage": self.what,
            "clips": update.total,
            "kept": update.kept,
            "computed": update.computed,
            "missing": update.missing,
            "status": dict(sorted(update.status.items())),
            "seconds": round(seconds, 2),
            "clips_a_second": round(self.done / seconds, 3) if self.done else None,
            "failed": dict(sorted(update.failed.items())),
        }
        write_json(summary, logs / f"extraction-{name}.json", sort_keys=False)


def by_reason(failed: dict[str, str]) -> dict[str, list[str]]:
    """Reason -> its clips, most clips first. Other file names or numbers do not make it another reason."""
    alike: dict[str, list[str]] = defaultdict(list)
    for clip_id, reason in sorted(failed.items()):
        alike[re.sub(r"\S+\.\w{2,4}(?=[:\s,])|\d+(\.\d+)?", "…", reason)].append(clip_id)
    ordered = sorted(alike.values(), key=lambda clips: (-len(clips), clips))
    return {failed[clips[0]]: clips for clips in ordered}


def failures(failed: dict[str, str]) -> Table:
    """A line a reason: how many clips, and some of them by name."""
    table = Table("clips", "reason", "such as", title=f"{len(failed)} failed")
    for reason, clips in by_reason(failed).items():
        more = ", …" if len(clips) > NAMED_CLIPS else ""
        table.add_row(str(len(clips)), reason, ", ".join(clips[:NAMED_CLIPS]) + more)
    return table
