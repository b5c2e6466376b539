"""Log lines of ours on stderr, as MSA_LOG asks: `MSA_LOG=debug` gives a line for every clip."""

from __future__ import annotations

import logging
import os

LEVELS = ("debug", "info", "warning", "error")


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
