"""Who is better where modalities agree and where they do not: blocks for reports, studies, comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.core.errors import MsaError
from pipeline.evaluation.agreement import (
    AGREE,
    DISAGREE,
    NEUTRAL,
    PARTS,
    UNIMODAL,
    Agreement,
    PartDifference,
    PartsComparison,
    compare_parts,
    correct_parts,
    modality_agreement,
)
from pipeline.evaluation.saved import SavedRun
from pipeline.evaluation.significance import ALPHA, LEVEL, lower_is_better
from pipeline.reports.blocks import Block, Cell, Heading, Lines, Table
from pipeline.reports.names import in_words, method_name, metric_name
from pipeline.reports.tables import interval, signed

DIGITS = 3


def agreement_blocks(
    methods: Mapping[str, Sequence[SavedRun]], reference: str | None = None, level: int = 3
) -> list[Block]:
    """Every method in each part of the test split, less the reference; nothing where there are no parts.

    Parameters
    ----------
    methods : method -> its runs on one set, or pooled over the folds of a study (`evaluation.pooled`)
    reference : a method; None = the first of text_only, audio_only, visual_only that is there, else the first
    level : of the heading
    """
    agreement = modality_agreement(methods)
    if agreement is None:
        return []
    unimodal = [UNIMODAL[m] for m in agreement.modalities if UNIMODAL[m] in methods]
    reference = reference or [*unimodal, *methods][0]
    compared: list[PartsComparison] = []
    remarks = [*agreement.remarks]
    for name, runs in methods.items():
        if name != reference:
            try:
                compared.append(compare_parts(name, methods[reference], runs, agreement))
            except MsaError as error:
                remarks.append(f"Not shown: {error}")
    if not compared:
        return []
    compared, family = correct_parts(compared)
    remarks += [f"{remark[0].upper()}{remark[1:]}" for one in compared for remark in one.remarks]
    listed = [f"{in_words(line)}." for line in dict.fromkeys(remarks)]
    return [
        Heading("Where modalities agree, and where they do not", level),
        Lines([_how_many(agreement, compared[0]), *_winners(methods, agreement, compared, reference)]),
        _table(compared, reference),
        *([Lines(listed, bullets=True)] if listed else []),
        Lines([_reading(compared[0], reference, family)]),
    ]


def _how_many(agreement: Agreement, compared: PartsComparison) -> str:
    whole = len(agreement.parts) + agreement.unknown
    counts = ", ".join(
        f"{part} {one.clusters.text_with_clips} ({one.clusters.clips / whole:.0%})"
        for part, one in compared.parts.items()
    )
    unknown = f"; {agreement.unknown} clips with fewer than two are in none" if agreement.unknown else ""
    return f"Test clips by {in_words(agreement.text)}: {counts}{unknown}."


def _winners(
    methods: Mapping[str, Sequence[SavedRun]],
    agreement: Agreement,
    compared: Sequence[PartsComparison],
    reference: str,
) -> list[str]:
    """The best method of each part, and how surely it is better than the second."""
    lines = []
    for part in (AGREE, DISAGREE):
        means = {one.title: found.b.mean for one in compared if (found := one.parts.get(part))}
        if not means:
            continue
        means[reference] = next(one.parts[part].a.mean for one in compared if part in one.parts)
        sign = 1 if lower_is_better(compared[0].metric) else -1
        best, second = sorted(means, key=lambda name: sign * means[name])[:2]
        test = compare_parts(best, methods[second], methods[best], agreement).parts[part].test
        gap = "" if test is None else f", {_difference(test.difference, test.low, test.high)}"
        lines.append(
            f"Best where they {part}: {method_name(best).text}, {metric_name(compared[0].metric).text} "
            f"{means[best]:.{DIGITS}f}; the second is {method_name(second).text}, "
            f"{means[second]:.{DIGITS}f}{gap}."
        )
    return lines


def _table(compared: Sequence[PartsComparison], reference: str) -> Table:
    parts = [part for part in PARTS if part in compared[0].parts]
    metric, against = metric_name(compared[0].metric).text, method_name(reference).text
    head: list[str | Cell] = ["method"]
    tested = {part: any(one.parts[part].test is not None for one in compared if part in one.parts)
              for part in parts}  # fmt: skip
    for part in parts:
        head += [f"{part}: {metric}", *([f"less {against}", "shown"] if tested[part] else [])]
    head.append(f"{DISAGREE} minus {AGREE}")
    own = compared[0].parts
    rows = [[against]]
    for part in parts:
        rows[0] += [own[part].a.text(DIGITS), *(["–", ""] if tested[part] else [])]
    rows[0].append("–")
    for one in compared:
        cells = [cell for part in parts for cell in _cells(one.parts.get(part))[: 3 if tested[part] else 1]]
        gained = "–" if one.contrast is None else _difference(*one.contrast)
        rows.append([method_name(one.title).text, *cells, gained])
    return Table(head, rows)


def _cells(found: PartDifference | None) -> list[str]:
    if found is None:
        return ["–", "–", ""]
    if found.test is None:
        return [found.b.text(DIGITS), "–", ""]
    test = found.test
    return [found.b.text(DIGITS), _difference(test.difference, test.low, test.high), test.words]


def _difference(value: float, low: float, high: float) -> str:
    return f"{signed(value)} ({interval(low, high)})"


def _reading(compared: PartsComparison, reference: str, family: int) -> str:
    neutral = f" {NEUTRAL}: some are 0, and the others do not differ." if NEUTRAL in compared.parts else ""
    against, metric = method_name(reference).text, metric_name(compared.metric).text
    return (
        f"{metric}: mean ± sample standard deviation over the runs; in brackets {LEVEL:.0%} "
        f"intervals over clusters of clips. shown, at {ALPHA:g}: better or worse than {against}, swapping "
        f"clusters, Holm's correction over {family} tests; with a star where other seeds may not differ. "
        f"{DISAGREE} minus {AGREE}: how much larger the difference from {against} is where modalities "
        f"disagree, its interval not corrected.{neutral}"
    )


# ------------------------------------------------------------------------------------------ of a comparison
def parts_blocks(
    entries: Sequence[PartsComparison], told_apart: Mapping[str, Agreement], family: int
) -> list[Block]:
    """Two sides of methods in each part, a row each; `told_apart`: set -> its parts."""
    if not entries:
        return []
    rows = []
    for entry in entries:
        for part, found in entry.parts.items():
            sides = found.a.text(DIGITS), found.b.text(DIGITS)
            rows.append([f"{entry.title}, {part}", entry.metric, *sides, *_cells(found)[1:]])
    remarks = []
    for name, agreement in told_apart.items():
        counts = ", ".join(f"{count} {part}" for part, count in agreement.counts.items())
        remarks += [f"{name}: clips by {agreement.text}: {counts}.", *(f"{r}." for r in agreement.remarks)]
    remarks += [f"{entry.title}, {remark}." for entry in entries for remark in entry.remarks]
    remarks.append(f"shown: Holm's correction over the {family} tests of this table.")
    head = ["runs, modalities", "metric", "A", "B", f"B - A ({LEVEL:.0%} interval)", "shown"]
    return [
        Heading("Where modalities agree, and where they do not"),
        Table(head, rows, words=(0, 1, 5)),
        Lines([*dict.fromkeys(remarks)], bullets=True),
    ]
