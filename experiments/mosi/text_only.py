"""The reference of this study: MiniLM fine-tuned on the transcripts alone, the mean of its states, a Linear.

No method of a paper, so it is not in models/: what the five methods add to their text encoder is seen against
it. Trained by the loop of all methods, selected on the validation split; the test split is read once, after.

    python text_only.py      # data/assembled/mosi -> results/text-only/metrics.json, for all seeds
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from models.core.batch import Batch
from models.core.blocks import mean_over_time
from models.core.method import REGRESSION, Method, MethodSettings, Output, Settings, Task, Training
from pipeline.core import paths
from pipeline.core.errors import MsaError
from pipeline.core.files import file_hash, write_json
from pipeline.datasets.training_set import TrainingSet
from pipeline.evaluation.evaluate import summary
from pipeline.evaluation.metrics import METRIC_SETS
from pipeline.params.params import Params, load_params
from pipeline.store.fingerprint import stage_hashes
from pipeline.training.loop.checkpoint import Checkpoint, fingerprint
from pipeline.training.loop.device import open_device, reproducible
from pipeline.training.loop.scoring import predict
from pipeline.training.loop.train import fit, load_splits
from pipeline.training.runs import hashes, library_versions

DATASET, NAME = "mosi", "text-only"
DECIMALS = 6


class Weights(Settings):
    """Of the only term."""

    prediction: float = 1.0


SETTINGS = MethodSettings(
    weights=Weights(),
    training=Training(
        optimizer="adamw",
        lr_backbone=5e-5,
        lr_other=1e-3,  # of the head
        batch_size=32,
        epochs=8,
        weight_decay=0.01,
        warmup=0.1,
        schedule="linear",
        schedule_every="step",
        patience=8,  # epochs, all of them
    ),
    text="finetune",
    text_backbone="minilm",
    max_tokens=50,
)


class TextOnly(Method):
    """Mean over the tokens' last states, one Linear; the only loss is the task's."""

    TERMS = ("prediction",)
    NEEDS = ("text",)
    Config = MethodSettings

    def __init__(
        self,
        config: MethodSettings,
        dims: dict[str, int],
        task: Task = REGRESSION,
        backbones: dict[str, nn.Module] | None = None,
    ):
        super().__init__(config, dims, task, backbones)
        self.head = nn.Linear(self.dims["text"], task.outputs)

    def forward(self, batch: Batch) -> Output:
        text = self.inputs(batch)["text"]
        return Output(self.task.predict(self.head, mean_over_time(text.values, text.mask)))

    def losses(self, batch: Batch, output: Output, terms: Collection[str]) -> dict[str, Tensor]:
        return {"prediction": self.task.loss(output.prediction, batch.label, among=batch.labeled)}


def run(seed: int, params: Params, device: str = "auto") -> dict[str, Any]:
    """Train and score one seed; the result is its entry in what is written."""
    started = time.perf_counter()
    assembled = paths.assembled_folder(DATASET)
    score = METRIC_SETS[params.training_set(DATASET).metrics]
    identity = {
        "method": NAME,
        "seed": seed,
        "params": SETTINGS.model_dump(mode="json"),
        "train": params.train.model_dump(mode="json"),
        "assembled": hashes(assembled, "train.parquet", "valid.parquet"),
        "code": stage_hashes("train", NAME) | {"text_only.py": file_hash(Path(__file__))},
        "libraries": library_versions(),
    }
    place = open_device(device)
    with reproducible(seed, place):
        method = TextOnly(SETTINGS, {})
        checkpoint = Checkpoint(Path(".state") / fingerprint(identity))
        splits = load_splits(assembled, method, place)
        state, _ = fit(place, method, splits, params.train, seed, checkpoint, title=f"{NAME}-{seed}")
        method.load_state_dict(state.best_weights)
        splits |= TrainingSet.load(assembled, method.reading(), place, only=("test",)).splits
        scores = {
            name: score(predict(method, splits[name]), splits[name].label.cpu().numpy())
            for name in ("valid", "test")
        }
    checkpoint.remove()
    took = {"epochs": state.epoch, "seconds": round(time.perf_counter() - started, 3)}
    write_json(took, Path("logs") / f"{NAME}-{seed}.json")
    return {
        "method": NAME,
        "dataset": DATASET,
        "seed": seed,
        "epoch": state.best_epoch,
        "n": {name: len(splits[name]) for name in scores},
        **{name: {key: round(v, DECIMALS) for key, v in found.items()} for name, found in scores.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Train and score MiniLM with a linear head on MOSI's transcripts."
    )
    parser.parse_args()
    try:
        params = load_params()
        runs = [run(seed, params) for seed in sorted(params.seeds)]
    except MsaError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    write_json({**summary(runs), "runs": runs}, Path("results") / NAME / "metrics.json")
    for result in runs:
        print(f"seed {result['seed']}, epoch {result['epoch']}: {result['test']}")


if __name__ == "__main__":
    main()
