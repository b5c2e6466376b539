"""Features of corrupted test clips, made by the encoders of the clean ones and kept on the disk.

`.state/robust/<set>/<modality>-<fingerprint>/<kind>` is a feature store whose rows are called
`clip_id|level|draw`. The encoder's fingerprint, the clip's file and how it is spoilt decide whether a row is
made again; for which run it is wanted does not. `.state/robust/<set>/faces` has the boxes of the faces.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache, partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipeline.core.console import tracked
from pipeline.core.errors import ParamsError
from pipeline.core.files import json_hash
from pipeline.core.vocabulary import CONTEXT, FAILED, OK, TEST, TRAIN, TRANSIENT
from pipeline.execution import local
from pipeline.features.encoder import Clip, Encoder
from pipeline.features.registry import build_encoder
from pipeline.features.rows import EncodingTask, columns, encode_row, guarded, identity, row_maker
from pipeline.features.stage import dataset_tasks
from pipeline.params.encoders import EncoderParams
from pipeline.params.params import MediaLimits
from pipeline.robustness.conditions import Condition
from pipeline.robustness.media.decoded import AlteredTrack, DecodedClip
from pipeline.robustness.media.faces import FaceBoxes, boxes_of
from pipeline.robustness.media.kinds import BABBLE, OF_FACES
from pipeline.robustness.media.spoil import SpoiltClip, choose_voices, spoil
from pipeline.robustness.streams import stream
from pipeline.store.fingerprint import code_hash
from pipeline.store.shard import FeatureRow
from pipeline.store.store import FeatureStore

VOICES_KEPT = 64  # sounds that a worker holds, for babble


@dataclass(frozen=True)
class Resources:
    """How rows are made; decides no number.

    Attributes
    ----------
    workers : processes
    timeout_s : seconds that an encoder may take for a clip once
    shards : files of a store
    """

    workers: int = 1
    timeout_s: float = 600.0
    shards: int = 16


class SplitMedia:
    """The test clips of an assembled set, and the train clips whose voices babble may take.

    Parameters
    ----------
    assembled : the set
    dataset : its name, part of the keys of random numbers
    corpus, root : the corpus that it is made of: its name and its folder
    state : folder of the stores
    context : whether the clips of the split `context` that are of videos of the test clips count, too

    Attributes
    ----------
    tasks : of each clip, what is to be encoded
    split_of : the split of each clip, `test` or `context`

    Raises
    ------
    FormatError : the clip table cannot be read
    ParamsError : the table lacks clips of the set
    """

    def __init__(
        self, assembled: Path, dataset: str, corpus: str, root: Path, state: Path, context: bool = False
    ):
        self.dataset, self.state = dataset, state / dataset
        tasks = dataset_tasks("audio", corpus, root)
        train, test, before = (
            pq.read_table(file, columns=["clip_id", "video_id"]).to_pylist() if file.exists() else []
            for file in (assembled / f"{split}.parquet" for split in (TRAIN, TEST, CONTEXT))
        )
        videos = {row["video_id"] for row in test}
        before = [row for row in before if context and row["video_id"] in videos]
        if unknown := [row["clip_id"] for row in [*train, *test, *before] if row["clip_id"] not in tasks]:
            raise ParamsError(
                f"{assembled}: {len(unknown)} of its clips (first {unknown[0]!r}) are not in the clip table "
                f"of {corpus}, which lists their media; run its ingest and assemble stages"
            )
        self.tasks = {row["clip_id"]: tasks[row["clip_id"]] for row in [*test, *before]}
        self.split_of = {
            row["clip_id"]: split for split, rows in ((TEST, test), (CONTEXT, before)) for row in rows
        }
        self._video_of = {row["clip_id"]: row["video_id"] for row in [*test, *before]}
        self._train: defaultdict[str, list[EncodingTask]] = defaultdict(list)
        for row in sorted(train, key=lambda row: (row["video_id"], row["clip_id"])):
            self._train[row["video_id"]].append(tasks[row["clip_id"]])

    def voices(self, clip_id: str, draw: int) -> tuple[tuple[EncodingTask, float], ...]:
        """Of whom babble over a clip is made; see `choose_voices`."""
        others = [clips for video, clips in self._train.items() if video != self._video_of[clip_id]]
        numbers = stream(BABBLE, self.dataset, self.split_of[clip_id], clip_id, "audio", draw)
        return choose_voices(numbers, others)


@dataclass
class SpoilingTask:
    """One clip, and the rows that are to be made of it: name -> condition, and what the row is made from.

    `problem`: why none can be made.
    """

    spoilt: SpoiltClip
    problem: str | None = None
    rows: dict[str, tuple[Condition, str]] = field(default_factory=dict)


def row_name(clip_id: str, condition: Condition) -> str:
    return f"{clip_id}|{condition.level:g}|{condition.draw}"


def make_rows(
    encoder: Encoder, media: SplitMedia, kind: str, conditions: Sequence[Condition], resources: Resources
) -> FeatureStore:
    """The store of a kind, in which every test clip has a row under each of these conditions.

    ParamsError: the encoder listens to a part of a longer file to know who speaks.
    """
    parts = [task.clip for task in media.tasks.values() if task.clip.start_s]
    if getattr(encoder.params, "face", "") == "speaking" and parts and encoder.modality == "visual":
        raise ParamsError(
            f"visual.{encoder.name}.face is `speaking`, and {len(parts)} clips are parts of longer files, of "
            "which it would hear the wrong part; cut the clips into separate files, or train with "
            "face: largest"
        )
    tasks = spoiling_tasks(encoder.limits, media, kind, conditions, resources)

    def compute(names: list[str]) -> Iterator[FeatureRow]:
        wanted = set(names)
        left = [replace(task, rows={n: row for n, row in task.rows.items() if n in wanted}) for task in tasks]
        items = [task for task in left if task.rows]
        make = partial(
            _row_maker, encoder.modality, encoder.name, encoder.params, encoder.limits, encoder.device
        )
        timeout_s = resources.timeout_s * max(len(task.rows) for task in items)
        rows = _run(make, items, resources.workers, timeout_s)
        yield from tracked(rows, f"{kind}: {encoder.modality} {encoder.name}", len(names))

    sources = {name: source for task in tasks for name, (_, source) in task.rows.items()}
    return kept_rows(encoder, store_folder(encoder, media, kind), sources, resources, compute)


def store_folder(encoder: Encoder, media: SplitMedia, kind: str) -> Path:
    """Where the rows of an encoder lie that are made of clips under a kind."""
    return media.state / f"{encoder.modality}-{encoder.fingerprint[:12]}" / kind


def kept_rows(
    encoder: Encoder,
    folder: Path,
    sources: Mapping[str, str],
    resources: Resources,
    compute: Callable[[list[str]], Iterator[FeatureRow]],
) -> FeatureStore:
    """The store of a folder, which then has these rows: name -> hash of what it is made from.

    Rows of other levels, draws and clips stay.
    """
    store = FeatureStore(folder)
    there = store.ledger()
    others = {} if there is None else there.rows
    stay = {n: row.source_sha256 for n, row in others.items() if n not in sources and not row.transient}
    wanted = {**sources, **stay}
    store.update(wanted, identity(encoder), resources.shards, compute, describe=lambda: columns(encoder))
    return store


def spoiling_tasks(
    limits: MediaLimits,
    media: SplitMedia,
    kind: str,
    conditions: Sequence[Condition],
    resources: Resources,
) -> list[SpoilingTask]:
    """A task a clip."""
    faces = _faces(limits, media, resources) if kind in OF_FACES else {}
    draws = {condition.draw for condition in conditions} if kind == BABBLE else ()
    found = []
    for clip_id, task in media.tasks.items():
        seen = faces.get(clip_id)
        boxes = () if seen is None or seen.features is None else tuple(boxes_of(seen.features))
        voices = {draw: media.voices(clip_id, draw) for draw in draws}
        clips = {draw: tuple((one.clip, at) for one, at in of_draw) for draw, of_draw in voices.items()}
        made = SpoilingTask(
            SpoiltClip(task.clip, media.dataset, media.split_of[clip_id], boxes, clips),
            None if seen is None or seen.status == OK else f"where its face is, is not known: {seen.error}",
        )
        for condition in conditions:
            source = [
                *(task.source_sha256, media.dataset, media.split_of[clip_id]),
                *(task.clip.language, code_hash(spoil)),
                *(condition.kind, condition.level, condition.draw),
                None if seen is None else seen.source_sha256,
                [(one.source_sha256, at) for one, at in voices.get(condition.draw, ())],
            ]
            made.rows[row_name(clip_id, condition)] = condition, json_hash(source)
        found.append(made)
    return found


def _faces(limits: MediaLimits, media: SplitMedia, resources: Resources) -> dict[str, FeatureRow]:
    """The boxes of faces of the clean test clips, by clip id."""
    encoder = FaceBoxes(limits)

    def compute(clip_ids: list[str]) -> Iterator[FeatureRow]:
        tasks = [media.tasks[clip_id] for clip_id in clip_ids]
        return encoded_rows(partial(FaceBoxes, limits), tasks, resources, "faces")

    sources = {clip_id: task.source_sha256 for clip_id, task in media.tasks.items()}
    found = kept_rows(encoder, media.state / "faces", sources, resources, compute).read()
    return {} if found is None else found.rows


# ------------------------------------------------------------------------------------------------- workers
def encoded_rows(
    build: Callable[[], Encoder], tasks: list[EncodingTask], resources: Resources, title: str
) -> Iterator[FeatureRow]:
    """The rows of clips as they are, as they come; `title` stands beside how far it is."""
    outcomes = local.run(
        partial(row_maker, build), tasks, workers=resources.workers, timeout_s=resources.timeout_s
    )
    for task, row in tracked(outcomes, title, len(tasks)):
        if isinstance(row, local.TaskFailure):
            row = FeatureRow(task.clip.clip_id, task.source_sha256, FAILED, f"{TRANSIENT}{row.reason}")
        yield row


def _run(
    make: Callable[[], Callable[[SpoilingTask], list[FeatureRow]]],
    tasks: list[SpoilingTask],
    workers: int,
    timeout_s: float,
) -> Iterator[FeatureRow]:
    """The rows of all tasks, as they come."""
    for task, found in local.run(make, tasks, workers=workers, timeout_s=timeout_s):
        if isinstance(found, local.TaskFailure):
            reason = f"{TRANSIENT}{found.reason}"
            yield from (FeatureRow(n, source, FAILED, reason) for n, (_, source) in task.rows.items())
        else:
            yield from found


def _row_maker(
    modality: str, name: str, params: EncoderParams, limits: MediaLimits, device: str
) -> Callable[[SpoilingTask], list[FeatureRow]]:
    """What makes rows in a worker, where its encoder is built and loaded."""
    encoder = build_encoder(modality, name, params, limits, device)
    encoder.load()
    return partial(spoilt_rows, encoder, voice_reader(limits))


def voice_reader(limits: MediaLimits) -> Callable[[Clip], np.ndarray]:
    """What gives the sound of train clips at 16 kHz, for babble; it keeps the last ones."""
    return lru_cache(VOICES_KEPT)(lambda clip: DecodedClip(clip, limits).speech)


def spoilt_rows(
    encoder: Encoder, speech_of: Callable[[Clip], np.ndarray], task: SpoilingTask
) -> list[FeatureRow]:
    """The rows of one clip, whose media are decoded once; what fails is a row with the reason."""
    clip = task.spoilt.clip
    decoded = cache(lambda: DecodedClip(clip, encoder.limits))  # its errors belong to each row

    def under(condition: Condition) -> tuple[Clip, str]:
        return spoil(task.spoilt, decoded(), condition, speech_of)

    found = []
    for name, (condition, source) in task.rows.items():
        asked = EncodingTask(clip, source, task.problem)
        made = guarded(encoder, asked, partial(under, condition))
        if isinstance(made, FeatureRow):
            row = made
        else:
            spoilt, note = made
            row = encode_row(encoder, replace(asked, clip=spoilt))
            track = getattr(spoilt.path, "shared", None)
            if row.status == OK and isinstance(track, AlteredTrack) and not track.was_read:
                reason = f"{encoder.name} opens the file itself, so that its media cannot be spoilt in memory"
                row = FeatureRow(clip.clip_id, source, FAILED, reason)
            row.error = "; ".join(filter(None, [note, row.error]))
        row.clip_id = name
        found.append(row)
    return found
