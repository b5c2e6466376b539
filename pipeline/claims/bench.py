"""The test bench: a method trained on planted corpora with one seed, and what is measured of it.

The seed is that of the corpora and of the trainings, so that methods meet the same clips, seed by seed. Every
training is an ordinary one: an assembled set, `train`, a run folder. Corpora, each with its own trainings:

    plain      CONFLICT of the clips contradict; of SIZES training clips
    shifted    a cue tells the sentiment in training and validation, ρ of two environments TRAIN_RHO; the test
               clips are the same with ρ of TEST_RHO in turn
    conflict   SLaD: RATES of contradicting clips, each modality labelled by itself as in CH-SIMS
    groups     KHaR: sub-populations, in which sentiment is shown differently

Measurements, errors in label units (mean absolute error, test clips):

    error/<clips>             plain, by training clips; error/best and error/constant: what could be reached,
                              and what a method reaches that always says the train median
    agreeing, contrary        plain, all training clips: of test clips without and with a contradiction
    shift/<ρ>, plain/shift/<ρ>   of the method, and of early fusion with as many parameters
    read/<probe>/<of>/<factor>   R² of a probe, plain: of the shared representation or the private ones (a
                              mean over modalities), for the sentiment or for the private factors
    mig, dci/disentanglement, dci/completeness, sap, total_correlation   plain
    conflict/<rate>           SLaD
    groups/error, groups/agreement   KHaR: adjusted mutual information of sub-population and the expert with
                              the largest gate, a mean over modalities: 0 by chance, 1 = one expert each
    without/...               the same of the method without what its claim rests on (SWITCHED_OFF)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from models import METHODS
from pipeline.claims.disentanglement import (
    disentanglement_and_completeness,
    lasso_importances,
    mutual_information_gap,
    separated_predictability,
    total_correlation,
)
from pipeline.claims.planted import DATASET, GROUPS, PRIVATE, WIDTHS, Planted, PlantedClips, write_planted
from pipeline.claims.probes import read
from pipeline.claims.representations import representations
from pipeline.core.console import follow_epochs
from pipeline.core.errors import FormatError, ParamsError, first_line
from pipeline.core.files import rounded
from pipeline.datasets.training_set import TrainingSet
from pipeline.params.params import Params
from pipeline.params.run import RunConfig
from pipeline.params.search import with_values
from pipeline.training.loop.pretrain import pretrain
from pipeline.training.loop.scoring import predict
from pipeline.training.loop.train import train
from pipeline.training.runs import TrainedRun, open_runs

SIZES = (48, 192)  # training clips
VALID_CLIPS, TEST_CLIPS = 96, 1200  # clips
ROUTED = 300  # test clips whose experts are looked at, one by one
CONFLICT = 0.2
TRAIN_RHO = (0.95, 0.85)
TEST_RHO = (0.9, 0.0, -0.9)
RATES = (0.0, 0.4)
GROUP_CLIPS = 256  # to train with, of three sub-populations
PLAIN_FUSION = "early_fusion"
DECIMALS = 6

# What each claim rests on, by the corpus on which it is tested: terms whose weight is set to 0 ...
SWITCHED_OFF: dict[str, dict[str, tuple[str, ...]]] = {
    "cmir": {"shifted": ("invariance",), "plain": ("decorrelation",)},
    "mird": {"plain": ("information",)},
    "misa": {"plain": ("difference", "similarity")},
    "misr": {"shifted": ("invariance",), "plain": ("prior", "alignment", "reconstruction")},
    "slad": {"plain": ("contrastive", "repulsion", "multilabel")},
}
# ... or another setting: ω of SLaD is 1; KHaR has one expert
LABEL_UNAWARE = {"label_aware": False}
ONE_EXPERT = {"refine": "mlp"}

Measured = dict[str, float]


@dataclass(frozen=True)
class Measurements:
    """What was measured of a method: seed -> name -> value."""

    method: str
    seeds: dict[int, Measured]

    @property
    def facts(self) -> dict[str, Any]:
        """As plain data, which `read_measurements` reads."""
        return {"method": self.method, "seeds": {str(seed): values for seed, values in self.seeds.items()}}

    def of(self, name: str, seeds: Sequence[int] = ()) -> np.ndarray | None:
        """(seeds,) of a measurement, of these seeds or all; None where it was not made."""
        found = [self.seeds[seed].get(name) for seed in seeds or self.seeds]
        return None if None in found else np.array(found, float)


def read_measurements(path: Path) -> Measurements:
    """From a JSON file that `msa-cli claims METHOD --out` wrote; FormatError where it is none."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        seeds = {
            int(seed): {name: float(value) for name, value in values.items()}
            for seed, values in tree["seeds"].items()
        }
        return Measurements(str(tree["method"]), seeds)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(
            f"{path}: no measurements of a method ({first_line(error)}); `msa-cli claims METHOD --out "
            f"{path}` writes them"
        ) from error


