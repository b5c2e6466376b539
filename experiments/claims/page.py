"""The study's page, its Markdown and its pictures: results/*.json -> reports/."""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.claims.bench import read_measurements
from pipeline.claims.page import study_blocks
from pipeline.core.errors import MsaError
from pipeline.core.files import replaced_folder, write_text
from pipeline.params.params import load_params
from pipeline.reports.blocks import Block, as_html, as_markdown

RESULTS, REPORTS = Path("results"), Path("reports")


def main() -> None:
    """Methods that are not measured yet are left out."""
    try:
        files = [RESULTS / f"{name}.json" for name in load_params().models_run]
        measured = [read_measurements(file) for file in files if file.exists()]
        with replaced_folder(REPORTS / "figures") as folder:
            blocks = study_blocks({one.method: one for one in measured}, folder)
        write_text(as_html(blocks), REPORTS / "index.html")
        plain = [block for block in blocks if isinstance(block, Block)]
        write_text(as_markdown(plain, top=1), REPORTS / "claims.md")
    except MsaError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
