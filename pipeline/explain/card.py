"""The card of a clip: what a run predicts of it and what carries that, as a page of HTML or as a PDF.

Both need no other file and no network, and have the same picture (predict/timeline.py). The page has the
words coloured in running text, and tables; the PDF has lines below the picture. Equal explanations give equal
bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.files import atomic_write, write_text
from pipeline.explain.explain import Explanation
from pipeline.explain.neighbours import Neighbour
from pipeline.media.words import spans
from pipeline.predict.prediction import ClipPrediction
from pipeline.predict.report import in_words
from pipeline.predict.timeline import timeline
from pipeline.predict.words_panel import style
from pipeline.reports.blocks import (
    Block,
    Callout,
    Details,
    Figures,
    Heading,
    Lines,
    PageBlock,
    Passage,
    Table,
    Word,
    as_html,
)
from pipeline.reports.figures import svg_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LISTED = 15  # places with the most evidence
SHORT = 90  # characters of a neighbour's text in a PDF
LIKENESS = (
    "Similarity is the cosine of two clips' inputs to the method's last layer, centred at the mean of the "
    "training clips. It shows what the method groups together, not why."
)
HOW = {
    "occlusion": "Evidence is the prediction minus that without the word, or without these moments.",
    "gradients": "Evidence is that of integrated gradients, from zeros to what the run reads.",
}


def write_card(found: Explanation, path: Path) -> None:
    """HTML or PDF, by the name's ending."""
    if path.suffix == ".pdf":
        write_pdf([found], path)
    else:
        write_text(as_html([Heading(title_of(found.prediction), 1), *card_blocks(found)]), path)


