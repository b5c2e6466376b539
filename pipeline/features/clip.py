"""`msa-cli extract`: single clips to text.parquet, audio.parquet and visual.parquet, without a project.

The same encoders and the same rows as in the DAG; a file holds one row. Of several encoders of a modality the
files are `<modality>-<encoder>.parquet`, and they share one decoding pass.
"""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from rich.table import Table

from models.core.checkpoints import pinned_revision
from pipeline.core.errors import ClipError, MissingModelError, MsaError
from pipeline.core.files import file_hash
from pipeline.core.names import id_of
from pipeline.core.vocabulary import FAILED, MODALITIES, NONE, OK
from pipeline.corpora.tables.media_files import find_media
from pipeline.features.encoder import Clip, Encoder
from pipeline.features.registry import build_encoder
from pipeline.features.rows import EncodingTask, encode_row, footer, media_hash, model_by_language
from pipeline.media.containers import FILE, FOLDER, check_regular, kind_of_file
from pipeline.media.decode import VIDEO_SUFFIXES
from pipeline.media.shared import SharedFile, SharedPath
from pipeline.params.encoders import EncoderParams, PretrainedEncoder
from pipeline.params.params import Params
from pipeline.params.transcribe import AsrParams
from pipeline.store.shard import FeatureRow, write_rows
from pipeline.transcripts.stage import Transcript, read, transcriber
from pipeline.transcripts.table import LABEL, text_hash


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


def plan(videos: list[Path], out: Path | None, passed_over: dict[str, str] | None = None) -> list[Request]:
    """The clips behind files and folders, each with its output folder.

    One file goes to `out` (default: `<name>.features` in the current folder). Several files or folders go to
    `out/<path relative to the given folder>.features`, without its suffix unless another file differs in that
    alone. Of `passed_over` see `walk`.

    Raises
    ------
    MsaError : no such file, a folder without a video, or two clips for one output folder
    ClipError : a folder of which everything is passed over
    """
    for video in videos:
        kind = kind_of_file(video)
        if kind not in (FILE, FOLDER):
            raise MsaError(
                f"{video}: " + (f"a {kind}; give a file or a folder" if kind else "no such file or folder")
            )
    if len(videos) == 1 and videos[0].is_file():
        return [Request(videos[0], out or _features(Path(videos[0].name)))]
    base = out or Path()
    places: list[tuple[Path, Path]] = []  # a video, and its name below the folder that was given
    for video in videos:
        if video.is_file():
            found = {video: Path(video.name)}
        else:
            missed: dict[str, str] = {}
            found = {video / name: Path(name) for name in find_media(video, passed_over=missed)}
            if not found:
                told = "".join(f"; {path}: {reason}" for path, reason in missed.items())
                raise (ClipError if missed else MsaError)(
                    f"{video}: no video in this folder (looked for {' '.join(sorted(VIDEO_SUFFIXES))}){told}"
                )
            if passed_over is not None:
                passed_over |= missed
        places += found.items()
    named = Counter(name.with_suffix("") for _, name in places)
    taken: dict[Path, Path] = {}  # output folder -> video
    for path, name in places:
        folder = base / _features(name, named[name.with_suffix("")] > 1)
        if folder in taken:
            raise MsaError(
                f"{taken[folder]} and {path} would both be written to {folder}; "
                "extract them with different --out folders"
            )
        taken[folder] = path
    return [Request(path, folder) for folder, path in taken.items()]


def _features(name: Path, suffixed: bool = False) -> Path:
    """The output folder of a file."""
    called = id_of(name.stem) + (name.suffix if suffixed else "")
    return Path(*map(id_of, name.parent.parts), f"{called}.features")


def prepare(requests: list[Request]) -> None:
    """Make the output folders, before the encoders take their time; `extract` tells of too long names."""
    for request in requests:
        try:
            request.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                continue
            raise MsaError(
                f"--out: the folder {request.out} for {request.video} cannot be made ({error.strerror}); "
                "give a folder that you may write to"
            ) from error


def make_encoders(params: Params, names: dict[str, list[str]], device: str) -> dict[str, list[Encoder]]:
    """The chosen encoders of each modality, loaded; the name `none` stands for no encoder."""
    encoders: dict[str, list[Encoder]] = {
        modality: [
            build_encoder(modality, name, _pinned(params.encoder(modality, name)), params.media, device)
            for name in dict.fromkeys(names[modality])
            if name != NONE
        ]
        for modality in MODALITIES
    }
    if not any(encoders.values()):
        raise MsaError("every encoder is `none`; name at least one")
    for encoder in chain.from_iterable(reversed(encoders.values())):  # librosa looks at all that is imported
        encoder.load()
    return encoders


