"""Tables of the papers on our corpora: each row a DVC experiment, its numbers beside those of the paper.

A row is `dvc exp run --temp`: the project as it is in the working folder, with the row's overrides laid over
the method's settings for the dataset, trained and evaluated in a folder of its own, so that params, runs and
results of the working folder stay as they are. The experiment is called after its row and seen by `dvc exp
show`; its results are read from its commit. What a method learns before its training is not learnt again.

The training set must have been built (`dvc repro assemble@<dataset>`): features are not extracted in a row.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import pyarrow.parquet as pq

from pipeline.core import paths as layout
from pipeline.core.errors import MsaError, ParamsError
from pipeline.core.git import baseline, experiment, untracked
from pipeline.core.vocabulary import MODALITIES, NONE
from pipeline.evaluation.saved import read_results
from pipeline.evaluation.tables import TABLES
from pipeline.evaluation.tables.rows import PaperTable, Row
from pipeline.params.edit import as_yaml
from pipeline.params.explain import some_of, unknown
from pipeline.params.params import LARGEST_SEED, Params

LOGS = Path("logs/tables")
TAKEN_ALONG = (  # by an experiment only where git knows of it
    *("dvc.yaml", "dvc.lock", "params.yaml", "models", "pipeline", "results"),
    *("data/features/none", "data/assembled/none"),
)
TEMPORARY = re.compile(r"\S*/\.dvc/tmp/exps/standalone/[^/\s]+/")  # folder of an experiment, in messages


@dataclass(frozen=True)
class RowOutcome:
    """What became of a row: the test metrics of each seed, or the reason why there are none."""

    row: Row
    scores: tuple[dict[str, float], ...] = ()
    reason: str = ""

    @property
    def failed(self) -> bool:
        """True where it was tried."""
        return not self.scores and not self.row.blocked and self.row.method is not None


# ------------------------------------------------------------------------------------------ what is asked for
def find_table(method: str, name: str) -> PaperTable:
    """The table of that name, or an error that lists those that there are."""
    names = [table for owner, table in TABLES if owner == method]
    if not names:
        raise ParamsError(unknown("method", method, dict.fromkeys(owner for owner, _ in TABLES)))
    if name not in names:
        raise ParamsError(unknown(f"table of {method}", name, names))
    return TABLES[method, name]


def parse_seeds(text: str) -> list[int]:
    """`1111,1112` as numbers that differ."""
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        seeds = []
    if not seeds or len(set(seeds)) < len(seeds) or not all(0 <= seed < LARGEST_SEED for seed in seeds):
        raise ParamsError(
            f"--seeds {text}: expected distinct whole numbers from 0, separated by commas, e.g. 1111,1112"
        )
    return seeds


def for_dataset(table: PaperTable, dataset: str, params: Params) -> list[Row]:
    """The table's rows; blocked are those that take out what the training set does not have anyway, or that
    pretrain on it or on a set that was not built.
    """
    params.dataset(dataset)
    rows = []
    for row in table.rows:
        lacking = [modality for modality in _not_assembled(dataset, params) if modality in row.without]
        reason = f"{dataset} is assembled without {lacking[0]} anyway" if lacking else row.blocked
        reason = reason or _no_source(row.pretrain_on, dataset, params) or _no_settings(row, dataset, params)
        rows.append(replace(row, blocked=reason))
    return rows


def _no_settings(row: Row, dataset: str, params: Params) -> str:
    """Why another method cannot be trained there; empty where it can, and for rows of the table's own."""
    sections = params.models.get(row.method or "")
    if not row.method or (sections is not None and dataset in sections.corpora):
        return ""
    return f"models.{row.method}.corpora.{dataset} is missing in params.yaml; `{dataset}: {{}}` there will do"


def _no_source(source: str, dataset: str, params: Params) -> str:
    """Why a row cannot pretrain on that set; empty where it can, or is not asked to."""
    if source == dataset:
        return f"{source} is the training set itself"
    if source and source not in params.assemble:
        return f"params.yaml has no training set {source}; register one under this name"
    if source and not (layout.assembled_folder(source) / "train.parquet").exists():
        return f"the training set {source} was not built; run `dvc repro assemble@{source}`"
    return ""


def what_lacks(table: PaperTable, dataset: str, params: Params) -> list[str]:
    """Remarks on what this corpus has not and the table asks for."""
    remarks = [f"{dataset} is assembled without {modality}" for modality in _not_assembled(dataset, params)]
    folder = layout.assembled_folder(dataset)
    unlabeled, train = folder / "unlabeled.parquet", folder / "train.parquet"
    asks = any("unlabeled_ratio" in row.overrides for row in table.rows)
    if asks and unlabeled.exists() and pq.read_metadata(unlabeled).num_rows == 0:
        said = f"{dataset} has no unlabeled clips"
        remarks.append(f"{said}: rows that differ only in them are the same training")
    if table.without_unimodal_labels and train.exists():
        label = pq.read_table(train, columns=["label_text"])["label_text"]
        if label.null_count == len(label):
            said = f"{dataset} has no separate labels of text and audio"
            remarks.append(f"{said}: {table.without_unimodal_labels}")
    return remarks


def _not_assembled(dataset: str, params: Params) -> list[str]:
    chosen = params.assemble.get(dataset)
    if chosen is None:
        return []
    return [modality for modality in MODALITIES if getattr(chosen, modality) == NONE]


