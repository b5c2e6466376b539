"""One row a clip: statistics by hand of what the encoder gives, of every modality; what the row says."""

from __future__ import annotations

import json
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from made.media_factory import make_clip
from made.tiny_audio import CONFIGS, RATE, noise, save_all
from made.tiny_models import save_tiny_bert

from pipeline.core.errors import AbsentError, ClipError, ParamsError
from pipeline.features.encoder import BatchEncoder, Clip, Encoded, Encoder
from pipeline.features.pooling import PooledEncoder
from pipeline.features.registry import REGISTRY, build_encoder
from pipeline.features.rows import EncodingTask, encode_row, footer
from pipeline.params.encoders import (
    FaceMeshParams,
    Librosa33Params,
    OpenFaceParams,
    TransformerAudio,
    TransformerText,
)
from pipeline.params.params import MediaLimits, Params, check_params
from pipeline.params.register import VISUAL_COLUMNS
from pipeline.store.shard import read_rows, write_rows

LIMITS = MediaLimits()
TEXT = "It was really good, you liked the movie"
NOT_POOLED = {"facecrops", "waveform16k"}  # pixels and samples


class Given(Encoder):
    """Gives what it was given."""

    modality = "visual"
    LIBRARIES = ("numpy",)
    column_names: list[str] = []  # noqa: RUF012  (each has its own)

    def __init__(self, names: list[str], encoded: Encoded):
        super().__init__("given", FaceMeshParams(), LIMITS)
        self.column_names, self._encoded = names, encoded

    def load(self) -> None:
        pass

    def encode(self, clip: Clip) -> Encoded:
        return self._encoded


def expected(values: np.ndarray, pool: str) -> np.ndarray:
    """Statistics as the table of pooling.py says, of (n, D) real frames."""
    n, values = len(values), values.astype(np.float64)
    mean = values.sum(axis=0) / n
    if pool == "mean_std":
        return np.concatenate([mean, np.sqrt(((values - mean) ** 2).sum(axis=0) / n)])
    return {"mean": mean, "max": np.sort(values, axis=0)[-1], "last": values[n - 1]}[pool]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def hubert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_all(tmp_path_factory.mktemp("models"))[next(iter(CONFIGS))]


def built(modality: str, params: Any) -> Encoder:
    encoder = build_encoder(modality, "mine", params, LIMITS)
    encoder.load()
    return encoder


# ---------------------------------------------------------------------------------------------------- numbers
@given(
    values=arrays.arrays(
        np.float32, st.tuples(st.integers(1, 9), st.just(3)), elements=st.floats(-9, 9, width=32)
    ),
    faces=st.lists(st.booleans(), min_size=9, max_size=9),
    pool=st.sampled_from(["mean", "mean_std", "max"]),
)
def test_frames_with_a_face_count_and_no_others(values: np.ndarray, faces: list[bool], pool: str) -> None:
    seen = np.array(faces[: len(values)])
    features = np.column_stack([values[:, 0], seen, values[:, 1:]]).astype(np.float32)
    times = np.arange(1, len(values) + 1, dtype=np.float32) / 10
    pooled = PooledEncoder(
        Given(["confidence", "success", "x", "AU12"], Encoded(features, times, "note")), pool
    )
    row = pooled.encode(Clip("a"))
    assert row.features.shape == (1, pooled.dim) and row.features.dtype == np.float32 == np.dtype(
        pooled.dtype
    )
    assert pooled.column_names[0] == "success" and row.features[0, 0] == seen.any()
    wanted = expected(values[seen], pool) if seen.any() else np.zeros(pooled.dim - 1)
    np.testing.assert_allclose(row.features[0, 1:], wanted, rtol=1e-5, atol=1e-6)
    assert row.times is not None and row.times.dtype == np.float32
    np.testing.assert_allclose(row.times, [(times[0] + times[-1]) / 2])
    assert row.note == "note"


