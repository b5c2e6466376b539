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
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core.errors import ClipError, FormatError, MsaError, ParamsError
from pipeline.core.vocabulary import OK
from pipeline.datasets.assembly.sequences import real_frames
from pipeline.params.assemble import AssembleParams
from pipeline.store.shard import FeatureRow
from pipeline.transcripts.words import locate, pool_frames, pool_tokens, times_of

WORDS = "words"


class Alignment:
    """The words of a set's clips, over which rows are pooled one modality after the other, text first.

    `where` is the set's key in params.yaml, for messages.

    Attributes
    ----------
    unaligned : clip id -> why it has no rows of words, as far as that is known

    Raises
    ------
    ParamsError : steps are shortened differently, so that rows would no longer be the same words
    """

    def __init__(
        self,
        transcripts: pa.Table,
        clip_ids: Collection[str],
        modalities: Sequence[str],
        params: AssembleParams,
        where: str,
    ):
        ways = {(getattr(params.max_steps, m), getattr(params.shorten, m)) for m in modalities}
        if len(ways) > 1 or any(way == "skip" for _, way in ways):
            raise ParamsError(
                f"{where}.align is `words`, so that row i is the same word in {', '.join(modalities)}; write "
                "one number for all of them in max_steps, and `cut` for all of them (or `pool`) in shorten"
            )
        self._where, self._clips = where, clip_ids
        self._said = transcripts.select(["text", "words"])  # a list of words is many times as large in Python
        self._places = {clip_id: row for row, clip_id in enumerate(transcripts["clip_id"].to_pylist())}
        self._left: dict[str, int] = {}  # clip id -> words that the text encoder did not cut off
        self.unaligned: dict[str, str] = {}

    def rows(
        self, modality: str, rows: Iterable[FeatureRow], column_names: Sequence[str]
    ) -> Iterator[FeatureRow]:
        """Rows of a modality with a row a word; those of clips that cannot be aligned are not among them.

        FormatError for features without times.
        """
        for row in rows:
            if row.status != OK or row.clip_id in self.unaligned:
                continue
            text, words = self._transcript(row.clip_id)
            words = None if words is None else words[: self._left.get(row.clip_id)]
            try:
                block = align_clip({modality: row}, {modality: column_names}, text, words)[modality]
            except ClipError as error:
                self.unaligned[row.clip_id] = str(error)
                continue
            except FormatError as error:
                raise FormatError(f"{self._where}: clip {row.clip_id!r}: {error}") from error
            if modality == "text":
                self._left[row.clip_id] = len(block)
            yield replace(row, features=block)

    def check(self) -> None:
        """MsaError where no clip has word times."""
        if self._clips and len(self.unaligned) == len(self._clips):
            reason = Counter(self.unaligned.values()).most_common(1)[0][0]
            raise MsaError(
                f"{self._where}.align is `words`, but none of {len(self._clips)} clips can be aligned "
                f"({reason}); name a CTC model in transcribe.align.model (or a "
                "Whisper in transcribe.asr.model for clips without text), or set align to `none`"
            )

    def _transcript(self, clip_id: str) -> tuple[str | None, list[dict[str, Any]] | None]:
        if clip_id not in self._places:
            return None, None
        row = self._said.slice(self._places[clip_id], 1).to_pylist()[0]
        return row["text"], row["words"]


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
