"""What the results page looks like: its template (Jinja), what it adds to the style of all pages, its script.

The page needs no other file and no network. It reads well without its script, which only sorts tables.
"""

from __future__ import annotations

STYLE = """
html{-webkit-text-size-adjust:100%}
body{overflow-wrap:break-word;max-width:84em}
img{max-width:100%;height:auto}
a{color:#00508c}
nav a{margin-right:1em;white-space:nowrap}
.note{border-left:4px solid #666;padding:.1em 0 .1em .8em}
.scroll{overflow-x:auto}
.scroll th:first-child{position:sticky;left:0;background:#fff}
th,td{padding:.25em .55em}
td{white-space:nowrap}
td.said{white-space:normal;min-width:14em}
td small{color:#444}
tbody th{border-bottom:1px solid #ccc}
td small.paper{display:block}
th button{font:inherit;border:0;background:none;padding:0;cursor:pointer;text-align:inherit;color:inherit}
th[aria-sort=ascending] button::after{content:" \\25B2"}
th[aria-sort=descending] button::after{content:" \\25BC"}
details{border:1px solid #bbb;border-radius:4px;margin:.8em 0;padding:0 .8em}
summary{padding:.5em 0;cursor:pointer}
.figures{columns:20em;column-gap:1.5em}
figure{margin:0 0 1.4em;break-inside:avoid}
figcaption{font-weight:600;font-size:14px}
button:focus-visible,summary:focus-visible{outline:2px solid #00508c}
@media (max-width:480px){body{margin:1em auto;padding:0 .7em}}
"""

SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, place) => head.querySelector("button").addEventListener("click", () => {
    const rising = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const key = row => row.cells[place].dataset.v;
    const compare = (a, b) => {
      // what is empty stays last
      if (key(a) === "" || key(b) === "") return (key(a) === "") - (key(b) === "");
      const order = isNaN(key(a)) || isNaN(key(b)) ? key(a).localeCompare(key(b)) : key(a) - key(b);
      return rising ? order : -order;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  }));
}
"""

TEMPLATE = """\
{%- macro sortable(table) %}
<div class="scroll"><table class="sortable">
<thead><tr>
{%- for head in table.head %}<th class="{{ head.style }}" scope="col" title="{{ head.title }}">\
<button type="button">{{ head.text }}</button></th>{% endfor %}</tr></thead>
<tbody>
{%- for row in table.rows %}
<tr>
{%- for cell in row %}
{%- if loop.first %}<th class="l" scope="row" data-v="{{ cell.value }}">{{ cell.text }}</th>
{%- else %}<td class="{{ cell.style }}" data-v="{{ cell.value }}">
{%- if cell.strong %}<strong>{{ cell.text }}</strong>{{ cell.mark }}{% else %}{{ cell.text }}{% endif %}
{%- if cell.spread %} <small>{{ cell.spread }}</small>{% endif %}
{%- if cell.paper %}<small class="paper">paper {{ cell.paper }}</small>{% endif %}</td>
{%- endif %}{% endfor %}</tr>
{%- endfor %}
</tbody></table></div>
{%- endmacro -%}
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>Results</title>
<style>{{ style }}</style></head>
<body>
<h1>Results</h1>
<p>Test split, mean ± sample standard deviation over the seeds {{ seeds }}. Every run is one checkpoint, \
the epoch with the lowest validation loss. A heading of a table sorts it.</p>
<nav aria-label="Contents">
{%- for dataset in datasets %}
<p><a href="#{{ dataset.anchor }}">{{ dataset.name }}</a>
{%- for method in dataset.methods %} <a href="#{{ method.anchor }}">{{ method.name }}</a>{% endfor %}</p>
{%- endfor %}
</nav>
{% for dataset in datasets %}
<section id="{{ dataset.anchor }}">
<h2>{{ dataset.name }}</h2>
{% for note in dataset.warnings %}<p class="note"><strong>{{ note }}</strong></p>
{% endfor %}<p>{{ dataset.facts }}</p>
{{ sortable(dataset.table) }}
{% if dataset.ood %}<h3>Out of distribution</h3>
{{ sortable(dataset.ood) }}
{% endif %}<p>{{ dataset.legend }}</p>
{% if dataset.remarks %}<ul>{% for remark in dataset.remarks %}<li>{{ remark }}</li>{% endfor %}</ul>
{% endif %}
{%- for method in dataset.methods %}
<section id="{{ method.anchor }}">
<h3>{{ method.name }} on {{ dataset.name }}</h3>
{% if method.reading %}<p>{{ method.reading }}</p>
{% endif %}
{%- for run in method.runs %}
<details id="{{ run.anchor }}"{% if loop.first %} open{% endif %}><summary>{{ run.summary }}</summary>
{% for note in run.notes %}<p class="note">{{ note }}</p>
{% endfor %}<div class="figures">
{%- for caption, picture in run.figures %}
<figure><figcaption>{{ caption }}</figcaption>
<img alt="{{ picture.alt }}" width="{{ picture.width }}" height="{{ picture.height }}" \
src="data:image/png;base64,{{ picture.png }}"></figure>
{%- endfor %}
</div>
{% if run.worst %}<h4>The worst test clips</h4>
{{ sortable(run.worst) }}
{% endif %}</details>
{%- endfor %}
</section>
{%- endfor %}
</section>
{% endfor %}
<section id="reading"><h2>How to read the pictures</h2>
<ul>
<li>Loss terms are drawn as they are; what training adds up is each times its weight.</li>
<li>A t-SNE keeps neighbours together. Its axes have no unit, and distances between groups mean little. Full \
markers are shared (or invariant) representations, hollow ones private (or spurious).</li>
<li>Errors by range stand beside the number of clips: few clips make a range's bar unreliable.</li>
<li>The worst clips are those with the largest error: |prediction - label| of a score, cross-entropy (nats) \
of a class.</li>
</ul></section>
<script>{{ script }}</script>
</body></html>
"""
