"""A corpus of small clips in a project's folder, with a clip table and a training set of sound and texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from made import media_factory
from made.stored import assemble

from pipeline.core.errors import AbsentError
from pipeline.core.paths import assembled_folder, clip_table, transcript_table
from pipeline.corpora.clips import ClipFacts, full_id, write_clips
from pipeline.corpora.clips import clip_table as as_table
from pipeline.features.audio.sound import clip_sound
from pipeline.features.encoder import Clip, Encoded, Encoder
from pipeline.features.rows import EncodingTask, encode_row, footer
from pipeline.params.params import Params, TrainParams
from pipeline.params.run import RunConfig
from pipeline.store.shard import Features
from pipeline.training.loop.train import train
from pipeline.training.runs import TrainedRun, open_runs
from pipeline.transcripts.table import TRANSCRIPTS, write_transcripts

SPLITS = {"train": 8, "valid": 2, "test": 4}
BEFORE = "test0$_$0"  # a clip of the split `context`, before one of the test split
NAME = "made"
ASSEMBLED = assembled_folder(NAME)
SAID = "so so so so so"  # in every clip: a word each tenth of a second


class Loudness(Encoder):
    """Loudness and zero crossings of every 20 ms: an encoder of sound that costs nothing."""

    modality = "audio"
    LIBRARIES = ("numpy",)
    column_names: ClassVar[list[str]] = ["rms", "crossings"]

    def load(self) -> None:
        """There is nothing to load."""

    def encode(self, clip: Clip) -> Encoded:
        sound, note = clip_sound(clip, self.limits, 16_000)
        blocks = sound[: len(sound) // 320 * 320].reshape(-1, 320)
        rms = np.sqrt(np.square(blocks).mean(axis=1))
        crossings = (np.diff(np.sign(blocks), axis=1) != 0).mean(axis=1)
        times = (np.arange(len(blocks)) + 0.5) * 0.02
        return Encoded(np.stack([rms, crossings], axis=1).astype(np.float32), times.astype(np.float32), note)


class Letters(Encoder):
    """A row a word, its place and its length: an encoder of text that costs nothing."""

    modality = "text"
    LIBRARIES = ("numpy",)
    column_names: ClassVar[list[str]] = ["place", "letters"]

    def load(self) -> None:
        """There is nothing to load."""

    def encode(self, clip: Clip) -> Encoded:
        if not clip.text:
            raise AbsentError("no transcript")
        words = clip.text.split()
        ends = np.cumsum([len(word) + 1 for word in words]).astype(np.int32) - 1
        lengths = np.array([len(word) for word in words], np.int32)
        rows = np.stack([np.arange(len(words)), lengths], axis=1).astype(np.float32)
        return Encoded(rows, token_ids=lengths, char_start=ends - lengths, char_end=ends)


def media_params(root: Path) -> Params:
    """Of a project whose one corpus is this one."""
    return Params.model_validate(
        {
            "datasets": {NAME: {"kind": "mmsa", "root": str(root), "task": "regression"}},
            "audio": {"sound": {"kind": "waveform16k"}},  # has no settings either
            "text": {"letters": {"kind": "hf"}},
            "assemble": {
                NAME: {
                    **{"dataset": NAME, "text": f"{NAME}/text-letters", "audio": f"{NAME}/audio-sound"},
                    **{"visual": "none", "waveform": "none", "max_steps": {"audio": 20}, "metrics": "mmsa"},
                }
            },
            "shards": 2,
        }
    )


def make_media_corpus(project: Path) -> Params:
    """Clips of half a second, each a video of its own and a tone of its own, and what is made of them.

    Texts are said to be recognised. One clip is of the split `context`.
    """
    root = project / "corpus"
    root.mkdir()
    rows: list[dict[str, Any]] = []
    for split, count in SPLITS.items():
        for number in range(count):
            video = f"{split}{number}"
            sound = media_factory.tone(200 + 40 * len(rows), 0.5, 16_000, 0.1 + 0.02 * number)
            media_factory.make_clip(root / f"{video}.mkv", times=np.arange(12) / 24, sound=sound)
            rows.append(
                {
                    **{"clip_id": full_id(video, "1"), "video_id": video, "split": split, "language": "en"},
                    **{"path": f"{video}.mkv", "sha256": video, "label": float(number - 2), "status": "ok"},
                    **{"position": 1},
                }
            )
    said_before = {"clip_id": BEFORE, "video_id": "test0", "split": "context", "label": None, "position": 0}
    rows.append({**rows[-1], **said_before})
    params = media_params(root)
    table = as_table(rows)
    facts = ClipFacts(NAME, "en", (-3.0, 3.0))
    write_clips(table, project / clip_table(NAME), facts)
    encoder = audio_encoder(params)
    letters = text_encoder(params)
    clips = [Clip(row["clip_id"], root / row["path"], text=SAID) for row in rows]
    made = {clip.clip_id: encode_row(encoder, EncodingTask(clip, "")) for clip in clips}
    spelt = {clip.clip_id: encode_row(letters, EncodingTask(clip, "")) for clip in clips}
    known = {"text": SAID, "language": "en", "source": "asr:stub"}
    transcripts = pa.Table.from_pylist([{"clip_id": name, **known} for name in sorted(made)], TRANSCRIPTS)
    (project / transcript_table(NAME)).parent.mkdir(parents=True)
    write_transcripts(transcripts, project / transcript_table(NAME))
    assemble(
        table.replace_schema_metadata({b"msa.dataset": facts.to_json()}),
        transcripts,
        {"audio": Features(footer(encoder), made), "text": Features(footer(letters), spelt)},
        params.assemble[NAME],
        project / ASSEMBLED,
        NAME,
    )
    return params


def audio_encoder(params: Params) -> Encoder:
    return Loudness("sound", params.encoder("audio", "sound"), params.media)


def text_encoder(params: Params) -> Encoder:
    return Letters("letters", params.encoder("text", "letters"), params.media)


def trained(method: str, settings: dict[str, Any]) -> TrainedRun:
    out = Path(f"runs/{method}-made/1")
    train(
        RunConfig(
            method_name=method,
            dataset=NAME,
            seed=1,
            method_params={**settings, "training": {"epochs": 2}},
            train_params=TrainParams(),
            assembled=ASSEMBLED,
            pretrained=Path("none"),
            out=out,
        ),
        device="cpu",
        state_root=Path("state"),
        logs=Path("logs"),
    )
    return open_runs([out])[0]


def encoders_of(runs: list[TrainedRun], params: Params, device: str) -> tuple[dict[str, Encoder], list[str]]:
    encoders = audio_encoder(params), text_encoder(params)
    return {encoder.fingerprint: encoder for encoder in encoders}, ["as the encoders say"]
