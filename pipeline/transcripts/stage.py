"""The transcribe stage: what is said in every clip of a dataset, from the first source that tells.

    label     the corpus' own text
    sidecar   a .vtt, .srt or .txt file beside the media file (subtitles.py says which)
    subtitle  a subtitle track inside the media file
    asr       speech recognition, where `transcribe.asr.model` names a Whisper

Where `transcribe.align.model` names a CTC model, the words of every text without word times get theirs by
forced alignment. What went wrong with a clip costs its text or its word times, never the run, and is told.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from models.core.checkpoints import model_identity
from pipeline.core.errors import (
    AbsentError,
    ClipError,
    FormatError,
    MsaError,
    TooManyFailedError,
    UndecodableError,
)
from pipeline.core.files import json_hash, write_text, writing
from pipeline.core.names import escaped
from pipeline.execution import local
from pipeline.media.subtitles import embedded_cues, read_cues, read_text_file, sidecar, text_and_words
from pipeline.params.params import MediaLimits
from pipeline.params.transcribe import TranscribeParams
from pipeline.store.fingerprint import code_hash
from pipeline.transcripts.engines import LIBRARIES as ENGINE_LIBRARIES
from pipeline.transcripts.engines import weights_identity
from pipeline.transcripts.table import LABEL, TRANSCRIPTS

SIDECAR, SUBTITLE, ASR = "sidecar", "subtitle", "asr"
RESULT = ("text", "language", "source", "words")  # of a clip, what models may change
LIBRARIES = ("av", "numpy", "scipy", "soxr", "tokenizers", "torch", "transformers")
KNOWN = ("start_s", "end_s", *RESULT)  # what their result depends on, beside the media's bytes


@dataclass(frozen=True)
class Transcript:
    """A clip and what is known to be said in it.

    Attributes
    ----------
    path : its media file, None where there is none
    start_s, end_s : the part of the file that is the clip
    text, language, source, words : as in the transcripts table
    problems : what went wrong on the way
    failed : its text is not known and should be: a track or a recognition did not work
    """

    clip_id: str
    path: Path | None
    start_s: float | None
    end_s: float | None
    language: str | None
    text: str | None = None
    source: str | None = None
    words: list[dict[str, Any]] | None = None
    problems: tuple[str, ...] = ()
    failed: bool = False

    @property
    def failure(self) -> str | None:
        """Why its text is not known, where it should be."""
        return "; ".join(self.problems) if self.failed else None

    def but(self, problem: str, failed: bool = False) -> Transcript:
        """The same with one more problem."""
        return replace(self, problems=(*self.problems, escaped(problem)), failed=self.failed or failed)


@dataclass
class TranscribeReport:
    """What the stage found; printed, it is a summary.

    Attributes
    ----------
    sources : clips by source; None stands for no text
    timed : clips whose words have times
    problems : clip id -> what went wrong with it
    failed : clips whose text should be known and is not
    """

    dataset: str
    sources: dict[str | None, int]
    timed: int
    problems: dict[str, str]
    failed: int

    def __str__(self) -> str:
        total = sum(self.sources.values())
        lines = [f"{self.dataset}: {total - self.sources.get(None, 0)} of {total} clips have a transcript"]
        if self.timed or self.sources.keys() - {None, LABEL}:
            named = [f"{count} {source}" for source, count in sorted(self.sources.items(), key=str) if source]
            lines[0] += f" ({', '.join(named)}); {self.timed} with word times"
        lines += [f"  {clip_id}: {problem}" for clip_id, problem in sorted(self.problems.items())[:20]]
        if len(self.problems) > 20:
            lines.append(f"  ... and {len(self.problems) - 20} more")
        return "\n".join(lines)

    def check(self, max_failed_fraction: float) -> None:
        """Raise TooManyFailedError where more of the clips failed than may."""
        total = sum(self.sources.values())
        if self.failed > max_failed_fraction * total:
            raise TooManyFailedError(
                f"{self.dataset}: speech of {self.failed} of {total} clips could not be recognized or read, "
                f"more than max_failed_fraction={max_failed_fraction:g} allows; the others were written"
            )


def transcriber(
    settings: TranscribeParams, limits: MediaLimits, device: str
) -> Callable[[Transcript], Transcript]:
    """What recognizes and aligns in a worker, as far as settings ask for it; its models are loaded there."""
    from pipeline.transcripts.alignment import Aligner
    from pipeline.transcripts.recognition import Recognizer

    recognizer, aligner = Recognizer(settings.asr, device), Aligner(settings.align, device)

    def transcribe(clip: Transcript) -> Transcript:
        if clip.text is None and settings.asr.model is not None:
            clip = _recognized(clip, recognizer, limits)
        if clip.text is not None and clip.words is None and aligner.covers(clip.language):
            clip = _aligned(clip, aligner, limits)
        return clip

    return transcribe


def transcribe_dataset(
    clips: pa.Table,
    root: Path,
    dataset: str,
    settings: TranscribeParams,
    limits: MediaLimits,
    *,
    workers: int = 1,
    device: str = "cpu",
    timeout_s: float = 600.0,
    kept: Path | None = None,
    fresh: bool = False,
) -> tuple[pa.Table, TranscribeReport]:
    """Transcripts of a clip table, in the schema TRANSCRIPTS, sorted by clip_id; and what to tell of them.

    Parameters
    ----------
    root : folder that paths of the clip table are relative to
    workers, device, timeout_s : of recognition and alignment; nothing else needs them
    kept : file of what they gave in earlier runs; None = everything is computed
    fresh : compute also what is kept

    Raises
    ------
    ParamsError : a hub id without its commit, or a language without a model
    MissingModelError, FormatError, MissingDependencyError : files of a model, or the extra of its engine
    """
    weights_of(settings)  # refuses what is not pinned or not there, before any work
    rows = clips.select(["clip_id", "text", "language", "path", "start_s", "end_s", "sha256"]).to_pylist()
    found: dict[str, Transcript] = {}
    for row in rows:
        path = root / row["path"] if row["path"] else None
        clip = Transcript(row["clip_id"], path, row["start_s"], row["end_s"], row["language"])
        found[clip.clip_id] = read(clip, row["text"])
    todo = {
        clip_id: clip for clip_id, clip in found.items() if clip.path is not None and _wanted(clip, settings)
    }
    results = KeptResults(kept, settings, limits, device, fresh) if kept is not None and todo else None
    keys: dict[str, str] = {}
    for row in rows:
        clip_id = row["clip_id"]
        if results is not None and clip_id in todo and row["sha256"] is not None:
            keys[clip_id] = results.key(row["sha256"], todo[clip_id])
            if (result := results.find(keys[clip_id])) is not None:
                found[clip_id] = replace(todo.pop(clip_id), **result)
    if todo:
        make = partial(transcriber, settings, limits, device)
        for clip, outcome in local.run(make, list(todo.values()), workers=workers, timeout_s=timeout_s):
            if isinstance(outcome, local.TaskFailure):
                outcome = clip.but(f"not listened to: {outcome.reason}", failed=clip.text is None)
            found[clip.clip_id] = outcome
            if results is not None and clip.clip_id in keys and outcome.problems == clip.problems:
                results.add(keys[clip.clip_id], outcome)
    if results is not None:
        results.tidy()
    ordered = [found[clip_id] for clip_id in sorted(found)]
    table = pa.Table.from_pylist(
        [{name: getattr(clip, name) for name in TRANSCRIPTS.names} for clip in ordered], schema=TRANSCRIPTS
    )
    report = TranscribeReport(
        dataset,
        dict(Counter(clip.source for clip in ordered)),
        sum(clip.words is not None for clip in ordered),
        {clip.clip_id: "; ".join(clip.problems) for clip in ordered if clip.problems},
        sum(clip.failed for clip in ordered),
    )
    return table, report


def weights_of(settings: TranscribeParams) -> dict[str, list[str]]:
    """What identifies the weights of recognition and of alignment; errors as `weights_identity` has them."""
    asr, align = settings.asr, settings.align
    return {
        "asr": [weights_identity(asr, *source) for source in asr.checkpoints().values()],
        "align": [model_identity(*source) for source in align.checkpoints().values()],
    }


def read(clip: Transcript, label: str | None) -> Transcript:
    """The clip with what can be read of it: its label's text, a file beside its media, a track inside."""
    text = unicodedata.normalize("NFC", label or "")
    if text.strip():
        return replace(clip, text=text, source=LABEL)
    path = clip.path
    if path is None or not path.is_file():
        return clip
    try:
        beside = sidecar(path, clip.language)
        text, words = _of_file(beside, clip) if beside is not None else ("", None)
        if text:
            return replace(clip, text=text, source=SIDECAR, words=words)
    except (ClipError, FormatError) as error:
        clip = clip.but(f"sidecar not used: {error}")
    try:
        text, words = text_and_words(embedded_cues(path, clip.language), clip.start_s, clip.end_s)
    except ClipError as error:
        return clip.but(str(error), failed=isinstance(error, UndecodableError))
    return replace(clip, text=text, source=SUBTITLE, words=words) if text else clip


