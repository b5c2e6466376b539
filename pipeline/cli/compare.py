"""`msa-cli compare`: two states of the project side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Resamples = Annotated[int, typer.Option(min=100, max=1_000_000, help="Of the bootstrap and of the test.")]
RandomSeed = Annotated[int, typer.Option(min=0, help="Of the resampling.")]
Markdown = Annotated[bool, typer.Option("--md", help="Print Markdown, for a pull request.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Html = Annotated[bool, typer.Option("--html", help="Print a page of HTML that needs no other file.")]
Out = Annotated[Path | None, typer.Option(help="File to write in place of printing.", dir_okay=False)]


def compare(
    rev_a: Annotated[
        str, typer.Argument(metavar="REV_A", help="Commit, tag, branch, or name of a DVC experiment: before.")
    ],
    rev_b: Annotated[
        str | None, typer.Argument(metavar="[REV_B]", help="The same: after. Default: the working folder.")
    ] = None,
    test: Annotated[
        bool, typer.Option("--test/--no-test", help="Intervals and p values of differences.")
    ] = True,
    everything: Annotated[bool, typer.Option("--all", help="Metrics of unchanged runs too.")] = False,
    resamples: Resamples = 10_000,
    seed: RandomSeed = 0,
    markdown: Markdown = False,
    as_json: Json = False,
    as_html: Html = False,
    out: Out = None,
) -> None:
    """Compare two states: params, code, features and metrics that differ, and whether differences are real.

    All is read from git: this works in a clone without data, and for experiments by their names.

    Example: msa-cli compare main --md; msa-cli compare HEAD~1 HEAD
    """
    from pipeline.core.git import open_revision
    from pipeline.evaluation.compare import compare as compare_revisions
    from pipeline.reports import blocks as page
    from pipeline.reports import comparison as pages

    form = page.chosen_form(markdown, as_json, as_html)
    found = compare_revisions(open_revision(rev_a), open_revision(rev_b), resamples, seed, test)
    facts = pages.comparison_facts(found)
    page.publish(pages.comparison_blocks(found, everything), facts, form, out)
