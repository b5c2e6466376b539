"""Recognition by a tiny random Whisper: what it says means nothing, how it is heard and timed does."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made.media_factory import make_clip, tone
from made.tiny_models import save_tiny_bert
from made.tiny_speech import save_tiny_ctc, save_tiny_whisper

from pipeline.core.errors import AbsentError, FormatError, MissingModelError, ParamsError, TooManyFailedError
from pipeline.corpora.clips import clip_table
from pipeline.params.params import MediaLimits
from pipeline.params.transcribe import AsrParams, TranscribeParams
from pipeline.transcripts import recognition
from pipeline.transcripts.recognition import Recognizer, cheapest_path, stretches, token_times
from pipeline.transcripts.stage import TranscribeReport, transcribe_dataset
from pipeline.transcripts.whisper import Whisper, load_whisper
from pipeline.transcripts.words import locate

RATE = 16_000
LIMITS = MediaLimits()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_whisper(tmp_path_factory.mktemp("models") / "whisper-tiny-random")


@pytest.fixture(scope="module")
def whisper(folder: Path) -> Whisper:
    return load_whisper(str(folder))


@pytest.fixture(scope="module")
def recognizer(folder: Path) -> Recognizer:
    return Recognizer(AsrParams(model=str(folder)))


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    """Syllables of noise with pauses between, (n,) float32."""
    n = round(seconds * RATE)
    loud = np.sin(2 * np.pi * 1.3 * np.arange(n) / RATE) > -0.5
    return (np.random.default_rng(seed).normal(0, 0.1, n) * (loud + 0.01)).astype(np.float32)


# ---------------------------------------------------------------------------------------------- what is heard
@pytest.mark.parametrize("language", ["en", "zh"])
def test_words_make_the_text_and_lie_in_the_clip(recognizer: Recognizer, language: str) -> None:
    heard = recognizer.recognize_sound(speech(1.7), language)
    assert heard.language == language
    assert heard.text == " ".join(heard.text.split())
    assert len(heard.words) > 3
    flat = "".join(heard.text.split())
    assert "".join("".join(word["text"].split()) for word in heard.words) == flat
    where = locate([word["text"] for word in heard.words], heard.text)
    assert [heard.text[a:b] for a, b in where] == [word["text"] for word in heard.words]
    edges = np.array([[word["start_s"], word["end_s"]] for word in heard.words])
    assert (np.diff(edges.reshape(-1)) >= 0).all()
    np.testing.assert_array_equal(edges[1:, 0], edges[:-1, 1])
    assert edges[0, 0] >= 0 and edges[-1, 1] <= 1.7
    assert all(0 < word["score"] <= 1 for word in heard.words)


def test_same_sound_same_words(recognizer: Recognizer, folder: Path) -> None:
    other = Recognizer(AsrParams(model=str(folder)))
    other.recognize_sound(speech(3.0, seed=1), "zh")  # what was heard before leaves no trace
    assert other.recognize_sound(speech(1.5), "en") == recognizer.recognize_sound(speech(1.5), "en")


def test_the_language_is_the_likeliest(recognizer: Recognizer, whisper: Whisper) -> None:
    for seed in range(4):
        sound = speech(1.0, seed)
        mel = whisper.features(sound, sampling_rate=RATE, return_tensors="pt").input_features
        (token,) = whisper.model.detect_language(mel).tolist()
        heard = recognizer.recognize_sound(sound)
        assert whisper.languages[heard.language or ""] == token
        assert heard == recognizer.recognize_sound(sound, heard.language)


def test_greedy_decoding_by_hand(recognizer: Recognizer, whisper: Whisper) -> None:
    """Tokens, scores and times from nothing but the model's forward pass."""
    sound = speech(1.2)
    model, config = whisper.model, whisper.model.generation_config
    mel = whisper.features(sound, sampling_rate=RATE, return_tensors="pt").input_features
    prompt = [config.decoder_start_token_id, whisper.languages["en"], config.task_to_id["transcribe"]]
    ids = [*prompt, config.no_timestamps_token_id]
    begun = len(ids)
    with torch.inference_mode():
        while len(ids) < begun + 20:
            logits = model(mel, decoder_input_ids=torch.tensor([ids])).logits[0, -1]
            logits[config.suppress_tokens] = -torch.inf
            if len(ids) == begun:
                logits[config.begin_suppress_tokens] = -torch.inf
            ids.append(int(logits.argmax()))
            if ids[-1] == whisper.end:
                break
        tokens = [token for token in ids[begun:] if token != whisper.end]
        passed = model(
            mel,
            decoder_input_ids=torch.tensor([[*ids[:begun], *tokens, whisper.end]]),
            output_attentions=True,
        )
    heard = recognizer.recognize_sound(sound, "en")
    assert heard.text == " ".join(whisper.tokenizer.decode(tokens).replace("\ufffd", "").split())
    odds = passed.logits[0, begun - 1 : -2, : whisper.end + 1].softmax(-1)[range(len(tokens)), tokens].numpy()
    weights = torch.stack([passed.cross_attentions[layer][0, head] for layer, head in ((0, 0), (1, 1))])
    starts = token_times(weights[:, begun - 1 : -1, :60].numpy())
    pieces = [whisper.tokenizer.decode(tokens[i : i + 1]) for i in range(len(tokens))]
    first = [i for i, piece in enumerate(pieces) if piece.startswith(" ") or i == 0]
    spoken = [i for i in first if "".join(pieces[i : next((n for n in first if n > i), None)]).strip()]
    assert [word["start_s"] for word in heard.words] == pytest.approx([starts[i] for i in spoken], abs=1e-6)
    last = heard.words[-1]
    assert last["end_s"] == pytest.approx(min(starts[-1], 1.2))
    assert last["score"] == pytest.approx(odds[spoken[-1] :].mean(), rel=1e-4)


