"""Claims as pages: of one method, and of a study of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.claims.bench import SIZES, TEST_RHO, Measurements
from pipeline.claims.claims import (
    CLAIMED,
    CONFLICT,
    DISENTANGLEMENT,
    EVERYBODY,
    EXPERTS,
    INVARIANCE,
    LEVEL,
    REFERENCE,
    TestedClaim,
    claims_of,
    findings,
)
from pipeline.claims.figures import HELD, drawings, interval
from pipeline.core.errors import MsaError
from pipeline.reports.blocks import Block, Figures, Heading, Lines, PageBlock, Picture, Table
from pipeline.reports.figures import picture, save
from pipeline.reports.names import method_name

TOPICS = {  # of claims, and of their pictures
    "Invariance": (INVARIANCE, "misled"),
    "Private and shared": (DISENTANGLEMENT, "held"),
    "Conflict between modalities, and experts for sub-populations": ((*CONFLICT, *EXPERTS), "special"),
}
HEAD = ("method", "claim", "value", "compared with", "difference, 95 % interval", "corrected p", "verdict")
HOW = (
    "Planted corpora: features whose factors are known. Every number is a mean over seeds, each with corpora "
    "of its own; differences are paired by seed (t-test, 95 % interval), p corrected by Holm over all claims "
    f"of this page. shown: the corrected p is below {LEVEL:g} and the sign is the claimed one; opposite: "
    "below it with the other sign; not shown: neither."
)


def method_blocks(found: Measurements) -> list[Block]:
    """The claims of one method, and everything that was measured."""
    tested = findings({found.method: found}, {found.method: claims_of(found.method)})
    seeds = ", ".join(map(str, found.seeds))
    blocks: list[Block] = [
        Heading(f"{method_name(found.method).text}: claims on planted corpora", 1),
        Lines([HOW, f"Seeds: {seeds}."]),
    ]
    if tested:
        blocks.append(claims_table(tested, named=False))
    else:
        blocks.append(Lines(["Nothing can be tested: give at least two seeds, ideally ten."]))
    rows = []
    for name in next(iter(found.seeds.values())):
        values = found.of(name)
        if values is not None:
            mean, low, high = interval(values)
            rows.append([name, f"{mean:.3f}", f"{low:.3f} to {high:.3f}"])
    return [*blocks, Heading("Measurements"), Table(["measurement", "mean", "95 % interval"], rows)]


def study_blocks(found: Mapping[str, Measurements], folder: Path) -> list[Block | PageBlock]:
    """The page of a study; its pictures go into `folder` too.

    MsaError where there are no measurements, or some have other seeds.
    """
    if not found:
        raise MsaError("results: there are no measurements; `dvc repro` makes them, one stage per method")
    seeds = {tuple(mine.seeds) for mine in found.values()}
    if len(seeds) > 1:
        raise MsaError("results: methods were measured with different seeds; `dvc repro` measures them again")
    tested = findings(found, CLAIMED)
    invariant = [name for name, claims in CLAIMED.items() if INVARIANCE[0] in claims]
    pictures: dict[str, list[Picture]] = {}
    for topic, of_topic in drawings(found, invariant).items():
        for drawing in of_topic:
            save(drawing, folder / f"{drawing.name}.png", drawing.width)
            pictures.setdefault(topic, []).append(picture(drawing))
    blocks: list[Block | PageBlock] = [
        Heading("Do methods do what they claim?", 1),
        Lines([HOW, f"Seeds {', '.join(map(str, next(iter(seeds))))}; {len(tested)} claims were tested."]),
    ]
    for topic, (claims, drawn) in TOPICS.items():
        own = [finding for finding in tested if finding.claim in claims]
        if own:
            blocks += [Heading(topic), claims_table(own)]
        if drawn in pictures:
            blocks.append(Figures(pictures[drawn], large=True))
        if claims is DISENTANGLEMENT and (rows := _held_rows(found)):
            said = "R² of probes; in brackets, without the terms that separate shared and private."
            blocks += [Lines([said]), Table(["method", "probe", *HELD.values()], rows, words=(0, 1))]
    blocks += [Heading("All methods"), Lines([_everybody_said()]), _methods_table(found)]
    if "methods" in pictures:
        blocks.append(Figures(pictures["methods"], large=True))
    return blocks


def claims_table(tested: Sequence[TestedClaim], named: bool = True) -> Table:
    """A row a claim; `named`: with the method's name in front."""
    rows = [
        [
            method_name(one.method).text,
            one.claim.words,
            f"{one.value:.3f}",
            f"{one.against:.3f}" if one.claim.against else "–",
            f"{one.difference:+.3f} ({one.low:+.3f} to {one.high:+.3f})",
            small(one.corrected),
            one.verdict,
        ]
        for one in tested
    ]
    strong = frozenset(row for row, one in enumerate(tested) if one.verdict != "not shown")
    if named:
        return Table(HEAD, rows, words=(0, 1, 6), strong=strong)
    return Table(HEAD[1:], [row[1:] for row in rows], words=(0, 5), strong=strong)


def small(p: float) -> str:
    """A p value."""
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def _held_rows(found: Mapping[str, Measurements]) -> list[list[str]]:
    """R² by method and probe: with, and in brackets without the terms."""
    rows = []
    for name, mine in found.items():
        for probe in ("linear", "mlp"):
            cells = []
            for key in HELD:
                values, without = (mine.of(f"{prefix}read/{probe}/{key}") for prefix in ("", "without/"))
                beside = "" if without is None else f" ({without.mean():.2f})"
                cells.append("–" if values is None else f"{values.mean():.2f}{beside}")
            if any(cell != "–" for cell in cells):
                rows.append([method_name(name).text, probe, *cells])
    return rows


def _everybody_said() -> str:
    reference = method_name(REFERENCE).text
    return (
        f"Not a paper's claim: each method against {reference}, seed by seed, at its own small size. Mean "
        f"absolute error with {SIZES[0]} and {SIZES[-1]} training clips, and with a cue whose correlation is "
        f"turned from +{max(TEST_RHO):g} to {min(TEST_RHO):g}; a star: differs from {reference} "
        f"(p < {LEVEL:g}, Holm over this table)."
    )


def _methods_table(found: Mapping[str, Measurements]) -> Table:
    """A row a method, best first."""
    tested = findings(found, dict.fromkeys(found, EVERYBODY))
    stars = {(one.method, one.claim.value) for one in tested if one.corrected < LEVEL}
    columns = [claim.value for claim in EVERYBODY]
    extra = ["agreeing", "contrary"]
    order = sorted(found, key=lambda name: found[name].of(columns[1]).mean())  # type: ignore[union-attr]
    rows = []
    for name in order:
        cells = []
        for column in (*columns, *extra):
            values = found[name].of(column)
            mark = " *" if (name, column) in stars else ""
            cells.append("–" if values is None else f"{values.mean():.3f} ± {values.std(ddof=1):.3f}{mark}")
        rows.append([method_name(name).text, *cells])
    head = ["method", *(claim.words for claim in EVERYBODY), "clips that agree", "clips that contradict"]
    return Table(head, rows)
