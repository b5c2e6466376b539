"""A validation as one page of HTML: verdict, findings, plots, tables. It needs no other file and no network.

Every plot has its numbers in words, for who cannot see it, and beside it as a table. Tables scroll by
themselves on narrow screens; nothing depends on colour.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator
from pathlib import Path

from pipeline.corpora.findings import Finding
from pipeline.params.params import MediaLimits
from pipeline.reports.page import Table
from pipeline.validate import figures
from pipeline.validate.figures import Picture
from pipeline.validate.labels import sides
from pipeline.validate.report import (
    EXAMPLES,
    conflict_lines,
    conflict_table,
    maker_lines,
    split_table,
    store_table,
    untold,
    verdict,
)
from pipeline.validate.validate import Validation

MOST_ROWS = 200  # of one finding that are listed
STYLE = """:root{color-scheme:light}
body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:1.5em auto;padding:0 1em;color:#111}
h1{font-size:1.5em;overflow-wrap:anywhere}h2{margin-top:2em;border-bottom:2px solid #333}
table{border-collapse:collapse;font-size:.9em}th,td{padding:.25em .7em;text-align:right;vertical-align:top}
th{border-bottom:2px solid #333}td{border-bottom:1px solid #ccc;font-variant-numeric:tabular-nums}
th,td{white-space:nowrap}
th.l,td.l{text-align:left}.scroll{overflow-x:auto;margin:.8em 0}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(22em,100%),1fr));gap:1.5em}
figure{margin:0}figcaption{font-weight:600;margin-bottom:.3em}img{width:100%;max-width:34em;height:auto}
.finding{margin:.7em 0;padding:.1em 0 .1em .8em;border-left:1px solid #999;overflow-wrap:anywhere}
.warning{border-left:4px double #333}.error{border-left:8px solid #000}
.level{font-weight:700;text-transform:uppercase;font-size:.8em;letter-spacing:.05em}
details ul{max-height:20em;overflow:auto;font-size:.9em}.verdict{font-size:1.1em;font-weight:600}
@media print{details ul{max-height:none}}"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_page(found: Validation, path: Path, limits: MediaLimits) -> None:
    """Write the page; equal validations give equal bytes.

    Parameters
    ----------
    limits : those that the clips were measured against
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(found, limits), encoding="utf-8")


def page(found: Validation, limits: MediaLimits) -> str:
    """The page as text."""
    title = html.escape(found.what)
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{title}</title>\n<style>{STYLE}</style>"
    )
    body = "\n".join(_sections(found, limits))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n<h1>{title}</h1>\n{body}\n'
        "</body></html>\n"
    )


def _sections(found: Validation, limits: MediaLimits) -> Iterator[str]:
    yield f'<p class="verdict">{html.escape(verdict(found.findings))}</p>'
    yield _heading("Findings")
    yield from map(_finding, untold(found.findings))
    if found.summaries:
        yield _heading("Splits and labels")
        yield _table(split_table(found.summaries, found.corpus))
        yield _plots(_split_pictures(found, limits))
    if found.conflicts is not None and found.conflicts.clips:
        yield _heading("Where the modalities disagree")
        yield from map(_paragraph, conflict_lines(found.conflicts, bool(found.corpus.classes)))
        yield _table(conflict_table(found.conflicts))
        by_modality = figures.modality_picture(found.conflicts, sides(found.corpus))
        yield _plots((figures.conflict_picture(found.conflicts), by_modality))
    if found.stores:
        yield _heading("Features")
        yield _table(store_table(found))
        yield f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in maker_lines(found))}</ul>"
        yield _plots((figures.feature_picture(found.stores),))


def _split_pictures(found: Validation, limits: MediaLimits) -> Iterator[Picture]:
    if any(sum(summary.histogram) for summary in found.summaries):
        yield figures.label_picture(found.summaries, found.corpus)
    if any(summary.polarity is not None for summary in found.summaries):
        yield figures.polarity_picture(found.summaries)
    if found.seconds:
        yield figures.duration_picture(found.seconds, limits.max_seconds)


# --------------------------------------------------------------------------------------------------- pieces
def _heading(text: str) -> str:
    return f"<h2>{html.escape(text)}</h2>"


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _finding(finding: Finding) -> str:
    head = f'<span class="level">{finding.level}</span> <strong>{html.escape(finding.check)}</strong>'
    return (
        f'<div class="finding {finding.level}">{head}<br>{html.escape(finding.message)}'
        f"{_listed(finding.rows)}</div>"
    )


def _listed(rows: tuple[str, ...]) -> str:
    """All rows behind a line that opens them; a few are open from the start."""
    if not rows:
        return ""
    items = [*rows[:MOST_ROWS], *([f"and {len(rows) - MOST_ROWS} more"] if len(rows) > MOST_ROWS else [])]
    inner = "".join(f"<li>{html.escape(row)}</li>" for row in items)
    few = " open" if len(rows) <= EXAMPLES else ""
    return f"<details{few}><summary>{len(rows)} listed</summary><ul>{inner}</ul></details>"


def _table(table: Table) -> str:
    """In a box of its own that scrolls, so that the page does not."""

    def cells(row: list[str], tag: str) -> str:
        sides = [' class="l"' if place < table.left else "" for place in range(len(row))]
        return "".join(
            f"<{tag}{side}>{html.escape(cell)}</{tag}>" for side, cell in zip(sides, row, strict=True)
        )

    rows = "\n".join(f"<tr>{cells(row, 'td')}</tr>" for row in table.rows)
    head = f"<thead><tr>{cells(table.head, 'th')}</tr></thead>"
    return f'<div class="scroll" tabindex="0"><table>{head}<tbody>\n{rows}\n</tbody></table></div>'


def _plots(pictures: Iterator[Picture] | tuple[Picture, ...]) -> str:
    inner = "\n".join(
        f"<figure><figcaption>{html.escape(picture.title)}</figcaption>"
        f'<img alt="{html.escape(picture.alt)}" '
        f'src="data:image/svg+xml;base64,{base64.b64encode(picture.svg).decode("ascii")}"></figure>'
        for picture in pictures
    )
    return f'<div class="plots">{inner}</div>'