def test_long_sound_is_heard_in_stretches(recognizer: Recognizer) -> None:
    sound = speech(5.0)
    heard = recognizer.recognize_sound(sound, "en")
    parts = [recognizer.recognize_sound(sound[a:b], "en") for a, b in stretches(sound, 2 * RATE)]
    assert heard.text == " ".join(part.text for part in parts)
    assert [word["text"] for word in heard.words] == [word["text"] for part in parts for word in part.words]
    begin = stretches(sound, 2 * RATE)[1][0] / RATE
    later = heard.words[len(parts[0].words)]
    assert later["start_s"] == pytest.approx(parts[1].words[0]["start_s"] + begin)
    assert heard.words[-1]["end_s"] <= 5.0


def test_silence_says_nothing(recognizer: Recognizer, folder: Path) -> None:
    heard = recognizer.recognize_sound(np.zeros(RATE, np.float32), "en")
    assert (heard.text, heard.words) == ("", [])
    never, always = (Recognizer(AsrParams(model=str(folder), no_speech=p)) for p in (1.0, 0.0))
    assert never.recognize_sound(speech(1.0), "en").text
    assert not always.recognize_sound(speech(1.0), "en").text  # a random model doubts all it says


def test_a_model_of_english_alone(tmp_path: Path) -> None:
    model = save_tiny_whisper(tmp_path / "english", multilingual=False)
    heard = Recognizer(AsrParams(model=str(model))).recognize_sound(speech(1.0))
    assert heard.language == "en" and heard.text and heard.words


