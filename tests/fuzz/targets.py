"""What is attacked: how its seeds are made, which of their files are damaged, how the product reads them."""

from __future__ import annotations

import pickle
import shutil
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import joblib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from made import (
    made_arrays,
    made_cherma,
    made_corpora,
    made_csd,
    made_mird,
    made_mmsa,
    made_multibench,
    made_mustard,
    made_openface_folder,
    made_urfunny,
    made_word_lists,
)
from made.media_factory import make_clip, tone
from made.openface_tables import FULL as OPENFACE
from made.subtitled import subtitled
from made.tiny_set import write_tiny_set
from made.validated import validate
from ruamel.yaml import YAML

from pipeline.core.errors import AbsentError, MsaError, ParamsError
from pipeline.corpora.clips import ClipFacts, clip_table, measure, write_clips
from pipeline.corpora.ingest import KINDS as CORPORA
from pipeline.corpora.ingest import ingest
from pipeline.evaluation.imported import import_predictions
from pipeline.formats.hdf5 import open_hdf5
from pipeline.formats.npz import PickledArray, load_npy, load_npz
from pipeline.formats.pickle import load
from pipeline.formats.source import Source
from pipeline.formats.stored import StoredArray
from pipeline.imports.convert import check_rows, write
from pipeline.imports.registry import KINDS, importer, read
from pipeline.imports.survey import survey
from pipeline.media.decode import frames, probe, waveform
from pipeline.media.subtitles import embedded_cues, read_cues, read_text_file, text_and_words
from pipeline.params.params import ImportParams, MediaLimits, load_params

PROJECT = Path(__file__).resolve().parents[2]
LIMITS = MediaLimits()


@dataclass(frozen=True)
class Target:
    """Something that reads foreign files.

    Attributes
    ----------
    make : writes the seeds below a folder
    read : (the folder, the damaged file, a folder for what is written) -> anything, or an MsaError
    suffixes : of the files that are damaged
    share : of the time, as often as this that of another target
    """

    make: Callable[[Path], Any]
    read: Callable[[Path, Path, Path], Any]
    suffixes: tuple[str, ...]
    share: int = 1


# ------------------------------------------------------------------------------------------------------ media
def make_media(folder: Path) -> None:
    """Half a second in every container and the codecs that go with it."""
    times, sound = [i / 10 for i in range(5)], tone(300, 0.5, 16_000)
    for suffix, video, audio in (
        ("mkv", "ffv1", "flac"),
        ("mp4", "mpeg4", "aac"),
        ("mov", "libx264", "pcm_s16le"),
        ("avi", "mpeg4", "mp2"),
        ("webm", "libvpx", "libopus"),
        ("ts", "libx264", "mp2"),
        ("flv", "flv1", "aac"),
    ):
        make_clip(folder / f"a.{suffix}", times=times, video_codec=video, sound=sound, audio_codec=audio)
    make_clip(folder / "turned.mp4", times=times, video_codec="mpeg4", rotation=90)
    for name, codec in (
        ("srt.mkv", "srt"),
        ("ass.mkv", "ass"),
        ("vtt.mkv", "webvtt"),
        ("text.mp4", "mov_text"),
    ):
        subtitled(folder / name, {"eng": (codec, ["Hello {\\i1}you", "Bye"])})
    for suffix, audio in (("wav", "pcm_s16le"), ("ogg", "libopus"), ("flac", "flac"), ("mp3", "libmp3lame")):
        make_clip(folder / f"a.{suffix}", sound=sound, audio_codec=audio)


def read_media(folder: Path, file: Path, out: Path) -> None:
    """Facts, pictures, sound and subtitles; the first refusal is told when all of it was tried."""
    facts, problem = measure(file, LIMITS)
    row = {"clip_id": "a$_$1", "video_id": "a", "split": "train", "language": "en", "status": problem or "ok"}
    write_clips(clip_table([row | facts]), out / "clips.parquet", ClipFacts("x", "en", (-3.0, 3.0)))
    notes: list[str] = []
    parts: list[Callable[[], Any]] = [
        lambda: probe(file, LIMITS),
        lambda: [None for _ in frames(file, LIMITS, fps=5, max_long_side=320, notes=notes)],
        lambda: [None for _ in frames(file, LIMITS, start_s=0.1, end_s=0.3)],
        lambda: waveform(file, LIMITS, sample_rate=16_000, notes=notes),
        lambda: waveform(file, LIMITS, sample_rate=16_000, start_s=0.1, end_s=0.3),
        lambda: text_and_words(embedded_cues(file, "en")),
    ]
    refusals = []
    for part in parts:
        try:
            part()
        except AbsentError:
            continue  # sound alone, for example
        except MsaError as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]


# --------------------------------------------------------------------------------------------- feature files
def read_import(
    kind: str, folder: Path, file: Path, out: Path, settings: dict[str, Any] | None = None
) -> None:
    """As `msa-cli import` does it: asked for its kind, read, looked through, written."""
    source = Source(folder)
    for known in KINDS:
        importer(known).matches(source)
    params = ImportParams.model_validate({"kind": kind, "root": str(folder), "settings": settings or {}})
    imported = read(kind, source, params)
    usual = imported.labelling
    labels = {"task": usual.task, "classes": list(usual.classes), "label_range": usual.label_range}
    params = params.model_copy(update=labels)
    check_rows(imported, "toy", params)
    write("toy", params, source, imported, survey(imported, str(source)), 2, out)


