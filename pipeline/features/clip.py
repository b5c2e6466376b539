"""`msa-cli extract`, before the work: which clips there are, where their features go, who makes them.

No project is needed. The encoders and the rows are those of the DAG; a clip's folder has text.parquet,
audio.parquet and visual.parquet of one row each. Of several encoders of a modality the files are
`<modality>-<encoder>.parquet`, and they share one decoding pass.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from models.core.checkpoints import pinned_revision
from pipeline.core.errors import ClipError, MissingModelError, MsaError
from pipeline.core.names import id_of
from pipeline.core.paths import CLIP_SUFFIX
from pipeline.core.vocabulary import MODALITIES, NONE
from pipeline.corpora.tables.media_files import find_media
from pipeline.features.encoder import Encoder
from pipeline.features.registry import build_encoder
from pipeline.media.containers import FILE, FOLDER, kind_of_file
from pipeline.media.decode import VIDEO_SUFFIXES
from pipeline.params.encoders import EncoderParams, PretrainedEncoder
from pipeline.params.params import Params
from pipeline.params.transcribe import AsrParams, TranscribeParams
from pipeline.transcripts.stage import Transcript, transcriber


@dataclass(frozen=True)
class Request:
    """One clip and the folder that its features go to."""

    video: Path
    out: Path


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
    return Path(*map(id_of, name.parent.parts), f"{called}{CLIP_SUFFIX}")


def prepare(folders: Iterable[Path]) -> None:
    """Make the output folders, before the encoders take their time; of too long names each clip is told."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                continue
            raise MsaError(
                f"--out: the folder {folder} cannot be created ({error.strerror}); give a writable folder"
            ) from error


def make_encoders(params: Params, names: dict[str, list[str]], device: str) -> dict[str, list[Encoder]]:
    """The chosen encoders of each modality, not loaded; the name `none` stands for no encoder."""
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


def recognition(params: Params, asr: str | None) -> TranscribeParams:
    """How text that is not there is found out: as params say, with this Whisper where one is named."""
    settings = params.transcribe
    if asr is None:
        return settings
    named = AsrParams(engine=settings.asr.engine, model=asr)
    ((model, revision),) = named.checkpoints().values()
    chosen = {"model": model, "revision": pinned_revision(model, revision)}
    return settings.model_copy(update={"asr": settings.asr.model_copy(update=chosen)})


def make_transcriber(params: Params, asr: str | None, device: str) -> Callable[[Transcript], Transcript]:
    """What finds out what is said in a clip, beyond text that is there; see `recognition`."""
    return transcriber(recognition(params, asr), params.media, "cpu" if device == "auto" else device)
