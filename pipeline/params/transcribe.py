"""Settings of the transcripts: section `transcribe` of params.yaml.

Both parts are off without a model. Models on a hub are pinned by commit; the stage refuses one that is not.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from pipeline.core.section import Section
from pipeline.params.encoders import Language


class SpeechModel(Section):
    """A model that hears speech, one for all languages or one for each."""

    model: str | dict[Language, str] | None = None
    """a hub id, a local folder, or one of them for each language; null = none"""
    revision: str | dict[Language, str | None] | None = None
    """commit hash of a hub id, so that the same params mean the same weights; null for a folder"""

    @field_validator("model")
    @classmethod
    def _some_model(cls, value: str | dict[str, str] | None) -> str | dict[str, str] | None:
        if value is not None and (not value or (isinstance(value, dict) and not all(value.values()))):
            raise ValueError(f"{value!r} names no model; write null for none")
        return value

    @model_validator(mode="after")
    def _revisions_fit(self) -> SpeechModel:
        if self.revision is not None and self.model is None:
            raise ValueError(f"revision is {self.revision!r}, but there is no model")
        if isinstance(self.revision, dict) and not isinstance(self.model, dict):
            raise ValueError("revision has a commit for each language, but model is one for all")
        if isinstance(self.revision, str) and isinstance(self.model, dict):
            raise ValueError("revision is one commit, but model has one for each language; give it so too")
        if isinstance(self.revision, dict) and (extra := set(self.revision) - set(self.model or ())):
            raise ValueError(f"revision names {', '.join(sorted(extra))}, for which there is no model")
        return self

    def checkpoint(self, language: str | None) -> tuple[str, str | None] | None:
        """(model, revision) for speech of a language; None where there is no model for it."""
        if isinstance(self.model, dict):
            model = self.model.get(language or "")
            commits = self.revision if isinstance(self.revision, dict) else {}
            return (model, commits.get(language or "")) if model else None
        assert not isinstance(self.revision, dict)
        return (self.model, self.revision) if self.model else None

    def checkpoints(self) -> list[tuple[str, str | None]]:
        """Every (model, revision) that is named."""
        languages = list(self.model) if isinstance(self.model, dict) else [None]
        return [found for language in languages if (found := self.checkpoint(language)) is not None]


class AsrParams(SpeechModel):
    """Speech recognition by Whisper, for clips about which nothing else says what is spoken."""

    language: Annotated[str, Field(pattern=r"^(detect|[a-z]{2,3})$")] | None = None
    """null = the clip's language where it is known, else detected; `detect` = always detected; or a code"""
    no_speech: float = Field(0.6, ge=0, le=1)
    """a stretch is silence where the model gives this probability to "no speech" and doubts its own words
    (mean log probability below -1), as OpenAI's own decoder does; 1 = never"""


class AlignParams(SpeechModel):
    """Times of the words of a known text, by CTC forced alignment: wav2vec 2.0 or HuBERT with a CTC head."""


class TranscribeParams(Section):
    """What the transcribe stage does beyond reading text that is there."""

    asr: AsrParams = Field(default_factory=AsrParams)
    align: AlignParams = Field(default_factory=AlignParams)

    @field_validator("asr", "align", mode="before")
    @classmethod
    def _null_is_off(cls, value: object) -> object:
        return {} if value is None else value
