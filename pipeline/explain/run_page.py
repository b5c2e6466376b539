"""The page of a run: what its modalities contribute on average, and the test clips that tell most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.files import write_text
from pipeline.explain.card import card_blocks, shown_label, title_of, write_pdf
from pipeline.explain.explain import Contributions, Explanation
from pipeline.predict.report import in_words
from pipeline.reports.blocks import Block, Details, Heading, Lines, PageBlock, Table, as_html, rendered
from pipeline.reports.figures import plain_style
from pipeline.training.runs import TrainedRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TELLING = (
    "The most telling clips are those whose modalities move the prediction most, whether or not they "
    "agree: by the sum of their absolute contributions."
)
WORDS = 2  # of a clip, in the overview
MEANING = (
    "A contribution says what this run makes of a modality, in units of the {unit}. It does not mean that "
    "the modality expresses a feeling, or that another run would use it in the same way."
)


def write_page(run: TrainedRun, test: Contributions, found: Sequence[Explanation], path: Path) -> None:
    """HTML or PDF, by the name's ending."""
    summary = summary_blocks(run, test, found)
    if path.suffix == ".pdf":
        with plain_style(text__parse_math=False):
            write_pdf(found, path, _first_page(rendered(summary, {}, "text")))
        return
    clips: list[PageBlock] = []
    for number, one in enumerate(found, 1):
        line = f"{number}. {title_of(one.prediction)}"
        clips.append(Details(line, card_blocks(one, f"evidence-{number}"), f"clip-{number}", number == 1))
    write_text(as_html([*summary, *clips]), path)


def _first_page(text: str) -> Figure:
    """The summary as a page of a PDF."""
    from matplotlib.figure import Figure

    lines = text.splitlines()
    page = Figure(figsize=(11, 0.6 + 0.18 * len(lines)))
    page.text(0.03, 0.98, text, family="monospace", fontsize=8, va="top")
    return page


def summary_blocks(run: TrainedRun, test: Contributions, found: Sequence[Explanation]) -> list[Block]:
    """The head of the page; `found` are the most telling clips, these first."""
    unit = "probability of the predicted class" if run.task.classes else "label"
    title = f"{run.title}: the {len(found)} most telling of {len(test.clip_ids)} test clips"
    blocks: list[Block] = [
        Heading(title, 1),
        Lines([MEANING.format(unit=unit)]),
        Heading("What each modality contributes, over the test clips"),
        means_table(test),
        Lines(["Shapley values over the clips that have the modality; size: absolute value."]),
    ]
    if any(one.faithful is not None for one in found):
        blocks.append(Lines([faithful_line(found)]))
    return [*blocks, Heading("The most telling clips"), Lines([TELLING]), overview(test, found)]


def means_table(test: Contributions) -> Table:
    """Mean contribution and mean size of each modality."""
    rows = [
        [name, f"{mean:+.3f}", f"{size:.3f}", str(count)]
        for name, (mean, size, count) in test.means().items()
    ]
    return Table(["modality", "mean", "mean size", "clips"], rows)


def faithful_line(found: Sequence[Explanation]) -> str:
    """Faithfulness of the evidence of several clips, in a sentence."""
    scores = [one.faithful for one in found if one.faithful is not None]
    deleted = np.array([one.deletion_area for one in scores])
    inserted = np.array([one.insertion_area for one in scores])
    return (
        f"Faithfulness of the evidence ({found[0].how}) of these clips, over chance: deletion "
        f"{deleted.mean():+.3f} (above 0 in {(deleted > 0).sum()} of {len(scores)}), insertion "
        f"{inserted.mean():+.3f} (in {(inserted > 0).sum()})."
    )


def overview(test: Contributions, found: Sequence[Explanation]) -> Table:
    """A row a clip."""
    names = list(test.values)
    rows = []
    for one in found:
        clip = one.prediction
        parts = [f"{clip.contributions[m][0]:+.3f}" if m in clip.contributions else "" for m in names]
        label = "" if one.label is None else shown_label(one.label, clip)
        said = [(place.name, value) for modality, place, value in one.strongest() if modality == "text"]
        words = ", ".join(f"{name} {value:+.2f}" for name, value in said[:WORDS])
        rows.append([clip.features.clip_id, label, f"{clip.value:+.3f}", in_words(clip), *parts, words])
    head = ["clip", "label", "prediction", "in words", *names, "strongest words"]
    return Table(head, rows, words=(0, 3, len(head) - 1))
