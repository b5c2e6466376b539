"""Word errors: what counts as a word, and the least number of changes."""

from __future__ import annotations

import random
from functools import cache

from pipeline.evaluation.word_errors import spoken_words, word_errors


def test_case_and_marks_do_not_count() -> None:
    words = ["well", "known", "i", "don't", "pay", "3.5", "ok"]
    assert spoken_words("Well-known? I don\u2019t pay 3.5, OK.") == words
    assert spoken_words("\u201cHe\u0301!\u201d (sighs) a/b") == ["h\u00e9", "sighs", "a", "b"]
    assert spoken_words("你好，OK 吗。") == ["你", "好", "ok", "吗"]
    assert spoken_words(" ... ") == []


def test_the_fewest_changes_are_counted() -> None:
    assert word_errors(list("kitten"), list("sitting")) == 3
    assert word_errors([], list("abc")) == 3 == word_errors(list("abc"), [])
    assert word_errors([], []) == 0

    @cache
    def by_definition(a: str, b: str) -> int:
        if not a or not b:
            return len(a) + len(b)
        exchanged = by_definition(a[1:], b[1:]) + (a[0] != b[0])
        return min(exchanged, by_definition(a[1:], b) + 1, by_definition(a, b[1:]) + 1)

    letters = random.Random(0)
    for _ in range(60):
        one, other = ("".join(letters.choices("abc", k=letters.randrange(7))) for _ in range(2))
        assert word_errors(list(one), list(other)) == by_definition(one, other)
