"""`msa-cli significance`: are some runs better than others?"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from pipeline.cli.compare import Html, Json, Markdown, Out, RandomSeed, Resamples

AGAINST = "--against"


class RunsAgainstRuns(TyperCommand):
    """Lets `--against` take all names up to the next option; click gives an option one value alone."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat `--against` before every name that follows it."""
        repeated: list[str] = []
        inside = False
        for word in args:
            if word.startswith("-"):
                inside = word == AGAINST
            elif inside and repeated[-1] != AGAINST:
                repeated.append(AGAINST)
            repeated.append(word)
        return super().parse_args(ctx, repeated)


def significance(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Results (results/mosi/misr-1111.json), runs (misr-mosi-1111), or misr-mosi.",
        ),
    ],
    against: Annotated[
        list[str], typer.Option(AGAINST, metavar="RUN...", help="The runs that they are compared with.")
    ],
    resamples: Resamples = 10_000,
    seed: RandomSeed = 0,
    markdown: Markdown = False,
    as_json: Json = False,
    as_html: Html = False,
    out: Out = None,
) -> None:
    """Test whether runs are better than others on the same clips: differences, intervals and p values.

    A name without a seed stands for all its seeds. Runs are paired by seed where both sides have the same.

    Example: msa-cli significance misr-mosi --against khar-mosi
    """
    from pipeline.evaluation.comparison import compare_sets
    from pipeline.reports import blocks as page
    from pipeline.reports import comparison as pages

    form = page.chosen_form(markdown, as_json, as_html)
    entry, family = compare_sets(runs, against, resamples, seed)
    facts = {"entry": pages.entry_facts(entry), "statistics": pages.statistics_facts(resamples, seed, family)}
    blocks = [*pages.entry_blocks(entry, level=1), *pages.method_blocks(resamples, seed, family)]
    page.publish(blocks, facts, form, out)
