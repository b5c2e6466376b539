"""Words of a text, and where they begin and end in it.

A *word* is what stands between spaces; of Chinese, Japanese and other scripts without spaces it is a
character with the marks that follow it.
"""

from __future__ import annotations

import re

# Han with its extensions, kana and bopomofo: scripts that put no space between words
IDEOGRAPHS = (
    "\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3105-\u312f\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{IDEOGRAPHS}][^\s\w]*|[^\s{IDEOGRAPHS}]+")
_IDEOGRAPH = re.compile(f"[{IDEOGRAPHS}]")


def spans(text: str) -> list[tuple[int, int]]:
    """First and one past the last character of each word.

    Examples
    --------
    >>> spans("Oh, 你好。 ok")
    [(0, 3), (4, 5), (5, 7), (8, 10)]
    """
    return [match.span() for match in _WORD.finditer(text)]


def joined(left: str, right: str) -> bool:
    """Whether two pieces that follow each other without a space belong to one word."""
    if not left or not right or left[-1].isspace() or right[0].isspace():
        return False
    return not (_IDEOGRAPH.match(left[-1]) or _IDEOGRAPH.match(right[0]))
