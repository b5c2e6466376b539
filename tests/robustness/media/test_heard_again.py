"""Spoilt sound is transcribed again, and its words count."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from made.media_corpus import (
    ASSEMBLED,
    NAME,
    encoders_of,
    text_encoder,
    trained,
)
from made.tiny_models import save_tiny_bert
from made.tiny_set import DIMS, Tiny, TinySettings, write_tiny_set

from pipeline.core.errors import ParamsError
from pipeline.datasets.assembly.sequences import prepare
from pipeline.datasets.training_set import TrainingSet
from pipeline.evaluation.evaluate import evaluate
from pipeline.media.decode import waveform
from pipeline.params.params import MediaLimits, Params
from pipeline.params.transcribe import TranscribeParams
from pipeline.reports.blocks import as_markdown
from pipeline.reports.figures import new_figure
from pipeline.reports.robust_figures import drawings
from pipeline.reports.robust_tables import as_sets, robust_blocks
from pipeline.robustness.media import extract
from pipeline.robustness.media import heard as hearing
from pipeline.robustness.media import sweep as sweeping
from pipeline.robustness.media.heard import Listening
from pipeline.robustness.media.sweep import Remaking
from pipeline.robustness.robust import Asked, robust
from pipeline.training.runs import TrainedRun
from pipeline.transcripts.stage import Transcript


def stub(settings: Any, limits: MediaLimits, device: str) -> Any:
    """A recogniser that hears a word in every tenth of a second in which there is a sound."""

    def transcribe(clip: Transcript) -> Transcript:
        assert clip.path is not None and (clip.text, clip.language) == (None, "en")
        sound = waveform(clip.path, limits, sample_rate=16_000)
        loud = [bool(part.any()) for part in np.array_split(sound[:8_000], 5)]
        if not any(loud):
            return clip.but("no speech heard")
        return replace(clip, text=" ".join(["So,"] * sum(loud)), source="asr:stub")

    return transcribe


def test_spoilt_sound_is_heard_again(
    media_project: tuple[Path, Params], here: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts, their features and word errors follow; what was heard is kept; page and picture say so."""
    monkeypatch.setattr(hearing, "transcriber", stub)
    run = trained("text_only", {"dropout": 0.0})
    evaluate([run.folder], ASSEMBLED, Path("results") / NAME / "text_only", "mmsa", device="cpu")
    asr = media_project[1].transcribe.asr.model_copy(update={"model": "base"})
    params = media_project[1].model_copy(
        update={"transcribe": media_project[1].transcribe.model_copy(update={"asr": asr})}
    )
    asked = Asked(("mute",), draws=(0,), remaking=Remaking(params, encoders_of))
    (summary,) = robust([run.folder], asked, device="cpu")
    facts = pq.read_table("robust/made/text_only.media.parquet").to_pandas()
    heard = facts[facts["stream"] == "heard"].fillna({"text": ""})
    told = summary["kinds"]["mute"]["media"]
    assert told["heard"] == 4 and told["wer"][0] == 0 and told["wordless"] == [0, 0, 1]
    for level, rate in zip((0.25, 0.5, 1.0), told["wer"][1:], strict=True):
        texts = heard[(heard["kind"] == "mute") & (heard["level"] == level)]["text"]
        missing = [5 - len(text.split()) for text in texts]
        assert rate == pytest.approx(sum(missing) / 20, abs=1e-6)
    assert 0 < told["wer"][2] <= 0.6 and told["wer"][3] == 1

    rows = pq.read_table("robust/made/text_only.parquet").to_pandas()
    clean, half, quiet = (
        rows[(rows["kind"] == kind) & (rows["level"] == level)].set_index("clip_id")["prediction"]
        for kind, level in (("clean", 0.0), ("mute", 0.5), ("mute", 1.0))
    )
    texts = heard[(heard["kind"] == "mute") & (heard["level"] == 0.5)].set_index("clip_id")["text"]
    letters, entry = text_encoder(params), run.stats["modalities"]["text"]
    for clip_id, text in texts.items():
        spelt = letters.encode(extract.Clip("x", text=text)).features
        mean = float(prepare(spelt, letters.column_names, entry).mean(axis=0) @ weights(run))
        assert half[clip_id] == pytest.approx(mean + bias(run), abs=1e-5)
    assert (half != clean).any() and np.ptp(quiet) < 1e-6
    assert quiet.iloc[0] == pytest.approx(bias(run), abs=1e-6)  # a step of zeros

    methods = as_sets([summary])
    shown = as_markdown(robust_blocks(methods))
    assert f"Word error rate against the set's text: {100 * told['wer'][1]:.0f} %" in shown
    assert "Clips in which it hears no words: 0 %, 0 %, 100 %" in shown
    (drawn,) = drawings(methods[NAME, "complete"], "mae")
    with new_figure(drawn.width, drawn.height) as figure:
        drawn.paint(figure)
        assert "right: word error rate" in {text.get_text() for text in figure.legends[0].get_texts()}

    with monkeypatch.context() as patch:
        patch.setattr(hearing, "transcriber", lambda *_: 1 / 0)
        robust([run.folder], replace(asked, draws=(0,), kinds=("mute",)), device="cpu")
        Path("results/made/text_only/robust.json").unlink()
        (again,) = robust([run.folder], asked, device="cpu")  # nothing is listened to a second time
        assert again["kinds"] == summary["kinds"]
        kept = replace(asked, remaking=Remaking(params, encoders_of, retranscribe=False))
        (still,) = robust([run.folder], kept, device="cpu")
    assert "--no-retranscribe" in as_markdown(robust_blocks(as_sets([still])))
    assert still["kinds"]["mute"]["cases"]["audio"]["flat"]  # words stay, and it hears nothing


