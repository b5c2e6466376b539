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
from pipeline.evaluation.evaluate import evaluate, summary
from pipeline.params.params import ModelParams, load_params
from pipeline.params.run import RunConfig
from pipeline.training.loop.pretrain import pretrain
from pipeline.training.loop.train import train

DATASET = "mosi"
FILE = Path("ablations.yaml")


def run(name: str, device: str = "auto") -> dict[str, Any]:
    """Train and score a row; the result, which is also written: means over the seeds, and each of them."""
    tree = YAML(typ="safe").load(FILE.read_text(encoding="utf-8"))
    if name not in tree["ablations"]:
        raise ParamsError(f"{FILE} has no row {name!r} (there are: {', '.join(tree['ablations'])})")
    row, params = tree["ablations"][name], load_params()
    whole = params.model(row["method"], DATASET)
    settings = ModelParams(base=whole, corpora={DATASET: row["set"]}).resolved(DATASET)
    assembled = paths.assembled_folder(DATASET)
    runs = []
    for seed in tree["ablation_seeds"]:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / f"{name}-{seed}"
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
            found = evaluate([folder], assembled, Path(place) / "results", metrics, device=device)["runs"][0]
        scores = {name: found[name] for name in ("epoch", "test", "valid")}
        runs.append({"method": row["method"], "row": row["row"], "set": row["set"], "seed": seed, **scores})
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
