"""A real encoder of the papers' size learns: MPNet, 110 million parameters, on 200 clips of CMU-MOSI."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made.real_models import real_model
from made.tiny_runs import made_run
from made.tiny_set import write_tiny_set

COUNTS = {"train": 200, "valid": 60, "test": 4, "unlabeled": 0}


def mosi_set(folder: Path, labels: Path) -> Path:
    """The first clips of each split: their transcripts and labels."""
    assembled = write_tiny_set(folder, COUNTS)
    with labels.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for split, count in COUNTS.items():
        chosen = [row for row in rows if row["mode"] == split][:count]
        path = assembled / f"{split}.parquet"
        table = pq.read_table(path)
        for name, values in (
            ("transcript", pa.array([row["text"] for row in chosen], pa.string())),
            ("label", pa.array([float(row["label"]) for row in chosen], pa.float32())),
        ):
            table = table.set_column(table.schema.get_field_index(name), name, values)
        pq.write_table(table, path)
    return assembled


@pytest.mark.shared
@pytest.mark.slow
def test_mpnet_learns(shared: Path, tmp_path: Path) -> None:
    """After two epochs it is a tenth better on other clips than the median of the labels."""
    backbone = real_model("all-mpnet-base-v2")
    assembled = mosi_set(tmp_path / "mosi", shared / "datasets/mosi/label.csv")
    run = made_run(
        tmp_path,
        "text_only",
        assembled,
        text="finetune",
        text_backbone=str(backbone),
        max_tokens=50,
        dropout=0.1,
        training={"epochs": 2, "lr_other": 0.001, "lr_backbone": 5e-5, "batch_size": 16},
    )
    labels = {
        split: pq.read_table(assembled / f"{split}.parquet")["label"].to_numpy()
        for split in ("train", "valid")
    }
    median = np.abs(labels["valid"] - np.median(labels["train"])).mean()
    predicted = pq.read_table(run / "valid.predictions.parquet")
    error = np.abs(predicted["prediction"].to_numpy() - predicted["label"].to_numpy()).mean()
    assert error < 0.9 * median
