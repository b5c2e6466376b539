"""Settings of the transcripts: section `transcribe` of params.yaml.

Both parts are off without a model. Models on a hub are pinned by commit; the stage refuses one that is not.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from pipeline.core.section import Section
from pipeline.params.encoders import Pretrained
from pipeline.params.names import as_language


def _as_asked(value: str) -> str:
    return value if value == "detect" else as_language(value)


class AsrParams(Pretrained):
    """Speech recognition by Whisper, for clips about which nothing else says what is spoken."""

    language: Annotated[str, AfterValidator(_as_asked)] | None = None
    """null = the clip's language where it is known, else detected; `detect` = always detected; or a code"""
    no_speech: float = Field(0.6, ge=0, le=1)
    """a stretch is silence where the model gives this probability to "no speech" and doubts its own words
    (mean log probability below -1), as OpenAI's own decoder does; 1 = never"""
    compression_ratio: float = Field(2.4, gt=0)
    """a text that zlib makes more times smaller says the same again and again: its stretch is heard anew in
    halves, and where it is short dropped; 2.4 is what OpenAI's decoder has"""


class AlignParams(Pretrained):
    """Times of the words of a known text, by CTC forced alignment: wav2vec 2.0 or HuBERT with a CTC head."""


class TranscribeParams(Section):
    """What the transcribe stage does beyond reading text that is there."""

    asr: AsrParams = Field(default_factory=AsrParams)
    align: AlignParams = Field(default_factory=AlignParams)

    @field_validator("asr", "align", mode="before")
    @classmethod
    def _null_is_off(cls, value: object) -> object:
        return {} if value is None else value
