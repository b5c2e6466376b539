"""The ablation and sensitivity tables of the papers; run.py runs and prints them."""

from __future__ import annotations

from pipeline.evaluation.tables import cmir, khar, mird, misr, slad
from pipeline.evaluation.tables.rows import PaperTable, Row

__all__ = ["TABLES", "PaperTable", "Row"]

TABLES = {
    (table.method, table.name): table for module in (misr, cmir, slad, mird, khar) for table in module.TABLES
}
