"""Which functions, classes and values of a Python file differ."""

from __future__ import annotations

import pytest
from made.tiny_project import METHOD

from pipeline.status.definitions import changed_definitions


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('{"prior": x}', '{"prior": x + 1}', ["Method.losses (line 12)"]),
        ("WIDTH = 8\n", "WIDTH = 9\n", ["WIDTH (line 3)"]),
        ("Unweighted.", "Each without its weight.", []),
        ("        return x * WIDTH", "        return (x  *  WIDTH)  # scaled", []),
        ("class Method:", "class Method(dict):", ["Method (line 6)"]),
        ("def forward(", "def encode(", ["Method.encode added (line 9)", "Method.forward removed"]),
        ("    def forward", "    @torch.no_grad()\n    def forward", ["Method.forward (line 10)"]),
        ("WIDTH = 8\n", "import math\n\nWIDTH = 8\n", ["imports added (line 3)"]),
        ("WIDTH = 8\n", "WIDTH = 8\nprint()\n", ["what runs at import added (line 4)"]),
    ],
)
def test_names_and_lines(old: str, new: str, expected: list[str]) -> None:
    assert METHOD.count(old) == 1
    assert changed_definitions(METHOD, METHOD.replace(old, new)) == expected


def test_what_is_no_python_is_refused() -> None:
    with pytest.raises(SyntaxError):
        changed_definitions(METHOD, "class")
