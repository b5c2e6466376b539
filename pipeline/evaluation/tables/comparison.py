"""The comparison table of a paper, whole: its method beside all others that it prints, and our anchors.

A printed row is a method of ours where we have it; the others stay printed alone. Every table ends with the
anchors, which no paper prints: what a method is worth is seen against them.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.evaluation.tables.rows import PaperTable, Row, printed

OURS = {  # as papers call it -> as its folder is called
    "TFN": "tfn",
    "LMF": "lmf",
    "MulT": "mult",
    "MISA": "misa",
    "MAG-BERT": "mag_bert",
    "Self-MM": "self_mm",
    "MMIM": "mmim",
    "ALMT": "almt",
    "WSA-BERT": "wsa_bert",
    "MMML": "mmml",
    "KuDA": "kuda",
    "ITHP": "ithp",
}
ANCHORS = {
    "text only": "text_only",
    "audio only": "audio_only",
    "visual only": "visual_only",
    "late fusion": "late_fusion",
    "early fusion": "early_fusion",
    "ridge": "ridge",
    "constant": "constant",
}


def comparison(
    method: str,
    title: str,
    own: Mapping[str, Mapping[str, object]],
    corpora: Mapping[str, tuple[str, str]],
    remarks: tuple[str, ...] = (),
    name: str = "main",
) -> PaperTable:
    """A method beside others.

    Parameters
    ----------
    own : rows of the method itself, as the paper calls them -> settings that differ from params.yaml
    corpora : as the paper calls it -> names of its metrics, and the rows: `name: numbers` in the metrics'
        order, a line each, with / or blanks between numbers and - where one is not printed
    """
    paper: dict[str, dict[str, dict[str, float]]] = {}
    for corpus, (metrics, lines) in corpora.items():
        for line in lines.strip().splitlines():
            label, _, numbers = line.strip().partition(": ")
            pairs = zip(metrics.split(), numbers.replace("/", " ").split(), strict=True)
            known = [(metric, number) for metric, number in pairs if number != "-"]
            cells = printed(" ".join(m for m, _ in known), " ".join(n for _, n in known))
            paper.setdefault(label, {})[corpus] = cells
    others = [label for label in paper if label not in own] or list(OURS)
    rows = [Row(label, paper=paper.get(label, {}), method=OURS.get(label)) for label in others]
    rows += [Row(label, overrides, paper.get(label, {})) for label, overrides in own.items()]
    rows += [Row(label, method=folder) for label, folder in ANCHORS.items()]
    alone = [row.label for row in rows if row.method is None]
    said = (f"printed alone, for no method here is that one: {', '.join(alone)}",) if alone else ()
    return PaperTable(method, name, title, tuple(rows), (*said, *remarks))
