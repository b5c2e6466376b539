"""Predicting new clips: the numbers of the pipeline, what is left out, what is said, and what is written."""

from __future__ import annotations

import json
import re
import shutil
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from made import tiny_slad
from made.real_models import real_model
from made.sample_runs import SampleRuns
from made.tiny_batch import DIMS

from models.core.method import Task
from models.slad.model import SLaD, SLaDSettings
from pipeline.core.errors import MsaError
from pipeline.core.vocabulary import ABSENT, OK
from pipeline.params.params import Params
from pipeline.predict import cautions
from pipeline.predict.encoders import make_encoders
from pipeline.predict.inputs import ClipInputs, batch_of, inputs_of
from pipeline.predict.predict import Predictor
from pipeline.predict.prediction import outcome
from pipeline.store.shard import FeatureRow
from pipeline.training.runs import TrainedRun, open_runs
from pipeline.transcripts.stage import Transcript

METHODS = ("misr", "cmir", "slad", "mird", "khar")
VALID = ("video_0002$_$0001", "video_0002$_$0002")

pytestmark = pytest.mark.filterwarnings("ignore:SymbolDatabase.GetPrototype")


@pytest.fixture(scope="module")
def predictor(sample: SampleRuns) -> Predictor:
    """All five methods, of misr two seeds."""
    return Predictor.open([*(sample.run(name) for name in METHODS), sample.run("misr", seed=2)], Params())


@pytest.fixture(scope="module")
def first(sample: SampleRuns, predictor: Predictor) -> Any:
    """The prediction of a clip with everything, the first utterance of its split and video."""
    return predictor(VALID[0], sample.videos[VALID[0]], sample.texts[VALID[0]])


# ------------------------------------------------------------------------------------- the pipeline's numbers
def test_a_clip_gets_the_prediction_that_training_wrote(sample: SampleRuns, first: Any) -> None:
    assert [one.method for one in first.outcomes] == [*METHODS, "misr"]
    for one in first.outcomes:
        written = pq.read_table(sample.folder / "runs" / one.run / "valid.predictions.parquet").to_pydict()
        truth = dict(zip(written["clip_id"], written["prediction"], strict=True))[VALID[0]]
        assert one.scores == pytest.approx([truth], abs=1e-6)


def test_a_clip_gets_the_sequences_of_the_assembled_set(
    sample: SampleRuns, predictor: Predictor, first: Any
) -> None:
    run = predictor.runs[0]
    rows = {name: first.features.rows[entry["fingerprint"]] for name, entry in run.needed.items()}
    columns = {name: sample.features[name].meta["column_names"] for name in rows}
    inputs = inputs_of(run, VALID[0], rows, columns, first.features.spoken)
    (stored,) = pq.read_table(
        sample.assembled() / "valid.parquet", filters=[("clip_id", "=", VALID[0])]
    ).to_pylist()
    for modality in ("text", "audio", "visual"):
        values = inputs.sequences[modality]
        assert values is not None
        assert np.array_equal(values, np.array(stored[modality], np.float32))


def test_fine_tuned_text_needs_no_features_of_it(sample: SampleRuns) -> None:
    folder = sample.run("misr", text="finetune", max_tokens=20)
    predictor = Predictor.open([folder], Params())
    assert {encoder.modality for encoder in predictor.encoders.values()} == {"audio", "visual"}
    clip = predictor(VALID[1], sample.videos[VALID[1]], sample.texts[VALID[1]])
    written = pq.read_table(folder / "valid.predictions.parquet").to_pydict()
    truth = dict(zip(written["clip_id"], written["prediction"], strict=True))[VALID[1]]
    assert clip.value == pytest.approx(truth, abs=1e-6)
    assert set(clip.contributions) == {"text", "audio", "visual"}
    long = predictor(VALID[1], sample.videos[VALID[1]], "word " * 30)
    assert "32 tokens, but the run reads at most 20" in str(long.cautions)


