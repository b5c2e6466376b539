"""The sound as samples: what went in comes out, in the type and with the reasons that the store wants."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made.media_factory import make_clip, tone
from rich.console import Console

from pipeline.cli.info import describe, render
from pipeline.core.errors import AbsentError, FormatError
from pipeline.core.waveform import SAMPLE_RATE
from pipeline.features.audio.waveform16k import Waveform16k
from pipeline.features.clip import Request
from pipeline.features.clip_extraction import ClipExtractor, extract
from pipeline.features.clip_files import ClipFolders
from pipeline.features.encoder import Clip
from pipeline.features.registry import build_encoder
from pipeline.features.rows import EncodingTask, encode_row, footer
from pipeline.media.decode import waveform
from pipeline.params.encoders import Waveform16kParams
from pipeline.params.params import MediaLimits, Params
from pipeline.store.shard import FeatureRow, read_rows, stream_rows, write_rows
from pipeline.store.store import FeatureStore, shard_name

LIMITS = MediaLimits()


@pytest.fixture
def encoder() -> Waveform16k:
    made = build_encoder("audio", "waveform16k", Waveform16kParams(), LIMITS)
    assert isinstance(made, Waveform16k)
    made.load()
    return made


def wav(folder: Path, sound: np.ndarray, rate: int = SAMPLE_RATE) -> Path:
    return make_clip(folder / "sound.wav", sound=sound, rate=rate, audio_codec="pcm_s16le")


# ------------------------------------------------------------------------------------------------ the samples
def test_sixteen_bits_at_sixteen_kilohertz_stay_as_they_were(encoder: Waveform16k, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-32_768, 32_768, 20_000)
    values[:4] = [-32_768, 32_767, 0, -1]
    path = tmp_path / "noise.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(values.astype("<i2").tobytes())
    encoded = encoder.encode(Clip("a", path))
    assert encoded.features.dtype == np.int16 and encoded.features.shape == (20_000, 1)
    assert encoded.times is None and encoded.note == ""
    np.testing.assert_array_equal(encoded.features[:, 0], values)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled(encoder: Waveform16k, tmp_path: Path, rate: int) -> None:
    found = encoder.encode(Clip("a", wav(tmp_path, tone(440, 1, rate), rate))).features[:, 0]
    assert len(found) == SAMPLE_RATE
    middle = slice(1600, -1600)
    np.testing.assert_allclose(found[middle] / 32_768, tone(440, 1, SAMPLE_RATE)[middle], atol=1e-3)


def test_what_would_alias_is_gone(encoder: Waveform16k, tmp_path: Path) -> None:
    """11 kHz would come out as 5 kHz; soxr HQ takes it 100 dB down, below one level of int16."""
    found = encoder.encode(Clip("a", wav(tmp_path, tone(11_000, 1, 48_000), 48_000))).features[:, 0]
    assert np.abs(found[800:-800]).max() <= 1


def test_loudness_stays(encoder: Waveform16k, tmp_path: Path) -> None:
    for level in (0.9, 0.01):
        found = encoder.encode(Clip("a", wav(tmp_path, tone(300, 0.5, 44_100, level), 44_100))).features
        assert np.abs(found).max() == pytest.approx(32_768 * level, rel=0.01)


def test_window_is_a_cut_and_bytes_repeat(encoder: Waveform16k, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 3 * 44_100).astype(np.float32)
    path = wav(tmp_path, noise, 44_100)
    whole = encoder.encode(Clip("a", path)).features
    cut = encoder.encode(Clip("a", path, start_s=0.5, end_s=2.25)).features
    np.testing.assert_allclose(cut, whole[8_000:36_000], atol=1)  # float32 sums, on either side of a half
    assert encoder.encode(Clip("b", path)).features.tobytes() == whole.tobytes()


def test_silence_and_absence(encoder: Waveform16k, tmp_path: Path) -> None:
    encoded = encoder.encode(Clip("a", wav(tmp_path, np.zeros(8_000, np.float32))))
    assert encoded.note.startswith("silent (RMS -200 dBFS")
    assert not encoded.features.any() and len(encoded.features) == 8_000
    mute = make_clip(tmp_path / "mute.mkv", times=[0.0, 0.04])
    for clip in (Clip("text only"), Clip("a", mute)):
        with pytest.raises(AbsentError):
            encoder.encode(clip)
    row = encode_row(encoder, EncodingTask(Clip("a", mute), "s"))
    assert (row.status, row.features) == ("absent", None)


def test_fingerprint_is_not_librosas_and_names_what_computes(encoder: Waveform16k) -> None:
    assert set(encoder.provenance["libraries"]) == {"av", "numpy", "soxr"}
    renamed = build_encoder("audio", "other", Waveform16kParams(), LIMITS)
    assert renamed.fingerprint == encoder.fingerprint
    assert renamed.fingerprint != build_encoder("audio", "x", Params().audio["librosa33"], LIMITS).fingerprint


@pytest.mark.shared
@pytest.mark.parametrize("name", ["grid/bbaf2n.mpg", "speech/zh_pexels_funasr.mp4", "awkward/vp9_opus.webm"])
def test_real_speech(encoder: Waveform16k, shared: Path, name: str) -> None:
    path = shared / "clips" / name
    found = encoder.encode(Clip("a", path)).features[:, 0]
    exact = waveform(path, LIMITS, sample_rate=SAMPLE_RATE)
    np.testing.assert_allclose(found, np.minimum(exact * 32_768, 32_767), atol=0.51)
    assert 300 < found.astype(float).std() < 12_000


# -------------------------------------------------------------------------------------------------- the files
def test_stored_type_encoding_and_footer(encoder: Waveform16k, tmp_path: Path) -> None:
    clips = {name: wav(tmp_path, tone(hz, 0.3, SAMPLE_RATE)) for name, hz in (("b", 200), ("a", 300))}
    rows = [encode_row(encoder, EncodingTask(Clip(name, path), "s")) for name, path in clips.items()]
    rows.append(FeatureRow("c", "s", "absent", "no audio track"))
    path = tmp_path / "x.parquet"
    write_rows(path, rows, footer(encoder))
    kind = pq.read_schema(path).field("features").type
    assert kind == pa.list_(pa.list_(pa.int16(), 1))
    column = pq.ParquetFile(path).metadata.row_group(0).column(3)
    assert column.path_in_schema == "features.list.element.list.element"
    assert "BYTE_STREAM_SPLIT" in column.encodings and column.compression == "ZSTD"
    assert pq.read_table(path)["times"].to_pylist() == [None] * 3

    read = read_rows(path)
    assert (read.meta["dtype"], read.meta["frame_rate"]) == ("int16", 16_000)
    assert read.meta["column_names"] == ["sample"]
    for row in rows:
        found = read.rows[row.clip_id]
        assert (found.status, found.times) == (row.status, None)
        if row.features is not None:
            assert found.features is not None and found.features.dtype == np.int16
            np.testing.assert_array_equal(found.features, row.features)
    again = tmp_path / "again.parquet"
    write_rows(again, read.rows.values(), read.meta | {"format": 1})
    assert again.read_bytes() == path.read_bytes()


def test_rows_are_streamed_shard_by_shard(
    encoder: Waveform16k, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.store.shard.ROW_GROUP_BYTES", 4_000)
    random = np.random.default_rng(2)
    rows = [
        FeatureRow(f"clip{i:02d}", "s", "ok", "", random.integers(-9, 9, (int(n), 1)).astype(np.int16))
        for i, n in enumerate(random.integers(1, 3_000, 40))
    ]
    for i in range(3):
        write_rows(tmp_path / shard_name(i), rows[i::3], footer(encoder))
    assert pq.ParquetFile(tmp_path / shard_name(0)).num_row_groups > 5
    streamed = list(FeatureStore(tmp_path).stream())
    stored = [*rows[0::3], *rows[1::3], *rows[2::3]]
    assert [row.clip_id for row in streamed] == [row.clip_id for row in stored]
    for found, row in zip(streamed, stored, strict=True):
        np.testing.assert_array_equal(found.features, row.features)
    assert [row.clip_id for row in stream_rows(tmp_path / shard_name(1))] == [r.clip_id for r in rows[1::3]]
    ledger = FeatureStore(tmp_path).ledger()
    assert ledger is not None and set(ledger.rows) == {row.clip_id for row in rows}
    assert all(row.features is None for row in ledger.rows.values())
    assert FeatureStore(tmp_path / "none").ledger() is None
    assert list(FeatureStore(tmp_path / "none").stream()) == []


def test_info_tells_samples_and_seconds(encoder: Waveform16k, tmp_path: Path) -> None:
    blocks = [np.array([[-32_768], [2], [4]], np.int16), np.full((16_000, 1), 7, np.int16)]
    for i, block in enumerate(blocks):
        write_rows(tmp_path / shard_name(i), [FeatureRow(f"c{i}", "s", "ok", "", block)], footer(encoder))
    described = describe(tmp_path)
    values = np.concatenate(blocks).astype(float)
    assert described["frames"] == {"total": 16_003, "shortest": 3, "longest": 16_000}
    assert described["seconds"] == 1.0
    sample = described["columns"]["sample"]
    assert (sample["min"], sample["max"]) == (-32_768, 7)
    assert sample["mean"] == pytest.approx(values.mean()) and sample["sd"] == pytest.approx(values.std())
    json.dumps(described)
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(*render(described))
    text = console.export_text()
    assert all(word in text for word in ("sample", "-32768", "dtype: int16", "frame_rate: 16000.0"))


def test_extract_of_one_clip(tmp_path: Path) -> None:
    """As `msa-cli extract --audio-encoder waveform16k` does, with no other modality and no params.yaml."""
    path = make_clip(tmp_path / "said.mkv", times=[0.0, 0.04], sound=tone(200, 0.5, 16_000))
    encoder = build_encoder("audio", "waveform16k", Params().encoder("audio", "waveform16k"), LIMITS)
    extractor = ClipExtractor({"text": [], "audio": [encoder]}, "en")
    place = ClipFolders(extractor.streams)
    (report,) = extract(place.tasks([Request(path, tmp_path)], {}), lambda: extractor, place)
    (audio,) = report.modalities
    assert (audio.status, audio.frames, audio.dim) == ("ok", 8_000, 1)
    row = read_rows(tmp_path / "audio.parquet").rows["said"]
    assert row.features is not None and row.features.shape == (8_000, 1)


def test_more_frames_than_arrow_counts(encoder: Waveform16k, tmp_path: Path) -> None:
    huge = np.broadcast_to(np.zeros((1, 1), np.int16), (2**30, 1))  # takes no memory
    rows = [FeatureRow(name, "s", "ok", "", huge) for name in ("a", "b")]
    with pytest.raises(FormatError, match=r"2147483648 frames are too many .* raise `shards`"):
        write_rows(tmp_path / "x.parquet", rows, footer(encoder))