def _of_file(path: Path, clip: Transcript) -> tuple[str, list[dict[str, Any]] | None]:
    if path.suffix.lower() != ".txt":
        return text_and_words(read_cues(path), clip.start_s, clip.end_s)
    if clip.start_s is not None or clip.end_s is not None:
        raise ClipError(
            f"{path.name} has no times, and the clip is only a part of its file; give an .srt or .vtt"
        )
    return read_text_file(path), None


def _wanted(clip: Transcript, settings: TranscribeParams) -> bool:
    """Whether a model may add to what is known of the clip."""
    unheard = clip.text is None and settings.asr.model is not None
    untimed = clip.words is None and settings.align.model is not None
    return unheard or (untimed and (clip.text is not None or settings.asr.model is not None))


def _recognized(clip: Transcript, recognizer: Any, limits: MediaLimits) -> Transcript:
    try:
        found = recognizer.recognize(clip.path, limits, clip.language, clip.start_s, clip.end_s)
    except Exception as error:
        return clip.but(_problem(error), failed=not isinstance(error, AbsentError))
    if not found.text:
        return clip.but("no speech heard")
    source = f"{ASR}:{recognizer.model_name(clip.language)}"
    language = found.language or clip.language
    words = found.words or None
    return replace(clip, text=found.text, language=language, source=source, words=words, failed=False)