def test_names_say_what_they_are() -> None:
    frames = Given(["confidence", "success", "AU12"], Encoded(np.zeros((1, 3), np.float32)))
    assert PooledEncoder(frames, "mean_std").column_names == [
        *("success", "confidence_mean", "AU12_mean", "confidence_std", "AU12_std"),
    ]
    assert PooledEncoder(frames, "max").column_names == ["success", "confidence_max", "AU12_max"]
    names = build_encoder("visual", "mine", FaceMeshParams(pool="mean"), LIMITS).column_names
    assert all(any(fnmatchcase(name, pattern) for name in names) for pattern in VISUAL_COLUMNS)
    without = build_encoder("visual", "mine", OpenFaceParams(groups="openface709", pool="mean"), LIMITS)
    assert without.dim == 709 and "success" not in without.column_names, "it has no such column"


@pytest.mark.parametrize("unit", ["token", "word"])
@pytest.mark.parametrize("pool", ["mean", "mean_std", "max", "last"])
def test_text_pools_real_tokens(bert: Path, unit: str, pool: str) -> None:
    frames = built("text", TransformerText(model=str(bert), unit=unit)).encode(Clip("a", text=TEXT))
    pooled = built("text", TransformerText(model=str(bert), unit=unit, pool=pool))
    assert isinstance(pooled, BatchEncoder)
    row = pooled.encode(Clip("a", text=TEXT))
    real = frames.features if unit == "word" else frames.features[1:-1]  # between [CLS] and [SEP]
    np.testing.assert_allclose(row.features[0], expected(real, pool), rtol=1e-5, atol=1e-6)
    assert row.times is None and row.token_ids is None
    assert row.char_start is not None and row.char_end is not None
    assert (row.char_start.tolist(), row.char_end.tolist()) == ([0], [len(TEXT)])
    with pytest.raises(AbsentError):
        pooled.encode(Clip("a", text=" "))


@pytest.mark.parametrize("kind", ["hf_audio", "librosa33"])
def test_sound_pools_all_frames(hubert: Path, tmp_path: Path, kind: str) -> None:
    def params(**pool: str) -> Any:
        return (
            Librosa33Params(f0="zcr", **pool)
            if kind == "librosa33"
            else TransformerAudio(model=str(hubert), **pool)
        )

    sound = make_clip(tmp_path / "a.wav", sound=noise(8_000), rate=RATE, audio_codec="pcm_s16le")
    frames = built("audio", params()).encode(Clip("a", sound))
    encoder = built("audio", params(pool="mean_std"))
    row = encoder.encode(Clip("a", sound))
    np.testing.assert_allclose(row.features[0], expected(frames.features, "mean_std"), rtol=1e-5, atol=1e-6)
    assert row.times is not None and frames.times is not None
    assert row.times[0] == pytest.approx(frames.times.mean(), abs=1e-4)
    assert abs(row.times[0] - 0.25) < 0.02, "the clip's middle"
    short = make_clip(tmp_path / "short.wav", sound=noise(300), rate=RATE, audio_codec="pcm_s16le")
    with pytest.raises(ClipError, match="less than one frame"):
        encoder.encode(Clip("a", short))
    mute = make_clip(tmp_path / "mute.mkv", times=[0.0, 0.04])
    assert encode_row(encoder, EncodingTask(Clip("a", mute), "s")).status == "absent"


def test_a_face_that_is_seen_in_some_frames(project: Path, tmp_path: Path) -> None:
    clip = Clip("a", min((project / "data/sample/Raw").rglob("*.mp4")), end_s=0.6)
    frames = built("visual", FaceMeshParams(groups=["aus", "pose"])).encode(clip)
    row = built("visual", FaceMeshParams(groups=["aus", "pose"], pool="mean")).encode(clip)
    assert len(frames.features) > 5 and frames.features[:, 1].all()
    np.testing.assert_allclose(
        row.features[0, 1:],
        expected(frames.features[:, [0, *range(2, frames.features.shape[1])]], "mean"),
        rtol=1e-5,
        atol=1e-6,
    )
    no_face = Clip("b", make_clip(tmp_path / "grey.mkv", times=[0.0, 0.1]))
    seen = built("visual", FaceMeshParams(groups=["aus"], pool="max")).encode(no_face)
    assert not seen.features.any() and seen.note == "no face in any of 2 frames"


