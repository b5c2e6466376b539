"""Word-aligned features: one row a word in every modality, as the field's "aligned" data sets have them.

Word times come from the transcripts (recognition, forced alignment, word-level subtitles). Audio and visual
frames are averaged over the time of each word, text states over its tokens; special tokens belong to no word.

- Words that the text encoder cut off (max_length) are left out of every modality of the clip, so that row i
  is the same word in all of them.
- A frame with `success` 0 (no face) enters no average; a word in which no face is seen is a row of zeros with
  `success` 0, as such a frame is in unaligned sets.
- A clip without word times is left out: its rows could not be words, and a set in which some are and some are
  not would be neither. It is not silently stretched over the clip's length either.
- A modality that a clip does not have stays absent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core.errors import ClipError, FormatError, MsaError, ParamsError
from pipeline.core.vocabulary import OK
from pipeline.datasets.assembly.sequences import real_frames
from pipeline.params.assemble import AssembleParams
from pipeline.store.shard import FeatureRow, Features
from pipeline.transcripts.words import locate, pool_frames, pool_tokens, times_of

WORDS = "words"


def align(
    features: dict[str, Features], transcripts: pa.Table, params: AssembleParams, where: str
) -> tuple[dict[str, Features], dict[str, str]]:
    """The stores with rows of words, by modality, and the reason of each clip (by id) that has none.

    Rows of clips without word times are as they were. `where` is the set's key in params.yaml, for messages.
    ParamsError where steps are shortened differently, so that rows would no longer be the same words;
    FormatError for features without times; MsaError where no clip has word times.
    """
    ways = {(getattr(params.max_steps, m), getattr(params.shorten, m)) for m in features}
    if len(ways) > 1 or any(way == "skip" for _, way in ways):
        raise ParamsError(
            f"{where}.align is `words`, so that row i is the same word in {', '.join(features)}; write one "
            "number for all of them in max_steps, and `cut` for all of them (or `pool`) in shorten"
        )
    by_clip = {row["clip_id"]: row for row in transcripts.select(["clip_id", "text", "words"]).to_pylist()}
    pooled = {modality: Features(store.meta, dict(store.rows)) for modality, store in features.items()}
    names = {modality: store.meta["column_names"] for modality, store in features.items()}
    clip_ids = sorted({clip_id for store in features.values() for clip_id in store.rows})
    unaligned: dict[str, str] = {}
    for clip_id in clip_ids:
        there = {modality: store.rows.get(clip_id) for modality, store in features.items()}
        rows = {modality: row for modality, row in there.items() if row is not None and row.status == OK}
        transcript = by_clip.get(clip_id, {})
        try:
            blocks = align_clip(rows, names, transcript.get("text"), transcript.get("words"))
        except ClipError as error:
            unaligned[clip_id] = str(error)
            continue
        except FormatError as error:
            raise FormatError(f"{where}: clip {clip_id!r}: {error}") from error
        for modality, block in blocks.items():
            pooled[modality].rows[clip_id] = replace(rows[modality], features=block)
    if len(unaligned) == len(clip_ids):
        reason = Counter(unaligned.values()).most_common(1)[0][0]
        raise MsaError(
            f"{where}.align is `words`, but none of {len(clip_ids)} clips can be aligned "
            f"({reason}); name a CTC model in transcribe.align.model (or a "
            "Whisper in transcribe.asr.model for clips without text), or set align to `none`"
        )
    return pooled, unaligned


def align_clip(
    rows: Mapping[str, FeatureRow],
    column_names: Mapping[str, Sequence[str]],
    text: str | None,
    words: Sequence[Mapping[str, Any]] | None,
) -> dict[str, np.ndarray]:
    """Features of one clip, (w, D) float32 by modality, a row a word of the transcript.

    `rows` are good ones, with times (audio, visual) or characters (text), else FormatError. ClipError where
    there are no word times, or they are not those of the text.
    """
    if not words:
        raise ClipError("no word times")
    seconds = times_of(words)
    if not (np.isfinite(seconds).all() and (seconds[:, 1] >= seconds[:, 0]).all()):
        raise ClipError("a word ends before it begins, or has no time")
    blocks: dict[str, np.ndarray] = {}
    if "text" in rows:
        row = rows["text"]
        if row.features is None or row.char_start is None or row.char_end is None:
            raise FormatError("its text features do not say which characters they are of; extract them again")
        characters = locate([word["text"] for word in words], text or "")
        blocks["text"] = pool_tokens(row.features, row.char_start, row.char_end, characters)
        seconds = seconds[: len(blocks["text"])]
        if not len(seconds):
            raise ClipError("no token of its text features belongs to a word")
    for modality, row in rows.items():
        if modality == "text":
            continue
        if row.features is None or row.times is None:
            raise FormatError(f"its {modality} features have no times; they cannot be aligned with words")
        real = real_frames(row.features, column_names[modality])
        blocks[modality] = pool_frames(row.features, real, row.times, seconds)
    return blocks