def measure(
    method: str,
    params: Params,
    seeds: Sequence[int],
    dataset: str = DATASET,
    without: tuple[str, ...] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> Measurements:
    """All measurements of a method with these seeds; arguments as of `Bench`."""
    follow_epochs(lambda _: None)  # hundreds of small trainings
    try:
        with TemporaryDirectory() as folder:
            bench = Bench(method, params, Path(folder), dataset, without)
            return Measurements(method, {seed: bench.measure(seed, tell) for seed in seeds})
    finally:
        follow_epochs(None)


@dataclass(frozen=True)
class Bench:
    """A method on planted corpora.

    Attributes
    ----------
    params : whose `models` and `train` are used
    dataset : training set whose settings of the methods are taken, where they differ from `base`
    folder : where corpora and runs may lie meanwhile
    without : terms that are switched off for the comparison, in place of those of SWITCHED_OFF
    """

    method: str
    params: Params
    folder: Path
    dataset: str = DATASET
    without: tuple[str, ...] = ()

    def measure(self, seed: int, tell: Callable[[str], None] = lambda _: None) -> Measured:
        """All measurements with one seed; `tell` is told what is being trained."""
        found: Measured = {}
        parts: list[tuple[str, Callable[[int], Measured]]] = [
            ("plain", self.plain),
            ("shifted", self.shifted),
        ]
        if self.method == "slad":
            parts.append(("conflict", self.conflicting))
        if self.method == "khar":
            parts.append(("groups", self.grouped))
        for name, part in parts:
            tell(f"{self.method}, seed {seed}: {name}")
            found |= part(seed)
        return {name: rounded(float(value), DECIMALS) for name, value in found.items()}

    # ------------------------------------------------------------------------------------------- the corpora
    def plain(self, seed: int) -> Measured:
        """Errors by training clips; and what the representations hold, with and without."""
        planted = Planted(seed, conflict=CONFLICT)
        test = planted.clips("test", TEST_CLIPS)
        found: Measured = {"error/best": float(np.abs(test.best_prediction() - test.label).mean())}
        for size in SIZES:
            corpus = self.written(f"plain-{size}", planted, size)
            run = self.trained(self.method, {}, corpus, seed)
            found[f"error/{size}"] = error(run, corpus)
        middle = np.median(planted.clips("train", max(SIZES)).label)
        found["error/constant"] = float(np.abs(test.label - middle).mean())
        contrary = test.factors["contradicting"] >= 0
        found["agreeing"], found["contrary"] = error(run, corpus, ~contrary), error(run, corpus, contrary)
        found |= held(run, corpus, test)
        if terms := self.switched_off("plain"):
            bare = self.trained(self.method, terms, corpus, seed)
            found |= {f"without/{name}": value for name, value in held(bare, corpus, test).items()}
        return found

    def shifted(self, seed: int) -> Measured:
        """Errors where the cue misleads: of the method, without its invariance, and of plain fusion."""
        planted = Planted(seed, conflict=CONFLICT, rho=TRAIN_RHO)
        size = max(SIZES)
        corpus = self.written("shifted", planted, size)
        run = self.trained(self.method, {}, corpus, seed)
        others = {"plain/": self.plain_fusion(run, corpus, seed)}
        if terms := self.switched_off("shifted"):
            others["without/"] = self.trained(self.method, terms, corpus, seed)
        found: Measured = {}
        for rho in TEST_RHO:
            turned = replace(planted, rho=(rho,))
            folder = write_planted(self.folder / f"turned{rho:g}", {"test": turned.clips("test", TEST_CLIPS)})
            for name, one in {"": run, **others}.items():
                found[f"{name}shift/{rho:g}"] = error(one, folder)
        return found

    def conflicting(self, seed: int) -> Measured:
        """SLaD's error over the conflict rate, and the same with ω = 1."""
        found: Measured = {}
        for rate in RATES:
            planted = Planted(seed, conflict=rate, own_labels=True)
            corpus = self.written("conflict", planted, max(SIZES))
            for name, changes in {"": {}, "without/": LABEL_UNAWARE}.items():
                run = self.trained(self.method, changes, corpus, seed)
                found[f"{name}conflict/{rate:g}"] = error(run, corpus)
        return found

    def grouped(self, seed: int) -> Measured:
        """KHaR's experts against the sub-populations, and its error beside that with one expert."""
        planted = Planted(seed, groups=GROUPS)
        corpus = self.written("groups", planted, GROUP_CLIPS)
        run = self.trained(self.method, {}, corpus, seed)
        bare = self.trained(self.method, ONE_EXPERT, corpus, seed)
        agreement = expert_agreement(run, corpus, planted.clips("test", ROUTED).factors["group"])
        return {
            "groups/error": error(run, corpus),
            "without/groups/error": error(bare, corpus),
            "groups/agreement": agreement,
        }

    # ----------------------------------------------------------------------------------------- the trainings
    def switched_off(self, corpus: str) -> dict[str, Any]:
        """The settings that switch off what a claim rests on; empty = nothing is known of the method."""
        terms = self.without or SWITCHED_OFF.get(self.method, {}).get(corpus, ())
        return {f"weights.{term}": 0.0 for term in terms}

    def written(self, name: str, planted: Planted, clips: int) -> Path:
        """The corpus as an assembled set; one of that name is replaced."""
        splits = {"train": clips, "valid": VALID_CLIPS, "test": TEST_CLIPS}
        return write_planted(
            self.folder / name, {split: planted.clips(split, number) for split, number in splits.items()}
        )

    def trained(self, method: str, changes: Mapping[str, Any], corpus: Path, seed: int) -> TrainedRun:
        """A run of a method, whose settings are changed (dotted keys), on a corpus."""
        settings = with_values(self.params.model(method, self.dataset), dict(changes))
        check_readable(method, settings)
        run = RunConfig(
            method_name=method,
            dataset=DATASET,
            seed=seed,
            method_params=settings,
            train_params=self.params.train,
            assembled=corpus,
            pretrained=self.folder / "pretrained",
            out=self.folder / "run",
        )
        state, logs = self.folder / "state", self.folder / "logs"
        if METHODS[method].pretrains:
            pretrain(run, device="cpu", state_root=state)
        train(run, device="cpu", state_root=state, logs=logs)
        return open_runs([run.out])[0]

    def plain_fusion(self, run: TrainedRun, corpus: Path, seed: int) -> TrainedRun:
        """Early fusion with as many parameters as the run has, as near as a hidden layer can have them."""
        pooled = WIDTHS["text"] + 2 * WIDTHS["audio"] + 2 * WIDTHS["visual"]
        hidden = max(1, round((run.config["parameters"] - 1) / (pooled + 2)))
        return self.trained(PLAIN_FUSION, {"hidden": hidden}, corpus, seed)


def check_readable(method: str, settings: dict[str, Any]) -> None:
    """ParamsError where an encoder of the method learns: planted corpora have no words and no sound."""
    fields = METHODS[method].load().Config.model_fields
    for modality in ("text", "audio"):
        default = fields[modality].default if modality in fields else "frozen"
        if settings.get(modality, default) == "finetune":
            raise ParamsError(
                f"models.{method}: {modality} is `finetune`, but planted corpora are features, without words "
                "and sound; set it to `frozen`, or use --dataset to name a training set where it is"
            )


# ------------------------------------------------------------------------------------------ the measurements
def error(run: TrainedRun, corpus: Path, among: np.ndarray | None = None) -> float:
    """Mean absolute error of the test clips, or of those `among` them (C,) bool."""
    split = TrainingSet.load(corpus, run.reading, only=("test",)).splits["test"]
    gaps = np.abs(predict(run.method, split) - split.label.numpy())
    return float((gaps if among is None else gaps[among]).mean())


def held(run: TrainedRun, corpus: Path, clips: PlantedClips) -> Measured:
    """What a run's representations of the test clips hold; empty where it shows none."""
    found: Measured = {}
    split = TrainingSet.load(corpus, run.reading, only=("test",)).splits["test"]
    shown = representations(run, split)
    if not shown.parts:
        return found
    known = list(run.modalities)
    factors = np.column_stack([clips.factors["sentiment"], *(clips.factors[f"private_{m}"] for m in known)])
    own = {m: slice(1 + place * PRIVATE, 1 + (place + 1) * PRIVATE) for place, m in enumerate(known)}
    for probe in ("linear", "mlp"):
        if shown.shared is not None:
            scores = read(shown.shared, factors, probe)
            found[f"read/{probe}/shared/sentiment"] = scores[0]
            found[f"read/{probe}/shared/private"] = scores[1:].mean()
        if shown.private:
            each = {m: read(values, factors, probe) for m, values in shown.private.items()}
            found[f"read/{probe}/private/sentiment"] = np.mean([scores[0] for scores in each.values()])
            found[f"read/{probe}/private/private"] = np.mean([r[own[m]].mean() for m, r in each.items()])
    code = np.concatenate(shown.parts, axis=1)
    found["mig"] = mutual_information_gap(code, factors)
    found["sap"] = separated_predictability(code, factors)
    scored = disentanglement_and_completeness(lasso_importances(code, factors))
    found["dci/disentanglement"], found["dci/completeness"] = scored
    if len(shown.parts) > 1:
        found["total_correlation"] = total_correlation(shown.parts)
    return found


@torch.inference_mode()
def expert_agreement(run: TrainedRun, corpus: Path, groups: np.ndarray) -> float:
    """Adjusted mutual information of clips' main experts with their sub-populations, mean over modalities."""
    from sklearn.metrics import adjusted_mutual_info_score

    split = TrainingSet.load(corpus, run.reading, only=("test",)).splits["test"]
    chosen: dict[str, list[int]] = {}
    for row in range(len(groups)):  # `importance` is a sum over the clips of a batch
        output: Any = run.forward(split.batch(torch.tensor([row])))
        for modality, gates in output.importance.items():
            chosen.setdefault(modality, []).append(int(gates.argmax()))
    return float(np.mean([adjusted_mutual_info_score(groups, found) for found in chosen.values()]))
