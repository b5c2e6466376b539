"""`msa-cli export`: a training set written for other projects."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from pipeline.api.sets import LoadedSet, load_set, set_folder
from pipeline.core.errors import MsaError, ParamsError
from pipeline.core.files import replaced_files
from pipeline.core.paths import given_run
from pipeline.params.explain import unknown

FORMATS = ("mmsa", "hf", "webdataset", "csv")
GRAPHS = ("torchscript", "onnx")
NO_GRAPH = (
    "a run is not written as {format}: a graph would be the network alone, which reads features already "
    "scaled and cut. Encoders, scaling, the tokenizer, the context of earlier utterances and the "
    "checks of its input would be missing, and a clip would silently get other numbers. Use "
    "`msa-cli predict`, or in Python pipeline.load_run, whose `method` is a torch module"
)


def export(name: str | Path, format: str, out: Path) -> list[str]:
    """Write a training set into an empty folder; what to tell of it.

    Raises
    ------
    MsaError : no such set, a run, a folder that is not empty, or a set that the format cannot hold
    """
    if format not in (*FORMATS, *GRAPHS):
        raise ParamsError(unknown("format", format, (*FORMATS, *GRAPHS)))
    if (given_run(Path(name)) / "config.json").exists() or format in GRAPHS:
        if format in GRAPHS:
            raise MsaError(NO_GRAPH.format(format=format))
        raise MsaError(f"{name}: is a run; give a training set, whose clips --as {format} writes")
    set_folder(name)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MsaError(
            f"--out {out}: is not an empty folder; give a new one, so that no old file stays in it"
        )
    found: LoadedSet = load_set(name)
    module = import_module(f"pipeline.exports.{format}")
    out.mkdir(parents=True, exist_ok=True)
    with replaced_files(out) as folder:
        notes: list[str] = module.write(found, folder)
        written = sorted(path.name for path in folder.iterdir())
    listed = ", ".join(written[:6]) + (f" ... ({len(written)} files)" if len(written) > 6 else "")
    return [f"{found.stats['dataset']}: {module.KIND_OF_FILES} in {out}: {listed}", *notes]
