"""Word errors of a recognition: words put in, left out or taken for others, against what was said.

Case, accents' composition and marks do not count, those within words (don't, 3.5) aside; words are those of
media/words.py, so that of Chinese every character is one. Numbers are compared as they are written.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from pipeline.media.words import spans

_MARKS = re.compile(r"(?<!\w)[^\w\s]+|[^\w\s]+(?!\w)|[^\w\s'.,]+")  # around words, or that part two of them


def spoken_words(text: str) -> list[str]:
    """The words of a text as errors are counted.

    Examples
    --------
    >>> spoken_words("Well-known? I don’t pay 3.5, OK.")
    ['well', 'known', 'i', "don't", 'pay', '3.5', 'ok']
    """
    plain = unicodedata.normalize("NFC", text).casefold().replace("\u2019", "'")
    plain = _MARKS.sub(" ", plain)
    return [plain[first:last] for first, last in spans(plain)]


def word_errors(heard: Sequence[str], said: Sequence[str]) -> int:
    """The least number of words to put in, leave out or exchange (Levenshtein).

    Examples
    --------
    >>> word_errors("bin blue at two".split(), "bin blue at f two now".split())
    2
    """
    row = np.arange(len(heard) + 1)
    for number, word in enumerate(said, 1):
        exchanged = row[:-1] + np.array([other != word for other in heard], dtype=np.int64)
        row = np.concatenate([[number], np.minimum(exchanged, row[1:] + 1)])
        row = np.minimum.accumulate(row - np.arange(len(row))) + np.arange(len(row))
    return int(row[-1])
