"""MediaPipe's task file of faces, `face_landmarker.task`: where it lies, how it comes, whether it is one.

Google serves it without a login (Apache-2.0, 3.8 MB, version 1 of May 2023); it is pinned by the SHA-256 that
many projects publish of it. It lies in huggingface_hub's cache folder beside the models of the hub, a folder
to carry to a machine without a connection. A setting may name another task file.
"""

from __future__ import annotations

import hashlib
import zipfile
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from pipeline.core.errors import MissingModelError
from pipeline.core.files import atomic_write, file_hash

URL = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/"
    "face_landmarker.task"
)
SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
SIZE = 3_758_596  # bytes
TIMEOUT_S = 60
_MODEL = "face_blendshapes.tflite"  # what a file without blendshapes lacks


def fetched_place() -> Path:
    """Where `fetch` puts it."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / "mediapipe" / "face_landmarker.task"


def task_file(given: str | None, encoder: str) -> Path:
    """The task file that an encoder reads: the given one, or the one that was fetched.

    Raises
    ------
    MissingModelError : it is not there, is none, or is not the one that was fetched
    """
    path = Path(given) if given else fetched_place()
    if not path.is_file():
        raise MissingModelError(
            f"visual encoder {encoder!r} needs MediaPipe's face_landmarker.task, and {path} is not a file. "
            f"On a connected machine: HF_HUB_CACHE=FOLDER msa-cli fetch {encoder}; here: HF_HUB_CACHE=FOLDER"
            f", or visual.{encoder}.task: FILE"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            whole = _MODEL in archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise MissingModelError(f"{path} is not a MediaPipe task file: {error}") from error
    if not whole:
        raise MissingModelError(
            f"{path} has no {_MODEL}; expected MediaPipe's face_landmarker.task with blendshapes"
        )
    if not given and (found := file_hash(path)) != SHA256:
        raise MissingModelError(
            f"{path} has SHA-256 {found}, expected {SHA256}; run `msa-cli fetch {encoder}` again, or name "
            f"another version by visual.{encoder}.task"
        )
    return path


def download() -> Path:
    """The pinned task file from Google, written to its place; nothing is written where it is another.

    Raises
    ------
    MissingModelError : no connection, or what came is not the pinned file
    """
    way_out = "download it elsewhere and name the file by visual.blendshapes.task"
    try:
        with urlopen(URL, timeout=TIMEOUT_S) as answer:
            content = answer.read(SIZE + 1)
    except (OSError, HTTPException) as error:
        raise MissingModelError(f"cannot fetch {URL}: {error}; {way_out}") from error
    if (found := hashlib.sha256(content).hexdigest()) != SHA256:
        raise MissingModelError(
            f"{URL} gave {len(content)} bytes with SHA-256 {found}, expected {SHA256}; {way_out}"
        )
    place = fetched_place()
    with atomic_write(place) as temporary:
        temporary.write_bytes(content)
    return place
