"""The results page in a browser: shown without complaint at every width, in letters that can be read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from made.html_page import Page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

PROBE = """<script>
const told = [];
window.addEventListener("error", event => told.push(event.message), true);
console.error = (...words) => told.push(words.join(" "));
window.addEventListener("load", () => {
  const table = document.querySelector("table.sortable"), seen = [];
  const order = () => [...table.tBodies[0].rows].map(row => row.cells[0].textContent).join(",");
  for (const click of [1, 1, 0]) {
    table.tHead.rows[0].cells[click].querySelector("button").click();
    seen.push(order());
  }
  document.querySelectorAll("details").forEach(one => { one.open = true; });
  const sizes = [...document.querySelectorAll("svg text")].map(text => {
    const svg = text.closest("svg");
    const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    return parseFloat(text.getAttribute("font-size")) * scale;
  });
  const smallest = Math.min(...sizes), drawn = document.querySelector(".drawn");
  drawn.click();
  const area = element => element.getBoundingClientRect().width * element.getBoundingClientRect().height;
  const enlarged = area(document.querySelector("dialog[open] svg")) > 1.2 * area(drawn);
  const saved = document.querySelector("dialog a").download;
  document.querySelector("dialog").click();
  const closed = !document.querySelector("dialog[open]");
  const wide = document.documentElement.scrollWidth, inner = window.innerWidth;
  const result = {told, seen, smallest, enlarged, saved, closed, wide, inner};
  const shown = document.createElement("pre");
  shown.id = "told";
  shown.textContent = JSON.stringify(result);
  document.body.append(shown);
  parent.postMessage(shown.textContent, "*");
});
</script>"""
FRAME = """<html><body><iframe src="probed.html" style="width:%dpx;height:900px;border:0"></iframe>
<pre id="told"></pre><script>window.addEventListener("message", event => {
document.getElementById("told").textContent = event.data; });</script></body></html>"""


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome in PATH")
@pytest.mark.parametrize("width", [1920, 1280, 390])
def test_in_a_browser(width: int, page: Page, tmp_path: Path) -> None:
    (tmp_path / "probed.html").write_text(page.text.replace("<head>", f"<head>{PROBE}", 1), encoding="utf-8")
    (tmp_path / "frame.html").write_text(FRAME % width)  # a window has a least width, a frame has none
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--dump-dom"]
    done = subprocess.run(
        [*command, (tmp_path / "frame.html").as_uri()], capture_output=True, text=True, timeout=120
    )
    told = re.search(r'<pre id="told">(\{.*?\})</pre>', done.stdout, re.DOTALL)
    assert told, done.stderr[-2000:]
    result = json.loads(told[1])
    assert result["told"] == []
    assert result["inner"] == width
    assert result["smallest"] >= (9 if width >= 1280 else 7.5)  # CSS pixels
    assert result["enlarged"] and result["closed"] and result["saved"] == "mosi-standing.svg"
    assert result["wide"] <= width  # wide tables scroll in themselves
    rising = [row[0][0] for row in sorted(page.tables[0][1:], key=lambda row: float(row[1][1]))]
    assert result["seen"] == [",".join(order) for order in (rising, rising[::-1], sorted(rising))]
