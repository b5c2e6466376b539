"""A table of a paper as Markdown: what its rows override, or our numbers beside the printed ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.core.files import write_text
from pipeline.core.vocabulary import NONE
from pipeline.evaluation.metrics import CLASSIFICATION, METRIC_SETS, MetricSums
from pipeline.evaluation.saved import Spread
from pipeline.evaluation.tables.rows import NO_SHARES, PaperTable, Row, plain_name
from pipeline.evaluation.tables.run import RowOutcome, for_dataset, what_lacks
from pipeline.params.edit import as_yaml
from pipeline.params.params import Params
from pipeline.reports.blocks import Block, Heading, Lines, Table, as_markdown

REPORTS = Path("reports/tables")
METRICS = (  # columns, in this order
    *("mae", "corr", "acc7", "acc5", "acc3", "acc2", "acc2_has0", "acc2_non0", "accuracy"),
    *("f1", "f1_has0", "f1_non0", "f1_weighted"),
)
METRICS_OF = {  # metric set of a dataset -> those of METRICS that its results have
    name: set(METRICS) & set(MetricSums(name, np.zeros((1, 1)), np.zeros(1)).names)
    for name in (*METRIC_SETS, CLASSIFICATION)
}


def show_settings(table: PaperTable, dataset: str, params: Params) -> str:
    """The rows' overrides, and the paper's numbers, as Markdown."""
    corpus = _nearest(table, dataset, METRICS_OF[params.training_set(dataset).metrics])
    rows = [row for row in for_dataset(table, dataset, params) if not _elsewhere(row, corpus)]
    overrides = [
        [f"the method `{row.method}`"] * bool(row.method)
        + ["printed alone"] * (row.method is None)
        + [f"`{key}={as_yaml(value)}`" for key, value in row.overrides.items()]
        + [f"`assemble.{dataset}.{modality}={NONE}`" for modality in row.without]
        + [f"`pretrain_on={row.pretrain_on}`"] * bool(row.pretrain_on)
        for row in rows
    ]
    columns = {"row": [row.label for row in rows]}
    columns["overrides"] = [", ".join(keys) or "–" for keys in overrides]
    columns |= {name: _theirs(rows, corpus, name) for name in METRICS if name in table.metrics(corpus)}
    said = f"Numbers are the paper's, on {corpus}. " if corpus else ""
    text = [
        f"{said}Overrides are applied to `models.{table.method}.corpora.{dataset}`; a row without overrides "
        "is the model of params.yaml. `--run` trains and evaluates every row.",
    ]
    blocked = [f"{row.label}: not run: {row.blocked}" for row in rows if row.blocked]
    return _page(table, text, columns, [*blocked, *what_lacks(table, dataset, params), *table.remarks], 2)


def markdown(
    table: PaperTable, dataset: str, seeds: list[int], outcomes: list[RowOutcome], params: Params
) -> str:
    """Our numbers beside the paper's, as Markdown; the same text for the same numbers."""
    metric_set = params.training_set(dataset).metrics
    ours = METRICS_OF[metric_set]
    corpus = _nearest(table, dataset, ours)
    outcomes = [outcome for outcome in outcomes if not _elsewhere(outcome.row, corpus)]
    paper = table.metrics(corpus)
    families = {_family(name) for name in paper}
    columns = {"row": [outcome.row.label for outcome in outcomes]}
    for name in METRICS:
        if name in ours and (not paper or _family(name) in families):
            columns[name] = [_ours(outcome, name) for outcome in outcomes]
        if name in paper:
            columns[f"{name} (paper)"] = _theirs([outcome.row for outcome in outcomes], corpus, name)
    spread = "mean ± sample standard deviation over the seeds" if len(seeds) > 1 else "the seed"
    text = [
        f"Ours: {dataset}, test split, {spread} {', '.join(map(str, seeds))}; metric set {metric_set}. "
        "Accuracies and F1 are in percent.",
    ]
    if corpus:
        text.append(
            f"Paper: {corpus}, as printed. Of numbers from another corpus, other features or another "
            "text encoder, only the order can be compared, not the size."
        )
    failed = [f"{outcome.row.label}: {outcome.reason}" for outcome in outcomes if outcome.reason]
    return _page(table, text, columns, [*failed, *what_lacks(table, dataset, params), *table.remarks], 1)


def write_report(table: PaperTable, dataset: str, text: str) -> Path:
    """reports/tables/METHOD-TABLE-DATASET.md."""
    path = REPORTS / f"{table.method}-{table.name}-{dataset}.md"
    write_text(text, path)
    return path


def _page(
    table: PaperTable, text: list[str], columns: dict[str, list[str]], remarks: list[str], words: int
) -> str:
    """The first `words` columns are words."""
    blocks: list[Block] = [
        Heading(f"{table.method}, {table.title[0].lower()}{table.title[1:]}", 1),
        Lines(text, marked=True),
        Table([*columns], [*zip(*columns.values(), strict=True)], words=range(words), marked=True),
    ]
    if remarks:
        blocks.append(Lines(remarks, bullets=True, marked=True))
    return as_markdown(blocks, top=1)


def _nearest(table: PaperTable, dataset: str, ours: set[str]) -> str:
    """The paper's corpus of that name, else the one that shares most metrics with ours; empty without any."""
    same = [corpus for corpus in table.corpora if plain_name(corpus) == plain_name(dataset)]
    return same[0] if same else max(table.corpora, key=lambda c: len(table.metrics(c) & ours), default="")


def _elsewhere(row: Row, corpus: str) -> bool:
    """Whether a row is no method of ours, and printed on other corpora alone."""
    return row.method is None and corpus not in row.paper


def _family(metric: str) -> str:
    """Metrics that stand beside each other: acc2 of all sets, f1 of all sets."""
    return "acc2" if metric == "accuracy" else metric.split("_")[0]


def _theirs(rows: list[Row], corpus: str, metric: str) -> list[str]:
    """The paper's column, with as many decimals as its longest number has."""
    numbers = [row.paper.get(corpus, {}).get(metric) for row in rows]
    decimals = max(len(f"{number:g}".partition(".")[2]) for number in numbers if number is not None)
    decimals = 3 if metric in NO_SHARES else decimals
    return ["–" if number is None else f"{number:.{decimals}f}" for number in numbers]


def _ours(outcome: RowOutcome, metric: str) -> str:
    if not outcome.scores:
        return "–"
    share, decimals = (1, 3) if metric in NO_SHARES else (100, 2)
    return Spread.of([share * scores[metric] for scores in outcome.scores]).text(decimals)
