"""Noise under speech as `robust` adds it, heard by the real Whisper base."""

from __future__ import annotations

from pathlib import Path

import pytest
from made.real_models import real_model

from pipeline.evaluation.word_errors import spoken_words, word_errors
from pipeline.features.encoder import Clip
from pipeline.params.params import MediaLimits
from pipeline.params.transcribe import TranscribeParams
from pipeline.robustness.conditions import Condition
from pipeline.robustness.media.extract import SpoilingTask, voice_reader
from pipeline.robustness.media.heard import spoilt_transcripts
from pipeline.robustness.media.spoil import SpoiltClip
from pipeline.transcripts.stage import transcriber

SAID = (
    "And so my fellow Americans, ask not what your country can do for you, ask what you can do for your "
    "country."
)


@pytest.mark.shared
@pytest.mark.slow
def test_what_is_heard_in_noise_and_of_a_muted_half(shared: Path) -> None:
    """Of twelve seconds. Measured: .09 clean and down to 5 dB, .32 at 0, 1 at -15, .82 half muted."""
    settings, limits = TranscribeParams(), MediaLimits()
    asr = settings.asr.model_copy(update={"model": str(real_model("whisper-base-hf"))})
    transcribe = transcriber(settings.model_copy(update={"asr": asr}), limits, "cpu")
    conditions = {
        **{f"{decibel} dB": Condition("white", "audio", decibel, 0) for decibel in (20, 0, -15)},
        "half": Condition("mute", "audio", 0.5, 0),
    }
    clip = Clip("jfk", shared / "clips/speech/en_pexels_jfk.mp4", language="en")
    task = SpoilingTask(
        SpoiltClip(clip, "set", "test"), rows={name: (one, "") for name, one in conditions.items()}
    )
    heard = spoilt_transcripts(transcribe, limits, voice_reader(limits), task)
    said = spoken_words(SAID)
    wrong = {name: word_errors(spoken_words(one.text or ""), said) / len(said) for name, one in heard.items()}
    assert wrong["20 dB"] <= 0.1 < wrong["0 dB"] < 0.8 <= wrong["-15 dB"], wrong
    assert wrong["half"] >= 0.4, wrong
