"""Marks in texts: every mark counts unless a backslash stands right before it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdpo_core import IMAGE_MARK, VIDEO_MARK, count_marks, escape_marks, replace_marks

PIECES = st.sampled_from([IMAGE_MARK, VIDEO_MARK, f"\\{IMAGE_MARK}", f"\\{VIDEO_MARK}", "a", " ", "<", "image>", "\n"])
TEXTS = st.lists(PIECES, max_size=8)


@given(TEXTS)
def test_marks_with_a_backslash_do_not_count(pieces: list[str]) -> None:
    text = "".join(pieces)
    for mark in (IMAGE_MARK, VIDEO_MARK):
        assert count_marks(text, mark) == text.count(mark) - text.count(f"\\{mark}")


@given(TEXTS)
def test_an_escaped_text_has_no_mark_and_keeps_its_words(pieces: list[str]) -> None:
    text = "".join(pieces)
    escaped = escape_marks(text)
    assert count_marks(escaped) == count_marks(escaped, VIDEO_MARK) == 0
    assert escape_marks(escaped) == escaped
    assert escaped.replace("\\<", "<") == text.replace("\\<", "<")


@pytest.mark.parametrize(
    ("text", "replaced"),
    [
        ("<image>\nA", "X\nA"),
        ("\\<image> <image>", "\\<image> X"),
        ("<video><image>", "<video>X"),
        ("<image", "<image"),
    ],
)
def test_only_marks_that_stand_for_an_image_are_replaced(text: str, replaced: str) -> None:
    assert replace_marks(text, "X") == replaced
