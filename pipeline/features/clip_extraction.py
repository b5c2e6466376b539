"""Features of single clips: what is there already is kept, the rest is computed, here or in workers.

    ClipTask ─ ClipExtractor ─▶ ExtractedClip ─ clip_files.py ─▶ files

A row is kept where it was made with the same settings (the fingerprint of its encoder) from the same source:
the media's bytes, or the text. Encoders are loaded when the first row has to be made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import ClipError
from pipeline.core.files import file_hash
from pipeline.core.vocabulary import FAILED, MODALITIES
from pipeline.execution import local
from pipeline.features.clip import Request, make_encoders, recognition
from pipeline.features.clip_report import ClipReport, ModalityReport
from pipeline.features.encoder import Clip, Encoder
from pipeline.features.rows import EncodingTask, encode_row, footer, media_hash, model_by_language
from pipeline.media.containers import check_regular
from pipeline.media.shared import SharedFile, SharedPath
from pipeline.params.params import MediaLimits, Params
from pipeline.params.transcribe import TranscribeParams
from pipeline.store.shard import FeatureRow
from pipeline.transcripts.stage import KeptResults, Transcript, read, transcriber
from pipeline.transcripts.table import LABEL, text_hash

if TYPE_CHECKING:
    from pipeline.features.clip_files import ClipFolders, OneFolder


@dataclass(frozen=True)
class KnownRow:
    """A row that is there already; its features stay where they are."""

    source_sha256: str
    status: str
    error: str
    frames: int

    @classmethod
    def of(cls, row: FeatureRow) -> KnownRow:
        frames = 0 if row.features is None else len(row.features)
        return cls(row.source_sha256, row.status, row.error, frames)


@dataclass(frozen=True)
class ClipTask:
    """A clip to extract.

    Attributes
    ----------
    clip_id : what its rows are called
    text : what is said, where somebody told it
    known : by stream, what is there already
    heard : file of what recognition gave before
    problem : why nothing of it could be written
    """

    request: Request
    clip_id: str
    text: str | None
    known: Mapping[str, KnownRow] = field(default_factory=dict)
    heard: Path | None = None
    problem: str = ""


@dataclass(frozen=True)
class ExtractedClip:
    """What became of a clip, and the rows that were made, by stream, each with the footer of its file."""

    report: ClipReport
    rows: dict[str, tuple[FeatureRow, dict[str, Any]]]


class Speech:
    """What finds out what is said in clips without text, or when; models are loaded at the first clip."""

    def __init__(self, settings: TranscribeParams, limits: MediaLimits, device: str):
        self._settings, self._limits, self._device = settings, limits, device
        self._listen = transcriber(settings, limits, device)

    @classmethod
    def of(cls, params: Params, asr: str | None, device: str) -> Speech:
        """As params say, with this Whisper."""
        return cls(recognition(params, asr), params.media, "cpu" if device == "auto" else device)

    def heard(self, spoken: Transcript, media: str | None, file: Path | None) -> Transcript:
        """A clip with what recognition and alignment add.

        `media` is the SHA-256 of its media; what `file` has from an earlier run is not computed again.
        """
        wanted = self._settings.asr.model is not None or self._settings.align.model is not None
        if file is None or media is None or not wanted:
            return self._listen(spoken)
        kept = KeptResults(file, self._settings, self._limits, self._device, fresh=False)
        key = kept.key(media, spoken)
        if (result := kept.find(key)) is not None:
            return replace(spoken, **result)
        found = self._listen(spoken)
        if found != spoken and found.problems == spoken.problems:
            kept.add(key, found)
        return found


class ClipExtractor:
    """Encoders and what finds out what is said in a clip; called with one clip after the other.

    Parameters
    ----------
    encoders : by modality; loaded when the first row is made
    language : of clips whose text does not say it
    speech : how what is said is found out where no text is there
    """

    def __init__(self, encoders: dict[str, list[Encoder]], language: str, speech: Speech | None = None):
        self.streams: dict[str, Encoder] = {
            modality if len(chosen) == 1 else f"{modality}-{encoder.name}": encoder
            for modality, chosen in encoders.items()
            for encoder in chosen
        }
        self.language = language
        self.speech = speech
        self._loaded = False

    def __call__(self, task: ClipTask) -> ExtractedClip:
        """The rows of a clip that are not known yet, and the report on all."""
        video = task.request.video
        report = ClipReport(str(video), str(task.request.out))
        if task.problem:
            report.modalities = [failure(encoder, task.problem) for encoder in self.streams.values()]
            return ExtractedClip(report, {})
        try:
            check_regular(video)
            media: str | None = file_hash(video)
        except (OSError, ClipError):
            media = None  # the encoders will say why it cannot be read
        spoken = read(Transcript(task.clip_id, video, None, None, self.language), task.text)
        if self.speech is not None and any(one.modality == "text" for one in self.streams.values()):
            spoken = self.speech.heard(spoken, media, task.heard)
        clip = Clip(task.clip_id, video, text=spoken.text, language=spoken.language or self.language)
        rows: dict[str, tuple[FeatureRow, float]] = {}
        kept: dict[str, KnownRow] = {}
        for modality in MODALITIES:
            todo: dict[str, EncodingTask] = {}
            for name, encoder in self.streams.items():
                if encoder.modality == modality:
                    made_from = _encoding_task(encoder, clip, spoken, media)
                    known = task.known.get(name)
                    if known is not None and known.source_sha256 == made_from.source_sha256:
                        kept[name] = known
                    else:
                        todo[name] = made_from
            rows |= self._rows(todo)
        for name, encoder in self.streams.items():
            if name in kept:
                report.modalities.append(_told(encoder, kept[name], 0.0, spoken, kept=True))
            else:
                row, seconds = rows[name]
                report.modalities.append(_told(encoder, KnownRow.of(row), seconds, spoken, kept=False))
        return ExtractedClip(report, {n: (row, footer(self.streams[n])) for n, (row, _) in rows.items()})

    def _rows(self, tasks: dict[str, EncodingTask]) -> dict[str, tuple[FeatureRow, float]]:
        """The row and the seconds of each encoder; several read the file at the same time, decoded once."""
        if tasks and not self._loaded:
            for encoder in reversed(self.streams.values()):  # librosa looks at all that is imported
                encoder.load()
            self._loaded = True
        encoders = [self.streams[name] for name in tasks]
        if len(tasks) < 2 or encoders[0].modality == "text":
            return {name: _timed(self.streams[name], task) for name, task in tasks.items()}
        path = next(iter(tasks.values())).clip.path
        assert path is not None
        kind = "audio" if encoders[0].modality == "audio" else "video"
        shared = SharedFile(path, kind, encoders[0].limits, len(encoders))

        def one(encoder: Encoder, task: EncodingTask, handle: SharedPath) -> tuple[FeatureRow, float]:
            try:
                return _timed(encoder, replace(task, clip=replace(task.clip, path=handle)))
            finally:
                shared.leave(handle.reader)

        with ThreadPoolExecutor(len(encoders)) as threads:  # all at once: each waits for the slowest
            found = list(threads.map(one, encoders, tasks.values(), shared.handles()))
        return dict(zip(tasks, found, strict=True))


def make_extractor(
    params: Params, names: dict[str, list[str]], language: str, asr: str | None, device: str
) -> ClipExtractor:
    """An extractor with the encoders of these names; nothing is loaded yet."""
    return ClipExtractor(make_encoders(params, names, device), language, Speech.of(params, asr, device))


def extract(
    tasks: list[ClipTask],
    make: Callable[[], ClipExtractor],
    place: ClipFolders | OneFolder,
    workers: int = 1,
    timeout_s: float = 600.0,
) -> Iterator[ClipReport]:
    """Compute and write clip after clip, in any order; with several workers each has models of its own.

    MsaError where an encoder as a whole cannot work.
    """
    if workers == 1 or len(tasks) == 1:
        extractor = make()
        outcomes: Iterator[tuple[ClipTask, Any]] = ((task, extractor(task)) for task in tasks)
    else:
        outcomes = local.run(make, tasks, workers=workers, timeout_s=timeout_s)
    for task, found in outcomes:
        if isinstance(found, local.TaskFailure):
            report = ClipReport(str(task.request.video), str(task.request.out))
            report.modalities = [failure(encoder, found.reason) for encoder in place.streams.values()]
            yield report
            continue
        place.write(task, found.rows)
        yield found.report
    place.close()


def failure(encoder: Encoder, reason: str) -> ModalityReport:
    """What is told of an encoder that could not begin with a clip."""
    return ModalityReport(encoder.modality, encoder.name, FAILED, 0, encoder.dim, 0.0, reason)


def _timed(encoder: Encoder, task: EncodingTask) -> tuple[FeatureRow, float]:
    begin = time.perf_counter()
    row = encode_row(encoder, task)
    return row, round(time.perf_counter() - begin, 2)


def _encoding_task(encoder: Encoder, clip: Clip, spoken: Transcript, media: str | None) -> EncodingTask:
    if encoder.modality == "text":
        words = text_hash(spoken.text, spoken.language, spoken.words)
        return EncodingTask(clip, words, spoken.failure)
    language = clip.language if model_by_language(encoder.params) else None
    return EncodingTask(clip, media_hash(media, None, None, language))


def _told(encoder: Encoder, row: KnownRow, seconds: float, spoken: Transcript, kept: bool) -> ModalityReport:
    note = row.error
    if encoder.modality == "text":
        origin = "" if spoken.source in (None, LABEL) else f"from {spoken.source}"
        problems = () if spoken.failed else spoken.problems
        note = "; ".join(filter(None, [origin, note, *problems]))
    return ModalityReport(
        encoder.modality, encoder.name, row.status, row.frames, encoder.dim, seconds, note, kept
    )