def read_drafted(folder: Path, file: Path, out: Path) -> None:
    """Arrays by the settings that their listing drafts."""
    try:
        read_import("arrays", folder, file, out)
    except ParamsError as error:
        settings = YAML(typ="safe").load(str(error).partition("\n")[2])
        read_import("arrays", folder, file, out, settings or {"audio": {"array": file.name}})


def read_draft(folder: Path, file: Path, out: Path) -> None:
    """Arrays of which nobody said what they are, by the settings that are drafted for them."""
    try:
        read("arrays", Source(folder), ImportParams(kind="arrays", root=str(folder)))
    except ParamsError as error:
        settings = YAML(typ="safe").load(str(error).partition("\n")[2])
        read_import("arrays", folder, file, out, settings)


def make_mmsa(folder: Path) -> None:
    made_mmsa.write(folder / "unaligned_50.pkl", made_mmsa.tree(counts={"train": 2, "valid": 1, "test": 1}))


def make_openface(folder: Path) -> None:
    made_openface_folder.make(folder, columns=dict.fromkeys(made_openface_folder.FILES, OPENFACE[:9]))


def make_pickles(folder: Path) -> None:
    """Everything that the reader of pickles knows, in every protocol, and joblib's files."""
    plain = {
        "id": ["a", "ü", b"c"],
        1: (1, -(2**70), 2.5, None, True),
        "set": {1, 2},
        "frozen": frozenset("x"),
    }
    arrays = {
        "f": np.arange(12.0).reshape(3, 4).T,
        "text": np.array(["ab", "c"]),
        "objects": np.array([[1], "x", None], dtype=object),
        "scalar": np.float32(1),
        "ordered": OrderedDict(a=[np.arange(3, dtype=">i2")], b=defaultdict(list, x=[1])),
    }
    for protocol in range(6):
        (folder / f"plain{protocol}.pkl").write_bytes(pickle.dumps(plain, protocol))
        (folder / f"arrays{protocol}.pkl").write_bytes(pickle.dumps(arrays, protocol))
    for name, compress in (("raw", 0), ("gzip", ("gzip", 3)), ("xz", ("xz", 3))):
        joblib.dump(plain | arrays, folder / f"{name}.joblib", compress=compress)


def make_arrays(folder: Path) -> None:
    """Arrays of many types: npy, npz with members of each kind, HDF5 with groups, chunks, text and links."""
    found = {
        "f": np.ones((3, 4)),
        "i": np.arange(6, dtype=">i4"),
        "text": np.array(["ab"]),
        "none": np.zeros((0, 3)),
    }
    for name, array in found.items():
        np.save(folder / f"{name}.npy", np.asfortranarray(array))
    np.savez(folder / "a.npz", **found)
    objects = np.array({"a": {"emo": "happy", "val": 0.5, "x": found["f"]}, 1: [None, b"c"]}, object)
    np.savez_compressed(folder / "b.npz", big=np.zeros((100, 200)), objects=objects, **found)
    np.savez(folder / "c.npz", objects=objects, words=np.array(["one", "zwölf"], object))
    with h5py.File(folder / "a.h5", "w") as file:
        file["x/y"], file["x/text"] = found["f"], ["ab", "c"]
        file.create_dataset(
            "packed", data=np.zeros((50, 8)), chunks=(10, 8), compression="gzip", shuffle=True
        )
        file.create_dataset("words", data=["one", "zwölf"], dtype=h5py.string_dtype())
        file["soft"], file["hard"] = h5py.SoftLink("/x/y"), file["x/y"]
        file["x"].attrs["of"] = "somebody"
    with h5py.File(folder / "new.h5", "w", libver="latest") as file:
        file.create_dataset("x/y", data=np.zeros((20, 3)), chunks=(4, 3), maxshape=(None, 3))


def read_arrays(folder: Path, file: Path, out: Path) -> None:
    """Every value."""
    match file.suffix:
        case ".npy":
            touch(load_npy(file))
        case ".npz":
            touch(load_npz(file))
        case ".h5":
            with open_hdf5(file) as opened:
                opened.visititems(lambda _, item: item[()] if isinstance(item, h5py.Dataset) else None)
        case _:
            touch(load(file))


def touch(tree: Any) -> None:
    """Read what lies in files."""
    for item in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list | tuple) else ():
        touch(item)
    if isinstance(tree, StoredArray):
        np.asarray(tree)
    if isinstance(tree, PickledArray):
        touch(tree.tree())


# ----------------------------------------------------------------------------------------- corpora and params
def make_corpus(kind: str, folder: Path) -> None:
    """A raw corpus; its media are emptied, for they have a target of their own."""
    made_corpora.made[kind](folder)
    for path in folder.rglob("*"):
        if path.suffix.lower() in (".mp4", ".mov", ".mkv", ".wav", ".m4a"):
            path.write_bytes(b"")


