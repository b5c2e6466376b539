"""Sphinx builds these pages: `make docs`, strict, into build/docs."""

project = "msa-pipeline"
author = copyright = "the msa-pipeline authors"
extensions = ["myst_parser"]
myst_heading_anchors = 3  # links to headings named as code-hosting pages name them
highlight_language = "none"
html_theme = "furo"
html_title = "msa-pipeline"
html_show_sphinx = html_show_sourcelink = html_copy_source = False
templates_path = exclude_patterns = []
