"""Names and texts from outside: what is escaped, replaced, and refused as an id."""

from __future__ import annotations

import pytest

from pipeline.core.names import LONGEST_ID, bad_id, encodable, escaped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("clip 1", "clip 1"),
        ("日本語\u3000é", "日本語\u3000é"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x00\x1b[31m\x7f\x85", r"\x00\x1b[31m\x7f\x85"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\u202egnp", r"\u202egnp"),  # writes from right to left
        ("x\ud800", r"x\ud800"),
        ("caf\udce9.mp4", r"caf\udce9.mp4"),  # a file name that is not UTF-8, as Python reads it
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_an_escaped_name_is_one_line_that_can_be_encoded(text: str, shown: str) -> None:
    assert escaped(text) == shown
    assert len(escaped(text).splitlines()) == 1
    escaped(text).encode()


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain", "plain"),
        ("é 日本 😀\x00", "é 日本 😀\x00"),
        ("a\ud800b", "a\ufffdb"),
        ("\udc80", "\ufffd"),
        ("end\ud83d", "end\ufffd"),
        ("\ud83d\ude00", "😀"),  # as JSON and Java write it
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("\ufeffx", "\ufeffx"),
    ],
)
def test_halves_of_characters_are_replaced_in_texts(text: str, written: str) -> None:
    assert encodable(text) == written


@pytest.mark.parametrize("value", ["-3g5yACwYnA", "=x", "a b", "日本", "cafe\u0301", ".hidden", "é" * 127])
def test_names_of_the_field_are_ids(value: str) -> None:
    assert bad_id(value) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", "empty"),
        (" \t", "empty"),
        *((value, "another folder") for value in (".", "..", "../x", "/etc/x", "a/b", "..\\x")),
        *((f"a{char}b", "control characters") for char in "\0\n\r\t\x1b\x85\u2028\u2029\ud800\udfff"),
        ("a$_$b", "separates"),
        ("x" * (LONGEST_ID + 1), "255 bytes"),
        ("é" * 128, "255 bytes"),
        ("x" * 10_000_000, "255 bytes, and this has 10,000,000"),
    ],
)
def test_what_no_file_or_table_could_hold_is_no_id(value: str, expected: str) -> None:
    reason = bad_id(value)
    assert reason is not None
    assert expected in reason
    assert "\n" not in reason