# ----------------------------------------------------------------------------------------- batches and bytes
def test_batches_and_neighbours(bert: Path) -> None:
    texts = [TEXT, "good", "bad movie, hated it"]
    encoder = built("text", TransformerText(model=str(bert), pool="mean"))
    assert isinstance(encoder, BatchEncoder)
    alone = [encoder.encode(Clip("a", text=text)).features for text in texts]
    encoder.load_preparer()
    together = encoder.infer([encoder.prepare(Clip("a", text=text)) for text in texts])
    for one, other in zip(alone, together, strict=True):
        assert isinstance(other, Encoded)
        np.testing.assert_allclose(other.features, one, rtol=1e-3, atol=2e-3)
    again = [encoder.encode(Clip("a", text=text)).features for text in reversed(texts)]
    assert [one.tobytes() for one in again[::-1]] == [one.tobytes() for one in alone]


def test_a_file_says_how_it_was_pooled(bert: Path, tmp_path: Path) -> None:
    encoder = built("text", TransformerText(model=str(bert), pool="mean_std"))
    row = encode_row(encoder, EncodingTask(Clip("a", text=TEXT), "source"))
    write_rows(tmp_path / "text.parquet", [row], footer(encoder))
    read = read_rows(tmp_path / "text.parquet")
    assert read.meta["params"]["pool"] == "mean_std" and read.meta["frame_rate"] is None
    assert read.meta["column_names"][:1] == ["h_0_mean"] and read.meta["column_names"][-1] == "h_31_std"
    np.testing.assert_array_equal(read.rows["a"].features, row.features)


def test_the_fingerprint_knows_the_pool_and_its_code(bert: Path) -> None:
    kinds = {
        pool: build_encoder("text", "mine", TransformerText(model=str(bert), pool=pool), LIMITS)
        for pool in ("none", "mean", "max", "last")
    }
    assert len({encoder.fingerprint for encoder in kinds.values()}) == 4
    assert "pool" not in kinds["none"].provenance["params"], "rows from before stay"
    assert kinds["none"].provenance["code"] != kinds["mean"].provenance["code"]
    assert kinds["mean"].model_identity == kinds["none"].model_identity
    assert kinds["mean"].LIBRARIES == kinds["none"].LIBRARIES and not kinds["mean"].needs_media


# --------------------------------------------------------------------------------------------------- settings
def test_every_encoder_but_the_raw_ones_has_the_setting() -> None:
    params = Params()
    for modality, kinds in REGISTRY.items():
        for name, settings in getattr(params, modality).items():
            assert ("pool" in type(settings).model_fields) == (settings.kind not in NOT_POOLED), name
        assert {settings.kind for settings in getattr(params, modality).values()} == set(kinds)


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"audio": {"waveform16k": {"kind": "waveform16k", "pool": "mean"}}}, "'audio.waveform16k.pool'"),
        (
            {"audio": {"librosa33": {"kind": "librosa33", "pool": "last"}}},
            "'none', 'mean', 'mean_std' or 'max'",
        ),
        ({"text": {"minilm": {"pool": "std"}}}, "'mean_std', 'max' or 'last'"),
    ],
)
def test_mistakes(tree: dict[str, Any], said: str) -> None:
    with pytest.raises(ParamsError, match=said):
        check_params(tree, "test")


def test_extract(project: Path, tmp_path: Path, cli: Callable[..., tuple[int, str]]) -> None:
    clip = min((project / "data/sample/Raw").rglob("*.mp4"))
    words = (
        "--visual-encoder",
        "none",
        "--set",
        "text.minilm.pool=mean",
        "--set",
        "audio.librosa33.pool=mean",
    )
    code, said = cli(
        "extract",
        "--video",
        clip,
        "--text",
        TEXT,
        "--out",
        tmp_path / "out",
        *words,
        "--set",
        "audio.librosa33.f0=zcr",
        "--json",
    )
    assert code == 0, said
    frames = {
        one["modality"]: (one["frames"], one["dim"])
        for one in json.loads(said[said.index("[") :])[0]["modalities"]
    }
    assert frames == {"text": (1, 384), "audio": (1, 33)}