def read_corpus(kind: str, folder: Path, file: Path, out: Path) -> None:
    """As `msa-cli validate` and the stage `ingest` do it."""
    dataset = made_corpora.dataset(kind, folder, **SETTINGS.get(kind, {}))
    validate(dataset)
    table, facts = ingest("x", dataset, LIMITS)
    write_clips(table, out / "clips.parquet", facts)


def make_predictions(folder: Path) -> None:
    """Of the test clips of a set, as classes and as scores; only the two files are damaged."""
    write_tiny_set(
        folder / "set", {"train": 4, "valid": 2, "test": 3, "unlabeled": 0}, classes=("a", "b", "c")
    )
    clips = [f"test$_${i:04d}" for i in range(3)]
    (folder / "p.csv").write_text("clip,prediction\n" + "".join(f"{clip},b\n" for clip in clips))
    scores = {name: [0.1, 0.2, -0.3] for name in "abc"}
    pq.write_table(pa.table({"clip": clips, **scores}), folder / "p.pq")


def read_predictions(folder: Path, file: Path, out: Path) -> None:
    import_predictions(file, "theirs", "tiny", folder / "set", out / "results", "cls")


def make_captions(folder: Path) -> None:
    srt = "1\n00:00:00,500 --> 00:00:01,500\n<i>Hello</i> you\n\n2\n00:00:02,000 --> 00:01:03,5\nBye\n"
    vtt = "WEBVTT\n\nNOTE x\n\n00:00.500 --> 00:02.000 align:left\nOh <00:00:01.500>really &amp; so\n\n"
    (folder / "a.srt").write_text(srt)
    (folder / "a.vtt").write_text(vtt + "00:02.000 --> 00:04.000\nOh really\n<00:00:03.000><c>now</c>\n")
    (folder / "a.txt").write_text("What a day. 你好\n", "utf-8")


def read_captions(folder: Path, file: Path, out: Path) -> None:
    read_text_file(file)
    if file.suffix != ".txt":
        text_and_words(read_cues(file), 0.5, 2.0)


def make_params(folder: Path) -> None:
    for name in ("", "experiments/mosi/"):
        shutil.copy(PROJECT / name / "params.yaml", folder / f"{name[:3]}params.yaml")


def read_params(folder: Path, file: Path, out: Path) -> None:
    load_params(file)


IMPORTS: dict[str, tuple[str, Callable[[Path], Any], dict[str, Any]]] = {
    "mmsa": ("mmsa_pickle", make_mmsa, {}),
    "sims": ("mmsa_pickle", made_mmsa.make_sims, {}),
    "mird": ("mird", made_mird.make, {}),
    "multibench": ("multibench", made_multibench.make, {}),
    "humor": ("multibench", made_multibench.make_humor, {}),
    "word_lists": ("word_lists", made_word_lists.make, {}),
    "clue": ("word_lists", made_word_lists.make_clue, {}),
    "urfunny": ("urfunny_pickles", made_urfunny.make, {}),
    "mustard": ("mustard_features", made_mustard.make, {}),
    "cherma": ("cherma_features", made_cherma.make, {}),
    "csd": ("csd", made_csd.make, {}),
    "openface": ("openface_folder", make_openface, {}),
    "arrays": ("arrays", made_arrays.make, made_arrays.SETTINGS),
}
SETTINGS = {"simsv2": {"unlabeled": "u"}}
MEDIA = (".mkv", ".mp4", ".mov", ".avi", ".webm", ".ts", ".flv", ".wav", ".ogg", ".flac", ".mp3")
TABLES = (".csv", ".json", ".jsonl")
STORES = (".pkl", ".p", ".h5", ".hdf5", ".csd", ".npy", ".npz")

TARGETS: dict[str, Target] = {
    "media": Target(
        make_media,
        read_media,
        MEDIA,
        share=4,
    ),
    "pickle": Target(make_pickles, read_arrays, (".pkl", ".joblib")),
    "files": Target(make_arrays, read_arrays, (".npy", ".npz", ".h5")),
    "predictions": Target(make_predictions, read_predictions, (".csv", ".pq")),
    "captions": Target(make_captions, read_captions, (".srt", ".vtt", ".txt")),
    "import-draft": Target(made_arrays.make, read_draft, STORES),
    "params": Target(make_params, read_params, (".yaml",)),
    **{
        f"import-{name}": Target(make, partial(read_import, kind, settings=settings), STORES + TABLES)
        for name, (kind, make, settings) in IMPORTS.items()
    },
    **{
        f"draft-{layout}": Target(made_arrays.LAYOUTS[layout], read_drafted, STORES)
        for layout in ("nested_dicts", "clips_in_groups", "object_arrays")
    },
    **{
        f"corpus-{kind}": Target(
            partial(make_corpus, kind), partial(read_corpus, kind), (*TABLES, ".pkl", ".p", ".txt")
        )
        for kind in CORPORA
        if kind != "ravdess"  # all that it reads is the names of files
    },
}
