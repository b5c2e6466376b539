"""`msa-cli noise`: test metrics of a run when a share of the steps of every test clip is corrupted.

models/core/noise.py says what noise is and makes it. Here a run is scored clean (rate 0, what evaluate
wrote), at each rate with each noise seed, and as the mean over the rates; that mean is taken seed by seed, so
that it has a spread too. Numbers are means and sample standard deviations (n - 1) over the noise seeds, of
the run's own metric set. The test split chooses nothing here.

Erasing a word of fine-tuned text needs the id of [MASK], which no tokenizer of ours names: it is what the
token's usual spellings are read as. A tokenizer that reads neither as one token has its embeddings set to 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from torch import Tensor

from models.core.backbones import Tokenizer
from models.core.batch import Batch
from models.core.method import Method
from models.core.noise import Kind, corrupt, noisy_embeddings, standard_deviation
from pipeline.core import paths
from pipeline.core.errors import FormatError, ParamsError
from pipeline.core.vocabulary import MODALITIES
from pipeline.core.waveform import FULL_SCALE
from pipeline.datasets.splits import Streams, ordered_batches
from pipeline.datasets.training_set import TrainingSet
from pipeline.evaluation.evaluate import DECIMALS, score, stats_of_run
from pipeline.evaluation.metrics import CLASSIFICATION, METRIC_SETS
from pipeline.evaluation.saved import METRICS, Spread
from pipeline.params.explain import unknown
from pipeline.training.loop.device import reproducible
from pipeline.training.loop.scoring import EVALUATION_BATCH
from pipeline.training.runs import open_runs, read_config

if TYPE_CHECKING:
    from rich.table import Table

RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
SEEDS = (1, 2, 3, 4, 5)
CLEAN = "0"  # its row, beside those of the rates and `mean`
SPELLINGS = ("[MASK]", "<mask>")  # BERT's line and RoBERTa's


def under_noise(
    run: Path, kind: str = "gaussian", assembled: Path | None = None, device: str = "auto"
) -> dict[str, Any]:
    """What run it is, its metric set, `n` test clips, `remarks`, and `test`: rate -> metric -> `mean`, `sd`.

    Parameters
    ----------
    run, device : see `evaluate`, as are the errors
    kind : a noise.Kind
    assembled : set with the features that the run was trained on; None = data/assembled/<dataset>

    Raises
    ------
    ParamsError : unknown kind
    FormatError : the run's result cannot be read
    """
    kinds: tuple[Kind, ...] = get_args(Kind)
    if kind not in kinds:
        raise ParamsError(unknown("noise kind", kind, kinds))
    config = read_config(run)
    folder = paths.assembled_folder(config["dataset"]) if assembled is None else assembled
    stats = stats_of_run(folder, run, config)
    metric_set = _metric_set(config)
    remarks: set[str] = set()
    opened = open_runs([run], device)[0]
    method = opened.method
    with reproducible(config["seed"], opened.device):
        splits = TrainingSet.load(folder, opened.reading, opened.device, only=("train", "test")).splits
        test = splits["test"]
        if len(test) == 0:
            raise FormatError(f"{folder}: no clips in test; evaluation needs some")
        rows = ordered_batches(test.lengths, EVALUATION_BATCH)
        back = torch.cat(rows).argsort().numpy()  # evaluate sums in the split's order, and sums have an order

        def scored(predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
            classes, what = stats["class_names"], f"{run}: predictions of test"
            found, said = score(predictions[back], labels[back], metric_set, classes, what)
            remarks.update(said)
            return found

        batches = [test.batch(clips) for clips in rows]
        mask_id = None if method.tokenizer is None else find_mask_id(method.tokenizer)
        deviations = train_deviations(splits["train"].streams, method.backbone)
        noisy = (method, batches, scored, kind, deviations, mask_id)
        clean = robustness(*noisy, rates=(0.0,), seeds=SEEDS[:1])[CLEAN]
        scores = {CLEAN: clean * len(SEEDS)}  # no noise, no difference
        scores |= robustness(*noisy)
    return {
        **{key: config[key] for key in ("method", "dataset", "seed", "epoch")},
        "metric_set": metric_set,
        "n": len(test),
        "remarks": sorted(remarks),
        "test": {row: {name: _spread(found, name) for name in clean[0]} for row, found in scores.items()},
    }


def train_deviations(train: Streams, backbone: Any = None) -> dict[str, Tensor]:
    """σ of everything that a method reads of the train split: of each modality, `tokens` and `waveform`.

    Parameters
    ----------
    backbone : the fine-tuned text encoder whose token embeddings `tokens` belongs to
    """
    features = [name for name in MODALITIES if name in train]
    found = {name: standard_deviation(train[name].flat[:-1]) for name in features}
    if "tokens" in train and backbone is not None:
        table = backbone.get_input_embeddings().weight.detach()  # (V, D)
        times = torch.bincount(train["tokens"].flat[:-1].cpu(), minlength=len(table))
        found["tokens"] = standard_deviation(table, times.to(table.device))
    if "waveform" in train:
        found["waveform"] = standard_deviation(train["waveform"].flat[:-1, None]) / FULL_SCALE
    return found


@torch.no_grad()
def robustness(
    method: Method,
    batches: Sequence[Batch],
    score: Callable[[np.ndarray, np.ndarray], dict[str, float]],
    kind: Kind,
    std: dict[str, Tensor],
    mask_id: int | None = None,
    *,
    rates: Sequence[float] = RATES,
    seeds: Sequence[int] = SEEDS,
) -> dict[str, list[dict[str, float]]]:
    """Scores of a trained method under noise: rate -> named numbers of each seed; and their `mean`.

    Parameters
    ----------
    batches : of the test split
    score : (predictions, labels) -> named numbers, such as an entry of metrics.METRIC_SETS
    std : `train_deviations` of the train split
    mask_id : of [MASK], for `erase` with fine-tuned text; None = its embeddings are set to 0
    """
    method.eval()
    embedded = method.backbone if kind != "erase" or mask_id is None else None
    labels = torch.cat([batch.label for batch in batches]).cpu().numpy()
    table: dict[str, list[dict[str, float]]] = {f"{rate:g}": [] for rate in rates}
    for rate in rates:
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            predictions = []
            for batch in batches:
                noisy = corrupt(batch, kind, rate, std, generator, mask_id)
                with noisy_embeddings(embedded, kind, rate, std.get("tokens"), generator):
                    predictions.append(method(noisy).prediction)
            table[f"{rate:g}"].append(score(torch.cat(predictions).float().cpu().numpy(), labels))
    of_seeds = list(zip(*table.values(), strict=True))
    means = [{name: sum(one[name] for one in found) / len(found) for name in found[0]} for found in of_seeds]
    return {**table, "mean": means}


def find_mask_id(tokenizer: Tokenizer) -> int | None:
    """Id of [MASK]; None where not exactly one spelling is one token (unknown words may all be one)."""
    bare, *spelt = (ids.tolist() for ids in tokenizer.encode(["", *SPELLINGS], 16))
    single = [set(ids) - set(bare) for ids in spelt if len(ids) == len(bare) + 1]
    return single[0].pop() if len(single) == 1 and single[0] else None


def render(result: dict[str, Any], kind: str) -> Table:
    """What `under_noise` gave, for the screen: a row a rate, a column a metric."""
    from rich.table import Table

    title = (
        f"{result['method']} on {result['dataset']}, seed {result['seed']}: {kind} noise, "
        f"test split ({result['n']} clips), mean ± sd over {len(SEEDS)} noise seeds"
    )
    table = Table(title=title, caption="\n".join(result["remarks"]) or None)
    table.add_column("rate")
    for name in result["test"][CLEAN]:
        table.add_column(name, justify="right")
    for row, metrics in result["test"].items():
        table.add_row(row, *(f"{m['mean']:.3f} ± {m['sd']:.3f}" for m in metrics.values()))
    return table


def _metric_set(config: dict[str, Any]) -> str:
    """The set that the run was evaluated with, from the results in the current folder."""
    if config["stats"]["task"] == "classification":
        return CLASSIFICATION
    path = paths.results_folder(config["method"], config["dataset"]) / METRICS
    try:
        name: str = json.loads(path.read_text(encoding="utf-8"))["runs"][0]["metric_set"]
        METRIC_SETS[name]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise FormatError(f"{path}: no metric set in it ({error}); run its evaluate stage") from error
    return name


def _spread(scores: list[dict[str, float]], name: str) -> dict[str, float | None]:
    found = Spread.of([one[name] for one in scores], DECIMALS)
    return {"mean": found.mean, "sd": found.sd}