def test_classes_have_the_probabilities_that_training_wrote(sample: SampleRuns) -> None:
    runs = [sample.run("misr", classes=True), sample.run("misr", seed=2, classes=True)]
    clip = Predictor.open(runs, Params())(VALID[0], sample.videos[VALID[0]], sample.texts[VALID[0]])
    written = [pq.read_table(run / "valid.predictions.parquet").to_pydict() for run in runs]
    place = written[0]["clip_id"].index(VALID[0])
    mean = np.mean([table["probability"][place] for table in written], axis=0)
    assert clip.scores == pytest.approx(mean, abs=1e-6)
    assert clip.class_index == mean.argmax() and clip.value == pytest.approx(mean.max(), abs=1e-6)
    own = [table["probability"][place][clip.class_index] for table in written]
    assert clip.sd == pytest.approx(statistics.stdev(own), abs=1e-6)
    parts = [mean for mean, _ in clip.contributions.values()]
    assert sum(parts) == pytest.approx(clip.value - clip.baseline, abs=1e-6)
    assert 0 < clip.baseline < 1


@pytest.mark.shared
def test_speech_is_recognised_on_the_way(
    sample: SampleRuns, shared: Path, cli: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a clip without a text to its words and a score, by the real Whisper base."""
    monkeypatch.setenv("COLUMNS", "200")
    clip = shared / "clips/speech/en_pexels_jfk.mp4"
    run, model = sample.run("text_only"), real_model("whisper-base-hf")
    code, told = cli("predict", "--video", clip, "--run", run, "--asr", model)
    assert code == 0
    assert "asr:whisper-base-hf: my fellow Americans." in told
    assert re.search(r"text_only\W+1\W+-?\d\.\d{3}", told)


def test_the_text_alone_needs_no_sound_and_no_face(sample: SampleRuns) -> None:
    folder = sample.run("text_only")
    predictor = Predictor.open([folder], Params())
    assert {encoder.modality for encoder in predictor.encoders.values()} == {"text"}
    video = sample.videos[VALID[0]]
    clip = predictor(VALID[0], video, sample.texts[VALID[0]])
    written = pq.read_table(folder / "valid.predictions.parquet").to_pydict()
    truth = dict(zip(written["clip_id"], written["prediction"], strict=True))[VALID[0]]
    assert clip.value == pytest.approx(truth, abs=1e-6)
    wordless = predictor("wordless", video)
    assert not wordless.outcomes and "text" in wordless.reason


def test_methods_show_their_own_weights(first: Any) -> None:
    shown = first.internals
    assert set(shown) == {"misr", "khar", "cmir", "mird"}
    assert sum(shown["misr"]["weight"].values()) == pytest.approx(1, abs=1e-5)
    assert sum(shown["mird"]["length"].values()) == pytest.approx(1)
    for modality in ("text", "audio", "visual"):
        assert sum(shares[modality] for shares in shown["khar"].values()) == pytest.approx(1, abs=1e-5)
        assert 0 < shown["cmir"]["invariant"][modality] < 1


def test_the_spread_is_the_sample_deviation_over_the_runs(first: Any) -> None:
    scores = [float(one.scores[0]) for one in first.outcomes]
    assert first.value == pytest.approx(statistics.fmean(scores))
    assert first.sd == pytest.approx(statistics.stdev(scores))
    seeds = [score for score, one in zip(scores, first.outcomes, strict=True) if one.method == "misr"]
    assert first.methods["misr"] == pytest.approx((statistics.fmean(seeds), statistics.stdev(seeds), 2))
    assert first.methods["khar"][1] is None


# -------------------------------------------------------------------------------------------------- the sound
def test_a_method_of_sound_gets_the_samples_and_an_empty_context(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = SLaDSettings(audio="finetune", waveform_seconds=0.02, **{**tiny_slad.TINY, "context": 2})
    method = SLaD(config, {"text": DIMS["text"]}, Task(), {"audio": tiny_slad.tiny_sound_encoder()}).eval()
    stats = {"modalities": {"text": {"dim": DIMS["text"], "max_steps": 5}}, "waveform": {"fingerprint": "w"}}
    facts = {"method": "slad", "stats": stats, "train": {"precision": "fp32"}}
    train = pa.table({"prediction": pa.array([0.5, 1.5], pa.float32())})
    pq.write_table(train, tmp_path / "train.predictions.parquet")
    run = TrainedRun(tmp_path, facts, method, torch.device("cpu"))
    assert set(run.needed) == {"text", "waveform"}
    sound = np.arange(-200, 200, dtype=np.int16) * 100
    inputs = ClipInputs("a", {"text": np.ones((3, DIMS["text"]), np.float32)}, sound=sound)
    batch = batch_of(run, inputs)
    assert batch.waveform is not None and batch.context is not None and batch.context.waveform is not None
    assert torch.equal(batch.waveform.values[0], torch.from_numpy(sound[:320] / 32_768).float())
    assert not batch.context.waveform.present.any() and not batch.context.text.present.any()
    assert inputs.present == ("text", "audio")
    found = outcome(run, inputs, "run")
    deaf = outcome(run, replace(inputs, sound=None), "run")
    mute = outcome(run, replace(inputs, sequences={"text": None}), "run")
    assert found.baseline == 1.0 and set(deaf.contributions) == {"text"}
    half = (found.scores - deaf.scores + mute.scores - found.baseline) / 2
    assert found.contributions["audio"] == pytest.approx(half, abs=1e-6)

    words, quiet = np.full((2, DIMS["text"]), 2, np.float32), ClipInputs("c", {"text": None}, sound=sound[:9])
    earlier = (ClipInputs("0", {"text": words}), ClipInputs("b", {"text": words}, sound=sound), quiet)
    context = batch_of(run, replace(inputs, before=earlier)).context
    assert context is not None and context.waveform is not None and context.text is not None
    said = np.concatenate([sound, sound[:9]])[-320:]  # the end of the last two
    assert torch.equal(context.waveform.values[0], torch.from_numpy(said / 32_768).float())
    assert torch.equal(context.text.values[0], torch.full((2, DIMS["text"]), 2.0))


# --------------------------------------------------------------------------------------------------- encoders
def changed(run: Path, target: Path, change: Any) -> Path:
    """A copy of a run whose config.json is changed."""
    shutil.copytree(run, target)
    config = json.loads((target / "config.json").read_text())
    change(config["stats"])
    (target / "config.json").write_text(json.dumps(config))
    return target


def test_features_that_cannot_be_made_are_listed(sample: SampleRuns, tmp_path: Path) -> None:
    def change(stats: dict[str, Any]) -> None:
        modalities = stats["modalities"]
        modalities["text"]["provenance"]["model"] = "0" * 64
        modalities["text"]["fingerprint"] = "t"
        modalities["audio"] |= {"fingerprint": "a", "provenance": {"params": {"file": "unaligned_39.pkl"}}}
        del modalities["visual"]["provenance"]["params"]["max_faces"]
        modalities["visual"]["fingerprint"] = "v"

    runs = open_runs([changed(sample.run("misr"), tmp_path / "foreign", change)])
    with pytest.raises(MsaError) as raised:
        make_encoders(runs, Params(), "cpu")
    message = str(raised.value)
    assert raised.value.exit_code == 2
    assert "3 kind(s) of features cannot be made here" in message
    assert "text 'minilm'" in message and "the model here is" in message
    assert "audio 'librosa33'" in message and "imported" in message
    assert "visual 'facemesh'" in message and "now gives other numbers (params" in message


def test_a_missing_extra_is_named(sample: SampleRuns, tmp_path: Path) -> None:
    def change(stats: dict[str, Any]) -> None:
        visual = stats["modalities"]["visual"]
        visual["encoder"] = "openface"
        visual["provenance"]["params"] = {"kind": "openface"}

    runs = open_runs([changed(sample.run("misr"), tmp_path / "openface", change)])
    with pytest.raises(
        MsaError, match=r"visual 'openface'.*FeatureExtraction of OpenFace is not on the PATH"
    ):
        make_encoders(runs, Params(), "cpu")


def test_other_code_and_library_versions_are_remarks(sample: SampleRuns, tmp_path: Path) -> None:
    def change(stats: dict[str, Any]) -> None:
        audio, visual = stats["modalities"]["audio"], stats["modalities"]["visual"]
        audio["provenance"]["libraries"]["librosa"] = "0.1"
        visual["provenance"]["code"] = "0" * 64
        audio["fingerprint"], visual["fingerprint"] = "older", "other"

    runs = open_runs([changed(sample.run("misr"), tmp_path / "older", change), sample.run("cmir")])
    encoders, remarks = make_encoders(runs, Params(), "cpu")
    versions, code = sorted(remarks)
    assert "made with other library versions (librosa 0.1 then" in versions and "code" not in versions
    assert "visual" in code and "made with other code; numbers may differ" in code
    assert {"older", "other"} <= encoders.keys() and len(encoders) == 5  # text is shared


def test_a_model_on_a_hub_is_that_of_the_run(sample: SampleRuns, tmp_path: Path) -> None:
    """Its commit is in the identity: what params say today does not count."""
    from pipeline.predict.encoders import rebuild

    text = json.loads((sample.run("misr") / "config.json").read_text())["stats"]["modalities"]["text"]
    commit = "a" * 40
    text["provenance"]["model"] = f"en=some/bert@{commit}, zh=other/bert@{commit}"
    encoder = rebuild("text", text, Params())
    assert encoder.params.checkpoints() == {"en": ("some/bert", commit), "zh": ("other/bert", commit)}
    assert encoder.params.max_length == text["provenance"]["params"]["max_length"]


# --------------------------------------------------------------------------------------------------- cautions
def row(features: np.ndarray | None, note: str = "", status: str = OK) -> FeatureRow:
    return FeatureRow("a", "", status, note, features)


def test_cautions_of_rows() -> None:
    faces = np.array([[1.0, 1.0]] * 6 + [[0.0, 0.0]] * 4)
    columns = {"visual": ["confidence", "success"], "audio": ["x"], "text": ["x"]}

    def kinds(**rows: FeatureRow) -> list[tuple[str, str]]:
        return [(one.kind, one.message) for one in cautions.of_rows(rows, columns)]

    note = "no face in 4 of 10 frames; 2 faces in 1 of 10 frames"
    assert kinds(visual=row(faces, note)) == [
        ("no_face", "no face found in 40% of the frames"),
        ("note", "2 faces in 1 of 10 frames"),
    ]
    assert kinds(visual=row(faces[:9], "no face in 3 of 9 frames")) == [("note", "no face in 3 of 9 frames")]
    sound = row(np.zeros((2, 1)), "silent (RMS -90 dBFS, below -60)")
    assert kinds(audio=sound)[0][0] == "silent"
    assert kinds(audio=row(None, "no audio track", ABSENT)) == [("absent", "absent: no audio track")]


def test_cautions_of_a_run(predictor: Predictor) -> None:
    run = predictor.runs[0]
    scaled = run.entries["audio"]["columns"]
    far = np.zeros((20, len(scaled)), np.float32)
    far[:, 1] = -10.0
    inputs = ClipInputs("a", {"text": np.zeros((20, 384), np.float32), "audio": far, "visual": None})
    rows = {"text": row(np.zeros((31, 384))), "audio": row(np.zeros((99, 33)))}
    said = Transcript("a", None, None, None, "en", "some words")
    found = {one.kind: one for one in cautions.of_run(run, inputs, rows, said)}
    assert set(found) == {"long_text", "out_of_range"}
    assert "31 tokens, but the run was trained on at most 20" in found["long_text"].message
    share = 1 / len(scaled)
    assert f"{share:.0%} of its values ({scaled[1]})" in found["out_of_range"].message
    far[:, 1] = -9.9
    assert [one.kind for one in cautions.of_run(run, inputs, rows, said)] == ["long_text"]
    slad = predictor.runs[METHODS.index("slad")]
    assert "1 utterance(s)" in str(cautions.of_run(slad, inputs, rows, said))
