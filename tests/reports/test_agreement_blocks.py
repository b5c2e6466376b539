"""Where modalities agree, as report, study and comparison say it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made.small_repository import commit, compared, make_repository, save_runs

from pipeline.core.git import open_revision
from pipeline.evaluation.saved import read_results
from pipeline.reports import comparison as pages
from pipeline.reports.agreement import agreement_blocks
from pipeline.reports.blocks import as_markdown, rendered


def label_modalities(folder: Path, method: str) -> None:
    """Labels of text and audio in a method's results: of every fourth clip they differ in sign."""
    path = folder / "results" / "mosi" / method / "predictions.parquet"
    table = pq.read_table(path)
    ones = np.ones(len(table))
    table = table.append_column("label_text", pa.array(ones))
    audio = np.where(np.arange(len(table)) % 4 == 0, -ones, ones)
    pq.write_table(table.append_column("label_audio", pa.array(audio)), path)


def unpadded(text: str) -> str:
    return re.sub(" +", " ", text)


def test_blocks_of_methods(tmp_path: Path) -> None:
    for method, noise in (("misr", 0.2), ("khar", 0.9), ("text_only", 0.6)):
        save_runs(tmp_path, method, (1, 2, 3), noise)
    label_modalities(tmp_path, "misr")
    here = open_revision(None, tmp_path)
    methods = {m: read_results(here, f"results/mosi/{m}") for m in ("misr", "khar", "text_only")}
    text = unpadded(as_markdown(agreement_blocks(methods)))
    said = "Test clips by the labels of text and audio: agree 45 clips of 30 videos (75%), "
    assert f"{said}disagree 15 clips of 15 videos (25%)." in text
    errors = {
        method: [np.abs(r.predictions["test"].prediction - r.predictions["test"].label) for r in runs]
        for method, runs in methods.items()
    }
    apart = np.arange(60) % 4 == 0
    means = {
        (m, part): np.mean([e[apart == part] for e in own]) for m, own in errors.items() for part in (0, 1)
    }
    sds = {
        (m, part): np.std([e[apart == part].mean() for e in own], ddof=1)
        for m, own in errors.items()
        for part in (0, 1)
    }
    names = {"misr": "MISR", "khar": "KHaR", "text_only": "Text only"}
    for method in methods:  # the reference is that of one modality
        (line,) = re.findall(rf"^\| {names[method]} .*$", text, re.MULTILINE)
        for part in (0, 1):
            assert f"{means[method, part]:.3f} ± {sds[method, part]:.3f}" in line
    gain = means["misr", 1] - means["text_only", 1] - means["misr", 0] + means["text_only", 0]
    (line,) = re.findall(r"^\| MISR .*$", text, re.MULTILINE)
    assert line.split(" | ")[-1].startswith(f"{gain:+.3f}".replace("-", "−"))
    assert "less Text only" in text and "text_only" not in text and line.count("better") == 2
    assert f"Best where they disagree: MISR, MAE {means['misr', 1]:.3f}; the second is Text only" in text
    assert "Disagree: 15 videos: too few to trust intervals" in text
    assert agreement_blocks({m: runs for m, runs in methods.items() if m != "misr"}) == []


def test_compared_revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make_repository(tmp_path))
    before = compared("before", "HEAD")
    assert before.parts == [] and "Where modalities" not in rendered(
        pages.comparison_blocks(before), {}, "text"
    )
    label_modalities(tmp_path, "misr")
    commit(tmp_path, "labels of modalities")
    found = compared("before", "HEAD")
    assert found.entries == before.entries  # their correction is not touched
    misr = next(entry for entry in found.parts if entry.title == "misr on mosi")
    assert {part: one.clusters.clips for part, one in misr.parts.items()} == {"agree": 45, "disagree": 15}
    test = misr.parts["agree"].test
    assert test is not None and test.shown == "better" and test.p_holm is not None
    text = rendered(pages.comparison_blocks(found), {}, "text")
    assert max(map(len, text.splitlines())) <= 100
    assert "mosi: clips by the labels of text and audio: 45 agree, 15 disagree." in text
    facts = json.loads(rendered([], pages.comparison_facts(found), "json"))["agreement"]
    assert facts["told_apart"]["mosi"]["clips"] == {"agree": 45, "disagree": 15}
    assert facts["entries"][0]["parts"]["agree"]["test"]["difference"] == pytest.approx(test.difference)