def _pinned(settings: EncoderParams) -> EncoderParams:
    """The settings with the commits that their names mean today, of the languages whose model is here.

    Here, unlike in the DAG, a hub id may come without commit. MissingModelError where no model is here.
    """
    if not isinstance(settings, PretrainedEncoder):
        return settings
    commits, problems = {}, []
    for language, source in settings.checkpoints().items():
        try:
            commits[language] = pinned_revision(*source)
        except MissingModelError as error:
            problems.append(error)
    if not commits:
        raise problems[0]
    if isinstance(settings.model, str):
        return settings.model_copy(update={"revision": commits[None]})
    models = {language: model for language, model in settings.model.items() if language in commits}
    return settings.model_copy(update={"model": models, "revision": commits})


def make_transcriber(params: Params, asr: str | None, device: str) -> Callable[[Transcript], Transcript]:
    """What finds out what is said in a clip, beyond text that is there: as params say, with this Whisper."""
    settings = params.transcribe
    if asr is not None:
        named = AsrParams(engine=settings.asr.engine, model=asr)
        ((model, revision),) = named.checkpoints().values()
        chosen = {"model": model, "revision": pinned_revision(model, revision)}
        settings = settings.model_copy(update={"asr": settings.asr.model_copy(update=chosen)})
    return transcriber(settings, params.media, "cpu" if device == "auto" else device)


def extract(
    requests: list[Request],
    text: str | None,
    encoders: dict[str, list[Encoder]],
    language: str,
    transcribe: Callable[[Transcript], Transcript] = lambda clip: clip,
) -> Iterator[ClipReport]:
    """Encode and write clip after clip."""
    for request in requests:
        video = request.video
        report = ClipReport(str(video), str(request.out))
        if not os.path.isdir(request.out):
            note = (
                "the name of its output folder is too long; rename the file, or give it an --out of its own"
            )
            report.modalities = [
                ModalityReport(modality, encoder.name, FAILED, 0, encoder.dim, 0.0, note)
                for modality, chosen in encoders.items()
                for encoder in chosen
            ]
            yield report
            continue
        transcript = read(Transcript(id_of(video.stem), video, None, None, language), text)
        if encoders["text"]:
            transcript = transcribe(transcript)
        try:
            check_regular(video)
            media: str | None = file_hash(video)
        except (OSError, ClipError):
            media = None  # the encoders will say why it cannot be read
        words = text_hash(transcript.text, transcript.language, transcript.words)
        clip = Clip(id_of(video.stem), video, text=transcript.text, language=transcript.language or language)
        for modality, chosen in encoders.items():
            tasks = []
            for encoder in chosen:
                model_of = clip.language if model_by_language(encoder.params) else None
                if modality == "text":
                    tasks.append(EncodingTask(clip, words, transcript.failure))
                else:
                    tasks.append(EncodingTask(clip, media_hash(media, None, None, model_of)))
            for encoder, (row, seconds) in zip(chosen, _rows(chosen, tasks), strict=True):
                name = modality if len(chosen) == 1 else f"{modality}-{encoder.name}"
                write_rows(request.out / f"{name}.parquet", [row], footer(encoder))
                note = row.error
                if modality == "text":
                    origin = "" if transcript.source in (None, LABEL) else f"from {transcript.source}"
                    problems = () if transcript.failed else transcript.problems
                    note = "; ".join(filter(None, [origin, note, *problems]))
                frames = 0 if row.features is None else len(row.features)
                report.modalities.append(
                    ModalityReport(modality, encoder.name, row.status, frames, encoder.dim, seconds, note)
                )
        yield report


def _rows(encoders: list[Encoder], tasks: list[EncodingTask]) -> list[tuple[FeatureRow, float]]:
    """The row and the seconds of each encoder; several read the file at the same time, decoded once."""

    def timed(encoder: Encoder, task: EncodingTask) -> tuple[FeatureRow, float]:
        begin = time.perf_counter()
        row = encode_row(encoder, task)
        return row, round(time.perf_counter() - begin, 2)

    if len(encoders) < 2 or encoders[0].modality == "text":
        return [timed(encoder, task) for encoder, task in zip(encoders, tasks, strict=True)]
    path = tasks[0].clip.path
    assert path is not None
    kind = "audio" if encoders[0].modality == "audio" else "video"
    shared = SharedFile(path, kind, encoders[0].limits, len(encoders))

    def one(encoder: Encoder, task: EncodingTask, handle: SharedPath) -> tuple[FeatureRow, float]:
        try:
            return timed(encoder, replace(task, clip=replace(task.clip, path=handle)))
        finally:
            shared.leave(handle.reader)

    with ThreadPoolExecutor(len(encoders)) as threads:  # all at once: each waits for the slowest
        return list(threads.map(one, encoders, tasks, shared.handles()))


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