def settings(table: PaperTable, row: Row, dataset: str) -> dict[str, object]:
    """Full keys of params.yaml and their values; under the corpus, whose section overrules `base`."""
    section = f"models.{row.method or table.method}.corpora.{dataset}"
    return {
        **{f"{section}.{key}": value for key, value in row.overrides.items()},
        **{f"assemble.{dataset}.{modality}": NONE for modality in row.without},
        **({"pretrain_on": row.pretrain_on} if row.pretrain_on else {}),
    }


# -------------------------------------------------------------------------------------------------- running
def run_table(
    table: PaperTable,
    dataset: str,
    seeds: list[int],
    params: Params,
    say: Callable[[str], None] = lambda line: None,
) -> list[RowOutcome]:
    """Train and evaluate every row; one that fails says why, and the others go on.

    Parameters
    ----------
    say : is told of each row as it begins

    Raises
    ------
    MsaError : the working folder is no project that experiments can be run in
    ParamsError : params.yaml does not say how the method is trained on the dataset
    """
    rows = for_dataset(table, dataset, params)
    _check_project(table.method, dataset, params)
    outcomes = []
    for number, row in enumerate(rows, start=1):
        if row.blocked or row.method is None:
            outcomes.append(RowOutcome(row, reason=f"not run: {row.blocked}" if row.blocked else ""))
            continue
        name = experiment_name(table, row, dataset)
        say(f"{number}/{len(rows)} {row.label} (follow it in {LOGS / name}.log)")
        outcomes.append(_run_row(table, row, dataset, seeds, name))
        if outcomes[-1].failed:
            say(outcomes[-1].reason)
    return outcomes


def experiment_name(table: PaperTable, row: Row, dataset: str) -> str:
    """Plain letters, digits and hyphens: `misr-4-sample-w-o-l-na`."""
    signs = str.maketrans({"ω": "omega", "τ": "tau", "α": "alpha", "λ": "lambda"})
    text = "-".join([table.method, table.name, dataset, row.label]).translate(signs)
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def _check_project(method: str, dataset: str, params: Params) -> None:
    """Raise where an experiment cannot be run here."""
    from ruamel.yaml import YAML

    if method not in params.models or dataset not in params.models[method].corpora:
        raise ParamsError(
            f"models.{method}.corpora.{dataset} is missing in params.yaml; write `{dataset}: {{}}` there, or "
            f"the values that differ from models.{method}.base on this dataset"
        )
    if re.fullmatch(r"[A-Za-z_][\w-]*", dataset) is None:
        raise ParamsError(
            f"dataset {dataset!r}: DVC overrides only keys of letters, digits, _ and -, with a letter first; "
            "give it such a name in params.yaml"
        )
    baseline()
    if unknown_files := untracked(TAKEN_ALONG):
        raise MsaError(
            f"git does not track {some_of(unknown_files)}, so an experiment would lack them; "
            "`git add` them (changes to tracked files are included, committed or not)"
        )
    lock = Path("dvc.lock")
    stages = set(YAML(typ="safe").load(lock)["stages"]) if lock.exists() else set()
    if f"assemble@{dataset}" not in stages:
        raise MsaError(
            f"the training set of {dataset} was not built, so each row would extract its features again; "
            f"run `dvc repro assemble@{dataset}` and `git add dvc.lock`"
        )


def _run_row(table: PaperTable, row: Row, dataset: str, seeds: list[int], name: str) -> RowOutcome:
    method = row.method or table.method
    overrides = {
        "models_run": f"[{method}]",
        "datasets_run": f"[{dataset}]",
        "seeds": f"[{','.join(map(str, seeds))}]",
        **{key: as_yaml(value) for key, value in settings(table, row, dataset).items()},
    }
    # Raw corpora are often not in git and then not in the experiment's folder; --allow-missing takes them as
    # unchanged. `++` also adds a key that was not there.
    command = ["exp", "run", "--temp", "--allow-missing", "--name", name]
    command += [part for key, value in overrides.items() for part in ("--set-param", f"++{key}={value}")]
    command.append(f"evaluate@{method}-{dataset}")
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{name}.log"
    with log.open("w", encoding="utf-8") as file:
        if experiment(name):  # of an earlier run
            _dvc(["exp", "remove", name], file)
        if _dvc(command, file):
            return RowOutcome(row, reason=f"failed: {_last_error(log)}")
    saved, folder = experiment(name), layout.results_folder(method, dataset).as_posix()
    if saved is None:
        return RowOutcome(row, reason=f"failed: DVC saved no experiment {name}; see {log}")
    runs = {run.result.seed: run.result.test for run in read_results(saved, folder)}
    return RowOutcome(row, tuple(runs[seed] for seed in seeds))


def _dvc(command: list[str], log: IO[str]) -> int:
    """Exit status; the stages find `msa-cli` of this environment, and the code of the experiment's folder."""
    # in the experiment's own folder; so rows that were trained once are not trained again
    changed = {"MSA_RUN_CACHE": os.environ.get("MSA_RUN_CACHE", str(Path(".state/runs").absolute()))}
    for name, first in {"PATH": str(Path(sys.executable).parent), "PYTHONPATH": "."}.items():
        changed[name] = os.pathsep.join(filter(None, (first, os.environ.get(name))))
    command = [sys.executable, "-m", "dvc", *command]
    return subprocess.run(command, env=os.environ | changed, stdout=log, stderr=subprocess.STDOUT).returncode


def _last_error(log: Path) -> str:
    """What our command said, else what DVC said, else the last line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    said = lines[-1] if lines else "no message"
    for start in ("ERROR: ", "msa-cli: "):
        said = next((line.removeprefix(start) for line in reversed(lines) if line.startswith(start)), said)
    return f"{TEMPORARY.sub('', said)} (see {log})"
