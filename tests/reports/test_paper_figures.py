"""`msa-cli figures`: files of a column's width with their fonts in them, the same bytes twice."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made.made_results import views, write_one
from PIL import Image

from pipeline.evaluation.saved import write_views
from pipeline.reports import fonts
from pipeline.reports.figures import COLOURS, COLUMN, LINES, PAGE, Drawing, line_style, save
from pipeline.reports.run_figures import draw_confusion

Cli = Callable[..., tuple[int, str]]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for method, noise in (("misr", 0.2), ("other", 1.5)):
        for seed in (1, 2):
            write_one(tmp_path, method, seed, noise)
    write_views({1: views()}, tmp_path / "results" / "mosi" / "misr" / "views.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def objects(file: Path) -> bytes:
    """A PDF with its streams unpacked."""
    content = file.read_bytes()
    for packed in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL):
        try:
            content += zlib.decompress(packed)
        except zlib.error:
            continue
    return content


def test_pdfs_have_the_width_of_a_column_and_their_fonts(project: Path, cli: Cli) -> None:
    code, said = cli("figures", "misr-mosi", "other-mosi", "--out", "figures")
    assert code == 0, said
    files = {file.stem: file for file in (project / "figures").iterdir()}
    assert set(said.split()) == {f"figures/{file.name}" for file in files.values()}
    compared = {f"mosi-{kind}" for kind in ("standing", "curves", "predictions")}
    of_misr = {
        f"mosi-misr-{kind}" for kind in ("losses", "scatter", "confusion", "errors", "view0", "map0-group")
    }
    assert compared | of_misr <= set(files)
    for name, file in files.items():
        content = objects(file)
        box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+)", content)
        assert box is not None
        assert float(box[1]) / 72 == pytest.approx(PAGE if name in compared else COLUMN, abs=0.01)
        assert (
            content.count(b"/FontFile2") >= 1 and b"/Type3" not in content and b"CreationDate" not in content
        )


def test_one_run_svg_png_and_the_same_bytes(project: Path, cli: Cli) -> None:
    written = []
    for folder in ("a", "b"):
        assert cli("figures", "misr-mosi/1", "--out", folder, "--format", "svg", "--width", "5")[0] == 0
        written.append({file.name: file.read_bytes() for file in (project / folder).iterdir()})
    assert written[0] == written[1] and "mosi-standing.svg" not in written[0]
    assert b'width="360pt"' in written[0]["mosi-misr-scatter.svg"]
    assert cli("figures", "results/mosi/other", "--out", "png", "--format", "png")[0] == 0
    with Image.open(project / "png" / "mosi-other-confusion.png") as image:
        assert image.width == round(COLUMN * 300)


def test_mistakes_are_told(project: Path, cli: Cli) -> None:
    code, said = cli("figures", "misr-mosi", "--out", "x", "--format", "eps")
    assert code == 2 or code == 1
    assert "'eps' is not known" in said
    code, said = cli("figures", "nobody-mosi", "--out", "x")
    assert code != 0 and "'nobody-mosi' is not known" in said and not (project / "x").exists()


def test_neighbouring_lines_differ_without_colour() -> None:
    """In grey print: lightness by the eye's sensitivity (Rec. 709), or else the line's form."""
    for one in range(len(COLOURS)):
        assert line_style(one)["linestyle"] != line_style(one + 1)["linestyle"]
    light = [np.dot((0.2126, 0.7152, 0.0722), [int(c[i : i + 2], 16) for i in (1, 3, 5)]) for c in COLOURS]
    assert len({*LINES}) == len(LINES) and len({round(value) for value in light}) == len(COLOURS)


def shown(text: str, path: Path) -> tuple[str, np.ndarray]:
    """Letters without a font, and how the text looks."""

    def paint(figure) -> None:  # type: ignore[no-untyped-def]
        figure.text(0.1, 0.5, text, fontsize=20)

    lacking = save(Drawing("text", "text", "text", paint), path)
    with Image.open(path) as image:
        return lacking, np.asarray(image.convert("L")).astype(int)


def test_letters_of_other_scripts_are_drawn_or_named(tmp_path: Path) -> None:
    lacking, arabic = shown("غضب é", tmp_path / "a.png")
    assert lacking == "" and arabic.min() < 50
    # letters of a word join: apart they look otherwise
    _, apart = shown(" ".join("غضب") + " é", tmp_path / "b.png")
    assert (arabic < 128).sum() != (apart < 128).sum()
    lacking, _ = shown("高兴 𞤀", tmp_path / "c.png")
    known = fonts._font_for("高") is not None
    assert ("高" in lacking) != known and "𞤀" in lacking


def test_a_letter_that_no_font_has_is_said(project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def strange(*of: object) -> Drawing:
        return draw_confusion("mosi-x", np.eye(2, dtype=int), ["𞤀", "joy"])

    monkeypatch.setattr("pipeline.reports.paper_figures.method_drawings", lambda *of: [strange()])
    code, said = cli("figures", "misr-mosi", "--out", "figures")
    assert code == 0 and "no installed font has 𞤀" in said and "Noto Sans CJK" in said
