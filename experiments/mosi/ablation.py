"""One row beside a whole method: what ablations.yaml changes in its settings or in the audio, for its seeds.

    python ablation.py misr-without-prior     # -> results/ablations/misr-without-prior.json

The same training, selection and scoring as of the study's own runs; the run folders are not kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from pipeline.core import paths
from pipeline.core.errors import MsaError, ParamsError
from pipeline.core.files import write_json
from pipeline.core.vocabulary import SPLITS
from pipeline.datasets.training_set import read_stats
from pipeline.evaluation.evaluate import evaluate, summary
from pipeline.params.params import ModelParams, load_params
from pipeline.params.run import RunConfig
from pipeline.training.loop.pretrain import pretrain
from pipeline.training.loop.train import train

DATASET = "mosi"
FILE = Path("ablations.yaml")
SEED = 0  # of the permutation, one for all rows


def with_other_audio(assembled: Path, folder: Path, audio: Literal["none", "absent", "permuted"]) -> Path:
    """The training set with another audio, in `folder`; what the three mean is said in ablations.yaml."""
    folder.mkdir()
    rng = np.random.default_rng(SEED)
    for split in SPLITS:
        table = pq.read_table(assembled / f"{split}.parquet")
        number = len(table)
        values, present = table["audio"], table["audio_present"]
        if audio == "permuted":
            chance, order = rng.permutation(number), np.empty(number, np.int64)
            order[chance] = np.roll(chance, 1)  # no clip keeps its own
            values, present = values.take(pa.array(order)), present.take(pa.array(order))
        else:
            values, present = pa.nulls(number, values.type), pa.array(np.zeros(number, np.bool_))
        for name, column in (("audio", values), ("audio_present", present)):
            place = table.schema.get_field_index(name)
            table = table.set_column(place, table.schema.field(place), column)
        pq.write_table(table, folder / f"{split}.parquet")
    stats = read_stats(assembled)
    stats["feature_set"] = hashlib.sha256(f"{stats['feature_set']} {audio}".encode()).hexdigest()
    if audio == "none":
        del stats["modalities"]["audio"]
    write_json(stats, folder / "stats.json")
    return folder


def run(name: str, device: str = "auto") -> dict[str, Any]:
    """Train and score a row; the result, which is also written: means over the seeds, and each of them."""
    tree = YAML(typ="safe").load(FILE.read_text(encoding="utf-8"))
    if name not in tree["ablations"]:
        raise ParamsError(f"{FILE} has no row {name!r} (there are: {', '.join(tree['ablations'])})")
    row, params = tree["ablations"][name], load_params()
    whole = params.model(row["method"], DATASET)
    settings = ModelParams(base=whole, corpora={DATASET: row["set"]}).resolved(DATASET)
    runs = []
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        assembled = paths.assembled_folder(DATASET)
        if "audio" in row:
            assembled = with_other_audio(assembled, place / "assembled", row["audio"])
        for seed in tree["ablation_seeds"]:
            folder = place / f"{name}-{seed}"
            one = RunConfig(
                method_name=row["method"],
                dataset=DATASET,
                seed=seed,
                method_params=settings,
                train_params=params.train,
                assembled=assembled,
                pretrained=place / "pretrained",
                source=assembled,
                out=folder,
            )
            pretrain(one, device=device)
            train(one, device=device)
            metrics = params.training_set(DATASET).metrics
            found = evaluate([folder], assembled, place / "results", metrics, device=device)["runs"][0]
            shutil.rmtree(folder)
            scores = {key: found[key] for key in ("epoch", "test", "valid")}
            runs.append({key: row[key] for key in ("method", "row")} | {"seed": seed, **scores})
    result = {**summary(runs), "runs": runs}
    out = Path("results/ablations")
    out.mkdir(parents=True, exist_ok=True)
    write_json(result, out / f"{name}.json")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="Train and score one row of ablations.yaml.")
    parser.add_argument("row")
    try:
        print(json.dumps(run(parser.parse_args().row)["runs"]))
    except MsaError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
