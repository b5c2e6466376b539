"""Sections of a training set's page, below what is said of all its methods: each a function of its results.

A section gives the blocks that the page shows, its heading (level 3, with an anchor) first, or none where the
set has nothing of the kind. A new one goes to the end of `SECTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.evaluation.saved import SavedRun
from pipeline.evaluation.standing import chief_metric, standings
from pipeline.params.params import Params
from pipeline.reports.agreement import agreement_blocks
from pipeline.reports.blocks import Block, Figures, PageBlock, Picture
from pipeline.reports.calibration import calibration_blocks, calibration_drawing
from pipeline.reports.facts import constant
from pipeline.reports.figures import picture
from pipeline.reports.overview_figures import draw_curves, draw_forest
from pipeline.reports.robust_tables import robust_section, saved_sets
from pipeline.reports.tables import ResultsTable, Scores, results_table
from pipeline.reports.transfer import task_blocks, transferred_blocks


@dataclass(frozen=True)
class SetResults:
    """What is known of a training set.

    Attributes
    ----------
    methods : method -> its runs, by seed, with curves and test predictions
    scores : method -> metric -> mean and deviation over the seeds
    results : folder with `<set>/<method>/metrics.json` and the files beside it
    """

    name: str
    methods: dict[str, list[SavedRun]]
    scores: Scores
    params: Params
    results: Path

    @property
    def runs(self) -> list[SavedRun]:
        """Of all methods."""
        return [run for runs in self.methods.values() for run in runs]

    @property
    def span(self) -> tuple[float, float]:
        """Label range of a regression."""
        return self.params.corpus_of(self.name).label_range

    # ------------------------------------------------------------------- made once, for more than one page
    @cached_property
    def table(self) -> ResultsTable:
        """Its main table."""
        return results_table(self.scores, self.methods, self.name)

    @cached_property
    def overview(self) -> list[Picture]:
        """Where the methods stand, and how they learnt."""
        chief, floor = chief_metric(self.runs), constant(self.runs)
        standing, clusters = standings(self.methods, chief)
        drawings = []
        if clusters is not None:
            known = self.table.floor.get(chief)
            drawings.append(draw_forest(f"{self.name}-standing", standing, chief, known, floor, clusters))
        if any(run.curves for run in self.runs):
            drawings.append(draw_curves(f"{self.name}-curves", self.methods))
        return [*map(picture, drawings)]

    @cached_property
    def said(self) -> list[Block]:
        """What report.md says too, below the table."""
        return [
            *task_blocks(self.methods),
            *agreement_blocks(self.methods),
            *calibration_blocks(self.methods),
            *transferred_blocks(self.name, self.results),
        ]


Section = Callable[[SetResults], list[Block | PageBlock]]


def _calibration(found: SetResults) -> list[Block | PageBlock]:
    drawing = calibration_drawing(found.methods)
    return [] if drawing is None else [Figures([picture(drawing)], overview=True)]


def _robustness(found: SetResults) -> list[Block | PageBlock]:
    return robust_section(saved_sets([found.name], [*found.methods], found.results))


SECTIONS: tuple[Section, ...] = (lambda found: [*found.said], _calibration, _robustness)


def sections(found: SetResults) -> list[Block | PageBlock]:
    """The blocks of all sections, in their order."""
    return [block for section in SECTIONS for block in section(found)]
