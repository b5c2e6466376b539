"""`msa-cli extract`: single clips to text.parquet, audio.parquet and visual.parquet, without a project.

The same encoders and the same rows as in the DAG; a file holds one row.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.checkpoints import pinned_revision
from pipeline.encoder_params import Pretrained
from pipeline.encoders import MODALITIES, Clip, Encoder, build_encoder
from pipeline.errors import ClipError, MsaError
from pipeline.extraction import Task, encode_row, footer, media_hash
from pipeline.media import VIDEO_SUFFIXES, sha256
from pipeline.params import Params
from pipeline.shards import FAILED, OK, write_rows
from pipeline.transcripts import text_hash

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Request:
    """One clip and the folder that its features go to."""

    video: Path
    out: Path


@dataclass(frozen=True)
class ModalityReport:
    """What became of one modality; `note` is the reason where the status is not ok."""

    modality: str
    encoder: str
    status: str
    frames: int
    dim: int
    seconds: float
    note: str


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
        return "; ".join(dict.fromkeys(note.removeprefix(f"{Path(self.video).name}: ") for note in notes))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def plan(videos: list[Path], out: Path | None) -> list[Request]:
    """The clips behind files and folders, each with its output folder.

    One file goes to `out` (default: `<name>.features` in the current folder). Several files or folders go to
    `out/<path relative to the given folder, without suffix>.features`.

    Raises
    ------
    MsaError : a path does not exist, a folder holds no video, or two clips would share a folder
    """
    for video in videos:
        if not video.exists():
            raise MsaError(f"{video}: no such file or folder")
    if len(videos) == 1 and videos[0].is_file():
        return [Request(videos[0], out or Path(f"{videos[0].stem}.features"))]
    base = out or Path()
    requests: list[Request] = []
    for video in videos:
        if video.is_file():
            found = {video: Path(video.name)}
        else:
            suffixed = (path for path in sorted(video.rglob("*")) if path.suffix.lower() in VIDEO_SUFFIXES)
            found = {path: path.relative_to(video) for path in suffixed if path.is_file()}
            if not found:
                raise MsaError(
                    f"{video}: no video in this folder (looked for {' '.join(sorted(VIDEO_SUFFIXES))})"
                )
        requests += [
            Request(path, base / name.with_name(f"{name.stem}.features")) for path, name in found.items()
        ]
    taken: dict[Path, Path] = {}
    for request in requests:
        if request.out in taken:
            raise MsaError(
                f"{taken[request.out]} and {request.video} would both be written to {request.out}; "
                "extract them with different --out folders"
            )
        taken[request.out] = request.video
    return requests


def prepare(requests: list[Request]) -> None:
    """Make the output folders, before the encoders take their time.

    Raises
    ------
    MsaError : one of them cannot be made
    """
    for request in requests:
        try:
            request.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MsaError(
                f"--out: the folder {request.out} for {request.video} cannot be made ({error.strerror}); "
                "give a folder that you may write to"
            ) from error


def make_encoders(params: Params, names: dict[str, str], device: str) -> dict[str, Encoder]:
    """The chosen encoder of each modality, loaded.

    Raises
    ------
    ParamsError, MissingModelError, MissingDependencyError
    """
    encoders = {}
    for modality in MODALITIES:
        settings = params.encoder(modality, names[modality])
        if isinstance(settings, Pretrained):  # here, unlike in the DAG, a hub id may come without commit
            commits = {name: pinned_revision(*source) for name, source in settings.checkpoints().items()}
            revision = commits if isinstance(settings.model, dict) else commits[None]
            settings = settings.model_copy(update={"revision": revision})
        encoders[modality] = build_encoder(modality, names[modality], settings, params.media, device)
        encoders[modality].load()
    return encoders


def extract(
    requests: list[Request], text: str | None, encoders: dict[str, Encoder], language: str
) -> Iterator[ClipReport]:
    """Encode and write clip after clip."""
    for request in requests:
        report = ClipReport(str(request.video), str(request.out))
        clip = Clip(request.video.stem, path=request.video, text=text, language=language)
        try:
            media = media_hash(sha256(request.video), None, None)
        except (OSError, ClipError):
            media = media_hash(None, None, None)  # the encoders will say why it cannot be read
        for modality, encoder in encoders.items():
            source = text_hash(text, language, None) if modality == "text" else media
            begin = time.perf_counter()
            row = encode_row(encoder, Task(clip, source))
            seconds = time.perf_counter() - begin
            write_rows(request.out / f"{modality}.parquet", [row], footer(encoder))
            frames = 0 if row.features is None else len(row.features)
            report.modalities.append(
                ModalityReport(
                    modality, encoder.name, row.status, frames, encoder.dim, round(seconds, 2), row.error
                )
            )
        yield report


def table(report: ClipReport) -> Table:
    """A clip's report as a small table."""
    from rich.markup import escape
    from rich.table import Table

    title = escape(f"{report.video} -> {report.out}")
    shown = Table("modality", "encoder", "frames", "dim", "seconds", "note", title=title)
    for column in (2, 3, 4):
        shown.columns[column].justify = "right"
    for item in report.modalities:
        note = item.note if item.status == OK else f"{item.status}: {item.note}"
        shown.add_row(
            *(item.modality, escape(item.encoder), str(item.frames), str(item.dim)),
            *(f"{item.seconds:.2f}", escape(note)),
        )
    return shown