def write_pdf(found: Sequence[Explanation], path: Path, first: Figure | None = None) -> None:
    """A page an explanation, behind a first page where there is one."""
    from matplotlib.backends.backend_pdf import PdfPages

    nameless: dict[str, Any] = dict.fromkeys(("Creator", "Producer", "CreationDate"))
    with atomic_write(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # the picture itself says so
        with PdfPages(temporary, metadata=nameless) as pages:
            if first is not None:
                first.savefig(pages, format="pdf")
            for one in found:
                with style(one.prediction.features.spoken.text or ""):
                    figure = timeline(one.prediction, one.curves, one.marks, _notes(one))
                    figure.savefig(pages, format="pdf")


def title_of(clip: ClipPrediction) -> str:
    """`clip: slightly positive, +0.91 on -3 to 3`."""
    low, high = clip.facts.label_range
    value = f"{clip.value:+.2f} on {low:g} to {high:g}"
    if clip.facts.class_names:
        value = f"probability {clip.value:.2f}"
    return f"{clip.features.clip_id}: {in_words(clip)}, {value}"


def shown_label(label: float, clip: ClipPrediction) -> str:
    """A score, or the name of a class."""
    return clip.facts.class_names[int(label)] if clip.facts.class_names else f"{label:+.2f}"


def card_blocks(found: Explanation, anchor: str = "evidence") -> list[Block | PageBlock]:
    """All of a card but its title; `anchor` is that of its evidence in numbers."""
    clip = found.prediction
    run = clip.outcomes[0].run
    known = "" if found.label is None else f" The label is {shown_label(found.label, clip)}."
    text = clip.features.spoken.text or ""
    with style(text):
        figure = timeline(clip, found.curves, found.marks)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from")
            alt = f"Frames, sound and evidence of {clip.features.clip_id} on one time axis"
            picture = svg_picture(figure, "", alt, anchor)
    blocks: list[Block | PageBlock] = [Lines([f"Predicted by {run}.{known}"])]
    blocks += [Callout(str(caution), level="warning") for caution in clip.cautions]
    if text.strip():
        blocks.append(passage(found))
    blocks += [
        Figures([picture], wide=True),
        Heading("What each modality contributes", 3),
        contributions(clip),
    ]
    blocks.append(Lines(["Shapley values: what a modality adds, on average over all orders of adding them."]))
    blocks += [Heading("Nearest clips", 3), *_neighbours(found)]
    head = ["modality", "where", "evidence"]
    rows = [[modality, place.name, f"{value:+.3f}"] for modality, place, value in found.strongest(LISTED)]
    details: list[Block | PageBlock] = [
        Table(head, rows, words=(0, 1)),
        Lines([HOW[found.how], *_faithful(found)]),
    ]
    return [*blocks, Details("Evidence in numbers, and whether it is faithful", details, anchor, True)]


def passage(found: Explanation) -> Passage:
    """The transcript, its words coloured; the strongest as dark as can be."""
    text, marks = found.prediction.features.spoken.text or "", found.marks
    words, at = [], 0
    for start, end in spans(text):
        value = marks.of_word(start, end)
        words.append(Word(text[at:start]))
        title = "not read by the run" if value is None else f"{value:+.3f}"
        shade = None if value is None else value / marks.strongest
        words.append(Word(text[start:end], shade, title))
        at = end
    return Passage([*words, Word(text[at:])])


def contributions(clip: ClipPrediction) -> Table:
    """From the mean prediction of the training clips to that of the clip."""
    rows = [["mean of the training clips", f"{clip.baseline:+.3f}"]]
    rows += [[modality, f"{mean:+.3f}"] for modality, (mean, _) in clip.contributions.items()]
    rows.append(["this clip", f"{clip.value:+.3f}"])
    unit = f"probability of {in_words(clip)}" if clip.facts.class_names else "score"
    return Table(["", unit], rows, strong=frozenset({len(rows) - 1}))


def _neighbours(found: Explanation) -> list[Block | PageBlock]:
    if not found.neighbours:
        return [Lines([f"None: {found.no_neighbours}"])]
    rows = [
        [one.clip_id, one.split, f"{one.likeness:.3f}", shown_label(one.label, found.prediction), one.text]
        for one in found.neighbours
    ]
    table = Table(["clip", "split", "likeness", "label", "text"], rows, words=(0, 1, 4))
    return [table, Lines([LIKENESS])]


def _faithful(found: Explanation) -> list[str]:
    """Whether the evidence is better than chance, in a sentence."""
    if found.faithful is None:
        return ["There is only one place, so the order cannot be tested."]
    deleted, inserted = found.faithful.deletion_area, found.faithful.insertion_area
    unit = "in probability" if found.prediction.facts.class_names else "in label units"
    verdict = "above" if min(deleted, inserted) > 0 else "not above"
    return [
        f"Faithfulness, {verdict} chance: when words and moments are removed in the order of their "
        f"evidence, the prediction loses {deleted:+.3f} more than in random orders; when they are put back "
        f"in that order, it gains {inserted:+.3f} more (area between the curves, {unit}; 0 is chance)."
    ]


def _notes(found: Explanation) -> list[str]:
    """What a PDF says below the picture."""
    clip = found.prediction
    lines = [] if found.label is None else [f"Label: {shown_label(found.label, clip)}"]
    lines += [f"Note: {caution}" for caution in clip.cautions]
    for number, one in enumerate(found.neighbours):
        lines.append(("Nearest clips: " if not number else "    ") + _in_line(one, clip))
    lines += [HOW[found.how], *_faithful(found)]
    return [part for line in lines for part in _broken(line)]


def _in_line(one: Neighbour, clip: ClipPrediction) -> str:
    text = one.text if len(one.text) <= SHORT else f"{one.text[: SHORT - 1]}…"
    label = shown_label(one.label, clip)
    return f"{one.clip_id} ({one.split}), label {label}, similarity {one.likeness:.2f}: {text}"


def _broken(line: str, width: int = 165) -> list[str]:
    import textwrap

    return textwrap.wrap(line, width, subsequent_indent="    ") or [line]
