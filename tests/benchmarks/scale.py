"""Memory and time of a large set, each step in a process of its own: `python scale.py FOLDER CLIPS`.

Makes a store of clips of 8 s with 50 frames of 768 float16 a second, as HuBERT gives them (614 kB a clip),
assembles them to 50 steps (154 kB), trains one epoch of the tests' small method on that, and predicts the
test split. Prints JSON: step -> `s`, `cpu_s`, `peak_mb` (the most memory that its process ever had). FOLDER
needs about a megabyte a clip, and is empty afterwards.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from import_memory import peak_mb

FRAMES, WIDTH, STEPS = 400, 768, 50
CLIPS_A_SHARD = 400  # 246 MB, as docs/scale.md asks
SPLITS = ("train", "train", "train", "train", "train", "train", "train", "valid", "test", "test")
FOLDER_OF = {"audio": "big/audio-hubert"}


def clip_ids(clips: int) -> list[str]:
    return [f"v{i // 10:06d}$_${i % 10}" for i in range(clips)]


def make(folder: Path, clips: int) -> None:
    """The store. A clip's frames are a piece of one random array, so that making them costs little."""
    import numpy as np

    from pipeline.store.shard import FeatureRow, write_rows
    from pipeline.store.store import bucket_of, shard_name

    random = np.random.default_rng(0)
    pool = random.standard_normal((50 * FRAMES, WIDTH), np.float32).astype(np.float16)
    meta = {
        "modality": "audio",
        "encoder": "hubert",
        "dim": WIDTH,
        "dtype": "float16",
        "column_names": [f"h_{i}" for i in range(WIDTH)],
        "fingerprint": "f",
        "frame_rate": 50.0,
    }
    times = (np.arange(FRAMES) / 50).astype(np.float32)
    shards = -(-clips // CLIPS_A_SHARD)
    members: list[list[str]] = [[] for _ in range(shards)]
    for clip_id in clip_ids(clips):
        members[bucket_of(clip_id, shards)].append(clip_id)
    for number, names in enumerate(members):
        starts = random.integers(0, len(pool) - FRAMES, len(names))
        rows = [
            FeatureRow(name, "s", "ok", "", pool[start : start + FRAMES], times)
            for name, start in zip(names, starts, strict=True)
        ]
        write_rows(folder / "store" / shard_name(number), rows, meta)


def assemble(folder: Path, clips: int) -> None:
    import pyarrow as pa

    from pipeline.corpora.clips import METADATA_KEY, ClipFacts, clip_table
    from pipeline.datasets.assembly.assemble import assemble as join
    from pipeline.params.assemble import AssembleParams
    from pipeline.store.store import FeatureStore

    ids = clip_ids(clips)
    table = clip_table(
        {"clip_id": name, "video_id": name[:7], "split": SPLITS[i % 10], "label": (i % 7) - 3.0}
        | {"language": "en", "status": "ok"}
        for i, name in enumerate(ids)
    )
    table = table.replace_schema_metadata({METADATA_KEY: ClipFacts("big", "en", (-3.0, 3.0)).to_json()})
    said = pa.table({"clip_id": ids, "text": ["what somebody says in eight seconds"] * clips})
    params = AssembleParams.model_validate({"dataset": "big", **FOLDER_OF, "max_steps": {"audio": STEPS}})
    join(table, said, {"audio": FeatureStore(folder / "store")}, params, folder / "set", "big")


def train(folder: Path, clips: int) -> None:
    from models import METHODS, MethodEntry
    from pipeline.params.params import TrainParams
    from pipeline.params.run import RunConfig
    from pipeline.training.loop.train import train as learn

    METHODS["tiny"] = MethodEntry("made.tiny_set")
    run = {"method_name": "tiny", "dataset": "big", "seed": 1, "assembled": folder / "set"}
    run |= {"pretrained": folder / "pretrained", "out": folder / "run"}
    run |= {"method_params": {"training": {"epochs": 1}}, "train_params": TrainParams()}
    learn(RunConfig.model_validate(run), device="cpu", state_root=folder / "state", logs=folder / "logs")


def evaluate(folder: Path, clips: int) -> None:
    import torch

    from models import METHODS, MethodEntry
    from pipeline.datasets.training_set import TrainingSet
    from pipeline.training.loop.scoring import predict
    from pipeline.training.runs import load_method, read_config

    METHODS["tiny"] = MethodEntry("made.tiny_set")
    method = load_method(folder / "run", read_config(folder / "run"))
    test = TrainingSet.load(folder / "set", method.reading(), only=("train", "test")).splits["test"]
    with torch.no_grad():
        assert len(predict(method, test)) == len(test)


def main() -> None:
    folder, clips, *rest = Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
    steps = {step.__name__: step for step in (make, assemble, train, evaluate)}
    if rest:
        start, cpu = time.perf_counter(), time.process_time()
        steps[rest[0]](folder, clips)
        used = {"s": time.perf_counter() - start, "cpu_s": time.process_time() - cpu, "peak_mb": peak_mb()}
        print(json.dumps({name: round(value, 1) for name, value in used.items()}))
        return
    found: dict[str, Any] = {"clips": clips}
    for step in steps:
        done = subprocess.run([sys.executable, *sys.argv, step], stdout=subprocess.PIPE, check=True)
        found[step] = json.loads(done.stdout.splitlines()[-1])
        if step == "assemble":
            found["store_mb"], found["set_mb"] = (
                round(sum(file.stat().st_size for file in (folder / part).iterdir()) / 1e6)
                for part in ("store", "set")
            )
            shutil.rmtree(folder / "store")
    shutil.rmtree(folder)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