def _aligned(clip: Transcript, aligner: Any, limits: MediaLimits) -> Transcript:
    try:
        words = aligner.align(clip.path, limits, clip.text, clip.language, clip.start_s, clip.end_s)
    except Exception as error:
        return clip.but(f"words not aligned: {_problem(error)}")
    return replace(clip, words=words)


def _problem(error: Exception) -> str:
    """What is told of a clip that failed; an error of the model as a whole, which cannot work, is raised."""
    if isinstance(error, MsaError) and not isinstance(error, ClipError):
        raise error
    name = "" if isinstance(error, MsaError) else f"{type(error).__name__}: "  # a library's own
    return f"{name}{error}".splitlines()[0][:300]


class KeptResults:
    """What recognition and alignment gave, clip by clip as they come, so that a killed run goes on.

    Only what worked is kept, one JSON line a clip: a key over all that its result depends on (the media's
    bytes, the part that is the clip, what was known of it, the models, settings, code and libraries), and the
    result. It is no output of the stage: without the file everything is computed again, with the same result.

    Parameters
    ----------
    file : where they are kept; made when the first result comes
    fresh : forget what is there
    """

    def __init__(self, file: Path, settings: TranscribeParams, limits: MediaLimits, device: str, fresh: bool):
        self.file = file
        self._known: dict[str, dict[str, Any]] = {}
        self._used: dict[str, dict[str, Any]] = {}
        extra = ENGINE_LIBRARIES[settings.asr.engine] if settings.asr.model else ()
        self._conditions = {
            "code": code_hash(transcriber),
            "libraries": {name: version(name) for name in (*LIBRARIES, *extra)},
            "limits": limits.model_dump(mode="json"),
            "device": device.split(":")[0],
            "models": weights_of(settings),
            "asr": settings.asr.model_dump(mode="json", exclude={"model", "revision"}),
        }
        for line in file.read_bytes().splitlines() if file.is_file() and not fresh else ():
            with suppress(ValueError, TypeError, AttributeError):  # half a line, of a run that was killed
                key, result = json.loads(line)
                if result.keys() == set(RESULT):
                    self._known[key] = result

    def key(self, media_sha256: str, clip: Transcript) -> str:
        """The key of a clip: its media's bytes, and what is known of it."""
        return json_hash([self._conditions, media_sha256, {name: getattr(clip, name) for name in KNOWN}])

    def find(self, key: str) -> dict[str, Any] | None:
        if key in self._known:
            self._used[key] = self._known[key]
        return self._known.get(key)

    def add(self, key: str, clip: Transcript) -> None:
        """Keep a result, at once."""
        self._used[key] = {name: getattr(clip, name) for name in RESULT}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with writing(self.file), self.file.open("a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps([key, self._used[key]])}\n")  # what stands there may be half a line

    def tidy(self) -> None:
        """Drop what this run did not ask for; called at its end."""
        if self._used:
            lines = (json.dumps(result) + "\n" for result in sorted(self._used.items()))
            write_text("".join(lines), self.file)