def test_characters_of_several_tokens_stay_whole(whisper: Whisper) -> None:
    text = " caf\u00e9 \u4f60\u597d, \U0001f600!"
    tokens = whisper.tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = recognition._characters(whisper.tokenizer, tokens)
    assert "".join(piece for piece, _, _ in pieces) == text
    assert [first for _, first, _ in pieces[1:]] == [last for _, _, last in pieces[:-1]]
    assert len(tokens) > len(pieces) > 8
    starts, odds = np.arange(len(tokens) + 1) / 10, np.ones(len(tokens) + 1)
    for language, words in (
        ("en", ["caf\u00e9", "\u4f60\u597d,", "\U0001f600!"]),
        ("zh", ["c", "a", "f", "\u00e9", "\u4f60", "\u597d,", "\U0001f600!"]),
    ):
        found = recognition._words(whisper.tokenizer, tokens, starts, odds, language)
        assert [word["text"] for word in found] == words
    broken = recognition._characters(
        whisper.tokenizer, [*tokens[:2], tokens[-4], *tokens[2:]]
    )  # a stray byte
    assert sum(last - first for _, first, last in broken) == len(tokens) + 1


# ------------------------------------------------------------------------------------------------------ times
def test_the_cheapest_path_is_the_cheapest() -> None:
    rng = np.random.default_rng(3)
    for m, n in [*itertools.product(range(1, 5), range(1, 6))] * 3:
        cost = rng.integers(0, 3, (m, n)) if (m + n) % 2 else rng.normal(size=(m, n))  # with ties, too
        rows, columns = cheapest_path(cost)
        best = min(_all_paths(cost, m - 1, n - 1))
        assert cost[rows, columns].sum() == pytest.approx(best)
        assert (rows[0], columns[0], rows[-1], columns[-1]) == (0, 0, m - 1, n - 1)
        steps = set(zip(np.diff(rows), np.diff(columns), strict=True))
        assert steps <= {(0, 1), (1, 0), (1, 1)}


def _all_paths(cost: np.ndarray, i: int, j: int) -> list[float]:
    if i == 0 and j == 0:
        return [cost[0, 0]]
    before = [(i - 1, j - 1)] if i and j else []
    before += [(i - 1, j)] if i else []
    before += [(i, j - 1)] if j else []
    return [cost[i, j] + total for a, b in before for total in _all_paths(cost, a, b)]


def test_times_follow_attention() -> None:
    """Attention that looks at one place a token: the token begins where the look goes there."""
    begins = [0, 20, 50, 90, 120]
    attention = np.full((2, 5, 150), 1e-3)
    for row, (begin, end) in enumerate(zip(begins, [*begins[1:], 150], strict=True)):
        attention[:, row, begin:end] = 1
    np.testing.assert_allclose(token_times(attention), np.array(begins) * 0.02, atol=0.021)
    assert token_times(np.ones((1, 3, 2))).shape == (3,)  # shorter than the filter


def test_stretches_end_in_pauses() -> None:
    sound = speech(100.0)
    parts = stretches(sound, 30 * RATE)
    assert parts[0][0] == 0 and parts[-1][1] == len(sound)
    assert all(after[0] == before[1] for before, after in itertools.pairwise(parts))
    assert all(0 < end - begin <= 30 * RATE for begin, end in parts)
    assert all(np.abs(sound[end - 800 : end + 800]).max() < 0.01 for _, end in parts[:-1])
    assert stretches(sound[:RATE], 30 * RATE) == [(0, RATE)]


