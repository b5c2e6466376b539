"""Settings of the transcripts: section `transcribe` of params.yaml.

Both parts are off without a model. Models on a hub are pinned by commit; the stage refuses one that is not.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from pipeline.core.section import Section
from pipeline.params.encoders import Pretrained, Source
from pipeline.params.names import as_language

Engine = Literal["transformers", "faster-whisper"]
Precision = Literal["fp32", "int8"]

PRESETS: dict[Engine, dict[str, Source]] = {
    "transformers": {
        "base": ("openai/whisper-base", "e37978b90ca9030d5170a5c07aadb050351a65bb"),
        "small": ("openai/whisper-small", "973afd24965f72e36ca33b3055d56a652f456b4d"),
        "large-v3": ("openai/whisper-large-v3", "06f233fe06e710322aca913c1bc4249a0d71fce1"),
        "turbo": ("openai/whisper-large-v3-turbo", "41f01f3fe87f28c78e2fbf8b568835947dd65ed9"),
    },
    "faster-whisper": {
        "base": ("Systran/faster-whisper-base", "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66"),
        "small": ("Systran/faster-whisper-small", "536b0662742c02347bc0e980a01041f333bce120"),
        "large-v3": ("Systran/faster-whisper-large-v3", "edaa852ec7e145841d8ffdb056a99866b5f0a478"),
        "turbo": (
            "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
            "0a363e9161cbc7ed1431c9597a8ceaf0c4f78fcf",
        ),
    },
}
"""Whispers by their short names: the hub's models that an engine reads, with their commits"""


def _as_asked(value: str) -> str:
    return value if value == "detect" else as_language(value)


class AsrParams(Pretrained):
    """Speech recognition by Whisper, for clips about which nothing else says what is spoken.

    `model` may be a short name of PRESETS, which has its commit: base, small, large-v3 or turbo.
    """

    engine: Engine = "transformers"
    """what computes: `transformers`, or `faster-whisper` (extra asr-fast), whose models have other files"""
    precision: Precision = "fp32"
    """`int8` is twice as fast on a CPU, with the engine faster-whisper alone"""
    language: Annotated[str, AfterValidator(_as_asked)] | None = None
    """null = the clip's language where it is known, else detected; `detect` = always detected; or a code"""
    max_pause_s: float | None = Field(None, ge=0.4)
    """longer pauses are cut out, and what is between two of them is heard alone; null = 30 s at once,
    pauses included. It costs time and context, and helps where the model skips sentences"""
    no_speech: float = Field(0.6, ge=0, le=1)
    """a stretch is silence where the model gives this probability to "no speech" and doubts its own words
    (mean log probability below -1), as OpenAI's own decoder does; 1 = never"""
    compression_ratio: float = Field(2.4, gt=0)
    """a text that zlib makes more times smaller says the same again and again: its stretch is heard again in
    halves, and where it is short dropped; 2.4 is what OpenAI's decoder has"""

    @model_validator(mode="after")
    def _engine_has_precision(self) -> Self:
        if self.precision == "int8" and self.engine != "faster-whisper":
            raise ValueError("precision is int8, which only the engine faster-whisper supports")
        return self

    def checkpoints(self) -> dict[str | None, Source]:
        presets = PRESETS[self.engine]
        return {
            language: (presets[model][0], revision or presets[model][1])
            if model in presets
            else (model, revision)
            for language, (model, revision) in super().checkpoints().items()
        }


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
