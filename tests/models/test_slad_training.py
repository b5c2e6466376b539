"""SLaD in the whole path: fine-tuned sound, context and results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made.tiny_models import save_tiny_hubert
from made.tiny_set import COUNTS, write_tiny_set
from made.tiny_slad import TINY

from models.slad.model import SLaDSettings
from pipeline.core.errors import ParamsError
from pipeline.core.paths import result_files
from pipeline.evaluation.evaluate import evaluate
from pipeline.params.params import TrainParams
from pipeline.params.run import RunConfig
from pipeline.training.loop.train import train
from pipeline.training.runs import encoder_identities


def test_a_run_on_the_sound_says_which_encoders_it_fine_tuned(tmp_path: Path) -> None:
    """From the assembled set to the results, with context; other weights in the folder are another run."""
    sound = save_tiny_hubert(tmp_path / "hubert")
    settings = {**TINY, "audio": "finetune", "audio_backbone": str(sound), "context": 2}
    settings |= {"waveform_seconds": 0.05, "training": {"epochs": 1}}
    folder = write_tiny_set(tmp_path / "set", dims={"text": 6, "visual": 3})
    for split, count in COUNTS.items():
        samples = [[(7 * i * j) % 999 for j in range(900)] for i in range(count)]
        ids = pq.read_table(folder / f"{split}.parquet")["clip_id"]
        waveform = pa.array(samples, pa.list_(pa.int16()))
        pq.write_table(pa.table({"clip_id": ids, "waveform": waveform}), folder / f"{split}.waveform.parquet")
    stats = json.loads((folder / "stats.json").read_text())
    (folder / "stats.json").write_text(json.dumps({**stats, "waveform": {"sample_rate": 16_000}}))

    def config(name: str) -> dict[str, Any]:
        where = {"state_root": tmp_path / "state", "logs": tmp_path / "logs"}
        run = tmp_path / name
        train(
            RunConfig(
                method_name="slad",
                dataset="tiny",
                seed=1,
                method_params=settings,
                train_params=TrainParams(),
                assembled=folder,
                pretrained=tmp_path,
                out=run,
            ),
            device="cpu",
            **where,
        )
        found: dict[str, Any] = json.loads((run / "config.json").read_text())
        return found

    first = config("run")
    files = result_files("slad", "tiny", 1, tmp_path / "results")
    result = evaluate(tmp_path / "run", folder, files, "mmsa", device="cpu")
    assert result["features"] == {"text": "text-enc", "audio": f"{sound} (fine-tuned)"}
    save_tiny_hubert(sound, seed=1)
    assert config("other")["encoders"].keys() == {"audio"}
    assert config("other")["encoders"] != first["encoders"]


def test_an_encoder_from_a_hub_is_pinned() -> None:
    unpinned = SLaDSettings(audio="finetune", audio_backbone="org/sound")
    with pytest.raises(ParamsError, match=r"models\.slad\.base\.audio_revision: .*None, expected a commit"):
        encoder_identities("slad", unpinned)
    pinned = unpinned.model_copy(update={"audio_revision": "a" * 40})
    assert encoder_identities("slad", pinned) == {"audio": f"org/sound@{'a' * 40}"}
