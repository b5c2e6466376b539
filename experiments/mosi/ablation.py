"""One row of the ablation: a method of params.yaml with what ablations.yaml changes in it, for its seeds.

    python ablation.py misr-without-prior     # -> results/ablations/misr-without-prior.json

The same training, selection and scoring as of the study's own runs; the run folders are not kept.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.core import paths
from pipeline.core.errors import MsaError, ParamsError
from pipeline.core.files import write_json
from pipeline.core.paths import ResultFiles
from pipeline.evaluation.evaluate import evaluate
from pipeline.params.params import ModelParams, load_params
from pipeline.params.run import RunConfig
from pipeline.training.loop.pretrain import pretrain
from pipeline.training.loop.train import train

DATASET = "mosi"
FILE = Path("ablations.yaml")


def run(name: str, device: str = "auto") -> dict[str, Any]:
    """Train and score a row; the result, which is also written, has the metrics of each seed."""
    tree = YAML(typ="safe").load(FILE.read_text(encoding="utf-8"))
    if name not in tree["ablations"]:
        raise ParamsError(f"{FILE} has no row {name!r} (there are: {', '.join(tree['ablations'])})")
    row, params = tree["ablations"][name], load_params()
    whole = params.model(row["method"], DATASET)
    settings = ModelParams(base=whole, corpora={DATASET: row["set"]}).resolved(DATASET)
    assembled = paths.assembled_folder(DATASET)
    runs = {}
    for seed in tree["ablation_seeds"]:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / f"{name}-{seed}"
            files = ResultFiles(*(Path(place) / kind for kind in ("metrics", "predictions", "curves")))
            one = RunConfig(
                method_name=row["method"],
                dataset=DATASET,
                seed=seed,
                method_params=settings,
                train_params=params.train,
                assembled=assembled,
                pretrained=Path(place) / "pretrained",
                out=folder,
            )
            pretrain(one, device=device)
            train(one, device=device)
            metrics = params.training_set(DATASET).metrics
            found = evaluate(folder, assembled, files, metrics, device=device)
        runs[str(seed)] = {split: found[split] for split in ("test", "valid")} | {"epoch": found["epoch"]}
    result = {"method": row["method"], "row": row["row"], "set": row["set"], "seeds": runs}
    out = Path("results/ablations")
    out.mkdir(parents=True, exist_ok=True)
    write_json(result, out / f"{name}.json")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="Train and score one row of ablations.yaml.")
    parser.add_argument("row")
    try:
        print(json.dumps(run(parser.parse_args().row)["seeds"]))
    except MsaError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
