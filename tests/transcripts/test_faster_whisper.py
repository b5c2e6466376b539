"""The engine faster-whisper: files that are missing or of the other engine, and the numbers of a tiny model.

What needs the extra asr-fast is skipped without it.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from made.tiny_speech import save_tiny_whisper

from pipeline.core.errors import FormatError, MissingDependencyError, MissingModelError, ParamsError
from pipeline.params.transcribe import PRESETS, AsrParams
from pipeline.transcripts.engines import load_engine, weights_identity
from pipeline.transcripts.faster_whisper import FasterWhisper, load_faster_whisper
from pipeline.transcripts.whisper import Whisper, load_whisper

RATE = 16_000
FAST = "faster-whisper"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For transformers; CTranslate2 takes so small a vocabulary for that of a model of English alone."""
    folder = tmp_path_factory.mktemp("tiny") / "hf"
    return save_tiny_whisper(folder, seconds=30, multilingual=False, positions=448)


@pytest.fixture(scope="module")
def converted(tiny: Path) -> Path:
    """The same weights for CTranslate2."""
    pytest.importorskip("faster_whisper", reason="needs the extra asr-fast")
    from ctranslate2.converters import TransformersConverter

    folder = tiny.parent / "ct2"
    TransformersConverter(str(tiny), copy_files=["tokenizer.json"]).convert(str(folder))
    return folder


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


# ------------------------------------------------------------------------------------------- with the library
def test_both_engines_hear_the_same(tiny: Path, converted: Path) -> None:
    """The same tokens have the same odds and times; which one a random model says next is nearly a tie."""
    one, other = load_whisper(str(tiny)), load_faster_whisper(str(converted))
    assert isinstance(one, Whisper) and isinstance(other, FasterWhisper)
    assert (one.window, one.languages) == (other.window, other.languages) == (30 * RATE, {})
    sound = noise(1.1)
    heard = other.hear(sound, None)
    config = one.model.generation_config
    prompt = [config.decoder_start_token_id]
    with torch.inference_mode():
        encoded = one.model.model.encoder(one.mel(sound))
        first = one.model(encoder_outputs=encoded, decoder_input_ids=torch.tensor([prompt])).logits[0, 0]
    starts, log_odds = one.follow(encoded, prompt, heard.tokens, len(sound))
    assert len(heard.tokens) > 20 and one.decode(heard.tokens) == other.decode(heard.tokens)
    np.testing.assert_allclose(heard.log_odds, log_odds[:-1], atol=0.02)
    assert np.median(np.abs(heard.starts - starts)) <= 0.02
    assert heard.starts.shape == starts.shape and (np.diff(heard.starts) >= 0).all()
    silence = float(first.softmax(-1)[config.no_timestamps_token_id - 1])
    assert heard.silence == pytest.approx(silence, rel=1e-2)
    # of what is allowed to be said, which is less than all
    assert log_odds.mean() - 0.02 <= heard.mean_log_odds < 0 and heard.language == "en"
    assert other.hear(noise(0.01), None).starts[-1] <= 0.02  # shorter than a frame


def test_a_folder_that_is_damaged_or_lacks_a_file(converted: Path, tmp_path: Path) -> None:
    settings = AsrParams(engine=FAST, model="folder")
    known = weights_identity(settings, str(converted), None)
    for name in ("model.bin", "tokenizer.json", "config.json"):
        broken = tmp_path / name
        shutil.copytree(converted, broken)
        file = broken / name
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        assert weights_identity(settings, str(broken), None) != known
        if name != "config.json":  # CTranslate2 reads without it
            with pytest.raises(FormatError, match="cannot be read as a Whisper of faster-whisper"):
                load_engine(settings, str(broken), None, "cpu")
        file.unlink()
        with pytest.raises(MissingModelError, match=f"{name} missing in .*hf download ID"):
            load_engine(settings, str(broken), None, "cpu")
    with pytest.raises(MissingModelError, match="no such folder"):
        load_faster_whisper(str(tmp_path / "nowhere"))
    with pytest.raises(MissingModelError, match=r"fetch Systran/faster-whisper-base@ebe41"):
        load_faster_whisper(*PRESETS[FAST]["base"])  # HF_HUB_OFFLINE is set


# ---------------------------------------------------------------------------------------------- without it
def test_a_folder_of_the_other_engine(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="has the weights of the engine transformers, but"):
        load_engine(AsrParams(engine=FAST, model="x"), str(tiny), None, "cpu")
    shutil.copytree(tiny, tmp_path / "ct2")
    (tmp_path / "ct2/model.safetensors").rename(tmp_path / "ct2/model.bin")
    for use in (weights_identity, lambda *given: load_engine(*given, "cpu")):
        with pytest.raises(ParamsError, match="set it to faster-whisper"):
            use(AsrParams(model="x"), str(tmp_path / "ct2"), None)


def test_without_the_extra(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'msa-pipeline\[asr-fast\]'"):
        load_faster_whisper("folder")


def test_short_names_have_their_commits() -> None:
    for engine, presets in PRESETS.items():
        assert set(presets) == {"base", "small", "large-v3", "turbo"}
        for name, (model, commit) in presets.items():
            assert AsrParams(engine=engine, model=name).checkpoints() == {None: (model, commit)}
            assert weights_identity(AsrParams(model="x"), model, commit) == f"{model}@{commit}"
    both = AsrParams(model={"en": "base", "zh": "own/model"}, revision={"zh": "main"})
    assert both.checkpoint("en") == PRESETS["transformers"]["base"]
    assert both.checkpoint("zh") == ("own/model", "main")
    with pytest.raises(ValueError, match="int8, which only the engine faster-whisper supports"):
        AsrParams(model="base", precision="int8")