def weights(run: TrainedRun) -> np.ndarray:
    return run.method.score.weight.detach().numpy()[0]  # type: ignore[union-attr,operator]


def bias(run: TrainedRun) -> float:
    return float(run.method.score.bias.item())  # type: ignore[union-attr,operator]


def test_what_is_heard_again_and_why_not() -> None:
    table = pa.table(
        {"clip_id": ["a", "b", "c"], "language": ["en", "zh", None], "source": ["label", "asr:base", None]}
    )
    with_asr = TranscribeParams.model_validate({"asr": {"model": "base"}})
    without = TranscribeParams()
    assert Listening.of(with_asr, table, "abc", None).languages == {"b": "zh"}
    assert Listening.of(with_asr, table, "abc", True).languages == {"a": "en", "b": "zh"}
    for settings, clips, asked, reason in (
        (with_asr, "ac", None, r"no text was recognised \(1 label\); --retranscribe"),
        (without, "abc", None, "transcribe.asr.model is null"),
        (with_asr, "abc", False, "--no-retranscribe"),
    ):
        found = Listening.of(settings, table, clips, asked)
        assert not found.languages and found.identity == {}
        assert re.search(reason, found.remarks()[0])
    with pytest.raises(ParamsError, match="--retranscribe: no recogniser is set"):
        Listening.of(without, table, "abc", True)
    one, other = (Listening.of(with_asr, table, "abc", asked).identity for asked in (None, True))
    assert one != other


def test_clips_without_words_have_an_empty_sentence(tmp_path: Path) -> None:
    settings = TinySettings(text="finetune", text_backbone=str(save_tiny_bert(tmp_path / "bert", layers=1)))
    method = Tiny(settings, DIMS)
    reading = method.reading()
    folder = write_tiny_set(tmp_path / "set", {"train": 1, "valid": 1, "test": 3, "unlabeled": 0})
    split = TrainingSet.load(folder, reading, only=("test",)).splits["test"]
    found = sweeping._with_empty_sentences(split, reading, ["test$_$0001"])
    old, new = (one.batch(torch.arange(3)).tokens for one in (split, found))
    assert reading.tokenizer is not None and old is not None and new is not None
    assert new.ids[1][new.mask[1]].tolist() == reading.tokenizer.encode([""], 50)[0].tolist()
    assert new.present.all() and torch.equal(new.ids[[0, 2]], old.ids[[0, 2]])
