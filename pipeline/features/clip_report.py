"""What became of single clips, for people: a line a file or a table of one clip, and where files went."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table

from pipeline.core.names import id_of
from pipeline.core.vocabulary import FAILED, OK


@dataclass(frozen=True)
class ModalityReport:
    """What became of one modality; `note` is the reason where the status is not ok.

    `kept`: it was there already.
    """

    modality: str
    encoder: str
    status: str
    frames: int
    dim: int
    seconds: float
    note: str
    kept: bool = False


@dataclass
class ClipReport:
    """What became of one clip."""

    video: str
    out: str
    modalities: list[ModalityReport] = field(default_factory=list)

    @property
    def gave_something(self) -> bool:
        return any(report.status == OK for report in self.modalities)

    @property
    def reason(self) -> str:
        """Why nothing came out, in one line: what failed, or else what was absent."""
        failed = [report.note for report in self.modalities if report.status == FAILED]
        notes = failed or [report.note for report in self.modalities]
        return "; ".join(dict.fromkeys(map(self._without_name, notes)))

    @property
    def remarks(self) -> dict[str, str]:
        """What is to be said of the clip -> of which modalities; without the clip's name."""
        found: dict[str, list[str]] = {}
        for item in self.modalities:
            for part in filter(None, item.note.split("; ")):
                remark = self._without_name(part)
                if item.modality not in found.setdefault(remark, []):
                    found[remark].append(item.modality)
        return {remark: ", ".join(who) for remark, who in found.items()}

    def _without_name(self, note: str) -> str:
        return note.removeprefix(f"{id_of(Path(self.video).name)}: ")


def overview(reports: list[ClipReport]) -> Table:
    """A line a file: what became of each encoder's features, and what a reader should know.

    What is said of every file is said once, below.
    """
    names = [f"{item.modality} {item.encoder}" for item in reports[0].modalities]
    folder = Path(os.path.commonpath([Path(report.video).parent for report in reports]))
    remarks = [report.remarks for report in reports]
    common = set.intersection(*(set(found.items()) for found in remarks))
    caption = "; ".join(f"{who}: {remark}" for remark, who in remarks[0].items() if (remark, who) in common)
    shown = Table(
        *("file", *names, "note"),
        title=str(folder),
        caption=f"all files: {caption}" if caption else None,
    )
    for report, found in zip(reports, remarks, strict=True):
        own = [f"{who}: {remark}" for remark, who in found.items() if (remark, who) not in common]
        cells = [
            f"{item.frames} x {item.dim}" if item.status == OK else item.status for item in report.modalities
        ]
        name = str(Path(report.video).relative_to(folder))
        shown.add_row(name, *cells, "; ".join(own))
    return shown


def table(report: ClipReport) -> Table:
    """A clip's report as a small table."""
    title = f"{report.video} -> {report.out}"
    shown = Table("modality", "encoder", "frames", "dim", "seconds", "note", title=title)
    for column in (2, 3, 4):
        shown.columns[column].justify = "right"
    for item in report.modalities:
        note = item.note if item.status == OK else f"{item.status}: {item.note}"
        shown.add_row(
            *(item.modality, item.encoder, str(item.frames), str(item.dim)),
            *(f"{item.seconds:.2f}", note),
        )
    return shown


def places(reports: list[ClipReport], streams: Iterable[str]) -> str:
    """Where the files of these clips went, in a line or two."""
    files = ", ".join(f"{name}.parquet" for name in streams)
    first, *others = dict.fromkeys(report.out for report in reports)
    folder = (
        os.path.commonpath([os.path.dirname(one) or "." for one in (first, *others)]) if others else first
    )
    where = f"{len(others) + 1} folders: {first} ..." if others else first
    lines = [f"{files} in {where}", f"to inspect them: msa-cli info {folder}"]
    items = [item for report in reports for item in report.modalities]
    if kept := sum(item.kept for item in items):
        lines.append(f"{kept} of {len(items)} already existed; --fresh computes them again")
    return "\n".join(lines)
