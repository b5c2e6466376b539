"""Log lines on stderr, as MSA_LOG asks: `MSA_LOG=debug` gives a line for every clip; and tables on stdout."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

LEVELS = ("debug", "info", "warning", "error")
WIDTH_OF_A_FILE = 160  # characters, where the output is no screen


def configure() -> None:
    """Set up the logger `msa`; for the command line and for each worker process."""
    level = os.environ.get("MSA_LOG", "").lower()
    logger = logging.getLogger("msa")
    if level in LEVELS and not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(level.upper())
        logger.propagate = False


def show(*what: Any) -> None:
    """Print tables; into a file or a pipe they get the width that a screen may not have."""
    from rich.console import Console

    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    Console(width=None if known else WIDTH_OF_A_FILE).print(*what)
