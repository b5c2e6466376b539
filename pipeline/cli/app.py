"""`msa-cli`: its commands. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import sys
import traceback
from typing import Any

import typer

from pipeline.cli.compare import RunsAgainstRuns, compare, significance
from pipeline.cli.doctor import doctor
from pipeline.cli.extract import extract
from pipeline.cli.fetch import fetch
from pipeline.cli.figures import figures
from pipeline.cli.import_predictions import import_predictions
from pipeline.cli.info import info, methods
from pipeline.cli.ingest import import_files, ingest
from pipeline.cli.noise import noise
from pipeline.cli.predict import predict
from pipeline.cli.report import report
from pipeline.cli.repro import repro
from pipeline.cli.stages import app as stage_app
from pipeline.cli.status import merge_lock, runs, why
from pipeline.cli.table import table
from pipeline.cli.tune import tune
from pipeline.cli.validate import validate
from pipeline.core.console import configure, say
from pipeline.core.errors import MsaError, of_system
from pipeline.core.lean_imports import arrow_without_pandas

UsageError: Any = typer.BadParameter.__base__  # click's, which typer holds inside

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Multimodal sentiment analysis, from raw video clips to tracked, comparable metrics.",
    pretty_exceptions_enable=False,
)
app.add_typer(stage_app, name="stage")
app.command()(ingest)
app.command("import")(import_files)
app.command("import-predictions")(import_predictions)
app.command()(validate)
app.command()(extract)
app.command()(info)
app.command()(methods)
app.command()(repro)
app.command()(doctor)
app.command()(fetch)
app.command()(tune)
app.command()(table)
app.command()(noise)
app.command()(runs)
app.command()(why)
app.command("merge-lock")(merge_lock)
app.command()(compare)
app.command(cls=RunsAgainstRuns)(significance)
app.command()(report)
app.command()(figures)
app.command()(predict)


def main() -> Any:
    """Entry point: a user's mistake is a message and an exit code, never a traceback."""
    configure()
    arrow_without_pandas()
    try:
        return app(prog_name="msa-cli", standalone_mode=False)
    except UsageError as error:
        where = error.ctx.command_path if error.ctx is not None else "msa-cli"
        message = " ".join(error.format_message().split()).replace("Value error, ", "").removesuffix(".")
        if message:  # none: its help was shown
            say(f"{where}: {message} (see {where} --help)", error=True)
        return error.exit_code
    except MsaError as error:
        say(f"msa-cli: {error}", error=True)
        return error.exit_code
    except OSError as error:
        say(f"msa-cli: {of_system(error)}", error=True)
        return 1
    except Exception:  # a mistake of ours; what it quotes may be foreign
        say(traceback.format_exc(), error=True, end="")
        return 1


if __name__ == "__main__":
    sys.exit(main())
