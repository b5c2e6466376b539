"""`msa-cli`: its commands. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import sys
import traceback
from typing import Annotated, Any

import typer

from pipeline.cli.claims import claims
from pipeline.cli.compare import RunsAgainstRuns, compare, significance
from pipeline.cli.dag import dag
from pipeline.cli.doctor import doctor
from pipeline.cli.evaluate import evaluate
from pipeline.cli.explain import explain
from pipeline.cli.export import export
from pipeline.cli.extract import extract
from pipeline.cli.fetch import fetch
from pipeline.cli.figures import figures
from pipeline.cli.import_predictions import import_predictions
from pipeline.cli.info import info, methods
from pipeline.cli.ingest import import_files, ingest
from pipeline.cli.new import new
from pipeline.cli.plain_help import QUIET, PlainGroup
from pipeline.cli.predict import predict
from pipeline.cli.report import report
from pipeline.cli.repro import repro
from pipeline.cli.robust import robust
from pipeline.cli.stages import app as stage_app
from pipeline.cli.status import merge_lock, runs, why
from pipeline.cli.table import table
from pipeline.cli.tune import tune
from pipeline.cli.validate import validate
from pipeline.core.console import configure, erase_bars, is_quiet, say, set_quiet
from pipeline.core.errors import MsaError, of_system
from pipeline.core.lean_imports import arrow_without_pandas

UsageError: Any = typer.BadParameter.__base__  # click's, which typer holds inside

app = typer.Typer(
    cls=PlainGroup,
    no_args_is_help=True,
    help="Multimodal sentiment analysis, from raw video clips to tracked, comparable metrics.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
DATA, TRAINING, LOOK, SHARE, MACHINE = "Data", "Train", "Look", "Share", "Machine"  # panels of the help page
app.command(rich_help_panel=DATA)(ingest)
app.command("import", rich_help_panel=DATA)(import_files)
app.command(rich_help_panel=DATA)(validate)
app.command(rich_help_panel=DATA)(extract)
app.command(rich_help_panel=DATA)(info)
app.command(rich_help_panel=TRAINING)(methods)
app.command(rich_help_panel=TRAINING)(new)
app.command(rich_help_panel=TRAINING)(repro)
app.add_typer(stage_app, name="stage", rich_help_panel=TRAINING)
app.command(rich_help_panel=TRAINING)(tune)
app.command(rich_help_panel=TRAINING)(table)
app.command(rich_help_panel=TRAINING)(evaluate)
app.command(rich_help_panel=LOOK)(runs)
app.command(rich_help_panel=LOOK)(why)
app.command(rich_help_panel=LOOK)(dag)
app.command(rich_help_panel=LOOK)(report)
app.command(rich_help_panel=SHARE)(figures)
app.command(rich_help_panel=LOOK)(compare)
app.command(cls=RunsAgainstRuns, rich_help_panel=LOOK)(significance)
app.command(rich_help_panel=LOOK)(robust)
app.command(rich_help_panel=LOOK)(claims)
app.command(rich_help_panel=LOOK)(predict)
app.command(rich_help_panel=LOOK)(explain)
app.command(rich_help_panel=SHARE)(export)
app.command("import-predictions", rich_help_panel=SHARE)(import_predictions)
app.command("merge-lock", rich_help_panel=SHARE)(merge_lock)
app.command(rich_help_panel=MACHINE)(doctor)
app.command(rich_help_panel=MACHINE)(fetch)


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        say(f"msa-cli {version('msa-pipeline')}")
        raise typer.Exit


def _hush(asked: bool) -> None:
    if asked:
        set_quiet(True)


@app.callback()
def _of_all_commands(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit."),
    ] = False,
    _quiet: Annotated[
        bool,
        typer.Option(QUIET, "-q", callback=_hush, expose_value=False, help="Print only results and errors."),
    ] = False,
) -> None: ...


def main() -> Any:
    """Entry point: a user's mistake is a message and an exit code, never a traceback."""
    configure()
    arrow_without_pandas()
    quiet = is_quiet()
    try:
        return app(prog_name="msa-cli", standalone_mode=False)
    except Exception as error:
        erase_bars()
        return _said(error)
    finally:
        set_quiet(quiet)


def _said(error: Exception) -> int:
    """Print what went wrong; the exit code of it."""
    if isinstance(error, UsageError):
        where = error.ctx.command_path if error.ctx is not None else "msa-cli"
        message = " ".join(error.format_message().split()).replace("Value error, ", "").removesuffix(".")
        if message:  # none: its help was shown
            say(f"{where}: {message} (see {where} --help)", error=True)
        return int(error.exit_code)
    if isinstance(error, MsaError):
        say(f"msa-cli: {error}", error=True)
        return error.exit_code
    if isinstance(error, OSError):
        say(f"msa-cli: {of_system(error)}", error=True)
        return 1
    say("".join(traceback.format_exception(error)), error=True, end="")  # a mistake of ours
    return 1


if __name__ == "__main__":
    sys.exit(main())
