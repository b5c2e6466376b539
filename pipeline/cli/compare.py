"""`msa-cli compare` and `msa-cli significance`: two states of the project, and sets of runs, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from pipeline.cli import completion
from pipeline.cli.options import AsJson

Resamples = Annotated[int, typer.Option(min=100, max=1_000_000, help="Resamples of the swap test.")]
RandomSeed = Annotated[int, typer.Option(min=0, help="Seed of the swap test.")]
Markdown = Annotated[bool, typer.Option("--md", help="Print Markdown, for a pull request.")]
Html = Annotated[bool, typer.Option("--html", help="Print a self-contained HTML page.")]
Out = Annotated[Path | None, typer.Option(help="File to write instead of printing.", dir_okay=False)]
AGAINST = "--against"


def compare(
    rev_a: Annotated[
        str, typer.Argument(metavar="REV_A", help="State before: a commit, tag, branch, or DVC experiment.")
    ],
    rev_b: Annotated[
        str | None, typer.Argument(metavar="[REV_B]", help="State after. Default: the working folder.")
    ] = None,
    test: Annotated[
        bool, typer.Option("--test/--no-test", help="Intervals and p values of differences.")
    ] = True,
    everything: Annotated[bool, typer.Option("--all", help="Show metrics of unchanged runs too.")] = False,
    resamples: Resamples = 10_000,
    seed: RandomSeed = 0,
    markdown: Markdown = False,
    as_json: AsJson = False,
    as_html: Html = False,
    out: Out = None,
) -> None:
    """Compare two states: params, code, features and metrics that differ, and whether differences are real.

    Everything is read from git, so this works in a clone without data, and for experiments by name.

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
            help="Results (results/mosi/misr), misr-mosi, or one run (misr-mosi/1111).",
            autocompletion=completion.result_names,
        ),
    ],
    against: Annotated[
        list[str],
        typer.Option(
            AGAINST,
            metavar="RUN...",
            help="The runs that they are compared with.",
            autocompletion=completion.result_names,
        ),
    ],
    resamples: Resamples = 10_000,
    seed: RandomSeed = 0,
    markdown: Markdown = False,
    as_json: AsJson = False,
    as_html: Html = False,
    out: Out = None,
) -> None:
    """Test whether runs are better than others on the same clips: differences, intervals and p values.

    A name without a seed stands for all its seeds. Runs are paired by seed where both sides have the same.
    Clips of one speaker, else of one video, are resampled together.

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
