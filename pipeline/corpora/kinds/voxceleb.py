"""VoxCeleb and EmoVoxCeleb: faces and voices of celebrities without labels, `id*/<video>/<clip>.mp4|m4a|wav`.

All clips are unlabeled; more text, sound and pictures for methods that use such. The folders of speakers may
lie at any depth (`dev/mp4/id00012/...`). The clip `id10001_<video>$_$00001` is of the video `id10001_<video>`
and the speaker `id10001`; its text is what a .txt of the same name beside it holds (not VoxCeleb's own .txt
of face tracks).
Version 2 has pictures (mp4) and sound (m4a) in separate files: `settings: {media: video}` takes one, `sound`
the other. To have both, put them into one file (`ffmpeg -i x.mp4 -i x.m4a -c copy both.mp4`).
Source: https://www.robots.ox.ac.uk/~vgg/data/voxceleb/
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Literal

from pipeline.core.errors import FormatError
from pipeline.core.section import Section
from pipeline.corpora.survey import CorpusClip, CorpusSurvey, Labelling
from pipeline.corpora.tables.media_files import SOUND_SUFFIXES, find_media
from pipeline.media.decode import VIDEO_SUFFIXES
from pipeline.params.params import DatasetParams

LAYOUT = "<root>/.../id<number>/<video>/<clip>.mp4 (or .m4a, .wav)"
LABELLING = Labelling()
SPEAKER = re.compile(r"id\d+")
TRACK = re.compile(r"\s*Identity\s*:")  # how VoxCeleb's own .txt files begin


class VoxCelebSettings(Section):
    """Which files, of whom."""

    media: Literal["video", "sound"] = "video"
    """what is taken where a clip has both; the other where it has only that"""
    speakers: list[str] | None = None
    """these alone, e.g. those who speak the dataset's language; none = all"""


SETTINGS = VoxCelebSettings


def survey(name: str, dataset: DatasetParams, settings: VoxCelebSettings) -> CorpusSurvey:
    """Every clip below the corpus' folder."""
    root = Path(dataset.root)
    found = CorpusSurvey(str(root), files=find_media(root, suffixes=VIDEO_SUFFIXES | SOUND_SUFFIXES))
    clips = _by_clip(found.files, settings)
    if not clips:
        whose = " of the speakers in settings.speakers" if settings.speakers else ""
        message = f"no clips{whose} in it; expected the layout {LAYOUT}"
        found.reject("file", f"datasets.{name}.root is {str(root)!r}: {message}")
    apart = 0
    for (speaker, video, clip), files in clips.items():
        same = [file for file in files if _is_video(file) == _is_video(files[0])]
        apart += len(same) < len(files)
        if len(same) > 1:
            found.reject("duplicate ids", f"{', '.join(same)}: one clip, several files; keep one")
        text = _text(found, root, files)
        found.clips.append(
            CorpusClip.of_file(f"{speaker}_{video}", clip, same[0], text=text, speaker=speaker)
        )
    if apart:
        other = "sound" if settings.media == "video" else "video"
        message = (
            f"{apart} clips have their {other} in a separate file, which is not used (settings.media is "
            f"{settings.media}); merge the two: ffmpeg -i x.mp4 -i x.m4a -c copy both.mp4"
        )
        found.note("separate files", message, level="warning")
    # the second files of clips belong to them, and are no files without a row
    taken = {clip.path for clip in found.clips}
    second = {file for files in clips.values() for file in files} - taken
    found.files = [file for file in found.files if file not in second]
    return found


def _by_clip(files: list[str], settings: VoxCelebSettings) -> dict[tuple[str, str, str], list[str]]:
    """(speaker, video, clip) -> its files, those that are wanted first."""
    clips: dict[tuple[str, str, str], list[str]] = {}
    chosen = None if settings.speakers is None else set(settings.speakers)
    for file in files:
        path = PurePosixPath(file)
        if len(path.parts) < 3:
            continue
        speaker, video = path.parts[-3:-1]
        if SPEAKER.fullmatch(speaker) and (chosen is None or speaker in chosen):
            clips.setdefault((speaker, video, path.stem), []).append(file)
    for same in clips.values():
        same.sort(key=lambda file: (_is_video(file) != (settings.media == "video"), file))
    return clips


def _is_video(file: str) -> bool:
    return PurePosixPath(file).suffix.lower() in VIDEO_SUFFIXES


def _text(found: CorpusSurvey, root: Path, files: list[str]) -> str | None:
    """What a .txt beside one of the files says; None where there is none."""
    from pipeline.media.subtitles import read_text_file

    for file in files:
        beside = (root / file).with_suffix(".txt")
        if not beside.is_file():
            continue
        try:
            text = read_text_file(beside)
        except FormatError as error:
            found.note("texts", f"not used: {error}", [file], "warning")
            continue
        if not TRACK.match(text):
            return text
    return None