# ----------------------------------------------------------------------------------------- files and refusals
def test_recognize_a_file_and_a_part_of_it(folder: Path, tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.wav", sound=speech(3.0), audio_codec="pcm_s16le")
    recognizer = Recognizer(AsrParams(model=str(folder), language="en"))
    found = recognizer.recognize(path, LIMITS, language="zh", start_s=1.0, end_s=2.5)
    assert found.language == "en" and found.text
    assert found.words[-1]["end_s"] <= 1.5
    cut = make_clip(tmp_path / "b.wav", sound=speech(3.0)[RATE : 5 * RATE // 2], audio_codec="pcm_s16le")
    assert recognizer.recognize(cut, LIMITS).text == found.text
    with pytest.raises(AbsentError):
        recognizer.recognize(make_clip(tmp_path / "mute.mkv", times=[0.0, 0.04]), LIMITS)


def test_models_that_will_not_do(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"whisper-tiny-random does not know the language 'fr'"):
        Recognizer(AsrParams(model=str(folder))).recognize_sound(speech(1.0), "fr")
    with pytest.raises(ParamsError, match="no model for the language 'zh'"):
        Recognizer(AsrParams(model={"en": str(folder)})).recognize_sound(speech(1.0), "zh")
    with pytest.raises(ParamsError, match="can only be detected by one model for all"):
        Recognizer(AsrParams(model={"en": str(folder)}, language="detect")).recognize_sound(speech(1.0), "en")
    with pytest.raises(ParamsError, match="expected a Whisper"):
        load_whisper(str(save_tiny_bert(tmp_path / "bert")))
    with pytest.raises(ParamsError, match="expected a Whisper"):
        load_whisper(str(save_tiny_ctc(tmp_path / "ctc")))
    bare = save_tiny_whisper(tmp_path / "bare")
    (bare / "generation_config.json").unlink()
    with pytest.raises(MissingModelError, match=r"generation_config\.json missing"):
        load_whisper(str(bare))
    (bare / "generation_config.json").write_text("{")
    with pytest.raises(FormatError, match="cannot be read"):
        load_whisper(str(bare))


@pytest.mark.parametrize("part", ["asr", "align"])
def test_a_hub_id_must_be_pinned(part: str) -> None:
    settings = TranscribeParams.model_validate({part: {"model": "someone/model", "revision": "main"}})
    clips = clip_table([])
    with pytest.raises(ParamsError, match="expected a commit hash"):
        transcribe_dataset(clips, Path(), "toy", settings, LIMITS)


@pytest.mark.parametrize(
    "section",
    [
        {"model": "a/b", "revision": {"en": "main"}},
        {"model": {"en": "a/b"}, "revision": "main"},
        {"revision": "main"},
        {"model": ""},
        {"model": {"English": "a/b"}},
        {"model": {"en": "a/b"}, "revision": {"zh": "main"}},
        {"language": "English"},
    ],
)
def test_settings_that_do_not_fit(section: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"revision (is|has|names)|names no model|no ISO 639 code"):
        TranscribeParams.model_validate({"asr": section})
    assert TranscribeParams.model_validate({"asr": None, "align": None}) == TranscribeParams()


# -------------------------------------------------------------------------------------------------- the stage
def test_the_stage_takes_the_first_source_that_tells(folder: Path, tmp_path: Path) -> None:
    """Six clips: label, sidecar, bad sidecar, recognition, no sound, no file; through real workers."""
    sound = {"sound": speech(1.5), "audio_codec": "pcm_s16le"}
    for name in "abcd":
        make_clip(tmp_path / f"{name}.wav", **sound)
    make_clip(tmp_path / "e.mkv", times=[0.0, 0.04])
    (tmp_path / "a.txt").write_text("never read")
    (tmp_path / "b.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nHi\n")
    (tmp_path / "c.srt").write_text("no cue in it")
    (tmp_path / "f.txt").write_text("of a file that is not there")
    rows = [("a", "the label", "a.wav"), ("b", " ", "b.wav"), ("c", None, "c.wav"), ("d", None, "d.wav")]
    rows += [("e", None, "e.mkv"), ("f", None, "f.wav"), ("g", None, None)]
    clips = clip_table(
        {
            "clip_id": i,
            "video_id": i,
            "split": "train",
            "language": "en",
            "text": t,
            "path": p,
            "status": "ok",
        }
        for i, t, p in rows
    )
    settings = TranscribeParams(asr=AsrParams(model=str(folder)))
    table, report = transcribe_dataset(clips, tmp_path, "toy", settings, LIMITS, workers=1)
    found = {row["clip_id"]: row for row in table.to_pylist()}
    heard = Recognizer(settings.asr).recognize(tmp_path / "d.wav", LIMITS, "en")
    source = "asr:whisper-tiny-random"
    assert [found[i]["source"] for i in "abcdefg"] == ["label", "sidecar", source, source, None, None, None]
    assert (found["a"]["text"], found["a"]["words"]) == ("the label", None)
    assert found["b"]["words"] == [{"text": "Hi", "start_s": 0.0, "end_s": 1.0, "score": None}]
    assert (found["d"]["text"], found["d"]["words"]) == (heard.text, heard.words)
    assert "no cue found" in report.problems["c"]
    assert "no audio track" in report.problems["e"]
    assert "no such file" in report.problems["f"]
    assert report.failed == 1  # f; a clip without sound has no speech to fail at
    assert str(report).startswith(
        "toy: 4 of 7 clips have a transcript (2 asr:whisper-tiny-random, 1 label, 1 si"
    )
    with pytest.raises(TooManyFailedError, match="speech of 1 of 7 clips"):
        report.check(0.1)
    report.check(0.2)


def test_a_second_run_listens_only_to_what_is_new(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the file of what was heard, half of its last line torn off by a kill; equal rows each time."""
    listened: list[str] = []

    def alone(make: Any, items: list[Any], **limits: object) -> Any:
        """Workers would hide who was listened to."""
        function = make()
        for item in items:
            listened.append(item.clip_id)
            yield item, function(item)

    def run(ids: str, **settings: Any) -> tuple[list[dict[str, Any]], str]:
        listened.clear()
        clips = clip_table(
            {
                "clip_id": i,
                "video_id": i,
                "split": "train",
                "language": "en",
                "path": f"{i}.wav",
                "sha256": i * 64,
                "status": "ok",
            }
            for i in ids
        )
        asked = TranscribeParams(asr=AsrParams(model=str(folder), **settings))
        table, _ = transcribe_dataset(clips, tmp_path, "toy", asked, LIMITS, kept=kept, fresh=fresh)
        return table.to_pylist(), "".join(listened)

    monkeypatch.setattr("pipeline.transcripts.stage.local.run", alone)
    kept, fresh = tmp_path / "state" / "toy.jsonl", False
    for seed, name in enumerate("abc"):
        make_clip(tmp_path / f"{name}.wav", sound=speech(1.0, seed), audio_codec="pcm_s16le")
    make_clip(tmp_path / "d.wav", sound=np.zeros(RATE, np.float32), audio_codec="pcm_s16le")
    first, heard = run("abcd")
    assert heard == "abcd"
    again, heard = run("abcd")
    assert heard == "d"  # what gave nothing is tried again
    assert again == first
    lines = kept.read_text().splitlines(keepends=True)
    assert len(lines) == 3
    kept.write_text("".join(lines)[: -len(lines[-1]) // 2])
    again, heard = run("abc")
    assert len(heard) == 1 and again == first[:3]
    assert run("abc", no_speech=0.9)[1] == "abc"  # other settings
    fresh = True
    assert run("abc", no_speech=0.9)[1] == "abc"


def test_a_txt_cannot_tell_parts_apart(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.wav", sound=tone(220, 2.0, RATE), audio_codec="pcm_s16le")
    (tmp_path / "a.txt").write_text("all of it")
    clips = clip_table(
        {
            "clip_id": i,
            "video_id": "a",
            "split": "train",
            "language": "en",
            "path": "a.wav",
            "start_s": s,
            "status": "ok",
        }
        for i, s in (("whole", None), ("part", 1.0))
    )
    table, report = transcribe_dataset(clips, tmp_path, "toy", TranscribeParams(), LIMITS)
    assert table["text"].to_pylist() == [None, "all of it"]
    assert "only a part of its file" in report.problems["part"]


def test_many_problems_are_told_briefly() -> None:
    report = TranscribeReport("toy", {None: 30}, 0, {f"c{i:02}": "why" for i in range(30)}, 0)
    assert str(report).splitlines()[1] == "  c00: why"
    assert str(report).splitlines()[-1] == "  ... and 10 more"
