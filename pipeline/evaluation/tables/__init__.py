"""Tables of the papers, comparison, ablation and sensitivity: `<method>.py`, where there are some."""

from __future__ import annotations

import importlib
import importlib.util

from models import METHODS
from pipeline.evaluation.tables.rows import PaperTable

TABLES: dict[tuple[str, str], PaperTable] = {
    (table.method, table.name): table
    for method in METHODS
    if importlib.util.find_spec(f"{__name__}.{method}") is not None
    for table in importlib.import_module(f"{__name__}.{method}").TABLES
}
