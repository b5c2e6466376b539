"""What a recogniser hears where sound is spoilt, and features of these texts.

    spoilt sound of a test clip ─▶ recogniser of `transcribe` in params.yaml ─▶ Transcript ─▶ text encoder

The language is that of the clip's own transcript. `.state/robust/<set>/heard.jsonl` keeps what was heard:
what decides it are the recogniser, the clip's file and how it is spoilt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core.console import tracked
from pipeline.core.errors import AbsentError, ClipError, ParamsError
from pipeline.core.files import json_hash
from pipeline.execution import local
from pipeline.features.encoder import Clip, Encoder
from pipeline.features.registry import build_encoder
from pipeline.features.rows import EncodingTask
from pipeline.params.params import MediaLimits
from pipeline.params.transcribe import TranscribeParams
from pipeline.robustness.conditions import Condition
from pipeline.robustness.media.decoded import DecodedClip
from pipeline.robustness.media.extract import (
    Resources,
    SplitMedia,
    SpoilingTask,
    encoded_rows,
    kept_rows,
    row_name,
    spoiling_tasks,
    store_folder,
    voice_reader,
)
from pipeline.robustness.media.spoil import spoil
from pipeline.store.store import FeatureStore
from pipeline.transcripts.stage import ASR, KeptResults, Transcript, transcriber, weights_of
from pipeline.transcripts.table import text_hash

KEPT = "heard.jsonl"
Heard = dict[Condition, dict[str, Transcript]]
"""what is heard of each clip under each condition; clips without a sound are not among them"""


@dataclass(frozen=True)
class Listening:
    """Which clips are heard again where their sound is spoilt.

    Attributes
    ----------
    settings : of recognition
    languages : of the clips that are, by clip id
    why_not : why all texts stay; empty where some do not, or none is read
    """

    settings: TranscribeParams
    languages: Mapping[str, Any] = field(default_factory=dict)
    why_not: str = ""

    @classmethod
    def of(
        cls,
        settings: TranscribeParams,
        transcripts: pa.Table,
        clip_ids: Collection[str],
        asked: bool | None,
    ) -> Listening:
        """Of these clips those whose text was recognised, or where it is asked for, all that have a text.

        ParamsError where it is asked for and no recogniser is set.
        """
        if asked is False:
            return cls(settings, why_not="asked for by --no-retranscribe")
        rows = transcripts.select(["clip_id", "language", "source"]).to_pylist()
        by_clip = {row["clip_id"]: row for row in rows if row["source"] is not None}
        given = {clip_id: by_clip[clip_id] for clip_id in clip_ids if clip_id in by_clip}
        sources = Counter(row["source"].partition(":")[0] for row in given.values())
        chosen = {i: row["language"] for i, row in given.items() if asked or row["source"].startswith(ASR)}
        if asked and settings.asr.model is None:
            raise ParamsError(
                "--retranscribe: no recogniser is set, transcribe.asr.model is null in params.yaml; name a "
                "Whisper model there, or here: --set transcribe.asr.model=base"
            )
        if not chosen:
            listed = ", ".join(f"{count} {source}" for source, count in sources.items()) or "none"
            why = f"no text was recognised ({listed}); --retranscribe transcribes the corrupted sound anyway"
            return cls(settings, why_not=why)
        if settings.asr.model is None:
            why = (
                "texts were recognised, but transcribe.asr.model is null in params.yaml, so nothing "
                "transcribes the corrupted sound; --set transcribe.asr.model=base names one"
            )
            return cls(settings, why_not=why)
        return cls(settings, chosen)

    def remarks(self) -> list[str]:
        """What becomes of the texts where sound is spoilt, for the user; nothing where none is read."""
        if self.why_not:
            return [f"corrupted sound: texts remain those of the clean clips: {self.why_not}"]
        if not self.languages:
            return []
        return ["corrupted sound: texts are what transcribe.asr of params.yaml hears in it"]

    @property
    def identity(self) -> dict[str, str]:
        """What decides which texts change and into what; empty where none does."""
        if not self.languages:
            return {}
        own = self.settings.asr.model_dump(mode="json", exclude={"model", "revision"})
        return {"heard": json_hash([sorted(self.languages.items()), own, weights_of(self.settings)["asr"]])}


def hear(
    listening: Listening,
    media: SplitMedia,
    limits: MediaLimits,
    conditions: Sequence[Condition],
    resources: Resources,
    device: str,
) -> Heard:
    """What is heard under conditions of one kind.

    ParamsError, MissingModelError, MissingDependencyError: the recogniser as a whole cannot work.
    """
    kind = conditions[0].kind
    results = KeptResults(media.state / KEPT, listening.settings, limits, device, fresh=False)
    found: Heard = {condition: {} for condition in conditions}
    keys: dict[str, str] = {}
    todo: list[SpoilingTask] = []
    for task in spoiling_tasks(limits, media, kind, conditions, resources):
        clip = task.spoilt.clip
        if clip.clip_id not in listening.languages:
            continue
        own = replace(clip, language=listening.languages[clip.clip_id])
        left = replace(task, spoilt=replace(task.spoilt, clip=own), rows={})
        for name, (condition, source) in task.rows.items():
            keys[name] = results.key(source, unheard(own))
            result = results.find(keys[name])
            if result is None:
                left.rows[name] = condition, source
            else:
                found[condition][clip.clip_id] = replace(unheard(own), **result)
        if left.rows:
            todo.append(left)
    if not todo:
        return found
    make = partial(_listener, listening.settings, limits, device)
    timeout_s = resources.timeout_s * max(len(task.rows) for task in todo)
    outcomes = local.run(make, todo, workers=resources.workers, timeout_s=timeout_s)
    for task, outcome in tracked(outcomes, f"{kind}: recognition", len(todo)):
        clip = task.spoilt.clip
        if isinstance(outcome, local.TaskFailure):
            lost = unheard(clip).but(f"not listened to: {outcome.reason}", failed=True)
            outcome = dict.fromkeys(task.rows, lost)
        for name, one in outcome.items():
            found[task.rows[name][0]][clip.clip_id] = one
            if not one.failed:
                results.add(keys[name], one)
    return found


def unheard(clip: Clip) -> Transcript:
    """The clip before anybody listens to it."""
    return Transcript(clip.clip_id, clip.path, clip.start_s, clip.end_s, clip.language)


def _listener(
    settings: TranscribeParams, limits: MediaLimits, device: str
) -> Callable[[SpoilingTask], dict[str, Transcript]]:
    """What hears clips in a worker, where its model is loaded."""
    return partial(spoilt_transcripts, transcriber(settings, limits, device), limits, voice_reader(limits))


def spoilt_transcripts(
    transcribe: Callable[[Transcript], Transcript],
    limits: MediaLimits,
    speech_of: Callable[[Clip], np.ndarray],
    task: SpoilingTask,
) -> dict[str, Transcript]:
    """What is heard of one clip, by name of the row; nothing where it has no sound."""
    clip = task.spoilt.clip
    found: dict[str, Transcript] = {}
    try:
        decoded = DecodedClip(clip, limits)
        _ = decoded.speech
    except AbsentError:
        return {}
    except (ClipError, OSError) as error:
        return dict.fromkeys(task.rows, unheard(clip).but(str(error), failed=True))
    for name, (condition, _) in task.rows.items():
        try:
            spoilt, _ = spoil(task.spoilt, decoded, condition, speech_of)
        except (ClipError, OSError) as error:
            found[name] = unheard(clip).but(str(error), failed=True)
            continue
        one = transcribe(unheard(spoilt))
        found[name] = replace(one, path=clip.path, start_s=clip.start_s, end_s=clip.end_s)
    return found


def text_rows(encoder: Encoder, media: SplitMedia, heard: Heard, resources: Resources) -> FeatureStore:
    """The store of text features of what is heard under conditions of one kind; rows as `row_name` says."""
    kind = next(iter(heard)).kind
    tasks = {}
    for condition, by_clip in heard.items():
        for clip_id, one in by_clip.items():
            name = row_name(clip_id, condition)
            clip = Clip(name, text=one.text, language=one.language or "en")
            tasks[name] = EncodingTask(clip, text_hash(one.text, one.language, one.words))
    build = partial(build_encoder, "text", encoder.name, encoder.params, encoder.limits, encoder.device)
    return kept_rows(
        encoder,
        store_folder(encoder, media, kind),
        {name: task.source_sha256 for name, task in tasks.items()},
        resources,
        lambda names: encoded_rows(
            build, [tasks[name] for name in names], resources, f"{kind}: text {encoder.name}"
        ),
    )
