"""No module imports, directly or through others, a module that imports it: not even inside a function."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import grimp


def test_no_circle() -> None:
    graph = grimp.build_graph("pipeline", "models", exclude_type_checking_imports=True)
    uses = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(uses) > 200
    circle: list[str] = []
    try:
        TopologicalSorter(uses).prepare()
    except CycleError as error:
        circle = error.args[1]
    assert circle == [], " imports ".join(reversed(circle))
